/*
 * database.c - a small pool of connections for what sessions ask (database.h).
 *
 * A request of the hub becomes a job. Jobs wait for a connection that is ready and idle, in a queue for each class of
 * them, first come first served; the classes take turns. Connections are opened while jobs wait and fewer than n are
 * open. A job that has waited for QUEUE_TIMEOUT_MS is answered unavailable: long enough for a restart of PostgreSQL to
 * pass unnoticed, short enough that no client waits without an answer. While its queue moves it may wait for longer, up
 * to QUEUE_MOVING_TIMEOUT_MS: ten thousand that come back at once have their turn. Each job is answered exactly once,
 * whatever happens to its connection.
 *
 * Snapshots, values and the authorizer run functions of the application's, which may be slow: each of these classes has
 * at most half of the connections (values one more: value.c uses it where the others are slow), and all together leave
 * one for the others, where there are two. Commands may have all. Beside them is one more connection, a spare, for short
 * look-ups alone, one at a time while no other connection has one: where every command waits for a lock, sessions can
 * still subscribe and resume. The server ends what runs for longer than its kind of job may.
 */
#include "database_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "connection.h"
#include "log.h"
#include "metrics.h"
#include "rows.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 10000
#define PAGE_TIMEOUT_MS 30000
#define LONG_TIMEOUT_MS 35000 /* the statement timeout below comes first */
#define VALUE_TIMEOUT_MS 15000
#define STATEMENT_TIMEOUT "60s" /* what connection.c sets */
#define AUTHORIZE_STATEMENT_TIMEOUT "5s"
#define SNAPSHOT_STATEMENT_TIMEOUT "30s"
#define VALUE_STATEMENT_TIMEOUT "10s"
#define CALL_STATEMENT_TIMEOUT "30s"
#define QUEUE_TIMEOUT_MS 8000
#define QUEUE_MOVING_TIMEOUT_MS 25000
#define MOVING_MS 2000 /* a queue moves if one of its jobs was answered in that time */
#define CHECK_EVERY_MS 500 /* for jobs that have waited too long */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define PAGE_ROWS "500"
#define PAGE_BYTES "524288"

/* ---- kinds of jobs */

/* What is asked for a job: sql with its first n texts as parameters. */
static const struct statement {
	enum job_class class;
	enum metric_query metric;
	const char *sql;
	int n;
	int64_t timeout_ms; /* then the connection is closed */
	const char *statement_timeout; /* NULL: whatever it is */
} statements[] = {
	[JOB_ROW] = {CLASS_LIGHT, METRIC_QUERY_ROW, "SELECT status, unit, users FROM livefeed.row_scope($1, $2)", 2,
                 QUERY_TIMEOUT_MS, NULL},
	[JOB_CURSOR] = {CLASS_LIGHT, METRIC_QUERY_CURSOR,
                    "SELECT livefeed.check_cursor($1, $2, $3), "
                    "pg_catalog.split_part(livefeed.cursor(), '-', 2)::pg_catalog.int8",
                    3, QUERY_TIMEOUT_MS, NULL},
	[JOB_PAGE] = {CLASS_LIGHT, METRIC_QUERY_PAGE,
                  "SELECT " ROWS_COLUMNS " FROM livefeed.read($1, " PAGE_ROWS ", $2, " PAGE_BYTES ")", 2,
                  PAGE_TIMEOUT_MS, STATEMENT_TIMEOUT},
	[JOB_DEFINITIONS] = {CLASS_LIGHT, METRIC_QUERY_DEFINITIONS, NULL, 0, 0, NULL},
	[JOB_AUTHORIZE] = {CLASS_AUTHORIZE, METRIC_QUERY_AUTHORIZER, "SELECT livefeed.authorize($1)::pg_catalog.text", 1,
                       QUERY_TIMEOUT_MS, AUTHORIZE_STATEMENT_TIMEOUT},
	[JOB_SNAPSHOT] = {CLASS_SNAPSHOT, METRIC_QUERY_SNAPSHOT,
                      "SELECT status, after, tick, epoch, seen, key_columns, data, truncated, keys, "
                      "row_status, row_unit, row_users FROM livefeed.snapshot($1, $2, $3)",
                      3, LONG_TIMEOUT_MS, SNAPSHOT_STATEMENT_TIMEOUT},
	[JOB_VALUE] = {CLASS_VALUE, METRIC_QUERY_VALUE, "SELECT data, after, epoch FROM livefeed.run_query($1, $2)", 2,
                   VALUE_TIMEOUT_MS, VALUE_STATEMENT_TIMEOUT},
	[JOB_CALL] = {CLASS_CALL, METRIC_QUERY_CALL,
                  "SELECT data, xid, events FROM livefeed.call($1, $2::pg_catalog.jsonb, $3::pg_catalog.jsonb, $4, $5)",
                  5, LONG_TIMEOUT_MS, CALL_STATEMENT_TIMEOUT},
	[JOB_SESSIONS] = {CLASS_LIGHT, METRIC_QUERY_SESSIONS, "SELECT livefeed.report_sessions($1, $2)", 2,
                      QUERY_TIMEOUT_MS, NULL},
};

