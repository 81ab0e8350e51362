/*
 * main.c - livefeed-bridge: puts the rooms together and runs the loop.
 *
 * A turn of the loop: the database's and the clients' sockets are served, which fills the sessions' outboxes; before
 * the loop sleeps (on_prepare), replays go on, every session with output is flushed once, and closed sessions are
 * freed. Nothing else frees a session, and nothing blocks.
 *
 * SIGTERM, SIGINT: no new connections, not ready; clients are told 1001 over --drain; the end when they are gone. A
 * second one ends at once. SIGHUP: the configuration is read again, whole or not at all.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "access.h"
#include "catalog.h"
#include "check.h"
#include "config.h"
#include "connection.h"
#include "database.h"
#include "doctor.h"
#include "history.h"
#include "listen.h"
#include "log.h"
#include "look.h"
#include "metrics.h"
#include "notify.h"
#include "process.h"
#include "server.h"
#include "session.h"
#include "setup.h"
#include "tail.h"

#define EXIT_USAGE 2
#define SECOND_MS 1000
#define DRAIN_LOOK_MS 50
#define DRAIN_EXTRA_MS 5000 /* for the last clients' answers to our close frames */
#define DATABASE_QUEUE_MAX 20000
#define END_MS 3000 /* for what is still to be closed */

static struct bridge {
	int argc;
	char **argv, **envp;
	uv_loop_t loop;
	struct config *config;
	struct access *access;
	struct catalog *catalog;
	struct history *history;
	struct hub *hub;
	struct database *database;
	struct tail *tail;
	struct server *server;
	struct listeners *listeners, *metrics_listener; /* the second: NULL without --metrics-listen */
	uint64_t caught_up_ms; /* when all that the database was known to have had been read */
	uv_signal_t terminate, interrupt, hangup;
	uv_prepare_t prepare;
	uv_idle_t busy; /* keeps the loop from sleeping while replays can go on */
	uv_timer_t second, watchdog, drain;
	uv_timer_t soon; /* when hub_pump has something to do, if not before */
	uint64_t drain_end_ms;
	bool draining;
	bool failed; /* it ends, and nobody asked it to */
} bridge;

/* ---- the loop */

static void on_busy(uv_idle_t *idle)
{
	(void)idle;
}

static void on_soon(uv_timer_t *timer)
{
	(void)timer; /* that the loop turned is all */
}

static void on_prepare(uv_prepare_t *prepare)
{
	(void)prepare;
	server_set_clock(bridge.server);
	hub_pump(bridge.hub);
	int64_t wait_ms = hub_wait_ms(bridge.hub);
	if (wait_ms >= 0) {
		uv_timer_start(&bridge.soon, on_soon, (uint64_t)wait_ms, 0);
	}
	server_flush(bridge.server);
	if (hub_busy(bridge.hub)) {
		uv_idle_start(&bridge.busy, on_busy);
	} else {
		uv_idle_stop(&bridge.busy);
	}
	hub_sweep(bridge.hub);
}

/* ---- what is measured */

static bool is_caught_up(void)
{
	return tail_is_live(bridge.tail) && metrics.tail_head >= metrics.database_head;
}

static void note_caught_up(void)
{
	if (is_caught_up()) {
		bridge.caught_up_ms = uv_now(&bridge.loop);
	}
}

