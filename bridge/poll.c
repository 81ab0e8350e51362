/*
 * poll.c - GET and POST /poll: what there is for some channels after a cursor, as soon as there is something.
 *
 *  1. poll_request  a session for each request (stream_open.c), of GET at once, of POST when its body is here (oneshot.c).
 *  2. poll_write    called by the writer (flush.c): answers once there is something to tell and a cursor that covers it, or when `wait`
 *                   is over. At most ANSWER_MAX_BYTES of frames, and `more` if there is more to get at once. The session is gone then:
 *                   what it had not given comes to the next, which asks with that cursor.
 *  3. poll_look     about once a second: whose time is over.
 *
 * A value says what is, so nobody knows whether the client has it already: where a cursor says that it has been here before,
 * a value alone is not answered before VALUE_HOLD_MS. Else two that poll would go round as fast as they can.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "jsontext.h"
#include "metrics.h"
#include "stream.h"

#define PATH "/poll"
#define ANSWER_MAX_BYTES (512u << 10) /* of frames; one may be larger */
#define BATCH_FRAMES 256
#define VALUE_HOLD_MS 1000
/* Beyond the end of `wait`, for replays and snapshots that are on their way; a session has shorter times of its own. */
#define LATE_MS 20000

struct poll {
	struct poll *prev, *next; /* of all */
	struct client *client;
	struct session *session;
	size_t n_channels;
	struct stream_answers answers; /* its refusal is a reference */
	struct frame **frames; /* to be given, a reference each */
	size_t n_frames, capacity, bytes;
	char cursor[CURSOR_MAX_BYTES]; /* behind them; "": none */
	int64_t value_ms, until_ms;
	bool end; /* the connection cannot be used again */
	bool post;
};

static struct poll *first;

static void wake(struct session *session, void *connection)
{
	struct client *client = connection;
	(void)session;
	flush_mark(lws_context_user(lws_get_context(client->wsi)), client);
}

static const struct session_transport transport = {
	.name = "poll", .wake = wake, .once = true, .rated = true, .merged = true};

static int64_t now_ms(const struct server *server)
{
	return (int64_t)uv_now(server->settings.loop);
}

/* ---- life */

bool poll_owns(const char *path)
{
	return strcmp(path, PATH) == 0;
}

void poll_gone(struct server *server, struct client *client)
{
	struct poll *poll = client->poll;
	if (!poll) {
		return;
	}
	client->poll = NULL;
	flush_unmark(server, client);
	session_gone(poll->session);
	*(poll->prev ? &poll->prev->next : &first) = poll->next;
	if (poll->next) {
		poll->next->prev = poll->prev;
	}
	for (size_t i = 0; i < poll->n_frames; i++) {
		frame_unref(poll->frames[i]);
	}
	free(poll->frames);
	frame_unref(poll->answers.refusal);
	free(poll);
	stream_leave(server, client);
}

static int begin(struct server *server, struct lws *wsi, struct client *client, const struct stream_ask *ask, bool post,
                 bool end)
{
	int code;
	struct poll *poll = calloc(1, sizeof *poll);
	if (!poll) {
		return http_error(wsi, 503, "unavailable", "out of memory", true);
	}
	poll->session = stream_open(server, wsi, client, &transport, ask, end, &code);
	if (!poll->session) {
		free(poll);
		return code;
	}
	poll->client = client;
	poll->n_channels = ask->n_channels;
	poll->end = end;
	poll->post = post;
	poll->until_ms = now_ms(server) + ask->wait_ms;
	poll->value_ms = now_ms(server) + (ask->since ? VALUE_HOLD_MS : 0);
	poll->next = first;
	if (first) {
		first->prev = poll;
	}
	first = poll;
	client->poll = poll;
	if (post) {
		lws_rx_flow_control(wsi, 0); /* libwebsockets would spin on what it does not want yet */
	}
	flush_mark(server, client); /* it may have been answered before it was ours */
	return 0;
}

static int ready(struct server *server, struct lws *wsi, struct client *client, const char *about, struct text body)
{
	struct stream_ask ask;
	const char *error;
	bool end = transport_lacks_length(wsi);
	(void)about;
	oneshot_gone(client);
	stream_ask_begin(&ask);
	int code = stream_ask_body(&ask, body, &error) && stream_ask_check(&ask, &error)
	               ? begin(server, wsi, client, &ask, true, end)
	               : http_error(wsi, 400, "bad_message", error, end);
	stream_ask_end(&ask);
	return code;
}

int poll_request(struct server *server, struct lws *wsi, struct client *client, bool body)
{
	static char token[TOKEN_MAX_BYTES];
	struct stream_ask ask;
	const char *error;
	bool post = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0;
	if (!post && (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0 || body)) {
		return http_error(wsi, body ? 400 : 405, "bad_message", "GET without a body, or POST", true);
	}
	if (post) {
		bool end = body || transport_lacks_length(wsi);
		if (!transport_token(wsi, token, sizeof token)) {
			metrics.auth_failures[METRIC_AUTH_MISSING]++;
			return http_error(wsi, 401, "bad_token", "a token is needed", end);
		}
		memset(token, 0, sizeof token); /* no token stays behind */
		return oneshot_body(server, wsi, client, PATH, ready);
	}
	stream_ask_begin(&ask);
	int code = stream_read_query(wsi, &ask, &error) ? begin(server, wsi, client, &ask, false, false)
	                                                : http_error(wsi, 400, "bad_message", error, false);
	stream_ask_end(&ask);
	return code;
}

