/*
 * tail.c - the stream of events out of the database (tail.h). forward.c hands it on.
 *
 * The life of the tail:
 *
 *  1. The reader connects, with backoff, for as long as it takes.
 *  2. It checks what it is connected to: a primary, with the extension, whose log this bridge reads. If not, it says so
 *     in one line and tries again.
 *  3. It registers, LISTENs, and only then looks: an event committed after that look rings a bell that we hear.
 *  4. The first time, the head becomes our position; later we go on from the position we had. The definitions are
 *     loaded, and then we are live.
 *  5. A bell, or a look (once a second) that shows events beyond our position, makes the reader read pages up to the
 *     head.
 *  6. A look that shows no ticker, or one that leaves events lying, makes us the ticker (ticker.c). Its pages bring
 *     the events together with the tick; the reader then only looks.
 *
 * Invariants:
 *  - One position, `after`: every event up to it was handed on, none beyond. Pages of reader and ticker may overlap;
 *    an event at or below `after` is dropped. A page was asked for what is after some earlier position, so there is
 *    never a gap.
 *  - A page is handed on only after ReadyForQuery (connection.c): it is durable then.
 *  - At most one page of each connection waits (pages); neither asks for the next before it was forwarded.
 *  - A page is forwarded in parts; between two the loop turns, so that sockets are
 *    served and sessions flushed.
 *  - Behind a control event nothing is forwarded until the definitions were loaded again (blocked).
 *  - Nothing is in flight over a loss: what was not forwarded by then is dropped and read again.
 */
#include "tail_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 15000
#define READ_TIMEOUT_MS 65000 /* statement_timeout comes first */
#define STOP_TIMEOUT_MS 1000
#define LOOK_EVERY_MS 1000
#define SEEN_EVERY_LOOKS 5
#define HURRY_MS 200
#define HURRIED_LOOKS 25
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 5000
#define PAGE_ROWS "1000"
#define PAGE_BYTES "1048576"

static void looked(struct connection *connection, PGresult *result, void *arg);

/* ---- states */

static void set_live(struct tail *tail, bool live, const char *why)
{
	if (live == tail->live) {
		return;
	}
	tail->live = live;
	if (live) {
		if (tail->was_live) {
			metrics.database_reconnects++;
		}
		tail->was_live = true;
		backoff_reset(&tail->backoff);
		tail->said[0] = '\0';
	}
	tail->events.live(tail->events.arg, live, why);
}

static void on_retry(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	connection_open(tail->reader, CONNECT_TIMEOUT_MS);
}

/* Step back to 1: whatever went wrong with the reader, or with what it is connected to. */
void tail_fail(struct tail *tail, const char *why)
{
	connection_close(tail->reader);
	ticker_stop(tail->ticker);
	tail_drop_pages(tail);
	uv_timer_stop(tail->second);
	uv_timer_stop(tail->hurry);
	tail->looks_hurried = 0;
	tail->running = false;
	tail->want_look = tail->want_read = tail->want_seen = tail->want_tick = false;
	if (tail->stopping) {
		tail->stopped = true;
		return;
	}
	set_live(tail, false, why);
	uv_timer_start(tail->retry, on_retry, backoff_next_ms(&tail->backoff), 0);
}

/* The database is not one for us; said once, not with each attempt. */
static void refuse(struct tail *tail, const char *why, bool for_good)
{
	if (strncmp(tail->said, why, sizeof tail->said - 1) != 0) {
		snprintf(tail->said, sizeof tail->said, "%s", why);
		tail->events.unusable(tail->events.arg, tail->said, for_good);
	}
	tail_fail(tail, tail->said);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (!tail->live && !tail->stopping && strncmp(tail->said, message, sizeof tail->said - 1) != 0) {
		snprintf(tail->said, sizeof tail->said, "%s", message);
		log_warn("PostgreSQL cannot be reached, trying on: %s", message);
	}
	tail_fail(tail, message);
}

/* An SQL error where none belongs. */
static void fail_query(struct tail *tail, const char *what, const PGresult *result)
{
	if (probe_explain(&tail->probe, what, result) == PROBE_UNUSABLE) {
		refuse(tail, tail->probe.why, false);
	} else {
		log_warn("%s", tail->probe.why);
		tail_fail(tail, tail->probe.why);
	}
}

static bool ask(struct tail *tail, const char *sql, int n, const char *const *params, int64_t timeout_ms,
                connection_done done)
{
	return connection_query(tail->reader, sql, n, params, true, timeout_ms, done, tail);
}

/* ---- definitions */

void tail_reload(struct tail *tail)
{
	tail->blocked = true;
	uv_timer_stop(tail->reload);
	tail->events.reload(tail->events.arg);
}

