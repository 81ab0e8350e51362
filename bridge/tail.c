/*
 * tail.c - the stream of events out of the database (tail.h).
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
 *  - A page is forwarded in parts of PART_ROWS and PART_BYTES; between two the loop turns, so that sockets are
 *    served and sessions flushed.
 *  - Behind a control event nothing is forwarded until the definitions were loaded again (blocked).
 *  - Nothing is in flight over a loss: what was not forwarded by then is dropped and read again.
 */
#include "tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backoff.h"
#include "connection.h"
#include "log.h"
#include "metrics.h"
#include "probe.h"
#include "rows.h"
#include "ticker.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 15000
#define READ_TIMEOUT_MS 65000 /* statement_timeout comes first */
#define STOP_TIMEOUT_MS 1000
#define LOOK_EVERY_MS 1000
#define SEEN_EVERY_LOOKS 5
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 5000
#define PAGE_ROWS "1000"
#define PAGE_BYTES "1048576"
#define PART_ROWS 1000
#define PART_BYTES (256 * 1024)
#define EPOCH_MAX 17

struct page {
	PGresult *result; /* NULL: none */
	int row; /* the next to forward */
	int64_t asked_after;
	unsigned asked_in; /* the history that was being read then */
	struct rows_mark mark;
};

enum { FROM_READER, FROM_TICKER, N_PAGES };

struct tail {
	uv_loop_t *loop;
	struct tail_events events;
	char *dsn, *bridge, *version;

	struct connection *reader;
	struct ticker *ticker;
	uv_timer_t *second; /* looks */
	uv_timer_t *retry; /* the next connect, or the end of stopping */
	uv_timer_t *reload; /* definitions could not be loaded */
	uv_idle_t *more; /* a page is not forwarded to its end */

	bool running; /* steps 1 to 3 are done */
	bool live;
	bool was_live;
	bool stopping, stopped;
	struct backoff backoff;
	struct probe probe;
	char said[PROBE_WHY_MAX]; /* the last line to `unusable` */

	bool known; /* epoch and after mean something */
	char epoch[EPOCH_MAX];
	int64_t after;
	unsigned history; /* counts restarts: pages asked for before one are of no use */
	char definitions[64]; /* fingerprint of those being used or loaded */
	bool blocked; /* until they are loaded */

	bool want_look, want_read, want_seen;
	int looks, looks_behind;
	struct page pages[N_PAGES];
	int turn; /* the page being forwarded, while another waits */
	struct rows_scratch scratch;
};

static void reader_next(struct tail *tail);
static void forward(struct tail *tail);
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

static void drop_pages(struct tail *tail)
{
	for (int i = 0; i < N_PAGES; i++) {
		PQclear(tail->pages[i].result);
		tail->pages[i].result = NULL;
	}
	uv_idle_stop(tail->more);
}

static void on_retry(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	connection_open(tail->reader, CONNECT_TIMEOUT_MS);
}

/* Step back to 1: whatever went wrong with the reader, or with what it is connected to. */
static void fail(struct tail *tail, const char *why)
{
	connection_close(tail->reader);
	ticker_stop(tail->ticker);
	drop_pages(tail);
	uv_timer_stop(tail->second);
	tail->running = false;
	tail->want_look = tail->want_read = tail->want_seen = false;
	if (tail->stopping) {
		tail->stopped = true;
		return;
	}
	set_live(tail, false, why);
	uv_timer_start(tail->retry, on_retry, backoff_next_ms(&tail->backoff), 0);
}

/* The database is not one for us; said once, not with each attempt. */
static void refuse(struct tail *tail, const char *why)
{
	if (strncmp(tail->said, why, sizeof tail->said - 1) != 0) {
		snprintf(tail->said, sizeof tail->said, "%s", why);
		tail->events.unusable(tail->events.arg, tail->said);
	}
	fail(tail, tail->said);
}

static void on_lost(struct connection *connection, const char *message, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (!tail->live && !tail->stopping && strncmp(tail->said, message, sizeof tail->said - 1) != 0) {
		snprintf(tail->said, sizeof tail->said, "%s", message);
		log_warn("PostgreSQL cannot be reached, trying on: %s", message);
	}
	fail(tail, message);
}

/* An SQL error where none belongs. */
static void fail_query(struct tail *tail, const char *what, const PGresult *result)
{
	if (probe_explain(&tail->probe, what, result) == PROBE_UNUSABLE) {
		refuse(tail, tail->probe.why);
	} else {
		log_warn("%s", tail->probe.why);
		fail(tail, tail->probe.why);
	}
}

static bool ask(struct tail *tail, const char *sql, int n, const char *const *params, int64_t timeout_ms,
                connection_done done)
{
	return connection_query(tail->reader, sql, n, params, true, timeout_ms, done, tail);
}

/* ---- definitions */

static void reload(struct tail *tail)
{
	tail->blocked = true;
	uv_timer_stop(tail->reload);
	tail->events.reload(tail->events.arg);
}

