-- tables.sql: what the extension keeps. The schema is made here, not found: a
-- schema of that name which someone else prepared is refused.
--
-- None of these tables is dumped: transaction ids mean nothing in another
-- cluster, and a restored database begins a new history with a key of its own.
-- (Declared feeds and exposed paths are dumped; they stand in feeds.sql.)

CREATE SCHEMA livefeed;

/*
 * The log. Writers insert into the child that livefeed.state names, in their
 * own transaction; livefeed.prune() empties the oldest by TRUNCATE. No DELETE
 * and no UPDATE ever happens here, so there is nothing for autovacuum to do.
 *
 * The order of rows: transactions by their greatest seq (that order, and the
 * ids, are made by livefeed.tick()), inside a transaction (command, seq).
 * journal.c knows the order of the columns.
 */
CREATE TABLE livefeed.log (
	xid         xid8        NOT NULL,	-- of the top-level transaction
	seq         bigint      NOT NULL,
	at          timestamptz NOT NULL,	-- when the event was made
	command     integer     NOT NULL,	-- the place in the transaction: twice NEW's cmin, cmax for DELETE, and 1 but for that
	flags       integer     NOT NULL,	-- event.h
	feed        text        COLLATE "C" NOT NULL,
	unit        text        COLLATE "C",
	users       text[]      COLLATE "C",
	to_users    text[]      COLLATE "C",
	key         text        COLLATE "C",
	parent_feed text        COLLATE "C",
	parent_key  text        COLLATE "C",
	frame       bytea
);
-- A large frame is read once and sent: compressing it costs the writer more than it saves.
ALTER TABLE livefeed.log ALTER frame SET STORAGE EXTERNAL;

-- The same for events that need not survive a crash: unlogged, rotated each minute.
CREATE TABLE livefeed.transient (LIKE livefeed.log INCLUDING STORAGE);

-- CACHE 1: a number drawn after another's commit is greater than all that were drawn before it.
CREATE SEQUENCE livefeed.seq CACHE 1;

/*
 * The ticks. A batch is what a tick's snapshot sees and that of the tick before
 * it does not: durable events id_from..id_to, then transient ones up to
 * id_last. Numbers are consecutive. A tick with segments > 0 is a large one,
 * and livefeed.segments says where its parts begin.
 */
CREATE TABLE livefeed.ticks (
	tick        bigint      NOT NULL,
	epoch       text        COLLATE "C" NOT NULL,
	snapshot    pg_snapshot NOT NULL,
	id_from     bigint      NOT NULL,
	id_to       bigint      NOT NULL,
	id_last     bigint      NOT NULL,
	at          timestamptz NOT NULL,
	segments    integer     NOT NULL
);

/*
 * Where readers may enter a large tick. A segment is either some whole
 * transactions, in the order of their ids (command is null), or a part of one
 * large transaction, that begins at (command, seq). It has "events" events,
 * the first of which has the id "id".
 */
CREATE TABLE livefeed.segments (
	tick        bigint      NOT NULL,
	id          bigint      NOT NULL,
	events      integer     NOT NULL,
	transient   boolean     NOT NULL,
	xids        xid8[]      NOT NULL,
	command     integer,
	seq         bigint
);

-- The parents are empty, and stay so; their indexes let the planner do without
-- sequential scans altogether (plan.c).
CREATE INDEX log_order ON livefeed.log (xid, command, seq);
CREATE INDEX transient_order ON livefeed.transient (xid, command, seq);
CREATE INDEX ticks_order ON livefeed.ticks (tick);
CREATE INDEX ticks_id ON livefeed.ticks (id_last, tick);
CREATE INDEX segments_order ON livefeed.segments (tick, id);

DO $$
DECLARE
	child text;
	n     integer;
