#!/usr/bin/env bash
# The order under load: writers that overlap, commit late, roll back, use
# savepoints, PREPARE TRANSACTION, touch the same rows and write transactions
# larger than a segment; two tickers that compete; one that prunes and rotates
# all the while; three readers that page with livefeed.read() as bridges do.
# Afterwards each reader must have seen every committed event once, transactions
# in one piece, rows in the order of their versions, causes before effects.
#
# Wants a running server in PG* with max_prepared_transactions > 0 and the
# extension installed (dev/cluster run -- test/stress/order.sh). Prints TAP.
# STRESS_SECONDS (default 7) is how long the writers write, and again where that was
# too little to order. It does not test crashes: that is test/fault.
set -euo pipefail

readonly SECONDS_LONG=${STRESS_SECONDS:-7}
readonly WRITERS=8
readonly RETENTION_EVENTS=8000 # several rotations happen
readonly ROUNDS=20             # at most
readonly DB=livefeed_stress_$$
work=$(mktemp -d "${TMPDIR:-/tmp}/livefeed-stress-XXXXXX")
trap 'dropdb --if-exists --force "$DB"; rm -rf "$work"' EXIT

sql() { psql -XqAt -v ON_ERROR_STOP=1 -d "$DB" "$@"; }

createdb "$DB"
cat >"$work/schema.sql" <<'SQL'
CREATE EXTENSION livefeed;
CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, txn bigint NOT NULL, n integer NOT NULL, cause bigint);
CREATE TABLE counter (id integer PRIMARY KEY, n bigint NOT NULL);
INSERT INTO counter SELECT g, 0 FROM generate_series(1, 6) g;
SELECT livefeed.watch('item');
SELECT livefeed.watch('counter');
-- The latest transaction that is visible: what is made now must come after it.
CREATE FUNCTION latest() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT txn FROM item ORDER BY id DESC LIMIT 1';
CREATE FUNCTION txn() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT pg_current_xact_id()::text::bigint';

CREATE TABLE stop (now boolean);
CREATE TABLE seen (reader integer, place bigint GENERATED ALWAYS AS IDENTITY, id bigint, tick bigint, xid xid8, flags integer, feed text, key text, data jsonb);
CREATE TABLE trouble (what text);
CREATE TABLE progress (reader integer PRIMARY KEY, id bigint NOT NULL);
INSERT INTO progress SELECT g, 0 FROM generate_series(1, 3) g;

-- Writers wait for readers that are far behind, so that on a slow machine, too, the log rotates under them.
CREATE FUNCTION lag() RETURNS bigint LANGUAGE sql VOLATILE AS
	'SELECT (SELECT id_last FROM livefeed.ticks ORDER BY tick DESC LIMIT 1) - (SELECT min(id) FROM progress)';
CREATE PROCEDURE pace() LANGUAGE plpgsql AS $$
BEGIN
	WHILE lag() > 2000 LOOP
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;

CREATE PROCEDURE read_along(who integer, page integer) LANGUAGE plpgsql AS $$
DECLARE
	after   bigint := 0;
	former  bigint;
	stopped boolean;
BEGIN
	LOOP
		SELECT EXISTS (SELECT FROM stop) INTO stopped;
		former := after;
		INSERT INTO seen (reader, id, tick, xid, flags, feed, key, data)
			SELECT who, r.id, r.tick, r.xid, r.flags, r.feed, r.key,
				CASE WHEN r.flags & 48 = 0 THEN convert_from(r.frame, 'UTF8')::jsonb -> 'data' END
			FROM livefeed.read(after, page) r;
		SELECT s.id INTO after FROM seen s WHERE s.reader = who AND s.flags & 512 <> 0;
		INSERT INTO trouble SELECT 'pruned under reader ' || who FROM seen s WHERE s.reader = who AND s.flags & 1024 <> 0;
		INSERT INTO trouble SELECT format('reader %s has no single mark', who)
			WHERE (SELECT count(*) FROM seen s WHERE s.reader = who AND s.flags & 512 <> 0) <> 1;
		DELETE FROM seen s WHERE s.reader = who AND s.flags & 512 <> 0;
		UPDATE progress SET id = after WHERE reader = who;
		COMMIT;
		EXIT WHEN stopped AND after = former;
		IF after = former THEN
			PERFORM pg_sleep(0.002);
		END IF;
	END LOOP;
