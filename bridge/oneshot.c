/*
 * oneshot.c - an HTTP request that a session answers: with a session of its own, which is asked one thing and lives until
 * it has answered.
 *
 *  1. oneshot_body     a request that brings a body is taken note of; the body comes in pieces, at most --max-body.
 *  2. oneshot_begin    a session is opened, given the request's token and one message, as a WebSocket would send it. So tokens, rights,
 *                      limits and errors are the session's, the same on all ways in.
 *  3. until it answers, nothing is read from the connection: libwebsockets would spin on what it does not want yet, be it a further
 *                      request or the client's end.
 *  4. oneshot_write    called by the writer (flush.c), since libwebsockets does not tell when a connection can be written to from which
 *                      nothing is read. The first frame that is an answer becomes that of the request; the session is gone.
 *
 * Frames are taken apart as bytes: message_out.c made them, type first. A client that leaves meanwhile is not noticed before the answer
 * is written; a session answers in bounded time.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "log.h"
#include "metrics.h"

#define BODY_FIRST_BYTES 1024
/* All bodies that are being read, of all connections: one more is answered 503. */
#define BODIES_MAX_BYTES (64u << 20)
#define FRAMES_AT_ONCE 16
#define CODE_MAX_BYTES 64

struct oneshot {
	struct lws *wsi;
	struct session *session; /* NULL: its body is not here yet */
	bool end; /* the connection cannot be used again */
	oneshot_ready ready;
	char *about; /* the caller's, for ready */
	char *body;
	size_t len, size;
};

static size_t bodies_bytes;

static struct server *server_of(struct oneshot *oneshot)
{
	return lws_context_user(lws_get_context(oneshot->wsi));
}

static void wake(struct session *session, void *connection)
{
	struct client *client = connection;
	(void)session;
	if (client->oneshot) {
		flush_mark(server_of(client->oneshot), client);
	}
}

static const struct session_transport transport = {.name = "http", .wake = wake, .once = true};

static void let_go_body(struct oneshot *oneshot)
{
	bodies_bytes -= oneshot->size;
	free(oneshot->body);
	oneshot->body = NULL;
	oneshot->len = oneshot->size = 0;
}

void oneshot_gone(struct client *client)
{
	struct oneshot *oneshot = client->oneshot;
	if (!oneshot) {
		return;
	}
	client->oneshot = NULL;
	flush_unmark(server_of(oneshot), client);
	if (oneshot->session) {
		session_gone(oneshot->session);
	}
	let_go_body(oneshot);
	free(oneshot->about);
	free(oneshot);
}

static struct oneshot *oneshot_new(struct client *client, struct lws *wsi)
{
	oneshot_gone(client);
	struct oneshot *oneshot = calloc(1, sizeof *oneshot);
	if (oneshot) {
		oneshot->wsi = wsi;
		oneshot->end = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0 && transport_lacks_length(wsi);
		client->oneshot = oneshot;
		client->wsi = wsi;
	}
	return oneshot;
}

/* ---- 1. the body */

int oneshot_body(struct server *server, struct lws *wsi, struct client *client, const char *about, oneshot_ready ready)
{
	struct oneshot *oneshot = oneshot_new(client, wsi);
	if (oneshot) {
		oneshot->about = strdup(about);
	}
	if (!oneshot || !oneshot->about) {
		oneshot_gone(client);
		return http_error(wsi, 503, "unavailable", "out of memory", true);
	}
	oneshot->ready = ready;
	return gate_request(transport_gate(wsi))->body > 0 ? 0 : oneshot_body_end(server, wsi, client);
}

static bool make_room(struct oneshot *oneshot, size_t needed)
{
	size_t size = oneshot->size ? oneshot->size : BODY_FIRST_BYTES;
	if (needed <= oneshot->size) {
		return true;
	}
	while (size < needed) {
		size *= 2;
	}
	char *bigger = bodies_bytes + size - oneshot->size <= BODIES_MAX_BYTES ? realloc(oneshot->body, size) : NULL;
	if (!bigger) {
		return false;
	}
	bodies_bytes += size - oneshot->size;
	oneshot->body = bigger;
	oneshot->size = size;
	return true;
}