static void on_reload(uv_timer_t *timer)
{
	reload(timer->data);
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
	forward(tail);
	reader_next(tail);
}

/* ---- pages */

static void restart(struct tail *tail, const char *epoch, int64_t head, const char *reason)
{
	snprintf(tail->epoch, sizeof tail->epoch, "%s", epoch);
	tail->after = head;
	tail->known = true;
	tail->history++;
	metrics.tail_head = head;
	tail->events.restart(tail->events.arg, tail->epoch, head, reason);
}

/*
 * Before the first row of a page is forwarded: does it continue what we have? Its epoch is that of all its rows. In a
 * new epoch, ids of this database go on from the old ones; where they went back (a restore), so do we.
 */
static void begin_page(struct tail *tail, const struct page *page)
{
	if (strcmp(page->mark.epoch, tail->epoch) != 0) {
		int64_t head = page->mark.id < tail->after ? page->mark.id : tail->after;
		log_warn("the database's history changed: epoch %s is now %s", tail->epoch, page->mark.epoch);
		restart(tail, page->mark.epoch, page->mark.flags & EVENT_PRUNED ? page->mark.id : head, "epoch");
	} else if (page->mark.flags & EVENT_PRUNED) {
		if (page->mark.id > tail->after) {
			log_warn("events %lld to %lld were pruned before this bridge read them", (long long)tail->after + 1,
			         (long long)page->mark.id);
			restart(tail, page->mark.epoch, page->mark.id, "pruned");
		}
	} else if (page->mark.id < page->asked_after) {
		log_warn("the database's history went back from id %lld to %lld", (long long)page->asked_after,
		         (long long)page->mark.id);
		restart(tail, page->mark.epoch, page->mark.id, "epoch");
	}
}

/* Frees a page and lets its connection ask for the next. */
static void free_page(struct tail *tail, int from, bool more)
{
	struct page *page = &tail->pages[from];
	PQclear(page->result);
	page->result = NULL;
	if (from == FROM_TICKER) {
		tail->pages[from].asked_in = tail->history;
		ticker_go_on(tail->ticker, tail->after);
	} else if (more) {
		tail->want_read = true;
	}
}

static void end_page(struct tail *tail, int from)
{
	struct page *page = &tail->pages[from];
	if (page->mark.id > tail->after) {
		tail->after = page->mark.id;
	}
	metrics.tail_head = tail->after;
	tail->events.advance(tail->events.arg, tail->after);
	free_page(tail, from, page->mark.id > page->asked_after); /* the reader reads until a page brings nothing */
}

/* One part of a page. Returns false when the loop should turn, or nothing can be forwarded now. */
static bool forward_part(struct tail *tail, int from)
{
	struct page *page = &tail->pages[from];
	int last = PQntuples(page->result) - 1;
	size_t bytes = 0;
	if (page->asked_in != tail->history) {
		free_page(tail, from, true);
		return true;
	}
	if (page->row == 0) {
		begin_page(tail, page);
		page->asked_in = tail->history;
	}
	for (int rows = 0; page->row < last && rows < PART_ROWS && bytes < PART_BYTES; rows++) {
		struct event event;
		if (!rows_event(page->result, page->row, &tail->scratch, &event)) {
			log_error("row %d after id %lld of the log is malformed: is the extension that of this bridge (%s)?",
			          page->row, (long long)tail->after, tail->version);
			fail(tail, "malformed row in the log");
			return false;
		}
		page->row++;
		if (event.id <= tail->after) {
			continue;
		}
		/* The row points into the page; what is handed on is kept by the history and has to stand alone. */
		struct event *own = event_new(&event);
		if (own == NULL) {
			fail(tail, "out of memory");
			return false;
		}
		tail->after = event.id;
		bytes += event.body.len;
		tail->events.event(tail->events.arg, own);
		event_unref(own);
		if (event.flags & EVENT_CONTROL) {
			tail->events.advance(tail->events.arg, tail->after);
			reload(tail);
			return false;
		}
	}
	if (page->row >= last) {
		end_page(tail, from);
	} else {
		tail->events.advance(tail->events.arg, tail->after);
	}
	return true;
}

static void on_more(uv_idle_t *idle)
{
	struct tail *tail = idle->data;
	uv_idle_stop(idle);
	forward(tail);
	reader_next(tail);
}

/* Forwards a part of the page whose turn it is; the rest in later turns of the loop. */
static void forward(struct tail *tail)
{
	if (tail->blocked || !tail->known) {
		return;
	}
	if (!tail->pages[tail->turn].result) {
		tail->turn = !tail->turn;
	}
	if (tail->pages[tail->turn].result && forward_part(tail, tail->turn) &&
	    (tail->pages[FROM_READER].result || tail->pages[FROM_TICKER].result)) {
		uv_idle_start(tail->more, on_more);
	}
}

static void take_page(struct tail *tail, int from, PGresult *result, const struct rows_mark *mark, int64_t asked_after)
{
	struct page *page = &tail->pages[from];
	page->result = result;
	page->row = 0;
	page->asked_after = asked_after;
	page->mark = *mark;
	if (!uv_is_active((uv_handle_t *)tail->more)) {
		forward(tail);
	}
}

