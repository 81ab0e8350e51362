-- snapshot.sql: what a channel holds now (snapshot.c).

/*
 * For bridges. What channel feed:scope:value holds, and where in the order of
 * events that stands: the rows, the last tick and "seen" are of one MVCC
 * snapshot, whatever the isolation level. A client that applies the rows, and
 * then the events after tick "tick" less those of the two ticks after it whose
 * transaction is visible in "seen", holds what the database holds.
 *
 * scope is 'unit', 'user', 'row' or 'all'; value is null for 'all'. status is
 * 'ok', or 'no_feed', 'no_scope' (the feed has none such) or 'spelling' (value
 * is not the canonical text of a value of the column's type); then all else is null.
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
		OUT keys text)				-- a JSON array of the rows' keys, where rows do not hold them
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'livefeed_snapshot';
COMMENT ON FUNCTION livefeed.snapshot(text, text, text) IS 'what a channel holds now, and after which event, for bridges';
