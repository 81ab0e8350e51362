/*
 * socketio.c - the transport of Socket.IO: Engine.IO connections over polling and WebSockets. What packets mean is said by engineio.c and
 * socketio_link.c; here are requests, frames and answers.
 *
 *  1. A GET without sid, or a WebSocket, opens one: it gets an id that nobody can guess.
 *  2. Polling: a GET waits until there is something, one at a time; a POST brings packets. Both are answered in full.
 *  3. A WebSocket with the id of a polling connection probes, and takes over; a GET that waits is then answered with a noop.
 *  4. Who has something to write is marked (engine_mark), and written to by socketio_flush, once a turn of the loop, outside of libwebsockets'
 *     callbacks, as in flush.c.
 *
 * The connections themselves are engines.c's.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "engines.h"
#include "metrics.h"
#include "users.h"

#define WRITE_BYTES 65536 /* so much is gathered for one write */
#define WRITE_KEEP_BYTES (256u << 10)
#define ROUNDS_MAX 32
#define CLOSE_NORMAL 1000
#define POLL_MAX_BYTES 65536
#define OPEN_MAX_BYTES 256
#define SID_MAX_BYTES 65536 /* more than a head may have */
#define OWN_PATH "/socket.io"

/* ---- packets in */

/* True: goes on. */
static bool take_packet(struct engine *engine, enum engineio_way by, struct text text)
{
	struct text message;
	switch (engineio_take(&engine->io, by, text, engines_now_ms(engine->server), &message)) {
	case ENGINEIO_DELIVER:
		socketio_link_receive(engine->link, message.bytes, message.len);
		break;
	case ENGINEIO_BINARY:
		socketio_link_binary(engine->link);
		break;
	case ENGINEIO_PROBED:
		engine->noop = true;
		engine->probes = true;
		break;
	case ENGINEIO_UPGRADED:
		engine->noop = engine->poll != NULL;
		engine_uncount(engine); /* the WebSocket is, from the beginning */
		break;
	case ENGINEIO_CLOSED:
		engine->noop = true;
		engine->over = true;
		break;
	case ENGINEIO_BROKEN:
		return false;
	default:
		engine_heartbeat(engine);
		break;
	}
	engine_mark(engine);
	return true;
}

/* ---- polling */

bool socketio_owns(const char *path)
{
	return strcmp(path, OWN_PATH) == 0 || strcmp(path, OWN_PATH "/") == 0
#ifdef LIVEFEED_ECHO
	       || strcmp(path, "/engine.io/") == 0
#endif
		;
}

static int refuse(struct lws *wsi, const char *why, bool end)
{
	return http_error(wsi, 400, "bad_message", why, end);
}

/* What is wrong with the protocol or the transport that a request names; NULL: nothing. */
static const char *misfit(struct lws *wsi, const char *transport)
{
	char value[16];
	if (!transport_argument(wsi, "EIO", value, sizeof value) || strcmp(value, "4") != 0) {
		return "EIO is not 4: only Engine.IO 4 is spoken, by socket.io-client 3 and 4";
	}
	if (!transport_argument(wsi, "transport", value, sizeof value) || strcmp(value, transport) != 0) {
		return "transport must be polling or, of a WebSocket, websocket";
	}
	return NULL;
}

/* The id that the request names: one that is too long is nobody's. False: none. */
static bool argument_sid(struct lws *wsi, char to[SOCKETIO_ID_BYTES + 1])
{
	static char sid[SID_MAX_BYTES];
	if (!transport_argument(wsi, "sid", sid, sizeof sid)) {
		return false;
	}
	bool fits = strlen(sid) == SOCKETIO_ID_BYTES;
	memcpy(to, fits ? sid : "", fits ? SOCKETIO_ID_BYTES + 1 : 1);
	return true;
}

static int open_polling(struct server *server, struct lws *wsi, struct client *client)
{
	if (server->draining) {
		return http_error(wsi, 503, "unavailable", "shutting down", true);
	}
	char *address = engines_count(server, wsi);
	if (!address) {
		return http_error(wsi, 429, "too_many_connections", "too many connections", false);
	}
	struct engine *engine = engine_new(server, wsi, ENGINEIO_POLLING, address);
	if (!engine) {
		user_counts_remove(server->addresses, address);
		server->websockets--;
		free(address);
		return http_error(wsi, 503, "unavailable", "out of memory", true);
	}
	engine->poll = client;
	client->engine = engine;
	client->wsi = wsi;
	left_watch(server, wsi);
	return 0;
}