static void on_ticker_page(void *arg, PGresult *result, int64_t asked_after)
{
	struct tail *tail = arg;
	struct rows_mark mark;
	if (!rows_mark(result, &mark) || tail->stopping) {
		PQclear(result);
		return;
	}
	take_page(tail, FROM_TICKER, result, &mark, asked_after);
	reader_next(tail);
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
		reader_next(tail);
		return;
	}
	connection_keep_result(connection);
	take_page(tail, FROM_READER, result, &mark, tail->pages[FROM_READER].asked_after);
	reader_next(tail);
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
		reader_next(tail);
	}
}

static void was_unregistered(struct connection *connection, PGresult *result, void *arg)
{
	struct tail *tail = arg;
	(void)connection;
	if (result) {
		fail(tail, "stopped");
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

/* The reader does one thing at a time; this chooses it. */
static void reader_next(struct tail *tail)
{
	if (!tail->running || !connection_is_ready(tail->reader) || connection_is_busy(tail->reader)) {
		return;
	}
	if (tail->stopping) {
		unregister(tail);
	} else if (tail->want_look) {
		send_look(tail);
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
		reader_next(tail);
	}
}

void tail_read_to(struct tail *tail, int64_t head)
{
	if (head > tail->after) {
		tail->want_read = true;
		reader_next(tail);
	}
}

static void on_second(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	tail->want_look = true;
	if (++tail->looks % SEEN_EVERY_LOOKS == 0) {
		tail->want_seen = true;
	}
	ticker_second(tail->ticker);
	reader_next(tail);
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
		refuse(tail, "the connection goes through a pooler that changes the server process (transaction pooling): "
		             "give the bridge a direct connection, or one through session pooling");
		return;
	}
	struct text epoch = rows_text(result, 0, 0), definitions = rows_text(result, 0, 4);
	int64_t head = rows_int8(result, 0, 1);
	bool no_ticker = !rows_text(result, 0, 2).bytes, stale = rows_bool(result, 0, 3);
	bool other_epoch = epoch.len != strlen(tail->epoch) || memcmp(epoch.bytes, tail->epoch, epoch.len) != 0;

	if (!tail->known) {
		char first[EPOCH_MAX];
		snprintf(first, sizeof first, "%.*s", (int)epoch.len, epoch.bytes ? epoch.bytes : "");
		restart(tail, first, head, NULL);
	} else if (other_epoch || head != tail->after) {
		/* The ticker's own pages are on their way, unless that lasts. */
		tail->looks_behind++;
		tail->want_read = tail->want_read || !ticker_is_active(tail->ticker) || tail->looks_behind > 1;
	} else {
		tail->looks_behind = 0;
	}
	if (definitions.len != strlen(tail->definitions) ||
	    memcmp(definitions.bytes ? definitions.bytes : "", tail->definitions, definitions.len) != 0 || !tail->live) {
		snprintf(tail->definitions, sizeof tail->definitions, "%.*s", (int)definitions.len,
		         definitions.bytes ? definitions.bytes : "");
		if (!tail->blocked) {
			reload(tail);
		}
	}
	if (no_ticker || stale) {
		if (!ticker_is_open(tail->ticker)) {
			tail->pages[FROM_TICKER].asked_in = tail->history;
		}
		ticker_start(tail->ticker, tail->after, stale);
	}
	reader_next(tail);
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
	reader_next(tail);
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
			refuse(tail, probe->why);
		} else {
			log_warn("%s", probe->why);
			fail(tail, probe->why);
		}
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
	tail->backoff = (struct backoff){BACKOFF_FIRST_MS, BACKOFF_MAX_MS, 0, uv_hrtime() ^ ((uint64_t)getpid() << 32) ^ 1};
	tail->dsn = strdup(settings->dsn ? settings->dsn : "");
	tail->bridge = strdup(settings->bridge);
	tail->version = strdup(settings->version);
	tail->second = new_timer(tail);
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
	if (!tail->dsn || !tail->bridge || !tail->version || !tail->second || !tail->retry || !tail->reload ||
	    !tail->more || !tail->reader || !tail->ticker) {
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
	fail(timer->data, "stopped");
}

void tail_stop(struct tail *tail)
{
	tail->stopping = true;
	ticker_stop(tail->ticker);
	drop_pages(tail);
	uv_timer_stop(tail->second);
	uv_timer_stop(tail->reload);
	if (!tail->running) {
		uv_timer_stop(tail->retry);
		fail(tail, "stopped");
		return;
	}
	uv_timer_start(tail->retry, on_stop_timeout, STOP_TIMEOUT_MS, 0);
	reader_next(tail);
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
	uv_handle_t *handles[] = {(uv_handle_t *)tail->second, (uv_handle_t *)tail->retry, (uv_handle_t *)tail->reload,
	                          (uv_handle_t *)tail->more};
	if (tail->more) {
		drop_pages(tail);
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