END $$;
CREATE INDEX ON seen (reader) WHERE flags & 512 <> 0;

CREATE PROCEDURE tick_along() LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		PERFORM livefeed.tick_wait((SELECT t.id_last FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1), 1000, 5, true);
		COMMIT;
		PERFORM livefeed.ring();
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE tick_against() LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		PERFORM livefeed.tick();
		COMMIT;
		PERFORM pg_sleep(0.003);
	END LOOP;
END $$;
CREATE PROCEDURE prune_along() LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		-- A reader that this machine left behind would be pruned, and rightly. There is room for what comes between the two looks.
		PERFORM livefeed.prune() WHERE lag() < current_setting('livefeed.retention_events')::bigint - 5000;
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT livefeed.register_bridge('stress', 'here', 1, '0');
SQL
sql -o /dev/null -f "$work/schema.sql"

cat >"$work/write.sql" <<'SCRIPT'
\set late random(1, 3)
\set pause random(0, 20000)
\set back random(1, 3)
\set end random(1, 10)
\set which random(1, 3)
\set name random(1, 1000000000)
CALL pace();
BEGIN;
INSERT INTO item (txn, n, cause) VALUES (txn(), 1, latest());
\if :late = 1
\sleep :pause us
\endif
SAVEPOINT a;
INSERT INTO item (txn, n) VALUES (txn(), 2), (txn(), 3);
\if :back = 1
ROLLBACK TO a;
\else
RELEASE a;
\endif
UPDATE counter SET n = n + 1 WHERE id = :which;
\if :late = 2
\sleep :pause us
\endif
INSERT INTO item (txn, n, cause) VALUES (txn(), 4, NULL);
UPDATE counter SET n = n + 1 WHERE id = :which;
\if :end <= 2
ROLLBACK;
\elif :end = 3
PREPARE TRANSACTION 'livefeed_stress_:name';
\sleep :pause us
COMMIT PREPARED 'livefeed_stress_:name';
\else
COMMIT;
\endif
SCRIPT
cat >"$work/quick.sql" <<'SCRIPT'
\set which random(4, 6)
\set pause random(0, 8000)
\sleep :pause us
CALL pace();
INSERT INTO item (txn, n, cause) VALUES (txn(), 1, latest());
UPDATE counter SET n = n + 1 WHERE id = :which;
SCRIPT
cat >"$work/large.sql" <<'SCRIPT'
\set rows random(900, 2600)
CALL pace();
INSERT INTO item (txn, n, cause) SELECT txn(), g, CASE WHEN g = 1 THEN latest() END FROM generate_series(1, :rows) g;
\sleep 600 ms
SCRIPT

pids=()
start() { "$@" & pids+=($!); }
start sql -c 'CALL tick_along()'
start sql -c 'CALL tick_against()'
start sql -c "SET livefeed.retention_events = $RETENTION_EVENTS" -c 'CALL prune_along()'
start sql -c 'CALL read_along(1, 60)'
start sql -c 'CALL read_along(2, 150)'
start sql -c 'CALL read_along(3, 5000)'
# One that is open for long delays its own events, nobody else's, and keeps its part of the log.
sql -c 'BEGIN' -c "INSERT INTO item (txn, n) VALUES (txn(), 1)" -c "SELECT pg_sleep($SECONDS_LONG / 3.0)" -c 'COMMIT' >/dev/null & long=$!

# True if there is nothing to order: no late commits, large ticks, rotations. A run of that proves nothing.
readonly TOO_LITTLE="(SELECT count(*) FROM item) < 1000 OR (SELECT kept FROM livefeed.state) = 0
    OR (SELECT count(*) FROM (SELECT xid::text::bigint AS xid, lag(xid::text::bigint) OVER (ORDER BY id) AS former FROM seen WHERE reader = 1) x
        WHERE xid < former) < 100"
status=0
for ((round = 0; round < ROUNDS; round++)); do
    pgbench -n -T "$SECONDS_LONG" -c "$WRITERS" -j 2 -f "$work/write.sql@6" -f "$work/quick.sql@4" "$DB" >"$work/pgbench.log" 2>&1 & writers=$!
    pgbench -n -T "$SECONDS_LONG" -c 1 -f "$work/large.sql" "$DB" >"$work/large.log" 2>&1 & large=$!
    wait "$writers" || { status=1; sed 's/^/# /' "$work/pgbench.log"; }
    wait "$large" || { status=1; sed 's/^/# /' "$work/large.log"; }
    if [ "$(sql -c "SELECT $TOO_LITTLE")" = f ]; then break; fi