static void on_reload(uv_timer_t *timer)
{
	tail_reload(timer->data);
}

void tail_definitions_loaded(struct tail *tail, bool ok)
{
	if (!tail->blocked || tail->stopping) {
		return;
	}
	if (!ok) {
		uv_timer_start(tail->reload, on_reload, LOOK_EVERY_MS, 0);
		return;
	}
	tail->blocked = false;
	if (tail->running && tail->known) {
		set_live(tail, true, "connected");
	}
	tail_forward(tail);
	tail_reader_next(tail);
}

static void on_ticker_page(void *arg, PGresult *result, int64_t asked_after)
{
	struct tail *tail = arg;
	struct rows_mark mark;
	if (!rows_mark(result, &mark) || tail->stopping) {
		PQclear(result);
		return;
	}
	tail_take_page(tail, FROM_TICKER, result, &mark, asked_after);
	tail_reader_next(tail);
}

static void was_read(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	struct rows_mark mark;
	if (!result) {
		return; /* lost follows */
	}
	if (!rows_mark(result, &mark)) {
		fail_query(tail, "livefeed.read", result);
		return;
	}
	if (tail->stopping) {
		tail_reader_next(tail);
		return;
	}
	connection_keep_result(connection);
	tail_take_page(tail, FROM_READER, result, &mark, tail->pages[FROM_READER].asked_after);
	tail_reader_next(tail);
}

/* ---- the reader's queries */

static void was_seen(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (result && PQresultStatus(result) != PGRES_TUPLES_OK) {
		log_warn("livefeed.bridge_seen failed: %s", connection_error(result));
	}
	if (result) {
		tail_reader_next(tail);
	}
}

static void was_unregistered(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (result) {
		tail_fail(tail, "stopped");
	}
}

static void unregister(struct tail *tail)
{
	const char *params[] = {tail->bridge};
	ask(tail, "SELECT livefeed.unregister_bridge($1)", 1, params, STOP_TIMEOUT_MS, was_unregistered);
}

static void send_look(struct tail *tail)
{
	tail->want_look = false;
	ask(tail, "SELECT epoch, head, ticker_pid, stale, definitions, pg_catalog.pg_backend_pid() FROM livefeed.look()", 0,
	    NULL, QUERY_TIMEOUT_MS, looked);
}

static void send_read(struct tail *tail)
{
	char after[24];
	snprintf(after, sizeof after, "%lld", (long long)tail->after);
	const char *params[] = {after, PAGE_ROWS, PAGE_BYTES};
	tail->want_read = false;
	tail->pages[FROM_READER].asked_after = tail->after;
	tail->pages[FROM_READER].asked_in = tail->history;
	ask(tail, "SELECT " ROWS_COLUMNS " FROM livefeed.read($1, $2, NULL, $3)", 3, params, READ_TIMEOUT_MS, was_read);
}

static void send_seen(struct tail *tail)
{
	char last[24], sessions[24];
	snprintf(last, sizeof last, "%lld", (long long)tail->after);
	snprintf(sessions, sizeof sessions, "%llu", (unsigned long long)tail->events.sessions(tail->events.arg));
	const char *params[] = {tail->bridge, last, ticker_is_active(tail->ticker) ? "true" : "false", sessions};
	tail->want_seen = false;
	ask(tail, "SELECT livefeed.bridge_seen($1, $2, $3, $4)", 4, params, QUERY_TIMEOUT_MS, was_seen);
}

static void was_ticked(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (result && PQresultStatus(result) != PGRES_TUPLES_OK) {
		log_warn("livefeed.tick failed: %s", connection_error(result));
	}
	if (result) {
		tail->want_read = true;
		tail_reader_next(tail);
	}
}

/* Who only looks on does not sit in the ticker's place; where nobody does, it asks for a tick. */
static void send_tick(struct tail *tail)
{
	tail->want_tick = false;
	ask(tail, "SELECT livefeed.tick()", 0, NULL, QUERY_TIMEOUT_MS, was_ticked);
}

/* The reader does one thing at a time; this chooses it. */
void tail_reader_next(struct tail *tail)
{
	if (!tail->running || !connection_is_ready(tail->reader) || connection_is_busy(tail->reader)) {
		return;
	}
	if (tail->stopping && tail->looks) {
		tail_fail(tail, "stopped");
	} else if (tail->stopping) {
		unregister(tail);
	} else if (tail->want_look) {
		send_look(tail);
	} else if (tail->want_tick) {
		send_tick(tail);
	} else if (tail->want_read && tail->known && !tail->blocked && !tail->pages[FROM_READER].result) {
		send_read(tail);
	} else if (tail->want_seen) {
		send_seen(tail);
	}
}

