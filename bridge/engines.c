/*
 * engines.c - see engines.h.
 *
 * One timer for all. What is due after equal times stands in one list each, in order: pings, pongs, and connections without a namespace.
 * A connection that is polling counts as a WebSocket does, by address and altogether.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "engines.h"
#include "log.h"
#include "metrics.h"
#include "users.h"

int64_t engines_now_ms(const struct server *server)
{
	return (int64_t)uv_now(server->settings.loop);
}

void engine_mark(struct engine *engine)
{
	struct engines *engines = engine->server->engines;
	if (engine->dirty) {
		return;
	}
	engine->dirty = true;
	engine->dirty_next = NULL;
	engine->dirty_prev = engines->dirty_last;
	*(engines->dirty_last ? &engines->dirty_last->dirty_next : &engines->dirty) = engine;
	engines->dirty_last = engine;
}

void engine_unmark(struct engine *engine)
{
	struct engines *engines = engine->server->engines;
	if (!engine->dirty) {
		return;
	}
	engine->dirty = false;
	*(engine->dirty_prev ? &engine->dirty_prev->dirty_next : &engines->dirty) = engine->dirty_next;
	*(engine->dirty_next ? &engine->dirty_next->dirty_prev : &engines->dirty_last) = engine->dirty_prev;
}

void engine_hang_up(struct server *server, struct lws *wsi)
{
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
	server->wake = true;
}

static void wake(void *arg)
{
	engine_mark(arg);
}

/* ---- what is due */

static void due_leave(struct due *due)
{
	struct engines *engines = due->engine->server->engines;
	if (!due->in) {
		return;
	}
	due->in = false;
	*(due->prev ? &due->prev->next : &engines->first[due->list]) = due->next;
	*(due->next ? &due->next->prev : &engines->last[due->list]) = due->prev;
}

static void due_join(struct due *due, enum due_list list, int64_t at_ms)
{
	struct engines *engines = due->engine->server->engines;
	due_leave(due);
	due->in = true;
	due->list = list;
	due->at_ms = at_ms;
	/* At the end, but for those whose time a reload has made longer. */
	struct due *before = engines->last[list];
	while (before && before->at_ms > at_ms) {
		before = before->prev;
	}
	due->prev = before;
	due->next = before ? before->next : engines->first[list];
	*(before ? &before->next : &engines->first[list]) = due;
	*(due->next ? &due->next->prev : &engines->last[list]) = due;
}

/* One without a namespace has a while to ask for one. */
static void namespace_join(struct engine *engine)
{
	int64_t ms = engine->server->settings.config->idle_auth_ms;
	if (ms > 0 && !engine->namespace.in && socketio_link_is_empty(engine->link)) {
		due_join(&engine->namespace, DUE_NAMESPACE, engines_now_ms(engine->server) + ms);
	}
}

void engine_heartbeat(struct engine *engine)
{
	due_join(&engine->heartbeat, engine->io.asked ? DUE_PONG : DUE_HEARTBEAT, engine->io.due_ms);
}

static void on_timer(uv_timer_t *timer);

void engines_set_timer(struct server *server)
{
	struct engines *engines = server->engines;
	int64_t at_ms = INT64_MAX, now = engines_now_ms(server);
	for (int i = 0; i < DUE_LISTS; i++) {
		if (engines->first[i] && engines->first[i]->at_ms < at_ms) {
			at_ms = engines->first[i]->at_ms;
		}
	}
	if (at_ms == INT64_MAX || (engines->timer_ms != 0 && engines->timer_ms <= at_ms)) {
		return; /* it will look, and be set anew */
	}
	engines->timer_ms = at_ms;
	uv_timer_start(&engines->timer, on_timer, (uint64_t)(at_ms > now ? at_ms - now : 0), 0);
}

/* ---- life */

static struct engine **bucket_of(struct engines *engines, const char *sid)
{
	uint32_t hash = 2166136261u;
	for (; *sid; sid++) {
		hash = (hash ^ (unsigned char)*sid) * 16777619u;
	}
	return &engines->by_sid[hash % ENGINE_BUCKETS];
}

struct engine *engine_find(struct server *server, const char *sid)
{
	if (!server->engines) {
		return NULL;
	}
	struct engine *engine = *bucket_of(server->engines, sid);
	while (engine && strcmp(engine->sid, sid) != 0) {
		engine = engine->by_sid;
	}
	return engine;
}

void engine_uncount(struct engine *engine)
{
	if (engine->address) {
		user_counts_remove(engine->server->addresses, engine->address);
		engine->server->websockets--;
		free(engine->address);
		engine->address = NULL;
	}
}

void engine_free(struct engine *engine)
{
	struct engines *engines = engine->server->engines;
	struct engine **link = bucket_of(engines, engine->sid);
	while (*link && *link != engine) {
		link = &(*link)->by_sid;
	}
	if (*link) {
		*link = engine->by_sid;
		engines->n--;
	}
	engine_unmark(engine);
	due_leave(&engine->heartbeat);
	due_leave(&engine->namespace);
	if (engine->socket) {
		engine->socket->engine = NULL;
		engine_hang_up(engine->server, engine->socket->wsi);
	}
	if (engine->poll) {
		engine->poll->engine = NULL;
		engine_hang_up(engine->server, engine->poll->wsi);
	}
	engine_uncount(engine);
	socketio_link_free(engine->link);
	free(engine);
}

