#!/usr/bin/env bash
# Dump and restore: pg_dump brings watched tables back as watched, whole and
# --schema-only, in both formats; the restored database begins a history of its
# own with a key of its own; nothing of the log is dumped. And what DROP
# EXTENSION, unwatch and DROP TABLE leave behind.
#
# Wants a running server in PG* (dev/cluster run -- test/dump/run.sh) with the
# extension installed, and the right to create databases and roles there.
# Prints TAP. It does not test pg_upgrade, nor dumps of another version.
set -euo pipefail

readonly PREFIX=livefeed_dump_$$
readonly BRIDGE=${PREFIX}_bridge
work=$(mktemp -d "${TMPDIR:-/tmp}/livefeed-dump-XXXXXX")

. "$(dirname "$0")/lib.sh"

cleanup() {
    drop_databases
    PGOPTIONS='-c client_min_messages=warning' psql -XqAt -d postgres -c "DROP ROLE IF EXISTS $BRIDGE"
    rm -rf "$work"
}
trap cleanup EXIT

readonly WATCHES="SELECT to_json(w) FROM livefeed.watches w ORDER BY relation::text"
readonly FEEDS="SELECT to_json(f)::text || to_json(ARRAY(SELECT p FROM livefeed.paths p ORDER BY path))::text FROM livefeed.feeds f ORDER BY feed"
readonly AUTHORITY="SELECT * FROM livefeed.revocations ORDER BY user_id; SELECT livefeed.authorize('{\"id\": 5}')"
readonly EXPOSED="SELECT to_json(q) FROM livefeed.queries q ORDER BY name; SELECT to_json(c) FROM livefeed.commands c ORDER BY name;
    SELECT to_json(n) FROM livefeed.socketio_namespaces n; SELECT to_json(e) FROM livefeed.socketio_events e;
    SELECT data FROM livefeed.run_query('count', '7'); SELECT data FROM livefeed.call('act', '{\"a\": 1}', '{\"user\": \"42\"}')"
readonly SNAPSHOTS="SELECT data FROM livefeed.snapshot('odd', 'unit', '3'); SELECT data, keys FROM livefeed.snapshot('notes', 'all')"
readonly TRIGGERS="SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
    WHERE tgfoid IN (SELECT oid FROM pg_proc WHERE proname IN ('capture_row', 'capture_truncate')) ORDER BY tgrelid::regclass::text, tgname"
readonly EVENTS="SELECT feed, unit, key, type FROM livefeed.events()"
readonly WRITE="INSERT INTO requests VALUES (100, 7, 'Pending'); UPDATE requests SET status = 'Approved' WHERE id = 100;
    INSERT INTO parts VALUES (100, 1, 'x'), (2000, 1, 'y'); INSERT INTO \"Odd Name\".\"T\" VALUES ('é,/', 3, 7);"

