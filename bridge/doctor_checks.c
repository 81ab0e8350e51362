/*
 * doctor_checks.c - what doctor asks the database, one row a question (doctor.h). Everything is asked with the rights
 * that livefeed.grant_bridge gives; what those do not show is left out, not guessed.
 *
 * Cures are whole commands: they can be pasted as they are, by whoever may. Names in them are quoted by the server.
 */
#include "doctor.h"

/* livefeed.watch(...) as it was called for this watch; columns that are gone stand as 'new name of X'. */
#define COLUMN_NOW(name)                                                                                               \
	"CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = w.relation AND a.attname = " name      \
	" AND NOT a.attisdropped) THEN " name "::text ELSE 'new name of ' || " name " END"
#define COLUMNS_NOW(names) "(ARRAY(SELECT " COLUMN_NOW("n") " FROM pg_catalog.unnest(" names ") n))::text"
#define WATCH_AGAIN                                                                                                    \
	"pg_catalog.format('SELECT livefeed.watch(%L%s);', w.relation, pg_catalog.concat("                                 \
	"', feed => ' || pg_catalog.quote_literal(w.feed), ', entity => ' || pg_catalog.quote_literal(w.entity), "         \
	"', unit => ' || pg_catalog.quote_literal(" COLUMN_NOW(                                                            \
		"w.unit") "), "                                                                                                \
				  "', unit_function => ' || pg_catalog.quote_literal(w.unit_function || '(' || w.relation || ')'), "   \
				  "CASE WHEN w.users <> '{}' THEN ', users => ' || pg_catalog.quote_literal(" COLUMNS_NOW(             \
					  "w.users") ") END, "                                                                             \
								 "', users_function => ' || pg_catalog.quote_literal(w.users_function || '(' || "      \
								 "w.relation || ')'), "                                                                \
								 "CASE WHEN w.roles <> '{}' THEN ', roles => ' || "                                    \
								 "pg_catalog.quote_literal(w.roles::text) END, "                                       \
								 "', columns => ' || pg_catalog.quote_literal(CASE WHEN w.columns IS NOT NULL "        \
								 "THEN " COLUMNS_NOW(                                                                  \
									 "w.columns") " END), "                                                            \
												  "CASE WHEN w.except_columns <> '{}' THEN ', except_columns => ' || " \
												  "pg_catalog.quote_literal(" COLUMNS_NOW(                             \
													  "w.except_columns") ") END, "                                    \
																		  "', action => ' || "                         \
																		  "pg_catalog.quote_literal(" COLUMN_NOW(      \
																			  "w.action") "), "                        \
																						  "', actions => ' || "        \
																						  "pg_catalog.quote_literal("  \
																						  "w.actions::text), "         \
																						  "', parent_feed => ' || "    \
																						  "pg_catalog.quote_literal("  \
																						  "w.parent_feed), "           \
																						  "', parent => ' || "         \
																						  "pg_catalog.quote_"          \
																						  "literal(" COLUMN_NOW(       \
																							  "w.parent") "), "        \
																										  "CASE WHEN " \
																										  "NOT "       \
																										  "w.durable " \
																										  "THEN ', "   \
																										  "durable "   \
																										  "=> false' " \
																										  "END, "      \
																										  "CASE WHEN " \
																										  "w.latest_"  \
																										  "only THEN " \
																										  "', "        \
																										  "latest_"    \
																										  "only => "   \
																										  "true' "     \
																										  "END))"

