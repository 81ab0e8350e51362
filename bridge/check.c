/*
 * check.c - --check: would this configuration serve (check.h)? One connection, the tail's own questions to it, and
 * whether the role may do what a bridge does. Then a second one beside it: two that meet the same server process go
 * through a pooler that lends it out by the transaction.
 */
#include "check.h"

#include <stdio.h>

#include "connection.h"
#include "event.h"
#include "probe.h"
#include "rows.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 15000

/* What the bridge calls and this role may not. */
static const char rights_sql[] =
	"SELECT pg_catalog.string_agg('livefeed.' || p.proname, ', ' ORDER BY p.proname) FROM pg_catalog.pg_proc p "
	"JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'livefeed' AND p.proname = ANY "
	"('{read,tick_wait,look,check_cursor,cursor,row_scope,register_bridge,bridge_seen,unregister_bridge,ring,prune}') "
	"AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE') "
	"UNION ALL SELECT pg_catalog.string_agg('livefeed.' || c.relname, ', ') FROM pg_catalog.pg_class c "
	"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'livefeed' AND c.relname = ANY "
	"('{keys,feeds,paths}') AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')";

struct check {
	struct probe probe;
	struct connection *first, *second; /* second: NULL until the rights are known to be there */
	const char *dsn;
	uv_loop_t *loop;
	int code;
};

static void look_at_pooler(struct check *check);

static void rights(struct connection *connection, PGresult *result, void *arg)
{
	struct check *check = arg;
	(void)connection;
	if (!result) {
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		printf("database: %s\n", connection_error(result));
		check->code = 1;
	}
	for (int row = 0; check->code < 0 && row < PQntuples(result); row++) {
		struct text missing = rows_text(result, row, 0);
		if (missing.bytes) {
			printf("rights: this role may not use %.*s; SELECT livefeed.grant_bridge('ROLE') gives it what it needs\n",
			       (int)missing.len, missing.bytes);
			check->code = 1;
		}
	}
	if (check->code < 0) {
		printf("rights: this role may do what a bridge does\n");
		look_at_pooler(check);
	}
}

static void probed(struct probe *probe, enum probe_outcome outcome, void *arg)
{
	struct check *check = arg;
	if (outcome != PROBE_OK) {
		printf("database: %s\n", probe->why);
		check->code = 1;
	}
}

static void on_ready(struct connection *connection, void *arg)
{
	struct check *check = arg;
	int version = connection_server_version(connection);
	printf("database: connected, PostgreSQL %d.%d\n", version / 10000, version % 10000);
	probe_start(&check->probe, connection, probed, check);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct check *check = arg;
	(void)connection;
	printf("database: %s\n", message);
	check->code = 1;
}

static void on_second_ready(struct connection *connection, void *arg)
{
	struct check *check = arg;
	if (connection_backend_pid(connection) == connection_backend_pid(check->first)) {
		printf("database: two connections meet one server process: they go through a pooler that changes it "
		       "(transaction pooling); give the bridge a direct connection, or one through session pooling\n");
		check->code = 1;
	} else {
		check->code = 0;
	}
}

static void look_at_pooler(struct check *check)
{
	static const struct connection_events events = {on_second_ready, on_lost, NULL};
	check->second = connection_new(check->loop, check->dsn, "livefeed-bridge --check", &events, check);
	if (check->second) {
		connection_open(check->second, CONNECT_TIMEOUT_MS);
	} else {
		check->code = 1;
	}
}

int check_run(const struct config *config)
{
	static const struct connection_events events = {on_ready, on_lost, NULL};
	uv_loop_t loop;
	struct check check = {.code = -1, .dsn = config->dsn, .loop = &loop};
	bool asked = false;
	uv_loop_init(&loop);
	printf("configuration: good\n");
	struct connection *connection = check.first =
		connection_new(&loop, config->dsn, "livefeed-bridge --check", &events, &check);
	if (!connection) {
		uv_loop_close(&loop);
		return 1;
	}
	connection_open(connection, CONNECT_TIMEOUT_MS);
	/* The answers come one after the other: connection, probe, rights. */
	while (check.code < 0 && uv_run(&loop, UV_RUN_ONCE)) {
		if (check.code < 0 && check.probe.extension[0] && !asked && connection_is_ready(connection) &&
		    !connection_is_busy(connection)) {
			asked = true;
			printf("extension: livefeed %s in database \"%s\", log version %d\n", check.probe.extension,
			       check.probe.database, LIVEFEED_LOG_VERSION);
			connection_query(connection, rights_sql, 0, NULL, true, QUERY_TIMEOUT_MS, rights, &check);
		}
	}
	connection_free(connection);
	if (check.second) {
		connection_free(check.second);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return check.code == 0 ? 0 : 1;
}
