/*
 * websocket.c - the WebSocket transport: handshakes, messages in, closing. Output is flush.c's.
 *
 *  1. websocket_confirm    refuses a handshake, with a status that tells why, while it is still HTTP: wrong path,
 *                          foreign origin, too many connections.
 *  2. websocket_established  opens the session and gives it the token that came with the handshake.
 *  3. websocket_receive    puts fragments together, at most --max-message bytes, and hands whole messages on.
 *  4. The end, one of:
 *     - the session wants to close: flush.c sends what is left, then websocket_close our close frame; the client
 *       answers, or has CLOSE_WAIT_S.
 *     - the client closes: libwebsockets answers for us.
 *     - the connection breaks: websocket_gone, which follows the others too.
 *
 * A close frame is written by hand, because libwebsockets sends none from outside of its receiving path on libuv.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "jsontext.h"
#include "log.h"
#include "metrics.h"
#include "request.h"

#define CLOSE_REASON_MAX_BYTES 123
#define MESSAGE_FIRST_BYTES 1024
/* WebSockets beyond --max-connections that are told so at one time, by a close code that a page can read; more get 503. */
#define REFUSALS_MAX (SPARE_CONNECTIONS / 2)

static void wake(struct session *session, void *connection)
{
	struct client *client = connection;
	(void)session;
	flush_mark(lws_context_user(lws_get_context(client->wsi)), client);
}

static const struct session_transport transport = {.name = "websocket", .wake = wake};

/* ---- the handshake */

/* /ws, or a path that is exposed. */
static bool is_plain(const char *path)
{
	return strcmp(path, "/ws") == 0 || strcmp(path, "/ws/") == 0;
}

/* Namespaces of Socket.IO, which the catalog keeps as paths, are none. */
static bool is_exposed(const struct server *server, const char *path)
{
	return strncmp(path, CATALOG_NAMESPACE_PATH, strlen(CATALOG_NAMESPACE_PATH)) != 0 &&
	       catalog_has_path(server->settings.catalog, (struct text){path, strlen(path)});
}

/*
 * The request's path as the catalog wants it, percent-encoded; from what the client sent: libwebsockets has decoded its own, and a slash
 * in a value could not be told from one that separates.
 */
static bool request_path(const struct server *server, struct lws *wsi, char *to, size_t size)
{
	char path[CHANNEL_NAME_MAX_BYTES * 4], base[CHANNEL_NAME_MAX_BYTES];
	const struct head *request = gate_request(transport_gate(wsi));
	return request && head_canonical_path(request->path, path, sizeof path) &&
	       request_encode_path(server->testing ? "/" : server->settings.config->base_path, base, sizeof base) &&
	       request_path_below(base, (struct text){path, strlen(path)}, to, size);
}

/* 0: go on; 1: refused. In this callback `in` may be freed memory: it is not even passed on. */
int websocket_confirm(struct server *server, struct lws *wsi)
{
	char value[ORIGIN_MAX_BYTES + 1], path[CHANNEL_NAME_MAX_BYTES * 4];
	const char *why = NULL;
	const struct config *config = server->settings.config;
	if (transport_header(wsi, WSI_TOKEN_UPGRADE, value, sizeof value) <= 0 || strcasecmp(value, "websocket") != 0) {
		http_error(wsi, 400, "bad_message", "the only upgrade is to websocket", true);
	} else if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
		http_error(wsi, 405, "bad_message", "a WebSocket begins with GET", true);
	} else if (!transport_origin(server, wsi, value, sizeof value)) {
		http_refuse_origin(wsi, true);
	} else if (monitor_owns(wsi) || !request_path(server, wsi, path, sizeof path) ||
	           (!is_plain(path) && !socketio_owns(path) && !is_exposed(server, path))) {
		http_error(wsi, 404, "unknown_path", "no WebSocket here", true);
	} else if (transport_header(wsi, WSI_TOKEN_VERSION, value, sizeof value) <= 0 || strcmp(value, "13") != 0) {
		http_answer(wsi, 426, "text/plain", "Sec-WebSocket-Version: 13\r\n", "", 0, true);
	} else if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) <= 0 || lws_hdr_total_length(wsi, WSI_TOKEN_HOST) <= 0) {
		http_error(wsi, 400, "bad_message", "Host or Sec-WebSocket-Key is missing", true);
	} else if (socketio_owns(path) && !socketio_confirm(server, wsi, &why)) {
		http_error(wsi, 400, "bad_message", why, true);
	} else if (server->draining) {
		http_error(wsi, 503, "unavailable", "shutting down", true);
	} else if (server->websockets >= (size_t)config->max_connections + REFUSALS_MAX) {
		http_error(wsi, 503, "unavailable", "too many connections", true);
	} else {
		return 0;
	}
	return 1;
}

const char *transport_token(struct lws *wsi, char *buffer, size_t size)
{
	const char *token = NULL;
	if (transport_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, buffer, size) > 0) {
		token = request_authorization_token(buffer);
	}
	if (!token && upgrade_offered(wsi, buffer, size) > 0) {
		token = upgrade_token(buffer);
	}
	if (token) {
		return token;
	}
	return transport_argument(wsi, "token", buffer, size) ? buffer : NULL;
}