static int answer_poll(struct lws *wsi, const char *body, size_t len, bool end)
{
	return http_answer(wsi, 200, "text/plain; charset=UTF-8", "Cache-Control: no-store\r\n", body, len, end);
}

static int wait_poll(struct engine *engine, struct lws *wsi, struct client *client)
{
	if (engine->poll) { /* two at a time: nobody could say in which order they came */
		struct server *server = engine->server;
		struct lws *other = engine->poll->wsi;
		engine->poll->engine = NULL;
		engine->poll = NULL;
		engine_free(engine);
		if (answer_poll(other, "1", 1, false) != 0) {
			engine_hang_up(server, other);
		}
		return refuse(wsi, "a poll is under way already", false);
	}
	engine->poll = client;
	client->engine = engine;
	client->wsi = wsi;
	/* It may take longer than libwebsockets allows a request; it is answered by the next ping. */
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	left_watch(engine->server, wsi);
	engine_mark(engine);
	return 0;
}

/* The body of a POST is here. */
static int on_post(struct server *server, struct lws *wsi, struct client *client, const char *about, struct text body)
{
	struct engine *engine = engine_find(server, about);
	struct text next, payload = {body.bytes ? body.bytes : "", body.len};
	oneshot_gone(client);
	if (!engine || engine->over || engine->io.way != ENGINEIO_POLLING) {
		return refuse(wsi, "no such connection: it is over, or at another bridge", false);
	}
	server_set_clock(server);
	while (!engine->over && engineio_split(&payload, &next)) {
		if (!utf8_is_valid(next.bytes, next.len) || !take_packet(engine, ENGINEIO_POLLING, next)) {
			metrics.messages_bad++;
			engine_free(engine);
			return refuse(wsi, "no packet of Engine.IO", true);
		}
	}
	return http_answer(wsi, 200, "text/html", "Cache-Control: no-store\r\n", "ok", 2, false);
}

int socketio_request(struct server *server, struct lws *wsi, struct client *client, bool body)
{
	char sid[SOCKETIO_ID_BYTES + 1];
	const char *why = misfit(wsi, "polling");
	bool get = lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0,
		 post = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0;
	/* Without a length, libwebsockets takes a POST for one that goes on. */
	bool end = body || (post && lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0);
	if (why) {
		return refuse(wsi, why, end);
	}
	if (!argument_sid(wsi, sid)) {
		return get && !body ? open_polling(server, wsi, client) : refuse(wsi, "a connection is opened with GET", true);
	}
	struct engine *engine = engine_find(server, sid);
	/* One that its client has closed is still to be told so. */
	if (!engine || (engine->over && !(get && engine->noop)) || engine->io.way != ENGINEIO_POLLING) {
		return refuse(wsi, "no such connection: it is over, or at another bridge", end);
	}
	if (get && !body) {
		return wait_poll(engine, wsi, client);
	}
	return post ? oneshot_body(server, wsi, client, sid, on_post)
	            : refuse(wsi, "polls are GET, packets come by POST", true);
}

/* ---- WebSockets */

bool socketio_confirm(struct server *server, struct lws *wsi, const char **why)
{
	char sid[SOCKETIO_ID_BYTES + 1];
	*why = misfit(wsi, "websocket");
	if (*why) {
		return false;
	}
	if (argument_sid(wsi, sid)) {
		*why = "no such connection: it is over, or at another bridge";
		return engine_find(server, sid) != NULL; /* one that has its WebSocket is closed, which a page can read */
	}
	return true;
}

bool socketio_established(struct server *server, struct lws *wsi, struct client *client)
{
	char sid[SOCKETIO_ID_BYTES + 1];
	struct engine *engine;
	if (argument_sid(wsi, sid)) {
		engine = engine_find(server, sid);
		if (!engine || engine->over || engine->socket || engine->io.way != ENGINEIO_POLLING) {
			return false;
		}
	} else {
		engine = engine_new(server, wsi, ENGINEIO_WEBSOCKET, NULL);
	}
	if (!engine) {
		return false;
	}
	engine->socket = client;
	client->engine = engine;
	return true;
}