/* The deliveries of a page of events were written just now. */
static void note_written(void)
{
	struct timespec now;
	if (metrics_delivering()) {
		clock_gettime(CLOCK_REALTIME, &now);
		metrics_flushed((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	}
}

static void measure(void *arg)
{
	(void)arg;
	process_measure();
	metrics.history_bytes = history_bytes(bridge.history);
	metrics.history_events = history_end(bridge.history) - history_first(bridge.history);
	metrics.queries_waiting = database_waiting(bridge.database);
	metrics.database_live = tail_is_live(bridge.tail);
	metrics.ticker = tail_is_ticker(bridge.tail);
	if (metrics.database_head < metrics.tail_head) {
		metrics.database_head = metrics.tail_head; /* it was asked before that tick was made */
	}
	metrics.tail_lag_us = is_caught_up() ? 0 : (int64_t)(uv_now(&bridge.loop) - bridge.caught_up_ms) * 1000;
}

static void on_second(uv_timer_t *timer)
{
	(void)timer;
	server_set_clock(bridge.server);
	hub_check_deadlines(bridge.hub);
	note_caught_up();
	log_tell_dropped();
}

static void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	notify_send("WATCHDOG=1");
}

/* ---- the stream */

static void on_restart(void *arg, const char *epoch, int64_t head, const char *reason)
{
	(void)arg;
	hub_restart(bridge.hub, epoch, head, reason);
}

static void on_event(void *arg, struct event *event)
{
	(void)arg;
	if ((event->flags & EVENT_CONTROL) && !event_is_transient_lost(event)) {
		hub_control(bridge.hub, event);
	} else {
		hub_event(bridge.hub, event);
	}
}

static void on_advance(void *arg, int64_t head, bool whole)
{
	(void)arg;
	hub_advance(bridge.hub, head);
	if (whole) {
		hub_whole(bridge.hub);
	}
	server_flush(bridge.server); /* before anything else is asked of the database */
	note_written();
	note_caught_up();
}

static void on_live(void *arg, bool live, const char *why)
{
	(void)arg;
	if (live) {
		log_info("serving: connected to the database");
		notify_send("STATUS=serving");
	} else {
		log_warn("not serving until the database is back: %s", why);
		notify_send("STATUS=waiting for the database");
		database_doubt(bridge.database);
	}
	hub_live(bridge.hub, live);
}

static void on_loaded(void *arg, bool ok)
{
	(void)arg;
	tail_definitions_loaded(bridge.tail, ok);
}

static void on_reload(void *arg)
{
	(void)arg;
	database_load_definitions(bridge.database, bridge.catalog, bridge.access, on_loaded, NULL);
}

static void begin_drain(const char *why);

static void on_unusable(void *arg, const char *why, bool for_good)
{
	(void)arg;
	log_error("the database cannot be served: %s", why);
	notify_send("STATUS=the database cannot be served");
	if (for_good && !bridge.draining) {
		bridge.failed = true;
		begin_drain("giving up");
	}
}

static uint64_t count_sessions(void *arg)
{
	(void)arg;
	return hub_sessions(bridge.hub);
}

static void on_head(void *arg, int64_t head)
{
	(void)arg;
	tail_read_to(bridge.tail, head);
}

static const char *not_ready(void *arg)
{
	(void)arg;
	if (!tail_is_live(bridge.tail)) {
		return "waiting for the database";
	}
	return catalog_is_loaded(bridge.catalog) ? NULL : "definitions are not loaded yet";
}

/* ---- signals */

static void on_drain(uv_timer_t *timer)
{
	(void)timer;
	if (hub_sessions(bridge.hub) == 0 || uv_now(&bridge.loop) >= bridge.drain_end_ms) {
		uv_stop(&bridge.loop);
	}
}

static void begin_drain(const char *why)
{
	log_info("%s: closing %zu sessions", why, hub_sessions(bridge.hub));
	notify_send("STOPPING=1");
	bridge.draining = true;
	bridge.drain_end_ms = uv_now(&bridge.loop) + (uint64_t)bridge.config->drain_ms + DRAIN_EXTRA_MS;
	listen_close(bridge.listeners);
	bridge.listeners = NULL;
	server_drain(bridge.server);
	hub_drain(bridge.hub, bridge.config->drain_ms);
	uv_timer_start(&bridge.drain, on_drain, 0, DRAIN_LOOK_MS);
}

static void on_terminate(uv_signal_t *handle, int number)
{
	(void)handle;
	if (bridge.draining) {
		uv_stop(&bridge.loop);
	} else {
		begin_drain(number == SIGTERM ? "SIGTERM" : "SIGINT");
	}
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const struct list *a, const struct list *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		if (!same(a->items[i], b->items[i])) {
			return false;
		}
	}
	return a->n == b->n;
}

/* Settings that are used once, at start. */
static void name_fixed_settings(const struct config *old, const struct config *new)
{
	const struct {
		const char *name;
		bool same;
	} fixed[] = {
		{"dsn", same(old->dsn, new->dsn)},
		{"listen", same_list(&old->listen, &new->listen)},
		{"metrics-listen", same(old->metrics_listen, new->metrics_listen)},
		{"tick-interval", old->tick_interval_ms == new->tick_interval_ms},
		{"db-connections", old->db_connections == new->db_connections},
		{"max-header", old->max_header_bytes == new->max_header_bytes},
		{"handshake-timeout", old->handshake_timeout_ms == new->handshake_timeout_ms},
		{"tls-cert", !old->tls_cert == !new->tls_cert},
	};
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		if (!fixed[i].same) {
			log_warn("%s changed: that takes effect at the next start", fixed[i].name);
		}
	}
}

static bool reload(void)
{
	enum config_command command;
	int rest;
	char *error = NULL;
	struct config *config = config_load(bridge.argc, bridge.argv, bridge.envp, &command, &rest, &error);
	struct access *trial = config ? access_new() : NULL;
	bool ok = trial && setup_access(trial, config, &error);
	if (ok && !log_configure(config->log_level, config->log_format)) {
		ok = false;
	}
	/* Twice, so that a bad third key file does not leave the first two in force. */
	if (ok && !setup_access(bridge.access, config, &error)) {
		ok = false;
	}
	access_free(trial);
	if (!ok) {
		log_error("the new configuration is refused and the old one stays: %s", error ? error : "out of memory");
		free(error);
		config_free(config);
		return false;
	}
	struct session_limits limits = setup_limits(config);
	name_fixed_settings(bridge.config, config);
	hub_set_limits(bridge.hub, &limits);
	history_limit(bridge.history, (size_t)config->history_bytes);
	server_configure(bridge.server, config);
	hub_definitions_changed(bridge.hub); /* firehose roles may have changed */
	config_free(bridge.config);
	bridge.config = config;
	return true;
}

