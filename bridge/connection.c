/*
 * connection.c - one asynchronous libpq connection (connection.h).
 *
 * The way of a connection:
 *
 *  1. CONNECTION_STARTING  PQconnectStartParams runs in libuv's thread pool, since it resolves host names and may
 *                          wait for a name server. Its outcome comes back as an attempt; an attempt whose
 *                          connection was closed meanwhile is thrown away.
 *  2. CONNECTION_POLLING   PQconnectPoll, each time the socket is ready. It may swap the socket for another one with
 *                          the same number, which epoll would not notice: so the watcher is made anew each time.
 *  3. CONNECTION_SETUP     one simple query with all SETs. Not in the start-up packet, because poolers drop that.
 *  4. CONNECTION_READY     one query at a time; notifications are drained whenever something was read.
 *
 * Every stage has a deadline, on one timer. Callbacks may close or free the connection: after each we look
 * whether it is still the same one (epoch).
 */
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define SETUP_TIMEOUT_MS 10000
#define MESSAGE_MAX_BYTES 512

/*
 * Time-outs on the server, behind our own deadlines: a query that we gave up on ends there too. No wait for a lock is
 * part of normal work. Keepalives find a bridge that is cut off only where nothing was sent to it; what was sent, and is
 * not acknowledged, the kernel would repeat for a quarter of an hour, with a backend behind it that holds the NOTIFY queue.
 */
static const char setup_sql[] = "SET client_encoding = 'UTF8'; "
								"SET default_transaction_isolation = 'read committed'; "
								"SET default_transaction_read_only = off; "
								"SET statement_timeout = '60s'; "
								"SET lock_timeout = '10s'; "
								"SET idle_in_transaction_session_timeout = '30s'; "
								"SET tcp_keepalives_idle = 30; "
								"SET tcp_keepalives_interval = 10; "
								"SET tcp_keepalives_count = 3; "
								"SET tcp_user_timeout = '40s'; "
								"SET jit = off; "
								"SELECT pg_catalog.pg_backend_pid()";

enum connection_state {
	CONNECTION_CLOSED,
	CONNECTION_STARTING,
	CONNECTION_POLLING,
	CONNECTION_SETUP,
	CONNECTION_READY
};

struct attempt { /* owned by the thread pool until it comes back */
	uv_work_t work;
	struct connection *connection; /* NULL: given up */
	char *dsn, *application_name;
	PGconn *pg;
};

struct connection {
	uv_loop_t *loop;
	char *dsn, *application_name;
	struct connection_events events;
	void *arg;

	enum connection_state state;
	struct attempt *attempt;
	PGconn *pg;
	uv_poll_t *poll; /* its own allocation: it outlives the socket until libuv has closed it */
	int poll_events;
	uv_timer_t *deadline;
	int backend_pid;
	uint64_t epoch; /* grows with each open and close */
	int depth; /* of our callbacks being run */
	bool freed; /* by one of them: ends when depth is 0 */

	connection_done done; /* NULL: no query under way */
	void *done_arg;
	PGresult *result;
	bool keep_result;
};

static void on_poll(uv_poll_t *handle, int status, int events);
static void setup_done(struct connection *connection, PGresult *result, void *arg);

/* ---- messages */

/* The message in one line without control bytes. */
static void one_line(char *to, size_t size, const char *from)
{
	size_t n = 0;
	while (*from && n + 1 < size) {
		char c = *from++;
		if (c == '\n' || c == '\r' || c == '\t') {
			c = ' ';
		}
		if (c == ' ' && (n == 0 || to[n - 1] == ' ')) {
			continue;
		}
		to[n++] = c;
	}
	while (n > 0 && to[n - 1] == ' ') {
		n--;
	}
	to[n] = '\0';
}

const char *connection_sqlstate(const PGresult *result)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	return state ? state : "";
}

const char *connection_error(const PGresult *result)
{
	static char line[MESSAGE_MAX_BYTES];
	const char *primary = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	if (!primary) {
		one_line(line, sizeof line, result ? PQresultErrorMessage(result) : "connection lost");
		return line;
	}
	char message[MESSAGE_MAX_BYTES - 16];
	one_line(message, sizeof message, primary);
	snprintf(line, sizeof line, "%s (SQLSTATE %s)", message, connection_sqlstate(result));
	return line;
}