int websocket_established(struct server *server, struct lws *wsi, struct client *client)
{
	static char buffer[TOKEN_MAX_BYTES];
	char path[CHANNEL_NAME_MAX_BYTES * 4], flag[8], address[ADDRESS_MAX_BYTES];
	client->wsi = wsi;
	server->websockets++;
	bool known = request_path(server, wsi, path, sizeof path);
	gate_upgraded(transport_gate(wsi));
	if (server->testing) {
		return 0;
	}
	if (!known) {
		return -1;
	}
	transport_client_address(server, wsi, address, sizeof address);
	const char *full = seat_take(server, client, address);
	if (full) {
		return websocket_close(server, client, CLOSE_LIMIT, full) ? 0 : -1;
	}
	server_set_clock(server);
	if (socketio_owns(path)) {
		return socketio_established(server, wsi, client) ? 0 : -1;
	}
	struct session_origin origin = {
		.address = address,
		.path = is_plain(path) ? NULL : path,
		.since = transport_argument(wsi, "since", buffer, sizeof buffer) ? buffer : NULL,
		.snapshot = transport_argument(wsi, "snapshot", flag, sizeof flag) &&
	                (strcmp(flag, "1") == 0 || strcmp(flag, "true") == 0),
	};
	client->session = session_open(server->settings.hub, &transport, client, &origin);
	if (!client->session) {
		return websocket_close(server, client, CLOSE_GOING_AWAY, "shutting down") ? 0 : -1;
	}
	const char *token = transport_token(wsi, buffer, sizeof buffer);
	if (token) {
		session_authenticate(client->session, token, strlen(token));
		memset(buffer, 0, sizeof buffer); /* no token stays behind */
	}
	return 0;
}

/* ---- messages */

/* False: the connection is to be hung up. */
static bool take_message(struct client *client, const char *text, size_t len)
{
	if (client->engine && utf8_is_valid(text, len)) {
		return socketio_receive(client, text, len, false);
	}
	if (client->engine) {
		socketio_refuse(client, CLOSE_NOT_UTF8, "not UTF-8");
	} else if (utf8_is_valid(text, len)) {
		session_receive(client->session, text, len);
	} else {
		session_close(client->session, CLOSE_NOT_UTF8, "not UTF-8");
	}
	return true;
}

static void drop_message(struct client *client)
{
	free(client->message);
	client->message = NULL;
	client->message_len = client->message_size = 0;
}

static bool append(struct client *client, const char *in, size_t len)
{
	size_t needed = client->message_len + len;
	if (needed > client->message_size) {
		size_t size = client->message_size ? client->message_size : MESSAGE_FIRST_BYTES;
		while (size < needed) {
			size *= 2;
		}
		char *bigger = realloc(client->message, size);
		if (!bigger) {
			return false;
		}
		client->message = bigger;
		client->message_size = (uint32_t)size;
	}
	memcpy(client->message + client->message_len, in, len);
	client->message_len = (uint32_t)needed;
	return true;
}

int websocket_receive(struct server *server, struct client *client, const char *in, size_t len)
{
	const char *reason;
	if (!client->engine && (!client->session || session_closing(client->session, &reason) != 0)) {
		return 0; /* over: what else comes does not count */
	}
	server_set_clock(server);
	if (lws_frame_is_binary(client->wsi)) {
		drop_message(client);
		if (client->engine) {
			return lws_is_final_fragment(client->wsi) && !socketio_receive(client, in, len, true) ? -1 : 0;
		}
		session_close(client->session, CLOSE_NOT_TEXT, "text only");
		return 0;
	}
	if (client->message_len + len > (size_t)server->settings.config->max_message_bytes) {
		drop_message(client);
		if (client->engine) {
			socketio_refuse(client, CLOSE_TOO_LARGE, "message too large");
		} else {
			session_close(client->session, CLOSE_TOO_LARGE, "message too large");
		}
		return 0;
	}
	bool last = lws_is_final_fragment(client->wsi);
	if (last && client->message_len == 0) {
		return take_message(client, in ? in : "", len) ? 0 : -1;
	}
	if (len > 0 && !append(client, in, len)) {
		return -1;
	}
	if (last) {
		bool goes_on = take_message(client, client->message, client->message_len);
		drop_message(client);
		return goes_on ? 0 : -1;
	}
	return 0;
}

/* ---- the end */

void websocket_set_deadline(struct server *server, struct client *client)
{
	if (!client->deadline) {
		client->deadline = true;
		server->wake = true;
		lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_WAIT_S);
	}
}

static void end_session(struct client *client)
{
	if (client->session) {
		session_gone(client->session);
		client->session = NULL;
	}
	socketio_gone(client);
	drop_message(client);
}

bool websocket_close(struct server *server, struct client *client, int code, const char *reason)
{
	unsigned char frame[LWS_PRE + 4 + CLOSE_REASON_MAX_BYTES], *at = frame + LWS_PRE;
	size_t len = reason ? strlen(reason) : 0;
	len = len < CLOSE_REASON_MAX_BYTES ? len : CLOSE_REASON_MAX_BYTES;
	at[0] = 0x88; /* final, close */
	at[1] = (unsigned char)(2 + len);
	at[2] = (unsigned char)(code >> 8);
	at[3] = (unsigned char)code;
	if (len > 0) {
		memcpy(at + 4, reason, len); /* before the session, whose reason it is, is gone */
	}
	websocket_set_deadline(server, client);
	client->close_sent = true;
	bool ok = lws_write(client->wsi, at, 4 + len, LWS_WRITE_RAW) >= 0;
	end_session(client);
	return ok;
}

int websocket_peer_closes(struct server *server, struct client *client)
{
	flush_unmark(server, client);
	end_session(client);
	/* An answer to our close frame: that was it. Else libwebsockets answers. */
	bool answered = client->close_sent;
	client->close_sent = true;
	return answered ? -1 : 0;
}

void websocket_gone(struct server *server, struct client *client)
{
	if (client->wsi) {
		flush_unmark(server, client);
		end_session(client);
		seat_leave(server, client);
		client->wsi = NULL;
		server->websockets--;
	}
}