static void on_notified(struct connection *connection, int backend_pid, const char *payload, void *arg)
{
	struct tail *tail = arg;
	(void)connection, (void)payload; /* anybody can NOTIFY: a bell, no more */
	if (!ticker_is_backend(tail->ticker, backend_pid)) {
		tail->want_read = true;
		tail->want_look = tail->want_look || tail->looks; /* where no bridge ticks, the writer rang */
		tail_reader_next(tail);
	}
}

void tail_read_to(struct tail *tail, int64_t head)
{
	if (head > tail->after) {
		metrics.database_head = head;
		tail->want_read = true;
		tail_reader_next(tail);
	}
}

static void on_second(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	tail->want_look = true;
	if (++tail->looks_made % SEEN_EVERY_LOOKS == 0 && !tail->looks) {
		tail->want_seen = true;
	}
	ticker_second(tail->ticker);
	tail_reader_next(tail);
}

static void on_hurry(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	tail->want_look = true;
	if (--tail->looks_hurried <= 0) {
		uv_timer_stop(timer);
	}
	tail_reader_next(tail);
}

/* What a look tells of the position. */
static void compare_head(struct tail *tail, struct text epoch, int64_t head)
{
	metrics.database_head = head;
	if (epoch.len == strlen(tail->epoch) && memcmp(epoch.bytes, tail->epoch, epoch.len) == 0 && head == tail->after) {
		tail->looks_behind = 0;
		return;
	}
	/* Of the ticker, its own pages are on their way, unless that lasts. */
	tail->looks_behind++;
	if (!ticker_is_active(tail->ticker) || tail->looks_behind > 1) {
		tail->want_read = true;
	}
	if (!ticker_is_active(tail->ticker) && tail->looks_hurried == 0) {
		/*
		 * A tick whose bell did not ring: its bridge may have been stopped in between. The next events would wait for
		 * a look that sees them, and one that sees them still there.
		 */
		tail->looks_hurried = HURRIED_LOOKS;
		uv_timer_start(tail->hurry, on_hurry, HURRY_MS, HURRY_MS);
	}
}

/*
 * was_blocked: a load was under way already when this look was answered. It may have read before the change that this look saw, so
 * that is not remembered: the next look finds it again.
 */
static void compare_definitions(struct tail *tail, struct text definitions, bool was_blocked)
{
	char now[sizeof tail->definitions];
	snprintf(now, sizeof now, "%.*s", (int)definitions.len, definitions.bytes ? definitions.bytes : "");
	if (was_blocked || (strcmp(now, tail->definitions) == 0 && tail->live)) {
		return;
	}
	memcpy(tail->definitions, now, sizeof now);
	if (!tail->blocked) {
		tail_reload(tail);
	}
}

static void looked(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	if (!result) {
		return; /* lost follows */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		fail_query(tail, "livefeed.look", result);
		return;
	}
	if (rows_int4(result, 0, 5) != connection_backend_pid(connection)) {
		refuse(tail,
		       "the connection goes through a pooler that changes the server process (transaction pooling): "
		       "give the bridge a direct connection, or one through session pooling",
		       true);
		return;
	}
	struct text epoch = rows_text(result, 0, 0), definitions = rows_text(result, 0, 4);
	int64_t head = rows_int8(result, 0, 1);
	bool no_ticker = !rows_text(result, 0, 2).bytes, stale = rows_bool(result, 0, 3);
	bool was_blocked = tail->blocked;

	if (!tail->known) {
		char first[EPOCH_MAX];
		snprintf(first, sizeof first, "%.*s", (int)epoch.len, epoch.bytes ? epoch.bytes : "");
		tail_restart(tail, first, head, NULL);
	} else {
		compare_head(tail, epoch, head);
	}
	compare_definitions(tail, definitions, was_blocked);
	if (stale) {
		ticker_stale(tail->ticker);
	}
	if ((no_ticker || stale) && tail->looks) {
		tail->want_tick = true;
	} else if (no_ticker || stale) {
		if (!ticker_is_open(tail->ticker)) {
			tail->pages[FROM_TICKER].asked_in = tail->history;
		}
		ticker_start(tail->ticker, tail->after, stale);
	}
	tail_reader_next(tail);
}

/* ---- connecting: steps 2 and 3 */

static void listening(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (!result) {
		return;
	}
	if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
		fail_query(tail, "LISTEN livefeed", result);
		return;
	}
	tail->running = true;
	tail->looks_behind = 0;
	tail->want_look = true;
	tail->want_read = tail->known; /* what happened while we were away */
	uv_timer_start(tail->second, on_second, LOOK_EVERY_MS, LOOK_EVERY_MS);
	tail_reader_next(tail);
}

static void registered(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (!result) {
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		fail_query(tail, "livefeed.register_bridge", result);
		return;
	}
	ask(tail, "LISTEN livefeed", 0, NULL, QUERY_TIMEOUT_MS, listening);
}