bool socketio_receive(struct client *client, const char *text, size_t len, bool binary)
{
	struct engine *engine = client->engine;
	const char *reason;
	if (socketio_link_closing(engine->link, &reason) != 0 || engine->over) {
		return true; /* over: what else comes does not count */
	}
	if (binary) {
		socketio_link_binary(engine->link);
		engine_mark(engine);
		return true;
	}
	bool carries = engine->io.way == ENGINEIO_WEBSOCKET;
	if (take_packet(engine, ENGINEIO_WEBSOCKET, (struct text){text, len})) {
		return true;
	}
	metrics.messages_bad++;
	if (carries) {
		socketio_link_close(engine->link, CLOSE_BAD_MESSAGES, "no packet of Engine.IO");
		engine_mark(engine);
	}
	return carries; /* one that only probes is hung up on */
}

void socketio_refuse(struct client *client, int code, const char *reason)
{
	socketio_link_close(client->engine->link, (enum close_code)code, reason);
	engine_mark(client->engine);
}

void socketio_gone(struct client *client)
{
	struct engine *engine = client->engine;
	if (!engine) {
		return;
	}
	client->engine = NULL;
	if (engine->poll == client) {
		engine->poll = NULL;
		engine_free(engine); /* its client takes a broken poll for the end */
	} else if (engine->io.way == ENGINEIO_WEBSOCKET) {
		engine->socket = NULL;
		engine_free(engine);
	} else {
		engine->socket = NULL;
		engineio_probe_lost(&engine->io);
	}
}

/* ---- output */

/* Gathered here, behind room for libwebsockets. */
static struct json_out gathered, packet;

static void clear(struct json_out *out)
{
	if (out->capacity > WRITE_KEEP_BYTES || out->failed) {
		free(out->bytes);
		*out = (struct json_out){0};
	}
	out->len = 0;
}

/* The header of a text frame, as a server sends it. */
static void put_frame_header(struct json_out *out, size_t len)
{
	unsigned char header[10] = {0x81};
	size_t n = 2;
	if (len < 126) {
		header[1] = (unsigned char)len;
	} else if (len < 65536) {
		header[1] = 126;
		n = 4;
	} else {
		header[1] = 127;
		n = 10;
	}
	for (size_t i = 2; i < n; i++) {
		header[i] = (unsigned char)(len >> (8 * (n - 1 - i)));
	}
	json_put(out, (const char *)header, n);
}

/* The next packet of Engine.IO, into packet. False: there is none. */
static bool next_packet(struct engine *engine)
{
	clear(&packet);
	if (engine->opens) {
		char text[OPEN_MAX_BYTES];
		const struct config *config = engine->server->settings.config;
		int64_t max =
			config->max_body_bytes < config->max_message_bytes ? config->max_body_bytes : config->max_message_bytes;
		engine->opens = false;
		json_put(&packet, text, engineio_open(&engine->io, engine->sid, max, text, sizeof text));
	} else if (engine->ping) {
		engine->ping = false;
		json_puts(&packet, "2");
	} else {
		json_puts(&packet, "4");
		if (!socketio_link_output(engine->link, &packet)) {
#ifdef LIVEFEED_ECHO
			if (socketio_link_is_late(engine->link)) {
				engine_later(engine);
			}
#endif
			return false;
		}
	}
	return true;
}

/* Whether it was closed, or is over; then engine is gone. */
static bool write_poll(struct engine *engine)
{
	const char *reason;
	struct client *client = engine->poll;
	struct server *server = engine->server;
	if (!client) {
		return engine->over && !engine->noop;
	}
	clear(&gathered);
	while (gathered.len < POLL_MAX_BYTES && next_packet(engine)) {
		if (gathered.len > 0) {
			json_put(&gathered, "\x1e", 1);
		}
		json_put(&gathered, packet.bytes, packet.len);
	}
	bool closes = gathered.len < POLL_MAX_BYTES && (engine->over || socketio_link_closing(engine->link, &reason) != 0);
	if (gathered.len == 0 && (engine->noop || (engine->io.probed && !closes))) {
		json_puts(&gathered, "6");
	} else if (closes) {
		engine->over = true;
		json_puts(&gathered, gathered.len > 0 ? "\x1e"
		                                        "1"
		                                      : "1");
	}
	if (gathered.len == 0) {
		return false;
	}
	engine->noop = false;
	engine->poll = NULL;
	client->engine = NULL;
	metrics.bytes_sent += gathered.len;
	if (gathered.failed ||
	    answer_poll(client->wsi, gathered.bytes, gathered.len, server->draining && engine->over) != 0) {
		engine_hang_up(server, client->wsi);
	}
	return engine->over;
}

