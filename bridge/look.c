/*
 * look.c - livefeed-bridge tail: a bridge with one client, who is the operator and sits at standard output (look.h).
 *
 * The stream, the history, replays, snapshots and values are those of the bridge, by the same code; what differs:
 *  - It does not register, is no ticker and reports no session (tail_settings.looks): nobody finds a bridge where
 *    somebody only looks on.
 *  - Its one session is let in without a token and may have every channel (access_operator): the rights are those of
 *    the database's role.
 *  - Whoever reads may stop reading (a pager, ^S): writing happens beside the loop, one write at a time, and what does
 *    not fit into PRINT_BYTES waits in the session's outbox, or in the log. The connection goes on being served; a
 *    listener that does not take its notifications would hold up those of the whole cluster.
 *
 * It ends with SIGINT, SIGTERM, or when nobody reads any more (0); when no channel is left, or the database cannot be
 * served (1).
 */
#include "look.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "catalog.h"
#include "connection.h"
#include "database.h"
#include "history.h"
#include "jsontext.h"
#include "log.h"
#include "look_show.h"
#include "message.h"
#include "rows.h"
#include "session.h"
#include "setup.h"
#include "tail.h"
#include "terminal.h"
#include "config_values.h"

#define SECOND_MS 1000
#define PRINT_BYTES (256 * 1024) /* of output that waits for whoever reads; a frame more may stand there */
#define FRAMES_AT_ONCE 64
#define QUEUE_MAX 1000
#define CONNECT_TIMEOUT_MS 5000
#define QUERY_TIMEOUT_MS 15000
#define END_MS 2000
#define SINCE_MAX_BYTES 64

static struct look {
	const struct config *config;
	const char **channels; /* each once */
	size_t n_channels, n_over; /* refused, or ended */
	struct look_style style;
	uv_loop_t loop;
	struct catalog *catalog;
	struct history *history;
	struct database *database;
	struct hub *hub;
	struct tail *tail;
	struct access *access;
	struct session *session;
	struct connection *clerk; /* asks for the cursor of --since TIME */
	char since[SINCE_MAX_BYTES]; /* "": from now on */
	uv_prepare_t prepare;
	uv_idle_t busy;
	uv_timer_t second, soon;
	uv_signal_t terminate, interrupt;
	struct json_out waiting, written; /* what is to be written next; what is being written */
	size_t n_written;
	uv_fs_t write;
	bool writing, over;
	int code;
} look;

static void end(int code)
{
	look.over = true;
	look.code = code;
	uv_stop(&look.loop);
}

static void fail(const char *what, const char *why)
{
	log_error("%s%s", what, why);
	end(EXIT_FAILURE);
}

/* ---- writing */

static void write_on(void);

static void was_written(uv_fs_t *request)
{
	ssize_t n = request->result;
	uv_fs_req_cleanup(request);
	look.writing = false;
	if (n == UV_EPIPE) {
		end(EXIT_SUCCESS); /* head(1) has seen enough */
		return;
	}
	if (n < 0 && n != UV_EAGAIN && n != UV_EINTR) {
		fail("cannot write: ", uv_strerror((int)n));
		return;
	}
	look.n_written += n > 0 ? (size_t)n : 0;
	write_on();
}

/* One write at a time, in a thread of libuv's: it may take as long as it likes. */
static void write_on(void)
{
	if (look.writing || look.over) {
		return;
	}
	if (look.n_written == look.written.len) {
		struct json_out empty = look.written;
		look.written = look.waiting;
		empty.len = 0;
		look.waiting = empty;
		look.n_written = 0;
	}
	if (look.n_written == look.written.len) {
		if (look.n_over == look.n_channels) {
			end(EXIT_FAILURE); /* nothing more can come, and all was said */
		}
		return;
	}
	uv_buf_t rest = uv_buf_init(look.written.bytes + look.n_written, (unsigned int)(look.written.len - look.n_written));
	look.writing = uv_fs_write(&look.loop, &look.write, STDOUT_FILENO, &rest, 1, -1, was_written) == 0;
}