static void on_hangup(uv_signal_t *handle, int number)
{
	(void)handle, (void)number;
	if (!bridge.draining) {
		notify_reloading();
	}
	if (!reload()) {
		metrics.reloads_refused++;
	} else {
		metrics.reloads++;
		log_info("SIGHUP: configuration and keys were read again");
	}
	if (!bridge.draining) {
		notify_send("READY=1");
	}
}

/* ---- start and end */

static bool start_parts(void)
{
	static char name[320];
	char host[256] = "";
	const struct config *config = bridge.config;
	struct session_limits limits = setup_limits(config);
	gethostname(host, sizeof host - 1);
	snprintf(name, sizeof name, "%s:%d", host, (int)getpid());

	bridge.catalog = catalog_new();
	bridge.history = history_new((size_t)config->history_bytes);
	bridge.database = database_new(&bridge.loop, config->dsn, (size_t)config->db_connections, DATABASE_QUEUE_MAX);
	if (!bridge.catalog || !bridge.history || !bridge.database) {
		return false;
	}
	database_name(bridge.database, name);
	struct session_backend backend = database_backend(bridge.database);
	bridge.hub = hub_new(bridge.access, bridge.catalog, bridge.history, &limits, &backend);
	if (!bridge.hub) {
		return false;
	}
	database_attach(bridge.database, bridge.hub);
	database_on_head(bridge.database, on_head, NULL);

	struct tail_settings tail = {config->dsn, name, LIVEFEED_VERSION, config->tick_interval_ms, false};
	struct tail_events events = {NULL,    on_restart, on_event,    on_advance,
	                             on_live, on_reload,  on_unusable, count_sessions};
	bridge.tail = tail_new(&bridge.loop, &tail, &events);
	struct server_settings server = {&bridge.loop, bridge.hub, bridge.catalog, config, not_ready, measure, NULL};
	bridge.server = bridge.tail ? server_new(&server) : NULL;
	return bridge.server != NULL;
}

static void start_loop(void)
{
	uint64_t watchdog_ms = notify_watchdog_ms();
	uv_prepare_init(&bridge.loop, &bridge.prepare);
	uv_prepare_start(&bridge.prepare, on_prepare);
	uv_idle_init(&bridge.loop, &bridge.busy);
	uv_timer_init(&bridge.loop, &bridge.drain);
	uv_timer_init(&bridge.loop, &bridge.soon);
	uv_timer_init(&bridge.loop, &bridge.second);
	uv_timer_start(&bridge.second, on_second, SECOND_MS, SECOND_MS);
	uv_timer_init(&bridge.loop, &bridge.watchdog);
	if (watchdog_ms > 0) {
		uv_timer_start(&bridge.watchdog, on_watchdog, 0, watchdog_ms);
	}
	uv_signal_init(&bridge.loop, &bridge.terminate);
	uv_signal_start(&bridge.terminate, on_terminate, SIGTERM);
	uv_signal_init(&bridge.loop, &bridge.interrupt);
	uv_signal_start(&bridge.interrupt, on_terminate, SIGINT);
	uv_signal_init(&bridge.loop, &bridge.hangup);
	uv_signal_start(&bridge.hangup, on_hangup, SIGHUP);
}

static void stop_loop(void)
{
	uv_handle_t *handles[] = {
		(uv_handle_t *)&bridge.prepare,   (uv_handle_t *)&bridge.busy,     (uv_handle_t *)&bridge.drain,
		(uv_handle_t *)&bridge.second,    (uv_handle_t *)&bridge.watchdog, (uv_handle_t *)&bridge.terminate,
		(uv_handle_t *)&bridge.interrupt, (uv_handle_t *)&bridge.hangup,   (uv_handle_t *)&bridge.soon};
	/* Without its handlers, one signal more would be the end, and not the exit status of one in order. */
	const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	sigset_t held;
	sigemptyset(&held);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		sigaddset(&held, signals[i]);
	}
	pthread_sigmask(SIG_BLOCK, &held, NULL);
	for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
		uv_close(handles[i], NULL);
	}
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		signal(signals[i], SIG_IGN);
	}
}

/* Runs the loop until done() or, at most, END_MS. */
static void run_until(bool (*done)(void))
{
	uint64_t end_ns = uv_hrtime() + END_MS * UINT64_C(1000000);
	while (!done() && uv_hrtime() < end_ns && uv_run(&bridge.loop, UV_RUN_NOWAIT)) {
		usleep(1000); /* nobody is served any more */
	}
}

