/*
 * database.c - a small pool of connections for what sessions ask (database.h).
 *
 * A request of the hub becomes a job. Jobs wait in one queue, first come first served, for a connection that is ready
 * and idle; connections are opened while jobs wait and fewer than n are open. A job that has waited for
 * QUEUE_TIMEOUT_MS is answered unavailable: long enough for a restart of PostgreSQL to pass unnoticed, short enough
 * that no client waits without an answer. Each job is answered exactly once, whatever happens to its connection.
 *
 * Definitions are loaded by a job of four queries in a row, five where the revocations are wanted. Who asks while one
 * is loading waits for the next, since the change that he asks for may have come after the first query.
 *
 * The authorizer is the application's function and may be slow: it has a queue of its own and at most half of the
 * connections, and the server ends it after AUTHORIZE_STATEMENT_TIMEOUT.
 */
#include "database_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "connection.h"
#include "definitions.h"
#include "log.h"
#include "metrics.h"
#include "rows.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 10000
#define PAGE_TIMEOUT_MS 30000
#define AUTHORIZE_STATEMENT_TIMEOUT "5s"
#define STATEMENT_TIMEOUT "60s" /* what connection.c sets */
#define QUEUE_TIMEOUT_MS 8000
#define CHECK_EVERY_MS 500 /* for jobs that have waited too long */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define PAGE_ROWS "500"
#define PAGE_BYTES "524288"

static void dispatch(struct database *database);
static void load_next(struct database *database);

/* ---- jobs */

static enum metric_query metric_of(const struct job *job)
{
	static const enum metric_query of[] = {
		[JOB_ROW] = METRIC_QUERY_ROW,
		[JOB_CURSOR] = METRIC_QUERY_CURSOR,
		[JOB_PAGE] = METRIC_QUERY_PAGE,
		[JOB_DEFINITIONS] = METRIC_QUERY_DEFINITIONS,
		[JOB_AUTHORIZE] = METRIC_QUERY_AUTHORIZER,
	};
	return of[job->kind];
}

static void measure(const struct job *job)
{
	metrics_observe(&metrics.queries[metric_of(job)], (int64_t)(uv_hrtime() - job->sent_ns) / 1000);
}

void database_free_job(struct job *job)
{
	free(job->first);
	free(job->second);
	free(job);
}

static void definitions_done(struct database *database, bool ok)
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

void database_give_up(struct database *database, struct job *job)
{
	metrics.query_failures[metric_of(job)] += job->row == ROW_UNAVAILABLE;
	if (job->kind == JOB_DEFINITIONS) {
		definitions_done(database, false);
	} else if (!database->hub) {
		/* nobody is left to hear it */
	} else if (job->kind == JOB_ROW) {
		hub_answer_row(database->hub, job->request, job->row, NULL);
	} else if (job->kind == JOB_AUTHORIZE) {
		hub_answer_authorize(database->hub, job->request, AUTHORIZE_UNAVAILABLE, (struct text){NULL, 0});
	} else if (job->kind == JOB_CURSOR) {
		hub_answer_cursor(database->hub, job->request, CURSOR_UNAVAILABLE, 0);
	} else {
		hub_answer_page(database->hub, job->request, CURSOR_UNAVAILABLE, "", NULL, 0, job->id);
	}
	database_free_job(job);
}

static struct job *pop(struct queue *queue)
{
	struct job *job = queue->first;
	if (job) {
		queue->first = job->next;
		if (!queue->first) {
			queue->last = &queue->first;
		}
		queue->n--;
	}
	return job;
}

static void on_check(uv_timer_t *timer)
{
	struct database *database = timer->data;
	uint64_t now_ms = uv_now(database->loop);
	struct job *refused;
	while ((refused = pop(&database->refused)) != NULL) {
		database_give_up(database, refused);
	}
	struct queue *queues[] = {&database->queue, &database->authorize};
	for (size_t i = 0; i < 2; i++) {
		while (queues[i]->first && now_ms - queues[i]->first->queued_ms >= QUEUE_TIMEOUT_MS) {
			database_give_up(database, pop(queues[i]));
		}
	}
	if (!database->queue.first && !database->authorize.first) {
		uv_timer_stop(database->check);
	}
	dispatch(database);
}

static void append(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
	queue->n++;
}

static void push(struct database *database, struct job *job)
{
	job->queued_ms = uv_now(database->loop);
	job->queued_ns = uv_hrtime();
	append(job->kind == JOB_AUTHORIZE ? &database->authorize : &database->queue, job);
	if (!uv_is_active((uv_handle_t *)database->check)) {
		uv_timer_start(database->check, on_check, CHECK_EVERY_MS, CHECK_EVERY_MS);
	}
	dispatch(database);
}