const struct doctor_check doctor_checks[] = {
	{"upgrade", SEVERITY_WARNING, NULL,
     "The library that is installed brings a newer SQL part than this database has. All serves on, but what is new is "
     "not "
     "there.",
     "SELECT pg_catalog.format('the extension is %s here, %s is installed', e.extversion, a.default_version), "
     "'ALTER EXTENSION livefeed UPDATE;' FROM pg_catalog.pg_extension e "
     "JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname "
     "WHERE e.extname = 'livefeed' AND e.extversion <> a.default_version",
     ASKS_NOTHING},
	{"tokens", SEVERITY_PROBLEM, "the database's own key is there",
     "Without a current key livefeed.issue_token fails, and bridges refuse the tokens it made; those of other issuers "
     "stay good.",
     "SELECT 'there is no key for livefeed.issue_token', 'SELECT livefeed.rotate_key();', "
     "CASE WHEN $1::boolean THEN 1 ELSE 2 END WHERE NOT EXISTS (SELECT FROM livefeed.keys k WHERE k.valid_until IS "
     "NULL)",
     ASKS_ISSUERS},
	{"clock", SEVERITY_WARNING, NULL,
     "Tokens go by the clock of the bridge, and are made by that of their issuer: where they differ, fresh tokens are "
     "refused, or expired ones taken.",
     "SELECT pg_catalog.format('the clocks of this machine and of the server are %s s apart', "
     "pg_catalog.round(pg_catalog.abs(d)::numeric)), 'timedatectl set-ntp true' FROM (SELECT $1::double precision - "
     "pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())) s (d) WHERE pg_catalog.abs(d) > 10",
     ASKS_CLOCK},
	{"watches", SEVERITY_WARNING, "there is something to tell of",
     "No change of any table reaches anybody before its table is watched. Call it as the table's owner, best in a "
     "migration; unit is the column that says whose row it is.",
     "SELECT 'no table is watched, and no feed declared', "
     "'SELECT livefeed.watch(''TABLE'', unit => ''COLUMN'');' WHERE NOT EXISTS (SELECT FROM livefeed.feeds)",
     ASKS_NOTHING},
	{"watches", SEVERITY_PROBLEM, NULL,
     "The watch does not fit its table any more: writes go through, but its subscribers are told resync (broken_watch) "
     "instead of what changed. Call watch again, as the table's owner.",
     "SELECT pg_catalog.format('%s: %s', w.relation, w.problem), " WATCH_AGAIN " FROM livefeed.watches w "
     "WHERE livefeed.watch_problem(w.relation) IS NOT NULL ORDER BY 1",
     ASKS_NOTHING},
	{"watches", SEVERITY_PROBLEM, NULL,
     "The triggers are not as watch() made them: some changes of this table are not told.",
     "SELECT pg_catalog.format('%s: %s', w.relation, w.problem), CASE w.enabled WHEN 'disabled' THEN "
     "(SELECT pg_catalog.format('ALTER TABLE %s ENABLE TRIGGER %I;', w.relation, t.tgname) FROM pg_catalog.pg_trigger "
     "t "
     "WHERE t.tgrelid = w.relation AND t.tgfoid = 'livefeed.capture_row()'::regprocedure AND t.tgparentid = 0) "
     "ELSE " WATCH_AGAIN " END FROM livefeed.watches w "
     "WHERE w.problem IS NOT NULL AND livefeed.watch_problem(w.relation) IS NULL ORDER BY 1",
     ASKS_NOTHING},
	{"writers", SEVERITY_PROBLEM, NULL,
     "Where livefeed.enabled is off, nothing that is written is told. It is for bulk loads alone, and with SET LOCAL.",
     "SELECT 'livefeed.enabled is off' || CASE WHEN s.setrole <> 0 THEN ' for role ' || pg_catalog.quote_ident("
     "pg_catalog.pg_get_userbyid(s.setrole)) ELSE '' END || CASE WHEN s.setdatabase <> 0 THEN ' in this database' ELSE "
     "'' END, CASE WHEN s.setrole <> 0 THEN pg_catalog.format('ALTER ROLE %I', pg_catalog.pg_get_userbyid(s.setrole)) "
     "|| CASE WHEN s.setdatabase <> 0 THEN pg_catalog.format(' IN DATABASE %I', pg_catalog.current_database()) ELSE '' "
     "END ELSE pg_catalog.format('ALTER DATABASE %I', pg_catalog.current_database()) END || ' RESET livefeed.enabled;' "
     "FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c "
     "WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = "
     "pg_catalog.current_database())) AND c ~ '^livefeed\\.enabled=(off|false|no|0)$' "
     "UNION ALL SELECT 'livefeed.enabled is off in the server''s configuration', "
     "'ALTER SYSTEM RESET livefeed.enabled; SELECT pg_reload_conf();' FROM pg_catalog.pg_settings p "
     "WHERE p.name = 'livefeed.enabled' AND p.setting = 'off' AND p.source = 'configuration file'",
     ASKS_NOTHING},
	{"exposed", SEVERITY_PROBLEM, NULL,
     "A query or command whose function is gone fails for whoever asks. Make the function, and expose it again; or "
     "take "
     "the name back.",
     "SELECT pg_catalog.format('%s \"%s\": there is no function %s', e.kind, e.name, e.function), "
     "pg_catalog.format('SELECT livefeed.hide(%L);', e.name) FROM (SELECT 'query' AS kind, q.name, q.function FROM "
     "livefeed.queries q UNION ALL SELECT 'command', c.name, c.function FROM livefeed.commands c) e "
     "WHERE pg_catalog.to_regprocedure(e.function) IS NULL ORDER BY 1",
     ASKS_NOTHING},
	{"snapshots", SEVERITY_WARNING, NULL,
     "Under FORCE ROW LEVEL SECURITY the table's owner, with whose rights rows are read, is bound as well: snapshots "
     "and "
     "row channels of this table are refused. Or give it a function, with livefeed.expose_snapshot.",
     "SELECT pg_catalog.format('%s has FORCE ROW LEVEL SECURITY', w.relation), "
     "pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', w.relation) FROM livefeed.watches w "
     "JOIN pg_catalog.pg_class c ON c.oid = w.relation WHERE c.relforcerowsecurity ORDER BY 1",
     ASKS_NOTHING},
	{"snapshots", SEVERITY_NOTE, NULL,
     "A snapshot of a unit reads the whole table, where there is no index that begins with the unit's column.",
     "SELECT pg_catalog.format('%s (some %s rows) has no index on %I', w.relation, c.reltuples::bigint, w.unit), "
     "pg_catalog.format('CREATE INDEX CONCURRENTLY ON %s (%I);', w.relation, w.unit) FROM livefeed.watches w "
     "JOIN pg_catalog.pg_class c ON c.oid = w.relation "
     "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.unit AND NOT a.attisdropped "
     "WHERE c.relkind = 'r' AND c.reltuples >= 10000 AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i "
     "WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum) ORDER BY 1",
     ASKS_NOTHING},
	{"bridges", SEVERITY_WARNING, NULL,
     "Changes go into the log and wait there; nobody is told of them until a bridge runs.",
     "SELECT 'no bridge serves this database now', "
     "'systemctl start livefeed-bridge' FROM livefeed.status s WHERE s.bridges = 0",
     ASKS_NOTHING},
	{"bridges", SEVERITY_WARNING, NULL,
     "After an upgrade bridges are restarted, one after the other: clients resume at another meanwhile.",
     "SELECT pg_catalog.format('bridge %s is of version %s, this program of " LIVEFEED_VERSION
     "', b.bridge, b.version), "
     "'systemctl restart livefeed-bridge' FROM livefeed.bridges b WHERE b.version <> '" LIVEFEED_VERSION "' ORDER BY 1",
     ASKS_NOTHING},
	{"ticker", SEVERITY_PROBLEM, "events are given their order",
     "Events have no place in the order, and nobody is sent them, before somebody ticks. A bridge that runs takes over "
     "within a second or two: look into its log. This makes one tick by hand.",
     "SELECT pg_catalog.format('no tick has ordered %s made since %s%s', CASE WHEN s.waiting >= 10000 THEN 'more than "
     "10000' ELSE s.waiting::text END || CASE s.waiting WHEN 1 THEN ' event' ELSE ' events' END, "
     "pg_catalog.to_char(s.waiting_since, 'YYYY-MM-DD HH24:MI:SS'), CASE WHEN s.ticker_pid IS NULL THEN "
     "', and there is no ticker' ELSE '' END), 'SELECT livefeed.tick();', CASE WHEN s.bridges = 0 THEN 1 ELSE 2 END "
     "FROM livefeed.status s WHERE s.waiting > 0 AND s.waiting_since < pg_catalog.clock_timestamp() - interval '3 s' "
     "UNION ALL SELECT pg_catalog.format('there is no ticker among %s', s.bridges || CASE s.bridges WHEN 1 THEN "
     "' bridge' ELSE ' bridges' END), 'SELECT livefeed.tick();', 1 FROM livefeed.status s WHERE s.bridges > 0 AND "
     "s.ticker_pid IS NULL AND (s.waiting = 0 OR s.waiting_since >= pg_catalog.clock_timestamp() - interval '3 s')",
     ASKS_NOTHING},
	{"retention", SEVERITY_WARNING, NULL,
     "The log is not rotated, and grows. Bridges prune it once a second; a transaction that wrote and stays open holds "
     "it "
     "back (see below, if there is one). With this the next table is emptied, where nothing holds it.",
     "SELECT pg_catalog.format('events are kept since %s, livefeed.retention is %s', "
     "pg_catalog.to_char(s.kept_since, 'YYYY-MM-DD HH24:MI:SS'), pg_catalog.current_setting('livefeed.retention')), "
     "pg_catalog.format('SELECT livefeed.prune(%L);', pg_catalog.current_setting('livefeed.retention')) FROM "
     "livefeed.status s WHERE s.events > 0 AND s.kept_since < "
     "pg_catalog.clock_timestamp() - 2 * pg_catalog.current_setting('livefeed.retention')::interval - interval '5 s'",
     ASKS_NOTHING},
	{"transactions", SEVERITY_WARNING, NULL,
     "Its own events wait for its end, and from there on the log cannot be emptied. COMMIT PREPARED it instead, where "
     "whoever prepared it decided so.",
     "SELECT pg_catalog.format('transaction %L of %s is prepared since %s', p.gid, p.owner, "
     "pg_catalog.to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS')), pg_catalog.format('ROLLBACK PREPARED %L;', p.gid), "
     "CASE WHEN p.prepared < pg_catalog.clock_timestamp() - interval '1 min' THEN 1 ELSE 0 END "
     "FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database() ORDER BY p.prepared",
     ASKS_NOTHING},
	{"transactions", SEVERITY_WARNING, NULL,
     "A transaction that has written and stays open holds back the rotation of the log; its own events wait for its "
     "end.",
     "SELECT pg_catalog.format('server process %s (%s, %s) is in a transaction since %s', a.pid, a.usename, a.state, "
     "pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS')), "
     "pg_catalog.format('SELECT pg_terminate_backend(%s);', a.pid) FROM pg_catalog.pg_stat_activity a "
     "WHERE a.backend_xid IS NOT NULL AND a.xact_start < pg_catalog.clock_timestamp() - interval '10 min' "
     "ORDER BY a.xact_start",
     ASKS_NOTHING},
	{"NOTIFY", SEVERITY_WARNING, NULL,
     "A session that LISTENs and sits in a transaction holds the queue of all notifications of the cluster; once it is "
     "full, every NOTIFY fails. Bridges do not need it, they only hear later. This lists who may be meant.",
     "SELECT pg_catalog.format('the queue of notifications is filled to %s %%', "
     "pg_catalog.round((s.notify_queue * 100)::numeric, 1)), 'SELECT pid, usename, xact_start, query FROM "
     "pg_stat_activity WHERE state LIKE ''idle in transaction%'' ORDER BY xact_start;' "
     "FROM livefeed.status s WHERE s.notify_queue > 0.01",
     ASKS_NOTHING},
	{"role", SEVERITY_WARNING, NULL,
     "A bridge opens --db-connections, one that listens, one that ticks and one that prunes; several bridges share the "
     "limit.",
     "SELECT pg_catalog.format('role %I may have %s connections, a bridge opens up to %s', r.rolname, r.rolconnlimit, "
     "$1::integer + 3), pg_catalog.format('ALTER ROLE %I CONNECTION LIMIT -1;', r.rolname) FROM pg_catalog.pg_roles r "
     "WHERE r.rolname = current_user AND r.rolconnlimit >= 0 AND r.rolconnlimit < $1::integer + 3",
     ASKS_CONNECTIONS},
	{"durability", SEVERITY_NOTE, NULL,
     "With fsync off a crash of the machine may lose what was committed, and what clients were told already.",
     "SELECT 'fsync is off', 'ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();' "
     "WHERE pg_catalog.current_setting('fsync') = 'off'",
     ASKS_NOTHING},
};
const size_t n_doctor_checks = sizeof doctor_checks / sizeof *doctor_checks;