done
wait "$long" || status=1
# The two last ticks are made here; then the readers read to the end.
sql -c 'SELECT livefeed.tick()' >/dev/null
sql -c 'INSERT INTO stop VALUES (true)'
for pid in "${pids[@]}"; do wait "$pid" || status=1; done

tests=0 failed=0
none() { # WHAT QUERY: counts what must not be
    local got
    got=$(sql -c "SELECT count(*) FROM ($2) x")
    tests=$((tests + 1))
    if [ "$got" = 0 ]; then
        echo "ok $tests - $1"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $1: $got"
    fi
}
sql -c 'CREATE INDEX ON seen (reader, xid); CREATE INDEX ON seen (reader, feed, key); ANALYZE'
none 'everyone ended well' "SELECT 1 WHERE $status <> 0"
none 'no reader was pruned, and each page had one mark' 'SELECT what FROM trouble'
none 'ids follow each other: none skipped, none twice' \
    'SELECT 1 FROM (SELECT reader, id, lag(id, 1, 0::bigint) OVER (PARTITION BY reader ORDER BY place) AS former FROM seen) s WHERE id <> former + 1'
none 'every reader got to the end' \
    'SELECT r FROM generate_series(1, 3) r WHERE (SELECT max(id) FROM seen WHERE reader = r) IS DISTINCT FROM (SELECT max(id_last) FROM livefeed.ticks)'
none 'every committed row made its event, once' \
    "SELECT r, i.id FROM item i CROSS JOIN generate_series(1, 3) r LEFT JOIN seen s ON s.reader = r AND s.feed = 'item' AND s.key = i.id::text
        GROUP BY r, i.id HAVING count(s.id) <> 1"
none 'nothing of a rollback was seen' \
    "SELECT 1 FROM seen s WHERE s.feed = 'item' AND NOT EXISTS (SELECT FROM item i WHERE i.id::text = s.key)"
none 'all readers saw the same' \
    'SELECT id FROM seen GROUP BY id HAVING count(*) <> 3 OR count(DISTINCT (xid::text, feed, key, data::text)) <> 1'
none 'transactions stand in one piece' \
    'SELECT 1 FROM seen GROUP BY reader, xid HAVING max(id) - min(id) + 1 <> count(*) OR count(DISTINCT tick) <> 1'
none 'inside, in the order in which they were made' \
    "SELECT 1 FROM (SELECT (data ->> 'n')::bigint AS n, lag((data ->> 'n')::bigint) OVER (PARTITION BY reader, xid ORDER BY id) AS former
        FROM seen WHERE feed = 'item') s WHERE n <= former"
none 'rows follow their versions' \
    "SELECT 1 FROM (SELECT (data ->> 'n')::bigint AS n, lag((data ->> 'n')::bigint, 1, 0::bigint) OVER (PARTITION BY reader, key ORDER BY id) AS former
        FROM seen WHERE feed = 'counter') s WHERE n <> former + 1"
none 'and to the last one' \
    "SELECT 1 FROM counter c CROSS JOIN generate_series(1, 3) r
        WHERE c.n <> (SELECT count(*) FROM seen s WHERE s.reader = r AND s.feed = 'counter' AND s.key = c.id::text)"
none 'what was visible when a transaction began to write comes before it' \
    "SELECT 1 FROM (SELECT xid, min(id) AS first, max((data ->> 'cause')::bigint) AS cause FROM seen WHERE reader = 1 AND feed = 'item' GROUP BY xid) s
        JOIN (SELECT xid, max(id) AS last FROM seen WHERE reader = 1 GROUP BY xid) c ON c.xid::text = s.cause::text
        WHERE s.first <= c.last"
none 'there was something to order: late commits, large ticks, rotations' "SELECT 1 WHERE $TOO_LITTLE"
echo "# $(sql -F ' ' -c "SELECT count(*), 'events,', count(DISTINCT xid), 'transactions,', count(DISTINCT tick), 'ticks; kept from', (SELECT kept FROM livefeed.state), 'with', (SELECT count(*) FROM livefeed.segments), 'segments' FROM seen WHERE reader = 1")"
echo "1..$tests"
[ "$failed" -eq 0 ]
