/*
 * ticker.c - ticks, bells and pruning, for the bridge that does them (ticker.h).
 *
 *   ticker connection: tick_wait -> page forwarded -> ring -> tick_wait ...
 *   keeper connection: prune, once a second, apart from the ticker, because pruning truncates tables and
 *                      nothing may stand in the way of the stream.
 *
 * ring() is a statement of its own, in a transaction of its own: NOTIFY in tick_wait's transaction would make the commit
 * of the tick wait for a lock that the whole cluster shares. When it fails, followers still look once a second.
 *
 * tick_wait itself says whether the slot is ours. A bridge that was stopped for a while finds that out from its next
 * call, and ends here.
 */
#include "ticker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "log.h"
#include "rows.h"

#define CONNECT_TIMEOUT_MS 5000
#define TICK_TIMEOUT_MS 65000 /* a batch after a long absence may be big; statement_timeout comes first */
/*
 * tick_wait answers within a second or so, unless a batch is large. While events wait, one that does not is given up
 * after this; the next has twice as long, up to TICK_TIMEOUT_MS, so that a large batch is not asked for again and again.
 */
#define HUNG_FIRST_MS 5000
#define RING_TIMEOUT_MS 10000
#define PRUNE_TIMEOUT_MS 65000
#define PAUSE_MS 100 /* after an error */
#define ERRORS_MAX 10 /* in a row, then the slot is left to others for REST_MS */
#define REST_MS 5000
#define PRUNE_WARN_EVERY 60 /* failures */
#define RING_WARN_EVERY_MS 60000 /* it is tried after every tick */

struct ticker {
	uv_loop_t *loop;
	char interval[24];
	ticker_page page;
	void *arg;

	struct connection *connection, *keeper;
	uv_timer_t *pause;
	int64_t after;
	int64_t asked_after; /* by the tick_wait in flight: a page of a former connection may move `after` meanwhile */
	bool take;
	bool active;
	bool page_out; /* being forwarded */
	bool ring; /* ticks were made whose bells have not been rung */
	int errors; /* in a row */
	unsigned prune_errors;
	unsigned ring_errors; /* since bells rang */
	uint64_t ring_said_ms; /* when that was last in the log */
	uint64_t rest_until_ms;
	uint64_t asked_ms; /* the query in flight */
	uint64_t hung_ms; /* how long it may take while events wait */
};

static void next(struct ticker *ticker);

static void on_pause(uv_timer_t *timer)
{
	next(timer->data);
}

/* An error of a query: a pause, and after too many the slot is somebody else's. */
static void stumble(struct ticker *ticker, const char *what, const PGresult *result)
{
	if (ticker->errors++ == 0) {
		log_warn("%s failed: %s", what, connection_error(result));
	}
	if (ticker->errors >= ERRORS_MAX) {
		log_warn("no ticks from here for a while: %s failed %d times", what, ticker->errors);
		ticker_stop(ticker);
		ticker->rest_until_ms = uv_now(ticker->loop) + REST_MS;
		return;
	}
	uv_timer_start(ticker->pause, on_pause, PAUSE_MS, 0);
}

static void ticked(struct connection *connection, PGresult *result, void *arg)
{
	struct ticker *ticker = arg;
	struct rows_mark mark;
	if (!result) {
		return; /* lost follows */
	}
	if (!rows_mark(result, &mark)) {
		stumble(ticker, "livefeed.tick_wait", result);
		return;
	}
	ticker->errors = 0;
	ticker->hung_ms = HUNG_FIRST_MS;
	ticker->take = false;
	if (mark.flags & EVENT_NOT_TICKER) {
		if (ticker->active) {
			log_info("another bridge is the ticker now");
		}
		ticker_stop(ticker);
		return;
	}
	if (!ticker->active) {
		ticker->active = true;
		log_info("this bridge is the ticker");
	}
	ticker->ring = ticker->ring || mark.id > ticker->asked_after || PQntuples(result) > 1;
	ticker->page_out = true;
	connection_keep_result(connection);
	/* Our own sessions first: the bells, for others, go out when the page was forwarded. */
	ticker->page(ticker->arg, result, ticker->asked_after);
}

static void rung(struct connection *connection, PGresult *result, void *arg)
{
	struct ticker *ticker = arg;
	(void)connection;
	if (!result) {
		return; /* lost follows */
	}
	uint64_t now_ms = uv_now(ticker->loop);
	if (PQresultStatus(result) != PGRES_FATAL_ERROR) {
		if (ticker->ring_errors > 0) {
			log_info("livefeed.ring works again, after %u failures", ticker->ring_errors);
		}
		ticker->ring_errors = 0;
	} else if (ticker->ring_errors++ == 0 || now_ms - ticker->ring_said_ms >= RING_WARN_EVERY_MS) {
		ticker->ring_said_ms = now_ms;
		log_warn("livefeed.ring failed (other bridges look once a second): %s", connection_error(result));
	}
	next(ticker);
}

static void next(struct ticker *ticker)
{
	if (!connection_is_ready(ticker->connection) || connection_is_busy(ticker->connection)) {
		return;
	}
	if (ticker->page_out) {
		return;
	}
	ticker->asked_ms = uv_now(ticker->loop);
	if (ticker->ring) {
		ticker->ring = false;
		connection_query(ticker->connection, "SELECT livefeed.ring()", 0, NULL, false, RING_TIMEOUT_MS, rung, ticker);
		return;
	}
	if (uv_is_active((uv_handle_t *)ticker->pause)) {
		return;
	}
	char after[24], max[24];
	snprintf(after, sizeof after, "%lld", (long long)ticker->after);
	snprintf(max, sizeof max, "%d", TICKER_PAGE_ROWS);
	ticker->asked_after = ticker->after;
	const char *params[] = {after, max, ticker->interval, ticker->take ? "true" : "false"};
	connection_query(ticker->connection, "SELECT " ROWS_COLUMNS " FROM livefeed.tick_wait($1, $2, $3, $4)", 4, params,
	                 true, TICK_TIMEOUT_MS, ticked, ticker);
}

