/*
 * stream_open.c - what GET /events (sse.c) and /poll (poll.c) begin with: the request's query, a place among the connections that
 * last, a session, its token, and a subscribe for each channel.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "stream.h"

#define ID_MAX_BYTES 64

bool stream_read_query(struct lws *wsi, struct stream_ask *ask, const char **error)
{
	static char argument[65536];
	int len;
	for (int i = 0; (len = lws_hdr_copy_fragment(wsi, argument, sizeof argument, WSI_TOKEN_HTTP_URI_ARGS, i)) >= 0;
	     i++) {
		bool taken = stream_ask_argument(ask, (struct text){argument, (size_t)len}, error);
		memset(argument, 0, (size_t)len); /* no token stays behind */
		if (!taken) {
			return false;
		}
	}
	return stream_ask_check(ask, error);
}

void stream_read_last_id(struct lws *wsi, struct stream_ask *ask)
{
	static const char name[] = "last-event-id:";
	char id[ID_MAX_BYTES];
	int len = lws_hdr_custom_length(wsi, name, sizeof name - 1);
	if (len > 0 && lws_hdr_custom_copy(wsi, id, sizeof id, name, sizeof name - 1) == len) {
		stream_ask_last_id(ask, (struct text){id, (size_t)len});
	}
}

static int refuse(struct server *server, struct lws *wsi, struct client *client, int status, const char *code,
                  const char *message, bool end)
{
	stream_leave(server, client);
	return http_error(wsi, status, code, message, end);
}

static void subscribe(struct session *session, const struct stream_ask *ask)
{
	for (size_t i = 0; i < ask->n_channels; i++) {
		size_t len;
		char *message = stream_ask_message(ask, i, &len);
		if (!message) {
			session_close(session, CLOSE_INTERNAL, "out of memory");
			return;
		}
		session_receive(session, message, len);
		free(message);
	}
}

struct session *stream_open(struct server *server, struct lws *wsi, struct client *client,
                            const struct session_transport *transport, const struct stream_ask *ask, bool end,
                            int *code)
{
	static char token[TOKEN_MAX_BYTES];
	char address[ADDRESS_MAX_BYTES];
	const char *found = transport_token(wsi, token, sizeof token);
	client->wsi = wsi;
	client->streams = true;
	server->streams++;
	if (!found) {
		metrics.auth_failures[METRIC_AUTH_MISSING]++;
		*code = refuse(server, wsi, client, 401, "bad_token", "a token is needed", end);
		return NULL;
	}
	transport_client_address(server, wsi, address, sizeof address);
	const char *full = seat_take(server, client, address);
	if (full) {
		memset(token, 0, sizeof token);
		*code = refuse(server, wsi, client, 429, "rate_limited", full, true);
		return NULL;
	}
	server_set_clock(server);
	struct session_origin origin = {.address = address};
	struct session *session = session_open(server->settings.hub, transport, client, &origin);
	if (!session || ask->failed) {
		if (session) {
			session_gone(session);
		}
		memset(token, 0, sizeof token);
		*code =
			refuse(server, wsi, client, 503, "unavailable", server->draining ? "shutting down" : "out of memory", true);
		return NULL;
	}
	/* What may be long in coming; the session has times of its own. */
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	left_watch(server, wsi);
	session_authenticate(session, found, strlen(found));
	memset(token, 0, sizeof token); /* no token stays behind */
	subscribe(session, ask);
	return session;
}

void stream_leave(struct server *server, struct client *client)
{
	seat_leave(server, client);
	if (client->streams) {
		left_unwatch(client->wsi);
		client->streams = false;
		server->streams--;
	}
}

/* The status where every channel was refused, or one for now. */
static int refused_status(const struct stream_answers *answers, size_t n_channels, int own)
{
	return n_channels == 1 ? own : answers->unavailable ? 503 : 403;
}

int stream_refuse(struct lws *wsi, const struct stream_answers *answers, size_t n_channels, int closing, bool end)
{
	if (closing != 0 && closing != CLOSE_TOKEN) {
		return oneshot_answer_closed(wsi, closing);
	}
	if (!answers->refusal || (closing != 0 && answers->refused > 0)) {
		return oneshot_answer_closed(wsi, CLOSE_TOKEN);
	}
	if (closing == 0 && n_channels > 1) {
		int status = refused_status(answers, n_channels, 0);
		return http_error(
			wsi, status, status == 503 ? "unavailable" : "forbidden",
			status == 503 ? "one of these channels cannot be had at present" : "none of these channels is yours", end);
	}
	bool failed;
	struct frame *frame = stream_frame(answers->refusal, &failed);
	int code = frame ? oneshot_answer_frame(wsi, frame, end || closing != 0) : -1;
	if (frame) {
		frame_unref(frame);
	}
	return code;
}