static bool tail_done(void)
{
	return tail_is_stopped(bridge.tail);
}

static bool all_done(void)
{
	return !uv_loop_alive(&bridge.loop);
}

static void stop_parts(bool started)
{
	listen_close(bridge.listeners);
	listen_close(bridge.metrics_listener); /* while clients are sent away it still tells */
	if (started) {
		tail_stop(bridge.tail);
		run_until(tail_done);
		stop_loop();
	}
	server_free(bridge.server);
	if (bridge.database) {
		database_attach(bridge.database, NULL);
	}
	if (bridge.hub) {
		hub_sweep(bridge.hub);
		hub_free(bridge.hub);
	}
	database_free(bridge.database); /* before the tail: definitions that are being loaded are told of */
	tail_free(bridge.tail);
	run_until(all_done);
	uv_loop_close(&bridge.loop);
	if (bridge.history) {
		history_free(bridge.history);
	}
	if (bridge.catalog) {
		catalog_free(bridge.catalog);
	}
}

static bool open_metrics_listener(char **error)
{
	struct list address = {&bridge.config->metrics_listen, 1};
	if (!bridge.config->metrics_listen) {
		return true;
	}
	bridge.metrics_listener = listen_open(&bridge.loop, &address, monitor_adopt, bridge.server, error);
	if (bridge.metrics_listener) {
		listen_start(bridge.metrics_listener);
	}
	return bridge.metrics_listener != NULL;
}

static int serve(void)
{
	char *error = NULL;
	setup_open_files(bridge.config);
	uv_loop_init(&bridge.loop);
	if (!start_parts()) {
		log_error("cannot start");
		stop_parts(false);
		return EXIT_FAILURE;
	}
	bridge.listeners = listen_open(&bridge.loop, &bridge.config->listen, server_adopt, bridge.server, &error);
	if (!bridge.listeners || !open_metrics_listener(&error)) {
		log_error("%s", error ? error : "out of memory");
		free(error);
		stop_parts(false);
		return EXIT_FAILURE;
	}
	process_begin();
	bridge.caught_up_ms = uv_now(&bridge.loop);
	start_loop();
	listen_start(bridge.listeners);
	tail_start(bridge.tail);
	notify_send("READY=1\nSTATUS=waiting for the database");
	log_info("livefeed-bridge %s started", LIVEFEED_VERSION);
	uv_run(&bridge.loop, UV_RUN_DEFAULT);
	stop_parts(true);
	log_info("stopped");
	return bridge.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int complain(char *error)
{
	fprintf(stderr, "livefeed-bridge: %s\n", error ? error : "out of memory");
	free(error);
	return EXIT_USAGE;
}

static int run(enum config_command command, char *const *rest, size_t n_rest)
{
	char *error = NULL;
	if (command == COMMAND_PRINT_CONFIG) {
		config_print(bridge.config, stdout);
		return EXIT_SUCCESS;
	}
	if (!log_configure(bridge.config->log_level, bridge.config->log_format)) {
		return complain(strdup("log-level or log-format cannot be used"));
	}
	if (!connection_dsn_is_good(bridge.config->dsn)) {
		return complain(
			strdup("dsn: libpq cannot read it: want NAME=VALUE pairs, or postgresql://USER@HOST:PORT/DATABASE"));
	}
	bridge.access = access_new();
	if (!bridge.access || !setup_access(bridge.access, bridge.config, &error)) {
		return complain(error);
	}
	if (command == COMMAND_TAIL) {
		return look_run(bridge.config, bridge.access, rest, n_rest);
	}
	if (command == COMMAND_DOCTOR) {
		return doctor_run(bridge.config);
	}
	return command == COMMAND_CHECK ? check_run(bridge.config) : serve();
}

int main(int argc, char **argv, char **envp)
{
	enum config_command command = COMMAND_RUN;
	int rest = 0;
	char *error = NULL;
	signal(SIGPIPE, SIG_IGN);
	bridge.argc = argc;
	bridge.argv = argv;
	bridge.envp = envp;
	bridge.config = config_load(argc, argv, envp, &command, &rest, &error);
	if (!bridge.config) {
		return complain(error);
	}
	int code;
	if (command == COMMAND_HELP) {
		config_print_help(stdout, argc, argv);
		code = EXIT_SUCCESS;
	} else if (command == COMMAND_VERSION) {
		printf("livefeed-bridge %s\n", LIVEFEED_VERSION);
		code = EXIT_SUCCESS;
	} else {
		code = run(command, argv + rest, (size_t)(argc - rest));
	}
	if (bridge.access) {
		access_free(bridge.access);
	}
	config_free(bridge.config);
	return code;
}