/* False: the connection is broken. *closed: engine is gone. */
static bool write_socket(struct engine *engine, struct client *client, bool *closed)
{
	static const char room[LWS_PRE];
	const char *reason;
	for (int round = 0; !lws_partial_buffered(client->wsi) && round < ROUNDS_MAX; round++) {
		clear(&gathered);
		json_put(&gathered, room, sizeof room);
		while (gathered.len < WRITE_BYTES && next_packet(engine)) {
			put_frame_header(&gathered, packet.len);
			json_put(&gathered, packet.bytes, packet.len);
		}
		if (gathered.failed || packet.failed) {
			return false;
		}
		if (gathered.len == LWS_PRE) {
			int code = socketio_link_closing(engine->link, &reason);
			code = code == 0 && engine->over ? CLOSE_NORMAL : code;
			*closed = code != 0;
			return code == 0 || websocket_close(engine->server, client, code, reason);
		}
		metrics.bytes_sent += gathered.len - LWS_PRE;
		/* RAW, as in flush.c */
		if (lws_write(client->wsi, (unsigned char *)gathered.bytes + LWS_PRE, gathered.len - LWS_PRE, LWS_WRITE_RAW) <
		    0) {
			return false;
		}
	}
	if (socketio_link_blocked(engine->link)) {
		websocket_set_deadline(engine->server, client); /* it may never take the rest */
	}
	lws_callback_on_writable(client->wsi);
	return true;
}

/* "3probe" to a WebSocket that has not taken over. */
static bool write_probe(struct client *client)
{
	static unsigned char answer[LWS_PRE + 8] = {[LWS_PRE] = 0x81, 6, /* its length */ '3', 'p', 'r', 'o', 'b', 'e'};
	return lws_write(client->wsi, answer + LWS_PRE, 8, LWS_WRITE_RAW) >= 0;
}

/* A poll that waits while a WebSocket carries it already. */
static void release_poll(struct engine *engine)
{
	struct client *client = engine->poll;
	engine->noop = false;
	engine->poll = NULL;
	client->engine = NULL;
	if (answer_poll(client->wsi, "6", 1, false) != 0) {
		engine_hang_up(engine->server, client->wsi);
	}
}

static void flush_engine(struct engine *engine)
{
	struct server *server = engine->server;
	struct client *client = engine->socket;
	bool closed = false;
	if (server->draining && socketio_link_is_empty(engine->link)) {
		socketio_link_close(engine->link, CLOSE_GOING_AWAY, "shutting down");
	}
	if (engine->probes) {
		engine->probes = false;
		if (client && !write_probe(client)) {
			engine_hang_up(server, client->wsi);
			return;
		}
	}
	if (engine->io.way == ENGINEIO_POLLING) {
		if (write_poll(engine)) {
			engine_free(engine);
		}
		return;
	}
	if (engine->poll) {
		release_poll(engine);
	}
	if (client && !client->close_sent && !write_socket(engine, client, &closed)) {
		engine_hang_up(server, client->wsi);
	}
}

void socketio_flush(struct server *server)
{
	struct engines *engines = server->engines;
	if (!engines) {
		return;
	}
	/* Those who are marked while we write come in the next turn. */
	struct engine *stop = engines->dirty_last;
	while (engines->dirty) {
		struct engine *engine = engines->dirty;
		bool was_last = engine == stop;
		engine_unmark(engine);
		flush_engine(engine);
		if (was_last) {
			break;
		}
	}
	engines_set_timer(server);
}

void socketio_writable(struct client *client)
{
	const char *why;
	struct gate *gate = transport_gate(client->wsi);
	if (gate && gate_fault(gate, &why) != 0) {
		socketio_link_close(client->engine->link, (enum close_code)gate_fault(gate, &why), why);
	}
	engine_mark(client->engine);
}
