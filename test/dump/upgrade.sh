#!/usr/bin/env bash
# ALTER EXTENSION livefeed UPDATE, from every released version: afterwards the
# database's catalogs are those of a fresh installation, down to function bodies,
# privileges and comments, and so is its dump. Before, the new library serves the
# old SQL. What was watched, declared, granted, written and issued stays.
#
# What an upgrade script lacks is printed as a diff: "<" lines are what a fresh
# installation has and an upgraded one has not, ">" the other way round. See
# extension/upgrade/script.awk for what is derived and what is written by hand.
#
# Wants a running server in PG* with the extension installed. Prints TAP. It does
# not test an update under load: that is test/fault/upgrade.test.mjs.
set -euo pipefail

readonly PREFIX=livefeed_upgrade_$$
readonly ROLES="${PREFIX}_bridge ${PREFIX}_app ${PREFIX}_some"
CATALOG=$(dirname "$0")/catalog.sql
work=$(mktemp -d "${TMPDIR:-/tmp}/livefeed-upgrade-XXXXXX")
. "$(dirname "$0")/lib.sh"

cleanup() {
    local role
    drop_databases
    for role in $ROLES; do dropuser --if-exists "$role"; done
    rm -rf "$work"
}
trap cleanup EXIT

catalog() { psql -XqAt -v ON_ERROR_STOP=1 -d "$1" -f "$CATALOG"; }

# Without what differs in any two dumps.
dump() { pg_dump "$@" | grep -v '^\\\(un\)\?restrict '; }

# Rights as an installation has them: a bridge, an application, and someone with a few functions.
readonly GRANTS="SELECT livefeed.grant_bridge('${PREFIX}_bridge'), livefeed.grant_application('${PREFIX}_app');
    GRANT EXECUTE ON FUNCTION livefeed.issue_token(text, jsonb, text[], interval, jsonb), livefeed.tick() TO ${PREFIX}_some"
for role in $ROLES; do createuser "$role"; done