/* From the outbox to what is written, while there is room. */
static void show(void)
{
	struct frame *frames[FRAMES_AT_ONCE];
	const char *reason;
	size_t n;
	if (!look.session) {
		return;
	}
	while (look.waiting.len < PRINT_BYTES && (n = session_output(look.session, frames, FRAMES_AT_ONCE)) > 0) {
		size_t i = 0;
		while (i < n && look.waiting.len < PRINT_BYTES) {
			enum look_kind kind =
				look_show(&look.waiting, (struct text){frame_text(frames[i]), frames[i]->len}, &look.style);
			look.n_over += kind == LOOK_REFUSED || kind == LOOK_ENDED;
			i++;
		}
		session_sent(look.session, i);
	}
	if (look.waiting.failed || look.written.failed) {
		fail("", "out of memory");
		return;
	}
	session_sent(look.session, 0); /* it is never too slow: what it cannot take waits in the log */
	if (session_closing(look.session, &reason) != 0 && !session_has_output(look.session)) {
		fail("the session ended: ", reason ? reason : "");
		return;
	}
	write_on();
}

/* ---- the session */

static void wake(struct session *session, void *connection)
{
	(void)session, (void)connection; /* on_prepare looks anyway */
}

static void subscribe(size_t number)
{
	struct json_out message = {0};
	json_puts(&message, "{\"type\":\"subscribe\",\"ref\":");
	json_put_int(&message, (int64_t)number);
	json_puts(&message, ",\"channel\":");
	json_put_string(&message, look.channels[number]);
	if (look.since[0]) {
		json_puts(&message, ",\"since\":");
		json_put_string(&message, look.since);
	}
	json_puts(&message, look.config->tail.snapshot ? ",\"snapshot\":true}" : "}");
	if (message.failed) {
		fail("", "out of memory");
	} else {
		session_receive(look.session, message.bytes, message.len);
	}
	free(message.bytes);
}

static void begin(void)
{
	static const struct session_transport transport = {.name = "tail", .wake = wake, .merged = true};
	look.session = session_open(look.hub, &transport, &look, NULL);
	if (!look.session) {
		fail("", "out of memory");
		return;
	}
	session_let_operator_in(look.session);
	for (size_t i = 0; i < look.n_channels && !look.over; i++) {
		subscribe(i);
	}
}

/* ---- --since TIME */

/* The last tick that was made by then, or the oldest that is kept. */
static const char since_sql[] =
	"SELECT t.epoch || '-' || t.id_last FROM livefeed.ticks t, livefeed.state s WHERE t.tick >= s.kept_tick AND "
	"(t.tick = s.kept_tick OR t.at <= pg_catalog.clock_timestamp() - $1::bigint * interval '1 millisecond') "
	"ORDER BY t.tick DESC LIMIT 1";

static void since_found(struct connection *connection, PGresult *result, void *arg)
{
	(void)connection, (void)arg;
	if (!result) {
		return; /* lost follows */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		fail("--since: ", connection_error(result));
		return;
	}
	struct text cursor = rows_text(result, 0, 0);
	snprintf(look.since, sizeof look.since, "%.*s", (int)cursor.len, cursor.bytes ? cursor.bytes : "");
	begin();
}

static void on_clerk_ready(struct connection *connection, void *arg)
{
	char ms[24];
	const char *params[] = {ms};
	int64_t ago_ms = 0;
	(void)arg;
	(void)value_duration(look.config->tail.since, SECOND_MS, &ago_ms);
	snprintf(ms, sizeof ms, "%lld", (long long)ago_ms);
	connection_query(connection, since_sql, 1, params, true, QUERY_TIMEOUT_MS, since_found, NULL);
}

static void on_clerk_lost(struct connection *connection, const char *message, void *arg)
{
	(void)connection, (void)arg;
	if (!look.session) {
		fail("--since: ", message);
	}
}

/* Live for the first time: who looks on comes in, from where he wants to see. */
static void arrive(void)
{
	static const struct connection_events events = {on_clerk_ready, on_clerk_lost, NULL};
	const char *since = look.config->tail.since;
	struct cursor cursor;
	if (!since || cursor_parse(since, &cursor)) {
		snprintf(look.since, sizeof look.since, "%s", since ? since : "");
		begin();
		return;
	}
	look.clerk = connection_new(&look.loop, look.config->dsn, "livefeed-bridge tail", &events, NULL);
	if (look.clerk) {
		connection_open(look.clerk, CONNECT_TIMEOUT_MS);
	} else {
		fail("", "out of memory");
	}
}

/* ---- the stream */

static void on_restart(void *arg, const char *epoch, int64_t head, const char *reason)
{
	(void)arg;
	hub_restart(look.hub, epoch, head, reason);
}