static void on_ready(struct connection *connection, void *arg)
{
	(void)connection;
	next(arg);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct ticker *ticker = arg;
	(void)connection;
	if (ticker->active) {
		log_warn("the ticker's connection is lost: %s", message);
	}
	bool was_active = ticker->active;
	ticker_stop(ticker);
	if (!was_active) {
		ticker->rest_until_ms = uv_now(ticker->loop) + REST_MS / 5;
	}
}

static void keeper_lost(struct connection *connection, const char *message, void *arg)
{
	(void)connection, (void)arg;
	log_debug("the connection that prunes is lost: %s", message); /* opened again within a second */
}

static void keeper_ready(struct connection *connection, void *arg)
{
	(void)connection, (void)arg;
}

struct ticker *ticker_new(uv_loop_t *loop, const char *dsn, int64_t tick_interval_ms, ticker_page page, void *arg)
{
	static const struct connection_events events = {on_ready, on_lost, NULL};
	static const struct connection_events keeper_events = {keeper_ready, keeper_lost, NULL};
	struct ticker *ticker = calloc(1, sizeof *ticker);
	if (!ticker) {
		return NULL;
	}
	ticker->loop = loop;
	ticker->page = page;
	ticker->arg = arg;
	ticker->hung_ms = HUNG_FIRST_MS;
	snprintf(ticker->interval, sizeof ticker->interval, "%lld", (long long)tick_interval_ms);
	ticker->connection = connection_new(loop, dsn, "livefeed-bridge ticker", &events, ticker);
	ticker->keeper = connection_new(loop, dsn, "livefeed-bridge keeper", &keeper_events, ticker);
	ticker->pause = malloc(sizeof *ticker->pause);
	if (!ticker->connection || !ticker->keeper || !ticker->pause) {
		connection_free(ticker->connection);
		connection_free(ticker->keeper);
		free(ticker->pause);
		free(ticker);
		return NULL;
	}
	uv_timer_init(loop, ticker->pause);
	ticker->pause->data = ticker;
	return ticker;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

void ticker_free(struct ticker *ticker)
{
	if (!ticker) {
		return;
	}
	connection_free(ticker->connection);
	connection_free(ticker->keeper);
	uv_close((uv_handle_t *)ticker->pause, free_handle);
	free(ticker);
}

void ticker_start(struct ticker *ticker, int64_t after, bool take)
{
	if (connection_is_open(ticker->connection) || uv_now(ticker->loop) < ticker->rest_until_ms) {
		return;
	}
	ticker->after = after;
	ticker->take = take;
	ticker->errors = 0;
	connection_open(ticker->connection, CONNECT_TIMEOUT_MS);
}

void ticker_stop(struct ticker *ticker)
{
	connection_close(ticker->connection);
	connection_close(ticker->keeper);
	uv_timer_stop(ticker->pause);
	ticker->active = false;
	ticker->page_out = false;
	ticker->ring = false;
}

void ticker_stale(struct ticker *ticker)
{
	if (!connection_is_busy(ticker->connection) || ticker->page_out ||
	    uv_now(ticker->loop) - ticker->asked_ms < ticker->hung_ms) {
		return;
	}
	log_warn("the ticker's server process %d has not answered for %d s while events wait: another connection",
	         connection_backend_pid(ticker->connection), (int)(ticker->hung_ms / 1000));
	ticker->hung_ms *= 2;
	if (ticker->hung_ms > TICK_TIMEOUT_MS) {
		ticker->hung_ms = TICK_TIMEOUT_MS;
	}
	ticker_stop(ticker);
}

bool ticker_is_open(const struct ticker *ticker)
{
	return connection_is_open(ticker->connection);
}

bool ticker_is_active(const struct ticker *ticker)
{
	return ticker->active;
}

bool ticker_is_backend(const struct ticker *ticker, int backend_pid)
{
	return ticker->active && connection_backend_pid(ticker->connection) == backend_pid;
}

void ticker_go_on(struct ticker *ticker, int64_t after)
{
	ticker->after = after;
	ticker->page_out = false;
	next(ticker);
}

static void pruned(struct connection *connection, PGresult *result, void *arg)
{
	struct ticker *ticker = arg;
	(void)connection;
	if (!result || PQresultStatus(result) == PGRES_TUPLES_OK) {
		ticker->prune_errors = 0;
	} else if (strcmp(connection_sqlstate(result), "55P03") == 0) {
		log_debug("pruning waits for a lock"); /* it asks again in a second */
	} else if (ticker->prune_errors++ % PRUNE_WARN_EVERY == 0) {
		log_warn("livefeed.prune failed: %s", connection_error(result));
	}
}

void ticker_second(struct ticker *ticker)
{
	if (!ticker->active) {
		return;
	}
	if (!connection_is_open(ticker->keeper)) {
		connection_open(ticker->keeper, CONNECT_TIMEOUT_MS);
	} else {
		connection_query(ticker->keeper, "SELECT livefeed.prune()", 0, NULL, false, PRUNE_TIMEOUT_MS, pruned, ticker);
	}
}