static void probed(struct probe *probe, enum probe_outcome outcome, void *arg)
{
	struct tail *tail = arg;
	if (outcome != PROBE_OK) {
		if (outcome == PROBE_UNUSABLE) {
			refuse(tail, probe->why, false);
		} else {
			log_warn("%s", probe->why);
			tail_fail(tail, probe->why);
		}
		return;
	}
	if (tail->looks) {
		ask(tail, "LISTEN livefeed", 0, NULL, QUERY_TIMEOUT_MS, listening);
		return;
	}
	char host[256] = "", pid[16];
	gethostname(host, sizeof host - 1);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	const char *params[] = {tail->bridge, host, pid, tail->version};
	ask(tail, "SELECT livefeed.register_bridge($1, $2, $3, $4)", 4, params, QUERY_TIMEOUT_MS, registered);
}

static void on_ready(struct connection *connection, void *arg)
{
	struct tail *tail = arg;
	probe_start(&tail->probe, connection, probed, tail);
}

/* ---- life */

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static uv_timer_t *new_timer(struct tail *tail)
{
	uv_timer_t *timer = malloc(sizeof *timer);
	if (timer) {
		uv_timer_init(tail->loop, timer);
		timer->data = tail;
	}
	return timer;
}

struct tail *tail_new(uv_loop_t *loop, const struct tail_settings *settings, const struct tail_events *events)
{
	static const struct connection_events reader_events = {on_ready, on_lost, on_notified};
	struct tail *tail = calloc(1, sizeof *tail);
	if (!tail) {
		return NULL;
	}
	tail->loop = loop;
	tail->events = *events;
	tail->looks = settings->looks;
	tail->backoff = (struct backoff){BACKOFF_FIRST_MS, BACKOFF_MAX_MS, 0, uv_hrtime() ^ ((uint64_t)getpid() << 32) ^ 1};
	tail->dsn = strdup(settings->dsn ? settings->dsn : "");
	tail->bridge = strdup(settings->bridge);
	tail->version = strdup(settings->version);
	tail->second = new_timer(tail);
	tail->hurry = new_timer(tail);
	tail->retry = new_timer(tail);
	tail->reload = new_timer(tail);
	tail->more = malloc(sizeof *tail->more);
	if (tail->more) {
		uv_idle_init(loop, tail->more);
		tail->more->data = tail;
	}
	if (tail->dsn) {
		tail->reader = connection_new(loop, tail->dsn, "livefeed-bridge", &reader_events, tail);
		tail->ticker = ticker_new(loop, tail->dsn, settings->tick_interval_ms, on_ticker_page, tail);
	}
	if (!tail->dsn || !tail->bridge || !tail->version || !tail->second || !tail->hurry || !tail->retry ||
	    !tail->reload || !tail->more || !tail->reader || !tail->ticker) {
		tail_free(tail);
		return NULL;
	}
	return tail;
}

void tail_start(struct tail *tail)
{
	connection_open(tail->reader, CONNECT_TIMEOUT_MS);
}

bool tail_is_live(const struct tail *tail)
{
	return tail->live;
}

bool tail_is_ticker(const struct tail *tail)
{
	return ticker_is_active(tail->ticker);
}

static void on_stop_timeout(uv_timer_t *timer)
{
	tail_fail(timer->data, "stopped");
}

void tail_stop(struct tail *tail)
{
	tail->stopping = true;
	ticker_stop(tail->ticker);
	tail_drop_pages(tail);
	uv_timer_stop(tail->second);
	uv_timer_stop(tail->hurry);
	uv_timer_stop(tail->reload);
	if (!tail->running) {
		uv_timer_stop(tail->retry);
		tail_fail(tail, "stopped");
		return;
	}
	uv_timer_start(tail->retry, on_stop_timeout, STOP_TIMEOUT_MS, 0);
	tail_reader_next(tail);
}

bool tail_is_stopped(const struct tail *tail)
{
	return tail->stopped;
}

void tail_free(struct tail *tail)
{
	if (!tail) {
		return;
	}
	uv_handle_t *handles[] = {(uv_handle_t *)tail->second, (uv_handle_t *)tail->hurry, (uv_handle_t *)tail->retry,
	                          (uv_handle_t *)tail->reload, (uv_handle_t *)tail->more};
	if (tail->more) {
		tail_drop_pages(tail);
	}
	for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
		if (handles[i]) {
			uv_close(handles[i], free_handle);
		}
	}
	connection_free(tail->reader);
	ticker_free(tail->ticker);
	rows_scratch_free(&tail->scratch);
	free(tail->dsn);
	free(tail->bridge);
	free(tail->version);
	free(tail);
}