DEFAULT=$(sql postgres "SELECT default_version FROM pg_available_extensions WHERE name = 'livefeed'")
mapfile -t RELEASED < <(sql postgres "SELECT source FROM pg_extension_update_paths('livefeed')
    WHERE target = '$DEFAULT' AND source <> target AND path IS NOT NULL ORDER BY source")
is 'there is a way from a released version' "$([ ${#RELEASED[@]} -gt 0 ] && echo yes)" yes

readonly FRESH=${PREFIX}_fresh
create "$FRESH"
sql "$FRESH" 'CREATE EXTENSION livefeed' >/dev/null
sql "$FRESH" "$GRANTS" >/dev/null
catalog "$FRESH" >"$work/fresh.catalog"
dump "$FRESH" >"$work/fresh.dump"
is 'a fresh installation has a catalog' "$(grep -c '^member function' "$work/fresh.catalog")" \
    "$(sql "$FRESH" "SELECT count(*) FROM pg_proc WHERE pronamespace = 'livefeed'::regnamespace")"

for version in "${RELEASED[@]}"; do
    # As it comes.
    bare=${PREFIX}_bare_${version//./_}
    create "$bare"
    sql "$bare" "CREATE EXTENSION livefeed VERSION '$version'" >/dev/null
    sql "$bare" "$GRANTS" >/dev/null
    catalog "$bare" >"$work/old.catalog"
    isnt "$version: the comparison sees differences before" "$(diff "$work/fresh.catalog" "$work/old.catalog")" ''
    sql "$bare" 'ALTER EXTENSION livefeed UPDATE'
    catalog "$bare" >"$work/new.catalog"
    is "$version: the catalogs are those of a fresh installation" \
        "$(diff "$work/fresh.catalog" "$work/new.catalog" | cut -c 1-1000)" ''
    dump "$bare" >"$work/new.dump"
    is "$version: so is a dump" "$(diff "$work/fresh.dump" "$work/new.dump")" ''

    # In use.
    used=${PREFIX}_used_${version//./_}
    create "$used"
    sql "$used" "CREATE EXTENSION livefeed VERSION '$version'" >/dev/null
    sql "$used" "$GRANTS" >/dev/null
    sql "$used" "CREATE TABLE requests (id integer PRIMARY KEY, unit_id integer, status text);
        SELECT livefeed.watch('requests', entity => 'request', unit => 'unit_id', action => 'status');
        SELECT livefeed.declare_feed('notes'); SELECT livefeed.expose_path('/ws/notes/', '{notes:unit:7}')" >/dev/null
    sql "$used" "INSERT INTO requests VALUES (1, 7, 'Pending')"
    sql "$used" "UPDATE requests SET status = 'Approved'"
    sql "$used" "SELECT livefeed.publish('notes', 'added', '{}', '7')" >/dev/null
    is "$version: the new library ticks" "$(sql "$used" 'SELECT livefeed.tick() IS NOT NULL')" t
    is "$version: and reads" "$(sql "$used" 'SELECT feed, type, action FROM livefeed.events() WHERE id IS NOT NULL')" \
        "$(printf 'requests|request.created|created\nrequests|request.updated|approved\nnotes|notes.updated|added')"
    is "$version: as a bridge does" "$(sql "$used" "SET ROLE ${PREFIX}_bridge; SELECT count(*) FILTER (WHERE flags < 32 OR flags > 63 AND flags < 512) FROM livefeed.read(0, 100)")" 3
    is "$version: and issues tokens" "$(sql "$used" "SET ROLE ${PREFIX}_app; SELECT livefeed.issue_token('42', '[7]') LIKE 'ey%.%.%'")" t
    is "$version: and prunes" "$(sql "$used" 'SELECT livefeed.prune()')" 0
    is "$version: and looks" "$(sql "$used" 'SELECT head > 3, stale FROM livefeed.look()')" 't|f'
    before=$(sql "$used" "SELECT livefeed.cursor(), livefeed.epoch(); SELECT * FROM livefeed.keys; SELECT * FROM livefeed.events();
        SELECT * FROM livefeed.feeds ORDER BY feed; SELECT * FROM livefeed.paths; SELECT relation, feed, unit, key, enabled, problem FROM livefeed.watches")
    sql "$used" "INSERT INTO requests VALUES (2, 7, 'Pending')"
    sql "$used" 'ALTER EXTENSION livefeed UPDATE'
    is "$version: cursor, key, events, feeds, paths and watches stay" \
        "$(sql "$used" "SELECT livefeed.cursor(), livefeed.epoch(); SELECT * FROM livefeed.keys; SELECT * FROM livefeed.events() WHERE id IS NOT NULL;
        SELECT * FROM livefeed.feeds ORDER BY feed; SELECT * FROM livefeed.paths; SELECT relation, feed, unit, key, enabled, problem FROM livefeed.watches")" "$before"
    sql "$used" "INSERT INTO requests VALUES (3, 7, 'Pending')"
    is "$version: what was written before it comes after it" \
        "$(sql "$used" 'SELECT livefeed.tick() IS NOT NULL'; sql "$used" 'SELECT key FROM livefeed.events() WHERE id IS NOT NULL OFFSET 3')" "$(printf 't\n2\n3')"
    is "$version: the bridge has the new rights" \
        "$(sql "$used" "SET ROLE ${PREFIX}_bridge; SELECT count(*) FROM livefeed.revocations; SELECT token_max_age_s > 0 FROM livefeed.authority()")" "$(printf '0\nt')"
    is "$version: and the application" "$(sql "$used" "SET ROLE ${PREFIX}_app; SELECT livefeed.disconnect('42')")" ''
    is "$version: but nobody else" "$(sql "$used" "SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'livefeed'::regnamespace
        AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = '${PREFIX}_some'::regrole)")" 2

    # Rights are dumped as what they are, not taken for the extension's own.
    pg_dump -Fc -f "$work/used.dump" "$used"
    again=${PREFIX}_again_${version//./_}
    create "$again"
    pg_restore --exit-on-error -d "$again" "$work/used.dump"
    is "$version: a restore of the upgraded database has all rights" \
        "$(catalog "$again" | grep '^privileges')" "$(grep '^privileges' "$work/fresh.catalog")"
done
finish
