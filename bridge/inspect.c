/*
 * inspect.c - would this database serve (inspect.h)? The answers come one after the other: connection, probe, rights,
 * the second connection.
 */
#include "inspect.h"

#include <stdio.h>

#include "event.h"
#include "rows.h"

#define CONNECT_TIMEOUT_MS 5000
#define TEXT_MAX_BYTES 1024

/* What the bridge calls and reads and this role may not, in one row; NULL: nothing. And the role. */
static const char rights_sql[] =
	"SELECT (SELECT pg_catalog.string_agg(m.name, ', ' ORDER BY m.name) FROM ("
	"SELECT DISTINCT 'livefeed.' || p.proname AS name FROM pg_catalog.pg_proc p "
	"JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'livefeed' AND p.proname = ANY "
	"('{read,tick_wait,look,check_cursor,cursor,row_scope,snapshot,register_bridge,bridge_seen,unregister_bridge,"
	"authority,authorize,run_query,call,report_sessions,tick,ring,prune}') "
	"AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE') "
	"UNION ALL SELECT 'livefeed.' || c.relname FROM pg_catalog.pg_class c "
	"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'livefeed' AND c.relname = ANY "
	"('{keys,feeds,paths,queries,commands,revocations,status}') "
	"AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')) m), "
	"pg_catalog.format('SELECT livefeed.grant_bridge(%L);', current_user)";

static void say(struct inspect *inspect, bool good, const char *topic, const char *text, const char *cure)
{
	inspect->done = inspect->done || !good;
	inspect->events->found(inspect, good, topic, text, cure);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct inspect *inspect = arg;
	(void)connection;
	if (!inspect->done) {
		say(inspect, false, "database", message, NULL);
	} else if (inspect->events->lost) {
		inspect->events->lost(inspect, message);
	}
}

/* ---- the second connection */

static void on_second_ready(struct connection *connection, void *arg)
{
	struct inspect *inspect = arg;
	if (connection_backend_pid(connection) == connection_backend_pid(inspect->first)) {
		say(inspect, false, "database",
		    "two connections meet one server process: they go through a pooler that changes it "
		    "(transaction pooling); give the bridge a direct connection, or one through session pooling",
		    NULL);
		return;
	}
	inspect->done = true;
	inspect->events->whole(inspect);
}

static void look_at_pooler(struct inspect *inspect)
{
	static const struct connection_events events = {on_second_ready, on_lost, NULL};
	inspect->second = connection_new(inspect->loop, inspect->dsn, inspect->program, &events, inspect);
	if (inspect->second) {
		connection_open(inspect->second, CONNECT_TIMEOUT_MS);
	} else {
		say(inspect, false, "database", "out of memory", NULL);
	}
}

/* ---- the first */

static void rights(struct connection *connection, PGresult *result, void *arg)
{
	struct inspect *inspect = arg;
	char text[TEXT_MAX_BYTES], cure[TEXT_MAX_BYTES];
	(void)connection;
	if (!result) {
		return; /* lost follows */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		say(inspect, false, "database", connection_error(result), NULL);
		return;
	}
	struct text missing = rows_text(result, 0, 0), grant = rows_text(result, 0, 1);
	if (!missing.bytes) {
		say(inspect, true, "rights", "this role may do what a bridge does", NULL);
		look_at_pooler(inspect);
		return;
	}
	snprintf(text, sizeof text,
	         "this role may not use %.*s; SELECT livefeed.grant_bridge('ROLE') gives it what it needs",
	         (int)missing.len, missing.bytes);
	snprintf(cure, sizeof cure, "%.*s", (int)grant.len, grant.bytes);
	say(inspect, false, "rights", text, cure);
}

static void probed(struct probe *probe, enum probe_outcome outcome, void *arg)
{
	struct inspect *inspect = arg;
	char text[TEXT_MAX_BYTES];
	if (outcome != PROBE_OK) {
		say(inspect, false, "database", probe->why, probe->cure[0] ? probe->cure : NULL);
		return;
	}
	snprintf(text, sizeof text, "livefeed %s in database \"%s\", log version %d", probe->extension, probe->database,
	         LIVEFEED_LOG_VERSION);
	say(inspect, true, "extension", text, NULL);
	connection_query(inspect->first, rights_sql, 0, NULL, true, INSPECT_QUERY_TIMEOUT_MS, rights, inspect);
}

static void on_ready(struct connection *connection, void *arg)
{
	struct inspect *inspect = arg;
	char text[TEXT_MAX_BYTES];
	int version = connection_server_version(connection);
	snprintf(text, sizeof text, "connected, PostgreSQL %d.%d", version / 10000, version % 10000);
	say(inspect, true, "database", text, NULL);
	probe_start(&inspect->probe, connection, probed, inspect);
}

static void on_notified(struct connection *connection, int backend_pid, const char *payload, void *arg)
{
	struct inspect *inspect = arg;
	(void)connection;
	if (inspect->events->notified) {
		inspect->events->notified(inspect, backend_pid, payload);
	}
}

bool inspect_start(struct inspect *inspect)
{
	static const struct connection_events events = {on_ready, on_lost, on_notified};
	inspect->first = connection_new(inspect->loop, inspect->dsn, inspect->program, &events, inspect);
	if (!inspect->first) {
		return false;
	}
	connection_open(inspect->first, CONNECT_TIMEOUT_MS);
	return true;
}

void inspect_end(struct inspect *inspect)
{
	if (inspect->first) {
		connection_free(inspect->first);
	}
	if (inspect->second) {
		connection_free(inspect->second);
	}
	inspect->first = inspect->second = NULL;
}