static void on_event(void *arg, struct event *event)
{
	(void)arg;
	if (look.session) {
		session_sent(look.session, 0);
	}
	if ((event->flags & EVENT_CONTROL) && !event_is_transient_lost(event)) {
		hub_control(look.hub, event);
	} else {
		hub_event(look.hub, event);
	}
}

static void on_advance(void *arg, int64_t head, bool whole)
{
	(void)arg;
	hub_advance(look.hub, head);
	if (whole) {
		hub_whole(look.hub);
	}
	show();
}

static void on_live(void *arg, bool live, const char *why)
{
	(void)arg;
	if (!live) {
		log_warn("the database is away: %s", why);
		database_doubt(look.database);
	}
	hub_live(look.hub, live);
	if (live && !look.session && !look.clerk) {
		arrive();
	}
}

static void on_loaded(void *arg, bool ok)
{
	(void)arg;
	tail_definitions_loaded(look.tail, ok);
}

static void on_reload(void *arg)
{
	(void)arg;
	database_load_definitions(look.database, look.catalog, look.access, on_loaded, NULL);
}

static void on_unusable(void *arg, const char *why, bool for_good)
{
	(void)arg, (void)for_good;
	fail("", why);
}

static uint64_t count_sessions(void *arg)
{
	(void)arg;
	return 0;
}

static void on_head(void *arg, int64_t head)
{
	(void)arg;
	tail_read_to(look.tail, head);
}

/* ---- the loop */

static void set_clock(void)
{
	struct timespec wall;
	clock_gettime(CLOCK_REALTIME, &wall);
	hub_tick_clock(look.hub, (int64_t)uv_now(&look.loop), (int64_t)wall.tv_sec);
}

static void on_nothing_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void on_nothing(uv_timer_t *timer)
{
	(void)timer; /* that the loop turned is all */
}

static void on_prepare(uv_prepare_t *prepare)
{
	(void)prepare;
	set_clock();
	hub_pump(look.hub);
	int64_t wait_ms = hub_wait_ms(look.hub);
	if (wait_ms >= 0) {
		uv_timer_start(&look.soon, on_nothing, (uint64_t)wait_ms, 0);
	}
	show();
	/* While nobody reads, replays that have no room must not keep the loop busy. */
	if (hub_busy(look.hub) && look.waiting.len < PRINT_BYTES) {
		uv_idle_start(&look.busy, on_nothing_idle);
	} else {
		uv_idle_stop(&look.busy);
	}
	hub_sweep(look.hub);
}

static void on_second(uv_timer_t *timer)
{
	struct pollfd out = {.fd = STDOUT_FILENO, .events = 0};
	(void)timer;
	set_clock();
	if (look.session) {
		session_sent(look.session, 0);
	}
	hub_check_deadlines(look.hub);
	if (poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP | POLLNVAL))) {
		end(EXIT_SUCCESS); /* nobody reads any more, and nothing came that would have told */
	}
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)signal, (void)number;
	end(EXIT_SUCCESS);
}

static bool start_parts(void)
{
	static char name[64];
	const struct config *config = look.config;
	struct session_limits limits = setup_limits(config);
	limits.rate_per_s = 0;
	limits.max_session_ms = 0;
	limits.max_sessions_per_user = 0;
	limits.max_subscriptions = (int64_t)look.n_channels;
	snprintf(name, sizeof name, "tail:%d", (int)getpid());
	look.catalog = catalog_new();
	look.history = history_new((size_t)config->history_bytes);
	look.database = database_new(&look.loop, config->dsn, (size_t)config->db_connections, QUEUE_MAX);
	if (!look.catalog || !look.history || !look.database) {
		return false;
	}
	struct session_backend backend = database_backend(look.database);
	backend.report_sessions = NULL;
	look.hub = hub_new(look.access, look.catalog, look.history, &limits, &backend);
	if (!look.hub) {
		return false;
	}
	database_attach(look.database, look.hub);
	database_on_head(look.database, on_head, NULL);
	struct tail_settings tail = {.dsn = config->dsn,
	                             .bridge = name,
	                             .version = LIVEFEED_VERSION,
	                             .tick_interval_ms = config->tick_interval_ms,
	                             .looks = true};
	struct tail_events events = {NULL,    on_restart, on_event,    on_advance,
	                             on_live, on_reload,  on_unusable, count_sessions};
	look.tail = tail_new(&look.loop, &tail, &events);
	return look.tail != NULL;
}