static struct job *new_job(enum job_kind kind, struct request *request)
{
	struct job *job = calloc(1, sizeof *job);
	if (!job) {
		log_error("out of memory");
		abort(); /* a request must be answered, and there is nothing to do that with */
	}
	job->kind = kind;
	job->request = request;
	job->row = ROW_UNAVAILABLE;
	return job;
}

static char *copy(const char *bytes, size_t len)
{
	char *to = strndup(bytes, len);
	if (!to) {
		log_error("out of memory");
		abort();
	}
	return to;
}

static void refuse(struct database *database, struct job *job)
{
	append(&database->refused, job);
	uv_timer_start(database->check, on_check, 0, CHECK_EVERY_MS);
}

static void submit(struct database *database, struct job *job)
{
	/* At the bound: refused at once rather than late. */
	if (database->queue.n + database->authorize.n >= database->queue_max) {
		refuse(database, job);
	} else {
		push(database, job);
	}
}

static void ask_row(void *arg, struct request *request, const char *feed, const char *key, size_t key_len)
{
	struct job *job = new_job(JOB_ROW, request);
	job->first = copy(feed, strlen(feed));
	job->second = copy(key, key_len);
	if (memchr(key, '\0', key_len)) {
		job->row = ROW_SPELLING; /* no text of PostgreSQL's holds a NUL */
		refuse(arg, job);
		return;
	}
	submit(arg, job);
}

static void ask_cursor(void *arg, struct request *request, const char *epoch, int64_t id)
{
	struct job *job = new_job(JOB_CURSOR, request);
	job->first = copy(epoch, strlen(epoch));
	job->id = id;
	submit(arg, job);
}

static void ask_page(void *arg, struct request *request, int64_t after_id, const char *feed)
{
	struct job *job = new_job(JOB_PAGE, request);
	job->first = copy(feed, strlen(feed));
	job->id = after_id;
	submit(arg, job);
}

static void ask_authorizer(void *arg, struct request *request, struct text claims)
{
	struct job *job = new_job(JOB_AUTHORIZE, request);
	job->first = copy(claims.bytes, claims.len);
	submit(arg, job);
}

/* ---- definitions */