/* ---- the answer */

/* What the client is sent of the frame, to be given. False: out of memory. */
static bool keep(struct poll *poll, struct frame *frame)
{
	bool failed;
	struct frame *kept = stream_frame(frame, &failed);
	if (!kept) {
		return !failed;
	}
	if (poll->n_frames == poll->capacity) {
		size_t capacity = poll->capacity * 2 + 8;
		struct frame **frames = realloc(poll->frames, capacity * sizeof *frames);
		if (!frames) {
			frame_unref(kept);
			return false;
		}
		poll->frames = frames;
		poll->capacity = capacity;
	}
	poll->frames[poll->n_frames++] = kept;
	poll->bytes += kept->len;
	return true;
}

static bool is_full(const struct poll *poll)
{
	return poll->bytes >= ANSWER_MAX_BYTES && poll->cursor[0] != '\0';
}

static bool look(struct poll *poll, struct frame *frame)
{
	bool first_error = !poll->answers.refusal;
	stream_look(&poll->answers, frame);
	if (first_error && poll->answers.refusal) {
		frame_ref(frame);
	}
	return keep(poll, frame);
}

/*
 * Takes what the session has, up to what one answer may be: it must not stay in the outbox, where a large snapshot waits until that is
 * empty. False: out of memory.
 */
static bool take(struct poll *poll)
{
	static struct frame *frames[BATCH_FRAMES];
	size_t n = 1;
	while (!is_full(poll) && n > 0) {
		n = session_output(poll->session, frames, BATCH_FRAMES);
		size_t taken = 0;
		bool ok = true;
		while (taken < n && ok && !is_full(poll)) {
			ok = look(poll, frames[taken++]);
			if (!session_cursor(poll->session, taken, poll->cursor)) {
				poll->cursor[0] = '\0';
			}
		}
		session_sent(poll->session, taken);
		if (!ok) {
			return false;
		}
	}
	/* Behind all there is, it may have moved on. */
	if (!is_full(poll) && !session_cursor(poll->session, SIZE_MAX, poll->cursor)) {
		poll->cursor[0] = '\0';
	}
	return true;
}

/* The connection goes on, or is closed (not 0), with this answer. */
static int answer(struct server *server, struct client *client, struct poll *poll)
{
	struct json_out out = {0};
	bool more = session_has_output(poll->session) || !session_caught_up(poll->session);
	bool post = poll->post, end = poll->end || server->draining;
	json_puts(&out, "{\"cursor\":");
	json_put_string(&out, poll->cursor);
	json_puts(&out, ",\"frames\":[");
	for (size_t i = 0; i < poll->n_frames; i++) {
		json_puts(&out, i > 0 ? "," : "");
		json_put(&out, frame_text(poll->frames[i]), poll->frames[i]->len);
	}
	json_puts(&out, more ? "],\"more\":true}\n" : "],\"more\":false}\n");
	metrics.bytes_sent += out.len;
	poll_gone(server, client);
	if (post) {
		lws_rx_flow_control(client->wsi, 1);
	}
	int code = out.failed ? http_error(client->wsi, 503, "unavailable", "out of memory", true)
	                      : http_answer(client->wsi, 200, "application/json", "Cache-Control: no-store\r\n", out.bytes,
	                                    out.len, end);
	free(out.bytes);
	return code;
}

static int refuse(struct server *server, struct client *client, struct poll *poll, int closing)
{
	struct stream_answers answers = poll->answers;
	size_t n_channels = poll->n_channels;
	bool end = poll->end || server->draining, post = poll->post;
	poll->answers.refusal = NULL; /* ours now */
	poll_gone(server, client);
	if (post) {
		lws_rx_flow_control(client->wsi, 1);
	}
	int code = stream_refuse(client->wsi, &answers, n_channels, closing, end);
	frame_unref(answers.refusal);
	return code;
}

int poll_write(struct server *server, struct client *client)
{
	const char *reason;
	struct poll *poll = client->poll;
	int64_t now = now_ms(server);
	bool taken = take(poll), over = now >= poll->until_ms;
	const struct stream_answers *answers = &poll->answers;
	int closing = session_closing(poll->session, &reason);
	bool all = answers->answered >= poll->n_channels;
	if (closing != 0 || (all && stream_is_refused(answers, poll->n_channels))) {
		return refuse(server, client, poll, closing);
	}
	bool something = answers->something || (answers->value && now >= poll->value_ms);
	if (all && poll->cursor[0] && (something || (over && session_caught_up(poll->session)))) {
		return answer(server, client, poll);
	}
	if (!taken || now >= poll->until_ms + LATE_MS) {
		return refuse(server, client, poll, CLOSE_TRY_LATER);
	}
	if (over) {
		flush_mark(server, client); /* whatever happens next may be what it waits for */
	}
	return 0;
}

void poll_look(struct server *server)
{
	int64_t now = now_ms(server);
	for (struct poll *poll = first; poll; poll = poll->next) {
		if (now >= poll->until_ms || now >= poll->value_ms) {
			flush_mark(server, poll->client);
		}
	}
}
