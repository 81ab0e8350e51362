-- snapshot.sql: what a channel holds now (snapshot.c, snapshot_function.c, retain.c).

-- Feeds whose snapshots a function of the application makes. By name and owner,
-- as the authorizer is (authority.sql). Dumped with the database.
CREATE TABLE livefeed.exposed_snapshot (
	feed     text COLLATE "C" PRIMARY KEY,
	schema   text COLLATE "C" NOT NULL,
	function text COLLATE "C" NOT NULL,
	owner    text COLLATE "C" NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.exposed_snapshot', '');
COMMENT ON TABLE livefeed.exposed_snapshot IS 'the functions that make snapshots';

-- Looks itself whether the caller may: the function must be his, and so must a table's feed.
CREATE FUNCTION livefeed.expose_snapshot(feed text, function regprocedure) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_expose_snapshot';
COMMENT ON FUNCTION livefeed.expose_snapshot(text, regprocedure) IS
	'a function makes the feed''s snapshots; null: the feed''s own rows do';

/*
 * For bridges. What channel feed:scope:value holds, and where in the order of
 * events that stands: the rows, the last tick and "seen" are of one MVCC
 * snapshot, whatever the isolation level. A client that applies the rows, and
 * then the events after tick "tick" less those of the two ticks after it whose
 * transaction is visible in "seen", holds what the database holds.
 *
 * scope is 'unit', 'user', 'row' or 'all'; value is null for 'all'. 'open' is
 * 'all' for those who may have the whole feed by its roles alone: of a declared
 * feed they see what has neither unit nor users. status is 'ok', or 'no_feed',
 * 'no_scope' (the feed has none such) or 'spelling' (value is not the canonical
 * text of a value of the column's type); then all else is null.
 */
CREATE FUNCTION livefeed.snapshot(feed text, scope text, value text DEFAULT NULL,
		OUT status text,
		OUT after bigint,			-- id_last of that tick: the events that follow have greater ids
		OUT tick bigint,			-- the last tick that the snapshot sees
		OUT epoch text,				-- of that tick
		OUT seen text,				-- pg_current_snapshot()
		OUT key_columns text[],		-- whose values make a row's key; null: see keys
		OUT data text,				-- a JSON array of rows, as they stand in events
		OUT truncated boolean,		-- there are more rows than these
		OUT keys text,				-- a JSON array of the rows' keys, where rows do not hold them
		OUT row_status text,		-- of scope 'row': what row_scope() says, under the same snapshot
		OUT row_unit text,
		OUT row_users text[])
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'livefeed_snapshot';
COMMENT ON FUNCTION livefeed.snapshot(text, text, text) IS 'what a channel holds now, and after which event, for bridges';

/*
 * Of declared feeds with retain: the last event of each key, and whose it is
 * (retain.c). State of events, which are not dumped: so neither is this. The
 * unlogged one is that of feeds that are not durable.
 */
CREATE TABLE livefeed.retained (
	feed  text   COLLATE "C" NOT NULL,
	key   text   COLLATE "C" NOT NULL,
	unit  text   COLLATE "C",
	users text[] COLLATE "C",
	at    timestamptz NOT NULL,
	data  bytea  NOT NULL,		-- JSON in UTF-8, as in the event
	PRIMARY KEY (feed, key)
) WITH (fillfactor = 70);
CREATE INDEX retained_units ON livefeed.retained (feed, unit);
CREATE INDEX retained_users ON livefeed.retained USING gin (users);

CREATE UNLOGGED TABLE livefeed.retained_transient (
	feed  text   COLLATE "C" NOT NULL,
	key   text   COLLATE "C" NOT NULL,
	unit  text   COLLATE "C",
	users text[] COLLATE "C",
	at    timestamptz NOT NULL,
	data  bytea  NOT NULL,
	PRIMARY KEY (feed, key)
) WITH (fillfactor = 70);
CREATE INDEX retained_transient_units ON livefeed.retained_transient (feed, unit);
CREATE INDEX retained_transient_users ON livefeed.retained_transient USING gin (users);

COMMENT ON TABLE livefeed.retained IS 'the last event of each key of declared feeds with retain';
COMMENT ON TABLE livefeed.retained_transient IS 'the same of feeds that are not durable';

-- Part of declare_feed() and hide(): forgets what a feed that is now so, or no more, does not keep.
CREATE FUNCTION livefeed.forget_retained(feed text, retain boolean, durable boolean) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
		DELETE FROM livefeed.retained r WHERE r.feed = $1 AND NOT ($2 AND $3);
		DELETE FROM livefeed.retained_transient r WHERE r.feed = $1 AND NOT ($2 AND NOT $3)
	$$;
COMMENT ON FUNCTION livefeed.forget_retained(text, boolean, boolean) IS
	'part of declare_feed() and hide(): drops what the feed does not keep any more';