BEGIN
	FOR n IN 0..2 LOOP
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.log_%s () INHERITS (livefeed.log)', n);
		EXECUTE pg_catalog.format('CREATE UNLOGGED TABLE livefeed.transient_%s () INHERITS (livefeed.transient)', n);
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.ticks_%s (PRIMARY KEY (tick)) INHERITS (livefeed.ticks)', n);
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.segments_%s (PRIMARY KEY (tick, id)) INHERITS (livefeed.segments)', n);
		FOREACH child IN ARRAY ARRAY['log_' || n, 'transient_' || n] LOOP
			-- "command" is in the index so that the order inside a transaction is
			-- the index's: a huge one can be read in parts.
			EXECUTE pg_catalog.format('CREATE INDEX %I ON livefeed.%I (xid, command, seq)', child || '_order', child);
			EXECUTE pg_catalog.format('ALTER TABLE livefeed.%I SET (autovacuum_enabled = off, vacuum_truncate = off,
				toast.autovacuum_enabled = off, toast.vacuum_truncate = off)', child);
		END LOOP;
		EXECUTE pg_catalog.format('CREATE INDEX %I ON livefeed.%I (id_last, tick)', 'ticks_' || n || '_id', 'ticks_' || n);
		FOREACH child IN ARRAY ARRAY['ticks_' || n, 'segments_' || n] LOOP
			EXECUTE pg_catalog.format('ALTER TABLE livefeed.%I SET (autovacuum_enabled = off, vacuum_truncate = off)', child);
		END LOOP;
	END LOOP;
END
$$;

/*
 * The state: one row, changed by rotation, by reset and by the first bridge
 * that registers, never by writers or ticks. Backends keep a copy until
 * livefeed.invalidate_state() tells them; journal.c knows the first columns.
 */
CREATE TABLE livefeed.state (
	random               uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(), -- makes the epoch this database's own
	current              smallint    NOT NULL DEFAULT 0,		-- the child of livefeed.log that writers use
	transient_current    smallint    NOT NULL DEFAULT 0,		-- and of livefeed.transient
	registered           boolean     NOT NULL DEFAULT false,	-- has a bridge ever registered?
	tick_current         smallint    NOT NULL DEFAULT 0,		-- the child of livefeed.ticks that ticks go to
	kept                 bigint      NOT NULL DEFAULT 0,		-- ids up to here are gone; a reader who has all of them may go on
	kept_tick            bigint      NOT NULL DEFAULT 1,		-- the tick whose id_last that is
	rotated_at           timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	rotated_id           bigint      NOT NULL DEFAULT 0,		-- the head at that time
	transient_rotated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	one                  boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
	transient_kept       bigint      NOT NULL DEFAULT 0,		-- as kept, of transient events
	transient_kept_tick  bigint      NOT NULL DEFAULT 1
);
INSERT INTO livefeed.state DEFAULT VALUES;

-- One row, which is gone when a crash has emptied what is unlogged: so it is noticed.
CREATE UNLOGGED TABLE livefeed.transient_alive (
	since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
INSERT INTO livefeed.transient_alive DEFAULT VALUES;

-- The keys that sign tokens: one without rotated_at, and those it replaced.
CREATE TABLE livefeed.key (
	kid        text        COLLATE "C" PRIMARY KEY,
	secret     bytea       NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	rotated_at timestamptz
);
CREATE UNIQUE INDEX key_current ON livefeed.key ((true)) WHERE rotated_at IS NULL;

-- The bridges that serve this database, as they report themselves.
CREATE TABLE livefeed.bridge (
	bridge     text        COLLATE "C" PRIMARY KEY,
	host       text,
	pid        integer,
	version    text,
	started_at timestamptz NOT NULL,
	seen_at    timestamptz NOT NULL,
	last_id    bigint      NOT NULL DEFAULT 0,
	ticker     boolean     NOT NULL DEFAULT false,
	sessions   integer     NOT NULL DEFAULT 0
);

COMMENT ON SCHEMA livefeed IS 'live updates: what is watched, the log of events, and who may';
COMMENT ON TABLE livefeed.log IS 'the events; writers insert, nobody updates or deletes';
COMMENT ON TABLE livefeed.transient IS 'events that are kept for a minute, and not over a crash';
COMMENT ON SEQUENCE livefeed.seq IS 'numbers events as they are written; their order is made by ticks';
COMMENT ON TABLE livefeed.ticks IS 'the order of events: each tick shows a batch of transactions';
COMMENT ON TABLE livefeed.segments IS 'where readers may enter a large tick';
COMMENT ON TABLE livefeed.state IS 'one row: where the log stands in its rotation';
COMMENT ON TABLE livefeed.transient_alive IS 'empty after a crash, which has emptied livefeed.transient as well';
COMMENT ON TABLE livefeed.key IS 'the keys that sign tokens; never dumped';
COMMENT ON TABLE livefeed.bridge IS 'the bridges, as they report themselves';