static void on_notice(void *arg, const PGresult *result)
{
	(void)arg;
	log_debug("PostgreSQL: %s", connection_error(result));
}

/* ---- handles */

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void stop_poll(struct connection *connection)
{
	if (connection->poll) {
		uv_poll_stop(connection->poll); /* leaves epoll while the socket is still open */
		uv_close((uv_handle_t *)connection->poll, free_handle);
		connection->poll = NULL;
		connection->poll_events = 0;
	}
}

static bool watch(struct connection *connection, int events)
{
	if (!connection->poll) {
		uv_poll_t *poll = malloc(sizeof *poll);
		if (!poll) {
			return false;
		}
		if (uv_poll_init(connection->loop, poll, PQsocket(connection->pg)) != 0) {
			free(poll);
			return false;
		}
		poll->data = connection;
		connection->poll = poll;
	}
	if (events != connection->poll_events) {
		connection->poll_events = events;
		return uv_poll_start(connection->poll, events, on_poll) == 0;
	}
	return true;
}

static void release(struct connection *connection)
{
	if (connection->freed && connection->depth == 0) {
		free(connection->dsn);
		free(connection->application_name);
		free(connection);
	}
}

/* ---- ends */

/* Back to CLOSED without a callback; done is forgotten. */
static void shut(struct connection *connection)
{
	connection->epoch++;
	connection->state = CONNECTION_CLOSED;
	connection->backend_pid = 0;
	connection->done = NULL;
	stop_poll(connection);
	if (connection->deadline) {
		uv_timer_stop(connection->deadline);
	}
	if (connection->attempt) {
		connection->attempt->connection = NULL;
		connection->attempt = NULL;
	}
	PQclear(connection->result);
	connection->result = NULL;
	if (connection->pg) {
		PQfinish(connection->pg);
		connection->pg = NULL;
	}
}

/* The connection is gone: tells who waits for a result, then its owner. */
static void lose(struct connection *connection, const char *why)
{
	char message[MESSAGE_MAX_BYTES];
	one_line(message, sizeof message, why && *why ? why : "connection lost");
	connection_done done = connection->done;
	void *done_arg = connection->done_arg;

	shut(connection);
	uint64_t epoch = connection->epoch;
	connection->depth++;
	if (done) {
		done(connection, NULL, done_arg);
	}
	if (epoch == connection->epoch && !connection->freed) {
		connection->events.lost(connection, message, connection->arg);
	}
	connection->depth--;
	release(connection);
}

static void lose_pg(struct connection *connection)
{
	lose(connection, connection->result ? connection_error(connection->result) : PQerrorMessage(connection->pg));
}

static void on_deadline(uv_timer_t *timer)
{
	struct connection *connection = timer->data;
	if (connection->pg && PQstatus(connection->pg) == CONNECTION_BAD) {
		lose(connection, PQerrorMessage(connection->pg));
		return;
	}
	lose(connection, connection->state == CONNECTION_READY ? "no answer from PostgreSQL in time"
	                                                       : "could not connect to PostgreSQL in time");
}

static void set_deadline(struct connection *connection, int64_t ms)
{
	uv_timer_start(connection->deadline, on_deadline, (uint64_t)ms, 0);
}

/* ---- life */

/* libpq's own message is not passed on: it may show the password. */
bool connection_dsn_is_good(const char *dsn)
{
	if (!dsn || (!strchr(dsn, '=') && !strstr(dsn, "://"))) {
		return true;
	}
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	PQconninfoFree(options);
	return options != NULL;
}

struct connection *connection_new(uv_loop_t *loop, const char *dsn, const char *application_name,
                                  const struct connection_events *events, void *arg)
{
	struct connection *connection = calloc(1, sizeof *connection);
	if (!connection) {
		return NULL;
	}
	connection->loop = loop;
	connection->dsn = strdup(dsn ? dsn : "");
	connection->application_name = strdup(application_name);
	connection->events = *events;
	connection->arg = arg;
	connection->deadline = malloc(sizeof *connection->deadline);
	if (!connection->dsn || !connection->application_name || !connection->deadline) {
		free(connection->deadline);
		free(connection->dsn);
		free(connection->application_name);
		free(connection);
		return NULL;
	}
	uv_timer_init(loop, connection->deadline);
	connection->deadline->data = connection;
	return connection;
}

void connection_close(struct connection *connection)
{
	shut(connection);
}