int oneshot_body_part(struct lws *wsi, struct client *client, const char *in, size_t len)
{
	struct oneshot *oneshot = client ? client->oneshot : NULL;
	if (!oneshot || !oneshot->ready) {
		return len > 0 ? -1 : 0; /* of a request whose answer closes, or of none */
	}
	if (len == 0) {
		return 0;
	}
	if (!make_room(oneshot, oneshot->len + len)) {
		oneshot_gone(client);
		log_bounded(LOG_TOPIC_REQUEST, NULL, "no room for more bodies of requests");
		http_error(wsi, 503, "unavailable", "too many requests at once", true);
		return -1;
	}
	memcpy(oneshot->body + oneshot->len, in, len);
	oneshot->len += len;
	return 0;
}

int oneshot_body_end(struct server *server, struct lws *wsi, struct client *client)
{
	struct oneshot *oneshot = client ? client->oneshot : NULL;
	if (!oneshot) {
		return -1;
	}
	if (!oneshot->ready) {
		return 0; /* told a second time, of a body of no bytes */
	}
	oneshot_ready ready = oneshot->ready;
	char *about = oneshot->about, *body = oneshot->body;
	size_t len = oneshot->len;
	oneshot->ready = NULL;
	oneshot->about = oneshot->body = NULL;
	bodies_bytes -= oneshot->size;
	oneshot->len = oneshot->size = 0;
	int code = ready(server, wsi, client, about, (struct text){body, len});
	free(about);
	free(body);
	return code;
}

/* ---- 2. the question */

int oneshot_begin(struct server *server, struct lws *wsi, struct client *client, struct text message)
{
	static char token[TOKEN_MAX_BYTES];
	char address[ADDRESS_MAX_BYTES];
	struct oneshot *oneshot = client->oneshot ? client->oneshot : oneshot_new(client, wsi);
	bool end = oneshot ? oneshot->end : true;
	const char *found = transport_token(wsi, token, sizeof token);
	if (!found) {
		oneshot_gone(client);
		metrics.auth_failures[METRIC_AUTH_MISSING]++;
		return http_error(wsi, 401, "bad_token", "a token is needed", end);
	}
	transport_client_address(server, wsi, address, sizeof address);
	server_set_clock(server);
	struct session_origin origin = {.address = address};
	if (oneshot) {
		oneshot->session = session_open(server->settings.hub, &transport, client, &origin);
	}
	if (!oneshot || !oneshot->session) {
		oneshot_gone(client);
		memset(token, 0, sizeof token);
		return http_error(wsi, 503, "unavailable", server->draining ? "shutting down" : "out of memory", true);
	}
	lws_rx_flow_control(wsi, 0);
	/* The database may take longer than libwebsockets allows a request; the session answers in bounded time. */
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	session_authenticate(oneshot->session, found, strlen(found));
	memset(token, 0, sizeof token); /* no token stays behind */
	session_receive(oneshot->session, message.bytes, message.len);
	return 0;
}

/* ---- 4. the answer */

static bool is_type(struct frame *frame, const char *type)
{
	char begin[64];
	int len = snprintf(begin, sizeof begin, "{\"type\":\"%s\",", type);
	return frame->len > (size_t)len && memcmp(frame_text(frame), begin, (size_t)len) == 0;
}

/* What stands behind the type, up to the closing brace. */
static struct text behind_type(struct frame *frame, const char *type)
{
	size_t skip = strlen("{\"type\":\"\",") + strlen(type);
	return (struct text){frame_text(frame) + skip, frame->len - skip};
}

int http_status(const char *code)
{
	static const struct {
		const char *code;
		int status;
	} statuses[] = {{"bad_message", 400}, {"command_failed", 400}, {"bad_token", 401},    {"forbidden", 403},
	                {"too_large", 413},   {"rate_limited", 429},   {"query_failed", 503}, {"unavailable", 503}};
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		if (strcmp(statuses[i].code, code) == 0) {
			return statuses[i].status;
		}
	}
	return strncmp(code, "unknown_", 8) == 0 ? 404 : strncmp(code, "too_many_", 9) == 0 ? 429 : 500;
}