static enum job_class class_of(const struct job *job)
{
	return statements[job->kind].class;
}

static enum metric_query metric_of(const struct job *job)
{
	return statements[job->kind].metric;
}

/* ---- jobs */

static void measure(const struct job *job)
{
	if (job->sent_ns == 0) {
		return; /* its connection was lost before */
	}
	metrics_observe(&metrics.queries[metric_of(job)], (int64_t)(uv_hrtime() - job->sent_ns) / 1000);
}

void database_free_job(struct job *job)
{
	for (size_t i = 0; i < JOB_TEXTS_MAX; i++) {
		free(job->texts[i]);
	}
	free(job);
}

void database_give_up(struct database *database, struct job *job)
{
	metrics.query_failures[metric_of(job)] += job->row == ROW_UNAVAILABLE;
	if (job->kind == JOB_DEFINITIONS) {
		database_definitions_done(database, false);
	} else if (!database->hub) {
		/* nobody is left to hear it */
	} else if (job->kind == JOB_ROW) {
		hub_answer_row(database->hub, job->request, job->row, NULL);
	} else if (job->kind == JOB_AUTHORIZE) {
		hub_answer_authorize(database->hub, job->request, AUTHORIZE_UNAVAILABLE, (struct text){NULL, 0});
	} else if (job->kind == JOB_CURSOR) {
		hub_answer_cursor(database->hub, job->request, CURSOR_UNAVAILABLE, 0);
	} else if (job->kind == JOB_PAGE) {
		hub_answer_page(database->hub, job->request, CURSOR_UNAVAILABLE, "", NULL, 0, job->id);
	} else if (job->kind == JOB_SNAPSHOT) {
		hub_answer_snapshot(database->hub, job->request, &(struct snapshot_answer){.status = ANSWER_UNAVAILABLE});
	} else if (job->kind == JOB_VALUE) {
		hub_answer_value(database->hub, job->request, &(struct value_answer){.status = ANSWER_UNAVAILABLE});
	} else if (job->kind == JOB_SESSIONS) {
		hub_answer_sessions(database->hub, &(struct sessions_answer){.status = ANSWER_UNAVAILABLE});
	} else {
		hub_answer_call(database->hub, job->request,
		                &(struct call_answer){.status = ANSWER_UNAVAILABLE, .sent = job->sent_ns != 0});
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

/* Has the first of a queue waited for too long? */
static bool is_overdue(const struct queue *queue, uint64_t now_ms)
{
	uint64_t waited_ms = now_ms - queue->first->queued_ms;
	bool moves = now_ms - queue->moved_ms < MOVING_MS;
	return waited_ms >= (moves ? QUEUE_MOVING_TIMEOUT_MS : QUEUE_TIMEOUT_MS);
}

static void on_check(uv_timer_t *timer)
{
	struct database *database = timer->data;
	uint64_t now_ms = uv_now(database->loop);
	struct job *refused;
	while ((refused = pop(&database->refused)) != NULL) {
		database_give_up(database, refused);
	}
	bool waiting = false;
	for (size_t i = 0; i < CLASSES; i++) {
		struct queue *queue = &database->queues[i];
		while (queue->first && is_overdue(queue, now_ms)) {
			database_give_up(database, pop(queue));
		}
		waiting = waiting || queue->first;
	}
	if (!waiting) {
		uv_timer_stop(database->check);
	}
	database_dispatch(database);
}

static void append(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
	queue->n++;
}

void database_push(struct database *database, struct job *job)
{
	job->queued_ms = uv_now(database->loop);
	job->queued_ns = uv_hrtime();
	append(&database->queues[class_of(job)], job);
	if (!uv_is_active((uv_handle_t *)database->check)) {
		uv_timer_start(database->check, on_check, CHECK_EVERY_MS, CHECK_EVERY_MS);
	}
	database_dispatch(database);
}

struct job *database_job(enum job_kind kind, struct request *request)
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

/* Parameter number i of the job's statement; bytes NULL: SQL's NULL. */
static void set_text(struct job *job, size_t i, struct text text)
{
	if (text.bytes && !(job->texts[i] = strndup(text.bytes, text.len))) {
		log_error("out of memory");
		abort();
	}
}

static void set_string(struct job *job, size_t i, const char *string)
{
	set_text(job, i, (struct text){string, string ? strlen(string) : 0});
}

static void set_id(struct job *job, size_t i, int64_t id)
{
	char digits[24];
	snprintf(digits, sizeof digits, "%" PRId64, id);
	set_string(job, i, digits);
	job->id = id;
}

static void refuse(struct database *database, struct job *job)
{
	append(&database->refused, job);
	uv_timer_start(database->check, on_check, 0, CHECK_EVERY_MS);
}

static void submit(struct database *database, struct job *job)
{
	/* At the bound: refused at once rather than late. */
	if (database_waiting(database) >= database->queue_max) {
		refuse(database, job);
	} else {
		database_push(database, job);
	}
}

static void ask_row(void *arg, struct request *request, const char *feed, const char *key, size_t key_len)
{
	struct job *job = database_job(JOB_ROW, request);
	set_string(job, 0, feed);
	set_text(job, 1, (struct text){key, key_len});
	if (memchr(key, '\0', key_len)) {
		job->row = ROW_SPELLING; /* no text of PostgreSQL's holds a NUL */
		refuse(arg, job);
		return;
	}
	submit(arg, job);
}

static void ask_cursor(void *arg, struct request *request, const char *epoch, int64_t id, bool transient)
{
	struct job *job = database_job(JOB_CURSOR, request);
	set_string(job, 0, epoch);
	set_id(job, 1, id);
	set_string(job, 2, transient ? "true" : "false");
	submit(arg, job);
}

static void ask_page(void *arg, struct request *request, int64_t after_id, const char *feed)
{
	struct job *job = database_job(JOB_PAGE, request);
	set_id(job, 0, after_id);
	set_string(job, 1, feed);
	submit(arg, job);
}

static void ask_authorizer(void *arg, struct request *request, struct text claims)
{
	struct job *job = database_job(JOB_AUTHORIZE, request);
	set_text(job, 0, claims);
	submit(arg, job);
}

static void ask_snapshot(void *arg, struct request *request, const char *feed, const char *scope, const char *value)
{
	struct job *job = database_job(JOB_SNAPSHOT, request);
	set_string(job, 0, feed);
	set_string(job, 1, scope);
	set_string(job, 2, value);
	submit(arg, job);
}

static void ask_value(void *arg, struct request *request, const char *name, const char *value)
{
	struct job *job = database_job(JOB_VALUE, request);
	set_string(job, 0, name);
	set_string(job, 1, value);
	submit(arg, job);
}

static void ask_call(void *arg, struct request *request, const struct call_ask *ask)
{
	struct job *job = database_job(JOB_CALL, request);
	set_string(job, 0, ask->name);
	set_string(job, 1, ask->args);
	set_string(job, 2, ask->claims);
	set_string(job, 3, ask->role);
	set_string(job, 4, ask->key);
	submit(arg, job);
}

static void report_sessions(void *arg, const char *changes)
{
	struct database *database = arg;
	struct job *job = database_job(JOB_SESSIONS, NULL);
	set_string(job, 0, database->bridge);
	set_string(job, 1, changes);
	submit(database, job);
}

/* ---- connections */

struct job *database_take_job(struct slot *slot)
{
	struct job *job = slot->job;
	slot->job = NULL;
	slot->database->queues[class_of(job)].running--;
	measure(job);
	return job;
}

static void answered(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	(void)connection;
	if (result) {
		slot->database->queues[class_of(slot->job)].moved_ms = uv_now(slot->database->loop);
	}
	database_answer(slot->database, database_take_job(slot), result);
	database_dispatch(slot->database);
}

static void run(struct slot *slot);

static void timeout_set(struct connection *connection, PGresult *result, void *arg)
{
	struct slot *slot = arg;
	if (result && PQresultStatus(result) == PGRES_COMMAND_OK) {
		slot->statement_timeout = statements[slot->job->kind].statement_timeout;
		run(slot);
	} else {
		answered(connection, NULL, slot);
	}
}

/* Is the connection's statement_timeout what the job's has to be? False: it is being set first. */
static bool fits(struct slot *slot)
{
	const char *wanted = statements[slot->job->kind].statement_timeout;
	char sql[64];
	if (!wanted || strcmp(slot->statement_timeout, wanted) == 0) {
		return true;
	}
	snprintf(sql, sizeof sql, "SET statement_timeout = '%s'", wanted);
	connection_query(slot->connection, sql, 0, NULL, true, QUERY_TIMEOUT_MS, timeout_set, slot);
	return false;
}

static void run(struct slot *slot)
{
	struct job *job = slot->job;
	const struct statement *statement = &statements[job->kind];
	if (!fits(slot)) {
		return;
	}
	job->sent_ns = uv_hrtime();
	metrics_observe(&metrics.query_waits, (int64_t)(job->sent_ns - job->queued_ns) / 1000);
	if (job->kind == JOB_DEFINITIONS) {
		database_run_definitions(slot);
	} else {
		connection_query(slot->connection, statement->sql, statement->n, (const char *const *)job->texts, true,
		                 statement->timeout_ms, answered, slot);
	}
}

/* Snapshots, values and the authorizer are not to take every connection. */
static bool is_heavy(size_t class)
{
	return class == CLASS_AUTHORIZE || class == CLASS_SNAPSHOT || class == CLASS_VALUE;
}

static size_t half_of(const struct database *database)
{
	return database->n_connections > 1 ? database->n_connections / 2 : 1;
}

static bool may_run(const struct database *database, size_t class)
{
	const struct queue *queue = &database->queues[class];
	if (!queue->first || !is_heavy(class)) {
		return queue->first != NULL;
	}
	size_t heavy = 0;
	for (size_t i = 0; i < CLASSES; i++) {
		heavy += is_heavy(i) ? database->queues[i].running : 0;
	}
	size_t most = half_of(database) + (class == CLASS_VALUE ? 1 : 0);
	return queue->running < most && heavy < (database->n_connections > 1 ? database->n_connections - 1 : 1);
}

static bool is_waiting(const struct database *database)
{
	for (size_t class = 0; class < CLASSES; class ++) {
		if (may_run(database, class)) {
			return true;
		}
	}
	return false;
}

static struct job *take(struct database *database, size_t class)
{
	database->queues[class].running++;
	return pop(&database->queues[class]);
}

static bool is_spare(const struct database *database, const struct slot *slot)
{
	return slot == &database->slots[database->n_connections];
}

/*
 * Look-ups wait, none is under way, and every connection is held by what may be slow, some of it a command. So not in a storm
 * of sessions that come back: then the database sees no more than --db-connections and the tail's three.
 */
static bool needs_spare(const struct database *database)
{
	size_t slow = database->queues[CLASS_CALL].running;
	for (size_t i = 0; i < CLASSES; i++) {
		slow += is_heavy(i) ? database->queues[i].running : 0;
	}
	return may_run(database, CLASS_LIGHT) && database->queues[CLASS_LIGHT].running == 0 &&
	       slow >= database->n_connections;
}

/* The next job that may run there, of all classes in turn; NULL: none. */
static struct job *next_job(struct database *database, const struct slot *slot)
{
	if (is_spare(database, slot)) {
		return needs_spare(database) ? take(database, CLASS_LIGHT) : NULL;
	}
	for (size_t i = 1; i <= CLASSES; i++) {
		size_t class = (database->turn + i) % CLASSES;
		if (may_run(database, class)) {
			database->turn = class;
			return take(database, class);
		}
	}
	return NULL;
}

/* Gives waiting jobs to idle connections, and opens one more where none is left. */
void database_dispatch(struct database *database)
{
	bool opening = false;
	for (size_t i = 0; i < database->n_slots && is_waiting(database); i++) {
		struct slot *slot = &database->slots[i];
		if (connection_is_ready(slot->connection) && !slot->job && (slot->job = next_job(database, slot)) != NULL) {
			run(slot);
		}
		opening = opening || (connection_is_open(slot->connection) && !connection_is_ready(slot->connection));
	}
	if (!is_waiting(database) || opening || uv_now(database->loop) < database->open_after_ms) {
		return;
	}
	for (size_t i = 0; i < database->n_slots; i++) {
		if (!connection_is_open(database->slots[i].connection) &&
		    (!is_spare(database, &database->slots[i]) || needs_spare(database))) {
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
	slot->statement_timeout = STATEMENT_TIMEOUT;
	backoff_reset(&slot->database->backoff);
	slot->database->open_after_ms = 0;
	database_dispatch(slot->database);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct slot *slot = arg;
	struct database *database = slot->database;
	(void)connection;
	log_debug("a connection of the pool is lost: %s", message); /* the tail says it aloud */
	database->open_after_ms = uv_now(database->loop) + backoff_next_ms(&database->backoff);
	if (database_waiting(database) > 0) {
		/* the check, twice a second, opens the next */
		uv_timer_start(database->check, on_check, database->open_after_ms - uv_now(database->loop) + 1, CHECK_EVERY_MS);
	}
}

/* ---- life */

struct session_backend database_backend(struct database *database)
{
	return (struct session_backend){
		.arg = database,
		.queries_at_once = half_of(database),
		.row_scope = ask_row,
		.check_cursor = ask_cursor,
		.read_page = ask_page,
		.reload_definitions = database_ask_definitions,
		.authorize = ask_authorizer,
		.snapshot = ask_snapshot,
		.run_query = ask_value,
		.call = ask_call,
		.report_sessions = database->bridge ? report_sessions : NULL,
	};
}

size_t database_waiting(const struct database *database)
{
	size_t n = 0;
	for (size_t i = 0; i < CLASSES; i++) {
		n += database->queues[i].n;
	}
	return n;
}

void database_name(struct database *database, const char *bridge)
{
	database->bridge = bridge;
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
	for (size_t i = 0; i < CLASSES; i++) {
		database->queues[i].last = &database->queues[i].first;
	}
	database->refused.last = &database->refused.first;
	database->backoff =
		(struct backoff){BACKOFF_FIRST_MS, BACKOFF_MAX_MS, 0, uv_hrtime() ^ ((uint64_t)getpid() << 24) ^ 1};
	database->n_connections = n_connections;
	database->slots = calloc(n_connections + 1, sizeof *database->slots);
	database->check = malloc(sizeof *database->check);
	if (database->check) {
		uv_timer_init(loop, database->check);
		database->check->data = database;
	}
	bool ok = database->slots && database->check;
	for (; ok && database->n_slots < n_connections + 1; database->n_slots++) {
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
	for (size_t i = 0; i < CLASSES; i++) {
		while ((job = pop(&database->queues[i])) != NULL) {
			database_give_up(database, job);
		}
	}
	while ((job = pop(&database->refused)) != NULL) {
		database_give_up(database, job);
	}
	free(database->slots);
	free(database);
}
