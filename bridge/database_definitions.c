/*
 * database_definitions.c - loading what the database defines: feeds, paths, keys, the authority (database.h).
 *
 * A load is one job of several queries in a row: the steps below. Who asks while one is under way waits for the next,
 * since the change that he asks for may have come after the first query. The catalog is swapped when all are in.
 */
#include "database_internal.h"

#include <stdlib.h>

#include "definitions.h"
#include "log.h"
#include "rows.h"

#define DEFINITIONS_TIMEOUT_MS 10000
#define REVOCATIONS_TIMEOUT_MS 30000 /* there may be a day's worth */

static void load_next(struct database *database)
{
	if (database->load || database->loading || !database->loading_next) {
		return;
	}
	database->loading = database->loading_next;
	database->loading_next = NULL;
	database_push(database, database_job(JOB_DEFINITIONS, NULL));
}

static void wait_for_definitions(struct database *database, struct waiter *from)
{
	struct waiter *waiter = malloc(sizeof *waiter);
	if (!waiter) {
		log_error("out of memory");
		abort();
	}
	*waiter = *from;
	waiter->next = database->loading_next;
	database->loading_next = waiter;
	load_next(database);
}

void database_load_definitions(struct database *database, struct catalog *catalog, struct access *access,
                               void (*done)(void *arg, bool ok), void *arg)
{
	database->catalog = catalog;
	database->access = access;
	wait_for_definitions(database, &(struct waiter){.done = done, .arg = arg});
}

void database_ask_definitions(void *arg, struct request *request)
{
	wait_for_definitions(arg, &(struct waiter){.request = request});
}

void database_definitions_done(struct database *database, bool ok)
{
	struct waiter *waiter = database->loading;
	if (database->load) {
		catalog_load_abort(database->load);
		database->load = NULL;
	}
	PQclear(database->authority);
	database->authority = NULL;
	database->loading = NULL;
	if (ok && database->hub) {
		hub_definitions_changed(database->hub);
	}
	while (waiter) {
		struct waiter *next = waiter->next;
		if (!waiter->request) {
			waiter->done(waiter->arg, ok);
		} else if (database->hub) {
			hub_answer_definitions(database->hub, waiter->request, ok);
		}
		free(waiter);
		waiter = next;
	}
	load_next(database);
}

/* ---- the steps */

static bool take_feeds(struct slot *slot, PGresult *result)
{
	return definitions_take_feeds(slot->database->load, result);
}

static bool take_paths(struct slot *slot, PGresult *result)
{
	return definitions_take_paths(slot->database->load, result);
}

static bool take_commands(struct slot *slot, PGresult *result)
{
	return definitions_take_commands(slot->database->load, result);
}

static bool take_namespaces(struct slot *slot, PGresult *result)
{
	return definitions_take_namespaces(slot->database->load, result);
}

static bool take_event_names(struct slot *slot, PGresult *result)
{
	return definitions_take_event_names(slot->database->load, result);
}

static bool take_keys(struct slot *slot, PGresult *result)
{
	return definitions_take_keys(slot->database->access, result);
}

static bool take_queries(struct slot *slot, PGresult *result)
{
	return definitions_take_queries(slot->database->load, result);
}

/* Kept, to take effect together with the rest. */
static bool take_authority(struct slot *slot, PGresult *result)
{
	if (PQntuples(result) != 1) {
		return false;
	}
	connection_keep_result(slot->connection);
	slot->database->authority = result;
	return true;
}

static bool take_revocations(struct slot *slot, PGresult *result)
{
	if (slot->database->hub) {
		definitions_take_revocations(slot->database->hub, result);
	}
	return true;
}

static const struct step {
	const char *what, *sql;
	int columns;
	int64_t timeout_ms;
	bool (*take)(struct slot *slot, PGresult *result); /* false: malformed, or out of memory */
} steps[] = {
	{"reading livefeed.feeds", DEFINITIONS_FEEDS_SQL, 9, DEFINITIONS_TIMEOUT_MS, take_feeds},
	{"reading livefeed.commands", DEFINITIONS_COMMANDS_SQL, 2, DEFINITIONS_TIMEOUT_MS, take_commands},
	{"reading livefeed.paths", DEFINITIONS_PATHS_SQL, 2, DEFINITIONS_TIMEOUT_MS, take_paths},
	{"reading livefeed.socketio_namespaces", DEFINITIONS_NAMESPACES_SQL, 2, DEFINITIONS_TIMEOUT_MS, take_namespaces},
	{"reading livefeed.socketio_events", DEFINITIONS_EVENT_NAMES_SQL, 3, DEFINITIONS_TIMEOUT_MS, take_event_names},
	{"reading livefeed.keys", DEFINITIONS_KEYS_SQL, 2, DEFINITIONS_TIMEOUT_MS, take_keys},
	{"reading livefeed.queries", DEFINITIONS_QUERIES_SQL, 8, DEFINITIONS_TIMEOUT_MS, take_queries},
	{"livefeed.authority", DEFINITIONS_AUTHORITY_SQL, 2, DEFINITIONS_TIMEOUT_MS, take_authority},
	/* The last one is asked only where the hub wants it. */
	{"reading livefeed.revocations", DEFINITIONS_REVOCATIONS_SQL, 4, REVOCATIONS_TIMEOUT_MS, take_revocations},
};
#define N_STEPS (sizeof steps / sizeof *steps)

/* What the load found of the authority takes effect, together with the rest of it. */
static void commit_authority(struct database *database)
{
	if (database->hub) {
		hub_set_authority(database->hub, rows_text(database->authority, 0, 0), rows_int8(database->authority, 0, 1),
		                  database->wants_revocations);
	}
}

static void end_definitions(struct slot *slot, bool ok)
{
	struct database *database = slot->database;
	struct job *job = database_take_job(slot);
	if (!ok) {
		database_give_up(database, job);
	} else {
		catalog_load_commit(database->catalog, database->load);
		database->load = NULL;
		database_free_job(job);
		commit_authority(database);
		database_definitions_done(database, true);
	}
	database_dispatch(database);
}

static void take_step(struct connection *connection, PGresult *result, void *arg);

static void next_step(struct slot *slot)
{
	struct database *database = slot->database;
	if (database->load_step == (database->wants_revocations ? N_STEPS : N_STEPS - 1)) {
		end_definitions(slot, true);
		return;
	}
	const struct step *step = &steps[database->load_step];
	connection_query(slot->connection, step->sql, 0, NULL, true, step->timeout_ms, take_step, slot);
}

static void take_step(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	const struct step *step = &steps[slot->database->load_step];
	(void)connection;
	if (!database_usable(step->what, result, step->columns) || !step->take(slot, result)) {
		end_definitions(slot, false);
		return;
	}
	slot->database->load_step++;
	next_step(slot);
}

void database_run_definitions(struct slot *slot)
{
	struct database *database = slot->database;
	database->load = catalog_load_begin();
	database->load_step = 0;
	database->wants_revocations = database->hub && hub_wants_revocations(database->hub);
	if (!database->load) {
		end_definitions(slot, false);
	} else {
		next_step(slot);
	}
}