/* The code of an error frame. */
static void error_code(struct text error, char code[CODE_MAX_BYTES])
{
	static const char name[] = "\"code\":\"";
	const char *at = memmem(error.bytes, error.len, name, sizeof name - 1);
	size_t n = 0;
	for (at = at ? at + sizeof name - 1 : NULL;
	     at && at < error.bytes + error.len && *at != '"' && n < CODE_MAX_BYTES - 1; at++) {
		code[n++] = *at;
	}
	code[n] = '\0';
}

static int answer_json(struct lws *wsi, int status, const char *before, struct text json, const char *after, bool end)
{
	size_t n = strlen(before), m = strlen(after);
	char *body = malloc(n + json.len + m);
	if (!body) {
		return -1;
	}
	memcpy(body, before, n);
	memcpy(body + n, json.bytes, json.len);
	memcpy(body + n + json.len, after, m);
	int code = http_answer(wsi, status, "application/json", http_error_headers(status), body, n + json.len + m, end);
	free(body);
	return code;
}

/* The answer of that frame; -2: it is none. */
int oneshot_answer_frame(struct lws *wsi, struct frame *frame, bool end)
{
	char code[CODE_MAX_BYTES];
	if (is_type(frame, "result")) {
		return answer_json(wsi, 200, "{", behind_type(frame, "result"), "\n", end);
	}
	if (is_type(frame, "snapshot") || is_type(frame, "value")) {
		return answer_json(wsi, 200, "", (struct text){frame_text(frame), frame->len}, "\n", end);
	}
	if (is_type(frame, "error")) {
		struct text error = behind_type(frame, "error");
		error_code(error, code);
		return answer_json(wsi, http_status(code), "{\"error\":{", error, "}\n", end);
	}
	if (is_type(frame, "unsubscribed")) { /* the right was lost before there was an answer */
		return http_error(wsi, 403, "forbidden", "this channel is not yours", end);
	}
	return -2;
}

/* The session ends and has said nothing that is an answer. */
int oneshot_answer_closed(struct lws *wsi, int code)
{
	if (code == CLOSE_TOKEN) {
		return http_error(wsi, 401, "bad_token", "the token does not count any more", true);
	}
	if (code == CLOSE_DISCONNECTED) {
		return http_error(wsi, 403, "forbidden", "disconnected", true);
	}
	if (code == CLOSE_LIMIT) {
		return http_error(wsi, 429, "rate_limited", "too many requests", true);
	}
	return http_error(wsi, 503, "unavailable", code == CLOSE_GOING_AWAY ? "shutting down" : "try again later", true);
}

int oneshot_write(struct server *server, struct lws *wsi, struct client *client)
{
	struct oneshot *oneshot = client ? client->oneshot : NULL;
	struct frame *frames[FRAMES_AT_ONCE], *found = NULL;
	const char *reason;
	size_t n;
	if (!oneshot || !oneshot->session) {
		return 0;
	}
	while (!found && (n = session_output(oneshot->session, frames, FRAMES_AT_ONCE)) > 0) {
		size_t i = 0;
		for (; i < n && !found; i++) {
			bool answers = is_type(frames[i], "result") || is_type(frames[i], "error") ||
			               is_type(frames[i], "snapshot") || is_type(frames[i], "value") ||
			               is_type(frames[i], "unsubscribed");
			found = answers ? frame_ref(frames[i]) : NULL;
		}
		session_sent(oneshot->session, i);
	}
	int closing = session_closing(oneshot->session, &reason);
	if (!found && closing == 0) {
		return 0;
	}
	bool end = oneshot->end || server->draining;
	oneshot_gone(client);
	lws_rx_flow_control(wsi, 1);
	if (!found) {
		return oneshot_answer_closed(wsi, closing);
	}
	int code = oneshot_answer_frame(wsi, found, end);
	frame_unref(found);
	return code < 0 ? -1 : code;
}
