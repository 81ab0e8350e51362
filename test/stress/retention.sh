#!/usr/bin/env bash
# Retention at scale: a million events with livefeed.retention_events = 100000,
# ticked and pruned along the way, take at most three times the room of 100,000
# events; what the limit promises is there, and can be read to the end.
#
# Wants a running server in PG* with the extension installed (dev/cluster run --
# test/stress/retention.sh). Prints TAP. STRESS_EVENTS (default 1000000) is how
# many events there are; a tenth of them is kept. With readers and writers in the
# way: order.sh and specs/rotation.spec.
set -euo pipefail

readonly EVENTS=${STRESS_EVENTS:-1000000}
readonly KEEP=$((EVENTS / 10))
readonly BATCH=2500 # events of a transaction
readonly DB=livefeed_retention_$$
trap 'dropdb --if-exists --force "$DB"' EXIT

sql() { psql -XqAt -v ON_ERROR_STOP=1 -d "$DB" "$@"; }

createdb "$DB"
sql -o /dev/null -c 'CREATE EXTENSION livefeed' -c "SELECT livefeed.declare_feed('notes')" \
    -c "SELECT livefeed.register_bridge('stress', 'here', 1, '0')" -f - <<'SQL'
CREATE PROCEDURE write_events(events integer, batch integer, prunes boolean) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..events / batch LOOP
		PERFORM livefeed.publish('notes', 'added', '{"text":"some text of a usual length, as it might be in an application"}', unit => (g % 100)::text, key => g::text)
			FROM generate_series(1, batch) g;
		COMMIT;
		PERFORM livefeed.tick();
		COMMIT;
		IF prunes THEN
			PERFORM livefeed.prune();
			COMMIT;
		END IF;
	END LOOP;
END $$;
SQL

sql -c "CALL write_events($KEEP, $BATCH, false)"
base=$(sql -c "SELECT log_bytes FROM livefeed.status")
sql -o /dev/null -c 'SELECT livefeed.reset()'
sql -c "SET livefeed.retention_events = $KEEP" -c "CALL write_events($EVENTS, $BATCH, true)"
read -r bytes kept ticks < <(sql -F ' ' -c 'SELECT log_bytes, events, tick_bytes FROM livefeed.status')
readable=$(sql -c "SELECT count(*) FROM livefeed.read((SELECT kept FROM livefeed.state), $EVENTS, NULL, 2000000000) WHERE flags & 512 = 0")

ok() { # WHAT CONDITION
    tests=$((tests + 1))
    if (($2)); then
        echo "ok $tests - $1"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $1"
    fi
}
tests=0 failed=0
echo "# $KEEP events take $base bytes; after $EVENTS with that limit the log takes $bytes, with $kept events; ticks $ticks bytes"
ok 'the log takes at most three times the room of what is to be kept' "bytes <= 3 * base"
ok 'all that is to be kept is there' "kept >= KEEP"
ok 'and not much more' "kept <= KEEP * 2"
ok 'it can be read, all of it in pages of one call at most' "$readable == (kept < 100000 ? kept : 100000)"
echo "1..$tests"
[ "$failed" -eq 0 ]