create "${PREFIX}_a"
sql "${PREFIX}_a" "
    CREATE EXTENSION livefeed;
    CREATE TABLE requests (id integer PRIMARY KEY, unit_id integer, status text);
    CREATE TABLE parts (id integer, n integer, x text, PRIMARY KEY (id, n)) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
    CREATE TABLE parts_2 (x text, n integer NOT NULL, id integer NOT NULL);
    ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (1000) TO (3000);
    CREATE SCHEMA \"Odd Name\";
    CREATE TABLE \"Odd Name\".\"T\" (\"Key 1\" text, \"key_2\" integer, \"unit \"\"u\"\"\" integer, PRIMARY KEY (\"Key 1\", key_2));
    CREATE FUNCTION \"Odd Name\".\"unit of\"(\"Odd Name\".\"T\") RETURNS text LANGUAGE sql AS 'SELECT \$1.\"unit \"\"u\"\"\"::text';
    SELECT livefeed.watch('requests', entity => 'request', unit => 'unit_id', action => 'status', roles => '{approver}', actions => '{\"moved\":[\"unit_id\"]}');
    SELECT livefeed.watch('parts');
    SELECT livefeed.watch('\"Odd Name\".\"T\"', feed => 'odd', unit_function => '\"Odd Name\".\"unit of\"(\"Odd Name\".\"T\")');
    ALTER TABLE requests ENABLE ALWAYS TRIGGER livefeed_row;
    SELECT livefeed.declare_feed('notes', roles => '{reader}', retain => true);
    SELECT livefeed.publish('notes', 'created', '1', key => 'n');
    SELECT livefeed.expose_path('/ws/requests/{1}/', ARRAY['requests:unit:{1}']);
    SELECT livefeed.socketio_namespace('/requests', ARRAY['requests:unit:{unit}']), livefeed.socketio_event('requests', 'moved', 'request_move');
    INSERT INTO requests VALUES (1, 7, 'Pending');
    INSERT INTO parts VALUES (1, 1, 'x');
    SELECT livefeed.rotate_key();
    CREATE FUNCTION \"Odd Name\".\"who is\"(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb_build_object(''user'', \$1 -> ''id'')';
    SELECT livefeed.set_authorizer('\"Odd Name\".\"who is\"(jsonb)');
    CREATE FUNCTION \"Odd Name\".\"count of\"(text) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT to_jsonb(count(*)) FROM public.requests WHERE id = 1';
    CREATE FUNCTION \"Odd Name\".\"act\"(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT \$1 || jsonb_build_object(''by'', livefeed.current_user_id())';
    SELECT livefeed.expose_query('count', '\"Odd Name\".\"count of\"(text)', 'unit', '{notes,requests,livefeed_sessions}', roles => '{reader}', refresh => '1 min');
    CREATE FUNCTION \"Odd Name\".\"state of\"(text, text) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT jsonb_build_array(\$1, \$2)';
    SELECT livefeed.expose_snapshot('odd', '\"Odd Name\".\"state of\"(text,text)');
    SELECT livefeed.expose_command('act', '\"Odd Name\".act(jsonb)', '{approver,reader}');
    SELECT livefeed.call('act', '{}', '{\"user\": \"42\"}', idempotency_key => 'k');
    SELECT livefeed.disconnect('7', 'bye'), livefeed.disconnect('8', session => 's1');" >/dev/null
sql "${PREFIX}_a" 'SELECT livefeed.prune()' >/dev/null
sql "${PREFIX}_a" "SELECT livefeed.reauthorize('9')" >/dev/null
sql "${PREFIX}_a" "CREATE ROLE $BRIDGE; SELECT livefeed.grant_bridge('$BRIDGE')" >/dev/null
sql "${PREFIX}_a" "SELECT livefeed.tick()" >/dev/null

pg_dump -Fc -f "$work/whole.dump" "${PREFIX}_a"
pg_dump -f "$work/whole.sql" "${PREFIX}_a"
pg_dump --schema-only -Fc -f "$work/schema.dump" "${PREFIX}_a"
pg_dump --schema-only -f "$work/schema.sql" "${PREFIX}_a"
is 'no row of the log, of ticks, of keys is in a dump' \
    "$(grep -cE 'COPY livefeed\.(log|ticks|segments|transient|state|key|bridge|answer|retained)(_[0-9]|_transient)? ' "$work/whole.sql" || true)" 0

restored() { # DATABASE WHAT
    local db=$1 what=$2
    is "$what: the watches are back" "$(sql "$db" "$WATCHES")" "$(sql "${PREFIX}_a" "$WATCHES")"
    is "$what: the triggers are back, and as enabled as they were" "$(sql "$db" "$TRIGGERS")" "$(sql "${PREFIX}_a" "$TRIGGERS")"
    is "$what: loading made no events" "$(sql "$db" "SELECT count(*) FROM livefeed.log WHERE flags & 32 = 0")" 0
    isnt "$what: the epoch is new" "$(sql "$db" "SELECT livefeed.epoch()")" "$(sql "${PREFIX}_a" "SELECT livefeed.epoch()")"
    is "$what: the first tick is of this epoch" "$(sql "$db" "SELECT livefeed.cursor() = livefeed.epoch() || '-0'")" t
    isnt "$what: the key is new" "$(sql "$db" "SELECT kid, secret FROM livefeed.keys")" "$(sql "${PREFIX}_a" "SELECT kid, secret FROM livefeed.keys WHERE valid_until IS NULL")"
    is "$what: and the only one" "$(sql "$db" "SELECT count(*) FROM livefeed.keys")" 1
    is "$what: the bridge's role has its rights" "$(sql "$db" "SET ROLE $BRIDGE; SELECT count(*) FROM livefeed.read(0, 10); SELECT count(*) FROM livefeed.keys")" "$(printf '1\n1')"
    sql "$db" "$WRITE"
    is "$what: writes make events again" "$(sql "$db" 'SELECT livefeed.tick() IS NOT NULL'; sql "$db" "$EVENTS")" "$(cat <<'END'
t
requests|7|100|request.created
requests|7|100|request.updated
parts||100,1|parts.created
parts||2000,1|parts.created
odd|7|%C3%A9%2C%2F,3|odd.created
END
)"
}

