-- What a session can ask of its own last statement is not changed by a watch.
CREATE SCHEMA session;
SET search_path = session;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_livefeed_session;
RESET client_min_messages;
CREATE ROLE regress_livefeed_session;
GRANT USAGE, CREATE ON SCHEMA session TO regress_livefeed_session;
SET ROLE regress_livefeed_session;
CREATE TABLE t (id serial PRIMARY KEY, note text);
SELECT livefeed.watch('t', 'session_t');
INSERT INTO t (note) VALUES ('one'), ('two');
-- The id that it has made, as PDO's lastInsertId() asks for it.
SELECT lastval(), currval('t_id_seq');
UPDATE t SET note = 'x';
SELECT lastval();
RESET ROLE;
-- The numbers of events go on, also where nextval() has drawn one in between.
SELECT count(*), count(DISTINCT seq) FROM livefeed.log WHERE feed = 'session_t';
SELECT max(seq) AS before FROM livefeed.log \gset
SELECT nextval('livefeed.seq') = :before + 1 AS next;
INSERT INTO t (note) SELECT 'more' FROM generate_series(1, 100);
SELECT min(seq) - :before AS first, max(seq) - :before AS last, count(DISTINCT seq) FROM livefeed.log WHERE seq > :before;

-- Its memory does not grow with the types that come and go in the database, which temporary tables bring.
CREATE TABLE r (id int PRIMARY KEY, during daterange, days date[], n int);
SELECT livefeed.watch('r', 'session_r');
INSERT INTO r VALUES (1, '[2024-01-01,2024-02-01)', '{2024-01-01}', 0);
CREATE PROCEDURE churn() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..1000 LOOP
		CREATE TEMPORARY TABLE temporary ();
		UPDATE r SET n = i;
		DROP TABLE temporary;
		COMMIT;
	END LOOP;
END
$$;
CALL churn();
SELECT current_setting('server_version_num')::int >= 140000 AS counts \gset
\if :counts
SELECT sum(total_bytes) AS before FROM pg_backend_memory_contexts WHERE name IN ('TopMemoryContext', 'livefeed type') \gset
CALL churn();
SELECT sum(total_bytes) - :before AS grown FROM pg_backend_memory_contexts WHERE name IN ('TopMemoryContext', 'livefeed type') \gset
\else
\set grown 0
\endif
SELECT :grown < 65536 AS bounded;
DROP PROCEDURE churn();
DROP TABLE t, r;
DROP SCHEMA session;
DROP ROLE regress_livefeed_session;