void connection_free(struct connection *connection)
{
	if (!connection || connection->freed) {
		return;
	}
	shut(connection);
	uv_close((uv_handle_t *)connection->deadline, free_handle);
	connection->deadline = NULL;
	connection->freed = true;
	release(connection);
}

bool connection_is_open(const struct connection *connection)
{
	return connection->state != CONNECTION_CLOSED;
}

bool connection_is_ready(const struct connection *connection)
{
	return connection->state == CONNECTION_READY;
}

bool connection_is_busy(const struct connection *connection)
{
	return connection->done != NULL;
}

int connection_server_version(const struct connection *connection)
{
	return connection->pg ? PQserverVersion(connection->pg) : 0;
}

int connection_backend_pid(const struct connection *connection)
{
	return connection->backend_pid;
}

/* ---- connecting */

static void attempt_run(uv_work_t *work)
{
	struct attempt *attempt = work->data;
	/* What stands before dbname, the operator's DSN overrides. */
	const char *const keywords[] = {"fallback_application_name",
	                                "keepalives_idle",
	                                "keepalives_interval",
	                                "keepalives_count",
	                                "tcp_user_timeout",
	                                "dbname",
	                                NULL};
	const char *const values[] = {attempt->application_name, "30", "10", "3", "40000", attempt->dsn, NULL};
	attempt->pg = PQconnectStartParams(keywords, values, 1);
}

static void continue_connecting(struct connection *connection)
{
	/* The socket may be another one after PQconnectPoll, even with the same number. */
	stop_poll(connection);
	switch (PQconnectPoll(connection->pg)) {
	case PGRES_POLLING_READING:
		if (!watch(connection, UV_READABLE)) {
			lose(connection, "cannot watch the socket");
		}
		return;
	case PGRES_POLLING_WRITING:
		if (!watch(connection, UV_WRITABLE)) {
			lose(connection, "cannot watch the socket");
		}
		return;
	case PGRES_POLLING_OK:
		break;
	default:
		lose_pg(connection);
		return;
	}
	if (PQsetnonblocking(connection->pg, 1) != 0 || !watch(connection, UV_READABLE)) {
		lose_pg(connection);
		return;
	}
	connection->state = CONNECTION_SETUP;
	connection->done = setup_done;
	connection->done_arg = NULL;
	if (!PQsendQuery(connection->pg, setup_sql) || PQflush(connection->pg) < 0) {
		connection->done = NULL;
		lose_pg(connection);
		return;
	}
	set_deadline(connection, SETUP_TIMEOUT_MS);
}

static void attempt_back(uv_work_t *work, int status)
{
	struct attempt *attempt = work->data;
	struct connection *connection = attempt->connection;
	PGconn *pg = attempt->pg;
	free(attempt->dsn);
	free(attempt->application_name);
	free(attempt);
	if (!connection) {
		PQfinish(pg);
		return;
	}
	connection->attempt = NULL;
	connection->pg = pg;
	if (status != 0 || !pg || PQstatus(pg) == CONNECTION_BAD) {
		lose(connection, pg ? PQerrorMessage(pg) : "out of memory");
		return;
	}
	PQsetNoticeReceiver(pg, on_notice, NULL);
	connection->state = CONNECTION_POLLING;
	/* As after PGRES_POLLING_WRITING (libpq's manual). */
	if (!watch(connection, UV_WRITABLE)) {
		lose(connection, "cannot watch the socket");
	}
}

static void on_start_failed(uv_timer_t *timer)
{
	lose(timer->data, "out of memory");
}

void connection_open(struct connection *connection, int64_t connect_timeout_ms)
{
	shut(connection);
	connection->state = CONNECTION_STARTING;
	struct attempt *attempt = calloc(1, sizeof *attempt);
	if (attempt) {
		attempt->dsn = strdup(connection->dsn);
		attempt->application_name = strdup(connection->application_name);
		attempt->work.data = attempt;
		attempt->connection = connection;
	}
	if (!attempt || !attempt->dsn || !attempt->application_name ||
	    uv_queue_work(connection->loop, &attempt->work, attempt_run, attempt_back) != 0) {
		if (attempt) {
			free(attempt->dsn);
			free(attempt->application_name);
			free(attempt);
		}
		uv_timer_start(connection->deadline, on_start_failed, 0, 0);
		return;
	}
	connection->attempt = attempt;
	set_deadline(connection, connect_timeout_ms);
}