create "${PREFIX}_b"
pg_restore --exit-on-error -d "${PREFIX}_b" "$work/whole.dump"
restored "${PREFIX}_b" 'pg_restore'
is 'pg_restore: declared feeds and paths are back' "$(sql "${PREFIX}_b" "$FEEDS")" "$(sql "${PREFIX}_a" "$FEEDS")"
is 'pg_restore: queries and commands are back, and run' "$(sql "${PREFIX}_b" "$EXPOSED")" "$(sql "${PREFIX}_a" "$EXPOSED")"
is 'pg_restore: snapshots are made by the function that made them, and what was retained is gone' \
    "$(sql "${PREFIX}_b" "$SNAPSHOTS")" "$(printf '["unit","3"]\n[]|[]')"
is 'pg_restore: revocations and the authorizer are back' "$(sql "${PREFIX}_b" "$AUTHORITY")" "$(sql "${PREFIX}_a" "$AUTHORITY")"
is 'pg_restore: rows are back' "$(sql "${PREFIX}_b" 'SELECT id FROM requests ORDER BY id')" "$(printf '1\n100')"

create "${PREFIX}_c"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$work/whole.sql" "${PREFIX}_c"
restored "${PREFIX}_c" 'plain dump'
is 'plain dump: declared feeds and paths are back' "$(sql "${PREFIX}_c" "$FEEDS")" "$(sql "${PREFIX}_a" "$FEEDS")"
is 'plain dump: queries and commands are back, and run' "$(sql "${PREFIX}_c" "$EXPOSED")" "$(sql "${PREFIX}_a" "$EXPOSED")"
is 'plain dump: snapshots likewise' "$(sql "${PREFIX}_c" "$SNAPSHOTS")" "$(printf '["unit","3"]\n[]|[]')"
is 'plain dump: revocations and the authorizer are back' "$(sql "${PREFIX}_c" "$AUTHORITY")" "$(sql "${PREFIX}_a" "$AUTHORITY")"

create "${PREFIX}_d"
pg_restore --exit-on-error -d "${PREFIX}_d" "$work/schema.dump"
restored "${PREFIX}_d" '--schema-only'

create "${PREFIX}_e"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$work/schema.sql" "${PREFIX}_e"
restored "${PREFIX}_e" '--schema-only, plain'

# A dump of a restored database is the same again.
pg_dump --schema-only -f "$work/again.sql" "${PREFIX}_e"
is 'a dump of the restored database is the same' "$(grep -v '^\\\(un\)\?restrict ' "$work/again.sql" | md5sum)" "$(grep -v '^\\\(un\)\?restrict ' "$work/schema.sql" | md5sum)"

# What is left behind.
for db in "${PREFIX}_a" "${PREFIX}_b"; do
    sql "$db" 'DROP EXTENSION livefeed'
    is "DROP EXTENSION takes the triggers along ($db)" \
        "$(sql "$db" "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'livefeed%'; SELECT nspname FROM pg_namespace WHERE nspname = 'livefeed'")" ''
    is "and the tables can be written ($db)" "$(sql "$db" "UPDATE requests SET status = 'x' WHERE id = 1; SELECT status FROM requests WHERE id = 1")" x
done

readonly TRACES="SELECT 'trigger', tgname FROM pg_trigger WHERE tgname LIKE 'livefeed%'
    UNION ALL SELECT 'feed', feed FROM livefeed.feeds WHERE NOT declared
    UNION ALL SELECT 'dependency', objid::text FROM pg_depend d
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'x'
    UNION ALL SELECT 'dead dependency', objid::text FROM pg_depend d
        WHERE classid = 'pg_trigger'::regclass AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.oid = d.objid)"
isnt 'a watch can be seen' "$(sql "${PREFIX}_c" "$TRACES")" ''
sql "${PREFIX}_c" "SELECT livefeed.unwatch('requests'), livefeed.unwatch('parts')" >/dev/null
sql "${PREFIX}_c" 'DROP TABLE "Odd Name"."T" CASCADE' 2>/dev/null
is 'unwatch and DROP TABLE leave nothing' "$(sql "${PREFIX}_c" "$TRACES")" ''

finish
