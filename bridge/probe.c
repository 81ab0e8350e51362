/*
 * probe.c - is what a fresh connection leads to a database that this bridge can serve (probe.h)?
 *
 * In this order: a primary; with the extension, new enough; whose log has the version that this bridge reads; and whose functions
 * this role may call.
 */
#include "probe.h"

#include <stdio.h>
#include <string.h>

#include "event.h"
#include "rows.h"

#define PROBE_TIMEOUT_MS 15000

/* The first version of the extension that has every function this bridge calls. */
#define PROBE_SQL_SINCE "0.2.0"

enum probe_outcome probe_explain(struct probe *probe, const char *what, const PGresult *result)
{
	const char *state = connection_sqlstate(result);
	if (strcmp(state, "42501") == 0) {
		snprintf(probe->why, sizeof probe->why,
		         "%s: %s; give the bridge's role what it needs: SELECT livefeed.grant_bridge('ROLE')", what,
		         connection_error(result));
		snprintf(probe->cure, sizeof probe->cure, "SELECT livefeed.grant_bridge(%s);", probe->role);
		return PROBE_UNUSABLE;
	}
	if (strncmp(state, "42", 2) == 0 || strcmp(state, "3F000") == 0) {
		snprintf(probe->why, sizeof probe->why, "%s: %s; is the extension livefeed that of this bridge (%s)?", what,
		         connection_error(result), LIVEFEED_VERSION);
		return PROBE_UNUSABLE;
	}
	snprintf(probe->why, sizeof probe->why, "%s failed: %s", what, connection_error(result));
	return PROBE_FAILED;
}

static void end(struct probe *probe, enum probe_outcome outcome)
{
	probe->done(probe, outcome, probe->arg);
}

static void versioned(struct connection *connection, PGresult *result, void *arg)
{
	struct probe *probe = arg;
	(void)connection;
	if (!result) {
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		end(probe, probe_explain(probe, "livefeed.log_version", result));
		return;
	}
	int version = rows_int4(result, 0, 0);
	if (version == LIVEFEED_LOG_VERSION) {
		end(probe, PROBE_OK);
		return;
	}
	snprintf(
		probe->why, sizeof probe->why,
		"the extension livefeed of database \"%s\" writes log version %d, this bridge reads version %d: upgrade the %s",
		probe->database, version, LIVEFEED_LOG_VERSION,
		version > LIVEFEED_LOG_VERSION ? "bridge" : "extension (ALTER EXTENSION livefeed UPDATE)");
	snprintf(probe->cure, sizeof probe->cure, "%s",
	         version > LIVEFEED_LOG_VERSION ? "" : "ALTER EXTENSION livefeed UPDATE;");
	end(probe, PROBE_UNUSABLE);
}

static void keep(char *to, size_t size, struct text from)
{
	snprintf(to, size, "%.*s", (int)from.len, from.bytes ? from.bytes : "");
}

/* Is version a before version b? Both as "0.2.0"; what is no number counts as 0. */
static bool is_before(const char *a, const char *b)
{
	int left[3] = {0}, right[3] = {0};
	sscanf(a, "%d.%d.%d", &left[0], &left[1], &left[2]);
	sscanf(b, "%d.%d.%d", &right[0], &right[1], &right[2]);
	for (int i = 0; i < 3; i++) {
		if (left[i] != right[i]) {
			return left[i] < right[i];
		}
	}
	return false;
}

static void checked(struct connection *connection, PGresult *result, void *arg)
{
	struct probe *probe = arg;
	if (!result) {
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		end(probe, probe_explain(probe, "looking at the database", result));
		return;
	}
	keep(probe->database, sizeof probe->database, rows_text(result, 0, 2));
	keep(probe->role, sizeof probe->role, rows_text(result, 0, 3));
	keep(probe->extension, sizeof probe->extension, rows_text(result, 0, 1));
	if (rows_bool(result, 0, 0)) {
		snprintf(probe->why, sizeof probe->why,
		         "the server is a standby, where nobody can LISTEN: the bridge needs the primary");
		end(probe, PROBE_UNUSABLE);
	} else if (!rows_text(result, 0, 1).bytes) {
		snprintf(probe->why, sizeof probe->why, "database \"%s\" has no extension livefeed: CREATE EXTENSION livefeed",
		         probe->database);
		snprintf(probe->cure, sizeof probe->cure, "CREATE EXTENSION livefeed;");
		end(probe, PROBE_UNUSABLE);
	} else if (is_before(probe->extension, PROBE_SQL_SINCE)) {
		snprintf(
			probe->why, sizeof probe->why,
			"the extension livefeed of database \"%s\" is %s, this bridge needs %s: ALTER EXTENSION livefeed UPDATE",
			probe->database, probe->extension, PROBE_SQL_SINCE);
		snprintf(probe->cure, sizeof probe->cure, "ALTER EXTENSION livefeed UPDATE;");
		end(probe, PROBE_UNUSABLE);
	} else {
		connection_query(connection, "SELECT livefeed.log_version()", 0, NULL, true, PROBE_TIMEOUT_MS, versioned,
		                 probe);
	}
}

void probe_start(struct probe *probe, struct connection *connection, probe_done done, void *arg)
{
	probe->done = done;
	probe->arg = arg;
	probe->why[0] = '\0';
	probe->cure[0] = '\0';
	connection_query(
		connection,
		"SELECT pg_catalog.pg_is_in_recovery(), "
		"(SELECT extversion FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'livefeed'), "
		"pg_catalog.current_database(), pg_catalog.quote_literal(current_user)",
		0, NULL, true, PROBE_TIMEOUT_MS, checked, probe);
}