static void setup_done(struct connection *connection, PGresult *result, void *arg)
{
	(void)arg;
	if (!result) {
		return; /* lost follows */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		char message[MESSAGE_MAX_BYTES];
		snprintf(message, sizeof message, "cannot set up the session: %s", connection_error(result));
		lose(connection, message);
		return;
	}
	connection->backend_pid = atoi(PQgetvalue(result, 0, 0));
	connection->state = CONNECTION_READY;
	uv_timer_stop(connection->deadline);
	connection->events.ready(connection, connection->arg);
}

/* ---- queries */

bool connection_query(struct connection *connection, const char *sql, int n_params, const char *const *params,
                      bool binary, int64_t timeout_ms, connection_done done, void *arg)
{
	if (connection->state != CONNECTION_READY || connection->done) {
		return false;
	}
	connection->done = done;
	connection->done_arg = arg;
	/* A failure to send shows as a lost connection when the deadline, or the socket, comes up. */
	bool sent = PQsendQueryParams(connection->pg, sql, n_params, NULL, params, NULL, NULL, binary) == 1;
	int left = sent ? PQflush(connection->pg) : -1;
	if (left < 0) {
		set_deadline(connection, 0);
		return true;
	}
	watch(connection, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
	set_deadline(connection, timeout_ms);
	return true;
}

void connection_keep_result(struct connection *connection)
{
	connection->keep_result = true;
}

/* All results of the query are in and the server is ready for the next. False: the connection was closed or freed. */
static bool finish_query(struct connection *connection)
{
	PGresult *result = connection->result;
	connection_done done = connection->done;
	connection->result = NULL;
	connection->done = NULL;
	uv_timer_stop(connection->deadline);

	uint64_t epoch = connection->epoch;
	connection->keep_result = false;
	done(connection, result, connection->done_arg);
	if (!connection->keep_result) {
		PQclear(result);
	}
	connection->keep_result = false;
	return epoch == connection->epoch && !connection->freed;
}

/* The first error counts, else the last result. */
static void take_result(struct connection *connection, PGresult *result)
{
	if (connection->result && PQresultStatus(connection->result) == PGRES_FATAL_ERROR) {
		PQclear(result);
		return;
	}
	PQclear(connection->result);
	connection->result = result;
}

/* What was read: results, then notifications. False: the connection was closed, lost or freed. */
static bool drain(struct connection *connection)
{
	while (connection->done && !PQisBusy(connection->pg)) {
		PGresult *result = PQgetResult(connection->pg);
		if (result) {
			ExecStatusType status = PQresultStatus(result);
			take_result(connection, result);
			if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
				lose(connection, "unexpected COPY");
				return false;
			}
		} else if (PQstatus(connection->pg) == CONNECTION_BAD) {
			lose_pg(connection);
			return false;
		} else if (!finish_query(connection)) {
			return false;
		}
	}
	uint64_t epoch = connection->epoch;
	PGnotify *notify;
	while ((notify = PQnotifies(connection->pg)) != NULL) {
		if (connection->events.notified && connection->state == CONNECTION_READY) {
			connection->events.notified(connection, notify->be_pid, notify->extra, connection->arg);
		}
		PQfreemem(notify);
		if (epoch != connection->epoch || connection->freed) {
			return false;
		}
	}
	return true;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct connection *connection = handle->data;
	if (connection->state == CONNECTION_POLLING) {
		continue_connecting(connection);
		return;
	}
	connection->depth++;
	if (status < 0) {
		/*
		 * POLLERR: libuv has stopped the watcher. What came before the error is read first, and only the next read says
		 * that the connection is gone: so it is watched again.
		 */
		connection->poll_events = 0;
	}
	if ((events & UV_READABLE) || status < 0) {
		if (!PQconsumeInput(connection->pg)) {
			/* Results that came with the end are of no use: nothing counts before ReadyForQuery. */
			lose_pg(connection);
			goto out;
		}
		if (!drain(connection)) {
			goto out;
		}
		if (PQstatus(connection->pg) == CONNECTION_BAD) {
			lose_pg(connection);
			goto out;
		}
	}
	int left = PQflush(connection->pg);
	if (left < 0) {
		lose_pg(connection);
		goto out;
	}
	watch(connection, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
out:
	connection->depth--;
	release(connection);
}