static void load_next(struct database *database)
{
	if (database->load || database->loading || !database->loading_next) {
		return;
	}
	database->loading = database->loading_next;
	database->loading_next = NULL;
	push(database, new_job(JOB_DEFINITIONS, NULL));
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

static void ask_definitions(void *arg, struct request *request)
{
	wait_for_definitions(arg, &(struct waiter){.request = request});
}

/* ---- connections */

static void answered(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	struct job *job = slot->job;
	(void)connection;
	slot->job = NULL;
	measure(job);
	if (job->kind == JOB_AUTHORIZE) {
		slot->database->n_authorizing--;
	}
	database_answer(slot->database, job, result);
	dispatch(slot->database);
}

/* What the load found of the authority takes effect, together with the rest of it. */
static void commit_authority(struct database *database)
{
	if (database->hub) {
		hub_set_authority(database->hub, rows_text(database->authority, 0, 0), rows_int8(database->authority, 0, 1),
		                  database->wants_revocations);
	}
}

/* The queries of JOB_DEFINITIONS: each answer asks the next. */
static void end_definitions(struct slot *slot, bool ok)
{
	struct database *database = slot->database;
	struct job *job = slot->job;
	slot->job = NULL;
	measure(job);
	if (!ok) {
		database_give_up(database, job);
	} else {
		catalog_load_commit(database->catalog, database->load);
		database->load = NULL;
		database_free_job(job);
		commit_authority(database);
		definitions_done(database, true);
	}
	dispatch(database);
}

static void got_revocations(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	bool ok = database_usable("reading livefeed.revocations", result, 4);
	(void)connection;
	if (ok && slot->database->hub) {
		definitions_take_revocations(slot->database->hub, result);
	}
	end_definitions(slot, ok);
}

static void got_authority(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	struct database *database = slot->database;
	if (!database_usable("livefeed.authority", result, 2) || PQntuples(result) != 1) {
		end_definitions(slot, false);
		return;
	}
	connection_keep_result(connection);
	database->authority = result;
	if (database->wants_revocations) {
		connection_query(connection, DEFINITIONS_REVOCATIONS_SQL, 0, NULL, true, PAGE_TIMEOUT_MS, got_revocations,
		                 slot);
	} else {
		end_definitions(slot, true);
	}
}

static void got_keys(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	if (!database_usable("reading livefeed.keys", result, 2) ||
	    !definitions_take_keys(slot->database->access, result)) {
		end_definitions(slot, false);
		return;
	}
	connection_query(connection, DEFINITIONS_AUTHORITY_SQL, 0, NULL, true, QUERY_TIMEOUT_MS, got_authority, slot);
}

static void got_paths(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	if (!database_usable("reading livefeed.paths", result, 2) ||
	    !definitions_take_paths(slot->database->load, result)) {
		end_definitions(slot, false);
		return;
	}
	connection_query(connection, DEFINITIONS_KEYS_SQL, 0, NULL, true, QUERY_TIMEOUT_MS, got_keys, slot);
}

static void got_feeds(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	if (!database_usable("reading livefeed.feeds", result, 8) ||
	    !definitions_take_feeds(slot->database->load, result)) {
		end_definitions(slot, false);
		return;
	}
	connection_query(connection, DEFINITIONS_PATHS_SQL, 0, NULL, true, QUERY_TIMEOUT_MS, got_paths, slot);
}

static void run(struct slot *slot, struct job *job);

static void timeout_set(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	struct job *job = slot->job;
	(void)connection;
	if (result && PQresultStatus(result) == PGRES_COMMAND_OK) {
		slot->hasty = job->kind == JOB_AUTHORIZE;
		run(slot, job);
	} else {
		answered(connection, NULL, slot);
	}
}

/* Does the connection's statement_timeout fit? Only the authorizer's and that of pages matter. False: it is being set first. */
static bool fits(struct slot *slot, const struct job *job)
{
	bool hasty = job->kind == JOB_AUTHORIZE;
	if (slot->hasty == hasty || (!hasty && job->kind != JOB_PAGE)) {
		return true;
	}
	connection_query(slot->connection,
	                 hasty ? "SET statement_timeout = '" AUTHORIZE_STATEMENT_TIMEOUT "'"
	                       : "SET statement_timeout = '" STATEMENT_TIMEOUT "'",
	                 0, NULL, true, QUERY_TIMEOUT_MS, timeout_set, slot);
	return false;
}

static void run(struct slot *slot, struct job *job)
{
	char id[24];
	snprintf(id, sizeof id, "%lld", (long long)job->id);
	slot->job = job;
	if (!fits(slot, job)) {
		return;
	}
	job->sent_ns = uv_hrtime();
	metrics_observe(&metrics.query_waits, (int64_t)(job->sent_ns - job->queued_ns) / 1000);
	if (job->kind == JOB_AUTHORIZE) {
		const char *params[] = {job->first};
		connection_query(slot->connection, "SELECT livefeed.authorize($1)::pg_catalog.text", 1, params, true,
		                 QUERY_TIMEOUT_MS, answered, slot);
	} else if (job->kind == JOB_ROW) {
		const char *params[] = {job->first, job->second};
		connection_query(slot->connection, "SELECT status, unit, users FROM livefeed.row_scope($1, $2)", 2, params,
		                 true, QUERY_TIMEOUT_MS, answered, slot);
	} else if (job->kind == JOB_CURSOR) {
		const char *params[] = {job->first, id};
		connection_query(
			slot->connection,
			"SELECT livefeed.check_cursor($1, $2), pg_catalog.split_part(livefeed.cursor(), '-', 2)::pg_catalog.int8",
			2, params, true, QUERY_TIMEOUT_MS, answered, slot);
	} else if (job->kind == JOB_PAGE) {
		const char *params[] = {id, PAGE_ROWS, job->first, PAGE_BYTES};
		connection_query(slot->connection, "SELECT " ROWS_COLUMNS " FROM livefeed.read($1, $2, $3, $4)", 4, params,
		                 true, PAGE_TIMEOUT_MS, answered, slot);
	} else {
		slot->database->load = catalog_load_begin();
		slot->database->wants_revocations = slot->database->hub && hub_wants_revocations(slot->database->hub);
		if (!slot->database->load) {
			end_definitions(slot, false);
			return;
		}
		connection_query(slot->connection, DEFINITIONS_FEEDS_SQL, 0, NULL, true, QUERY_TIMEOUT_MS, got_feeds, slot);
	}
}

/* The authorizer never has more than half of the connections. */
static bool may_authorize(const struct database *database)
{
	return database->authorize.first && database->n_authorizing < (database->n_slots > 1 ? database->n_slots / 2 : 1);
}

/* The next job that may run, of both queues in turn. */
static struct job *next_job(struct database *database)
{
	if (may_authorize(database) && (database->authorize_next || !database->queue.first)) {
		database->n_authorizing++;
		database->authorize_next = false;
		return pop(&database->authorize);
	}
	database->authorize_next = true;
	return pop(&database->queue);
}

/* Gives waiting jobs to idle connections, and opens one more where none is left. */
static void dispatch(struct database *database)
{
	bool opening = false;
	for (size_t i = 0; i < database->n_slots && (database->queue.first || database->authorize.first); i++) {
		struct slot *slot = &database->slots[i];
		struct job *job;
		if (connection_is_ready(slot->connection) && !slot->job && (job = next_job(database)) != NULL) {
			run(slot, job);
		}
		opening = opening || (connection_is_open(slot->connection) && !connection_is_ready(slot->connection));
	}
	bool waiting = database->queue.first || may_authorize(database);
	if (!waiting || opening || uv_now(database->loop) < database->open_after_ms) {
		return;
	}
	for (size_t i = 0; i < database->n_slots; i++) {
		if (!connection_is_open(database->slots[i].connection)) {
			connection_open(database->slots[i].connection, CONNECT_TIMEOUT_MS);
			return;
		}
	}
}

void database_doubt(struct database *database)
{
	for (size_t i = 0; i < database->n_slots; i++) {
		struct slot *slot = &database->slots[i];
		if (connection_is_ready(slot->connection) && !slot->job) {
			connection_close(slot->connection);
		}
	}
}

static void on_ready(struct connection *connection, void *arg)
{
	struct slot *slot = arg;
	(void)connection;
	slot->hasty = false;
	backoff_reset(&slot->database->backoff);
	slot->database->open_after_ms = 0;
	dispatch(slot->database);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct slot *slot = arg;
	struct database *database = slot->database;
	(void)connection;
	log_debug("a connection of the pool is lost: %s", message); /* the tail says it aloud */
	database->open_after_ms = uv_now(database->loop) + backoff_next_ms(&database->backoff);
	if (database->queue.first || database->authorize.first) {
		/* the check, twice a second, opens the next */
		uv_timer_start(database->check, on_check, database->open_after_ms - uv_now(database->loop) + 1, CHECK_EVERY_MS);
	}
}

/* ---- life */

struct session_backend database_backend(struct database *database)
{
	return (struct session_backend){database, ask_row, ask_cursor, ask_page, ask_definitions, ask_authorizer};
}

size_t database_waiting(const struct database *database)
{
	return database->queue.n + database->authorize.n;
}

void database_attach(struct database *database, struct hub *hub)
{
	database->hub = hub;
}

void database_on_head(struct database *database, void (*head)(void *arg, int64_t head), void *arg)
{
	database->head = head;
	database->head_arg = arg;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

struct database *database_new(uv_loop_t *loop, const char *dsn, size_t n_connections, size_t queue_max)
{
	static const struct connection_events events = {on_ready, on_lost, NULL};
	struct database *database = calloc(1, sizeof *database);
	if (!database) {
		return NULL;
	}
	database->loop = loop;
	database->queue_max = queue_max;
	database->queue.last = &database->queue.first;
	database->refused.last = &database->refused.first;
	database->authorize.last = &database->authorize.first;
	database->backoff =
		(struct backoff){BACKOFF_FIRST_MS, BACKOFF_MAX_MS, 0, uv_hrtime() ^ ((uint64_t)getpid() << 24) ^ 1};
	database->slots = calloc(n_connections, sizeof *database->slots);
	database->check = malloc(sizeof *database->check);
	if (database->check) {
		uv_timer_init(loop, database->check);
		database->check->data = database;
	}
	bool ok = database->slots && database->check;
	for (; ok && database->n_slots < n_connections; database->n_slots++) {
		struct slot *slot = &database->slots[database->n_slots];
		slot->database = database;
		slot->connection = connection_new(loop, dsn, "livefeed-bridge pool", &events, slot);
		if (!slot->connection) {
			ok = false;
			break;
		}
	}
	if (!ok) {
		database_free(database);
		return NULL;
	}
	return database;
}

void database_free(struct database *database)
{
	if (!database) {
		return;
	}
	if (database->check) {
		uv_close((uv_handle_t *)database->check, free_handle);
	}
	database->loading_next = NULL; /* give_up must not start another */
	for (size_t i = 0; i < database->n_slots; i++) {
		connection_free(database->slots[i].connection);
		if (database->slots[i].job) {
			database_give_up(database, database->slots[i].job);
		}
	}
	struct job *job;
	while ((job = pop(&database->queue)) != NULL || (job = pop(&database->authorize)) != NULL ||
	       (job = pop(&database->refused)) != NULL) {
		database_give_up(database, job);
	}
	free(database->slots);
	free(database);
}