static bool engines_begin(struct server *server)
{
	if (server->engines) {
		return true;
	}
	server->engines = calloc(1, sizeof *server->engines);
	if (!server->engines) {
		return false;
	}
	uv_timer_init(server->settings.loop, &server->engines->timer);
	server->engines->timer.data = server;
	return true;
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void socketio_end(struct server *server)
{
	struct engines *engines = server->engines;
	if (!engines) {
		return;
	}
	for (size_t i = 0; i < ENGINE_BUCKETS; i++) {
		while (engines->by_sid[i]) {
			engine_free(engines->by_sid[i]);
		}
	}
	server->engines = NULL;
	engines->timer.data = engines;
	uv_close((uv_handle_t *)&engines->timer, on_timer_closed);
}

void socketio_drain(struct server *server)
{
	for (size_t i = 0; server->engines && i < ENGINE_BUCKETS; i++) {
		for (struct engine *engine = server->engines->by_sid[i]; engine; engine = engine->by_sid) {
			engine_mark(engine);
		}
	}
}

struct engine *engine_new(struct server *server, struct lws *wsi, enum engineio_way way, char *address)
{
	static char buffer[TOKEN_MAX_BYTES];
	char peer[ADDRESS_MAX_BYTES];
	struct engine *engine = engines_begin(server) ? calloc(1, sizeof *engine) : NULL;
	if (!engine) {
		return NULL;
	}
	engine->server = server;
	engine->heartbeat.engine = engine->namespace.engine = engine;
	transport_client_address(server, wsi, peer, sizeof peer);
	struct socketio_link_settings settings = {
		.hub = server->settings.hub,
		.catalog = server->settings.catalog,
		.address = peer,
		.token = transport_token(wsi, buffer, sizeof buffer),
		.wake = wake,
		.arg = engine,
		.max_bad_messages = server->settings.config->max_bad_messages,
	};
#ifdef LIVEFEED_ECHO
	char path[64];
	settings.echoes = transport_path(server, wsi, path, sizeof path) && strcmp(path, "/engine.io/") == 0;
#endif
	engine->link = socketio_link_new(&settings);
	memset(buffer, 0, sizeof buffer); /* no token stays behind */
	if (!engine->link || !socketio_id(engine->sid)) {
		engine_free(engine);
		return NULL;
	}
	engine->address = address;
	struct engine **bucket = bucket_of(server->engines, engine->sid);
	engine->by_sid = *bucket;
	*bucket = engine;
	server->engines->n++;
	engineio_begin(&engine->io, way, server->settings.config->heartbeat_ms, engines_now_ms(server));
	engine_heartbeat(engine);
	namespace_join(engine);
	engine->opens = true;
	engine_mark(engine);
	return engine;
}

#ifdef LIVEFEED_ECHO
void engine_later(struct engine *engine)
{
	due_join(&engine->namespace, DUE_NAMESPACE, engines_now_ms(engine->server) + 20);
}
#endif

static void on_due(struct engine *engine, struct due *due)
{
	if (due->list == DUE_NAMESPACE) {
		due_leave(due);
#ifdef LIVEFEED_ECHO
		socketio_link_ripen(engine->link);
#else
		if (socketio_link_is_empty(engine->link)) {
			socketio_link_close(engine->link, CLOSE_TOKEN, "no namespace in time");
		}
#endif
		engine_mark(engine);
		return;
	}
	switch (engine->over ? ENGINEIO_DEAD : engineio_look(&engine->io, engines_now_ms(engine->server))) {
	case ENGINEIO_PING:
		engine->ping = true;
		namespace_join(engine); /* it may have left all it had */
		engine_mark(engine);
		break;
	case ENGINEIO_DEAD:
		due_leave(due);
		metrics.peers_lost += !engine->over;
		engine->over = true;
		engine->noop = false;
		engine_mark(engine);
		return;
	default:
		break;
	}
	engine_heartbeat(engine);
}

static void on_timer(uv_timer_t *timer)
{
	struct server *server = timer->data;
	server->engines->timer_ms = 0;
	server_set_clock(server);
	for (int i = 0; i < DUE_LISTS; i++) {
		struct due *due;
		while ((due = server->engines->first[i]) != NULL && due->at_ms <= engines_now_ms(server)) {
			on_due(due->engine, due);
		}
	}
	engines_set_timer(server);
}

char *engines_count(struct server *server, struct lws *wsi)
{
	char address[ADDRESS_MAX_BYTES];
	if (server->websockets >= (size_t)server->settings.config->max_connections) {
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS]++;
		log_bounded(LOG_TOPIC_SESSION, NULL, "too many connections: --max-connections is reached");
		return NULL;
	}
	transport_client_address(server, wsi, address, sizeof address);
	char *copy = strdup(address);
	uint32_t n = copy ? user_counts_add(server->addresses, copy) : 0;
	if (n > 0 && n <= (uint64_t)server->settings.config->max_connections_per_address) {
		server->websockets++;
		return copy;
	}
	if (n > 0) {
		struct log_field fields[] = {{"address", address}, {NULL, NULL}};
		user_counts_remove(server->addresses, copy);
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS_PER_ADDRESS]++;
		log_bounded(LOG_TOPIC_SESSION, fields, "too many connections from this address");
	}
	free(copy);
	return NULL;
}