static void start_loop(void)
{
	uv_prepare_init(&look.loop, &look.prepare);
	uv_prepare_start(&look.prepare, on_prepare);
	uv_idle_init(&look.loop, &look.busy);
	uv_timer_init(&look.loop, &look.soon);
	uv_timer_init(&look.loop, &look.second);
	uv_timer_start(&look.second, on_second, SECOND_MS, SECOND_MS);
	uv_signal_init(&look.loop, &look.terminate);
	uv_signal_start(&look.terminate, on_signal, SIGTERM);
	uv_signal_init(&look.loop, &look.interrupt);
	uv_signal_start(&look.interrupt, on_signal, SIGINT);
}

/* Turns the loop until its handles are closed, or somebody does not let go of what we write. */
static void run_out(void)
{
	uint64_t end_ns = uv_hrtime() + END_MS * UINT64_C(1000000);
	while (uv_loop_alive(&look.loop) && uv_hrtime() < end_ns) {
		uv_run(&look.loop, UV_RUN_NOWAIT);
		usleep(1000); /* nobody is served any more */
	}
}

static void stop(bool started)
{
	uv_handle_t *handles[] = {(uv_handle_t *)&look.prepare,   (uv_handle_t *)&look.busy,
	                          (uv_handle_t *)&look.soon,      (uv_handle_t *)&look.second,
	                          (uv_handle_t *)&look.terminate, (uv_handle_t *)&look.interrupt};
	for (size_t i = 0; started && i < sizeof handles / sizeof *handles; i++) {
		uv_close(handles[i], NULL);
	}
	if (look.tail) {
		tail_stop(look.tail);
	}
	if (look.database) {
		database_attach(look.database, NULL);
	}
	if (look.session) {
		session_gone(look.session);
	}
	if (look.hub) {
		hub_sweep(look.hub);
		hub_free(look.hub);
	}
	database_free(look.database); /* before the tail: definitions that are being loaded are told of */
	tail_free(look.tail);
	connection_free(look.clerk);
	run_out();
	if (look.writing) {
		_exit(look.code); /* a write that does not end would keep the ordinary end waiting */
	}
	uv_loop_close(&look.loop);
	if (look.history) {
		history_free(look.history);
	}
	if (look.catalog) {
		catalog_free(look.catalog);
	}
	free(look.channels);
	free(look.waiting.bytes);
	free(look.written.bytes);
}

/* Each of the channels once: to subscribe again is to replace, and ends once. */
static bool take_channels(char *const *channels, size_t n)
{
	look.channels = calloc(n, sizeof *look.channels);
	for (size_t i = 0; look.channels && i < n; i++) {
		bool again = false;
		for (size_t j = 0; j < look.n_channels && !again; j++) {
			again = strcmp(look.channels[j], channels[i]) == 0;
		}
		if (!again) {
			look.channels[look.n_channels++] = channels[i];
		}
	}
	return look.channels != NULL;
}

static bool channels_are_text(char *const *channels, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!utf8_is_valid(channels[i], strlen(channels[i]))) {
			return false;
		}
	}
	return true;
}

static bool since_is_good(const char *since)
{
	struct cursor cursor;
	int64_t ms;
	return !since || cursor_parse(since, &cursor) || value_duration(since, SECOND_MS, &ms);
}

int look_run(const struct config *config, struct access *access, char *const *channels, size_t n_channels)
{
	if (!since_is_good(config->tail.since)) {
		fprintf(stderr, "livefeed-bridge: --since: want a cursor such as 6f3a91c2-1042, or a time such as 10min\n");
		return 2;
	}
	if (!channels_are_text(channels, n_channels)) {
		fprintf(stderr, "livefeed-bridge: tail: a channel is no UTF-8\n");
		return 2;
	}
	look = (struct look){.config = config, .access = access};
	look.style.json = config->tail.json || !isatty(STDOUT_FILENO);
	look.style.colour = !look.style.json && terminal_has_colour(stdout);
	if (strcmp(config->log_level, "info") == 0) {
		(void)log_configure("warn", config->log_format); /* who looks on wants to see frames */
	}
	uv_loop_init(&look.loop);
	if (!take_channels(channels, n_channels) || !start_parts()) {
		log_error("out of memory");
		look.code = EXIT_FAILURE;
		stop(false);
		return look.code;
	}
	start_loop();
	tail_start(look.tail);
	uv_run(&look.loop, UV_RUN_DEFAULT);
	stop(true);
	return look.code;
}
