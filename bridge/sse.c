/*
 * sse.c - GET /events: Server-Sent Events, a session's frames as lines of text on one HTTP answer that does not end.
 *
 *  1. sse_request  opens the session (stream_open.c). Until each channel has been answered, nothing is written: who may have none of
 *                  them gets an HTTP error.
 *  2. sse_write    called by the writer (flush.c), as for WebSockets: head, then each frame as `id: CURSOR` and `data: JSON`. The
 *                  cursor covers all channels up to that frame (session_cursor). Where the last frame had none, an `id:` line of
 *                  its own follows as soon as there is one: so a stream begins with it.
 *  3. sse_look     once a second: who was written nothing for a heartbeat gets an `id:` line alone. What proxies between us would
 *                  take for silence is none, and a peer that is gone is noticed: its kernel confirms nothing for TCP_USER_TIMEOUT.
 *  4. The end: the session closes, and a `closing` frame says why; or the client goes (sse_gone).
 *
 * The answer has no length and ends with its connection: so it passes proxies that speak HTTP/1.0 to us, nginx as it comes.
 */
#include "transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "frame.h"
#include "metrics.h"
#include "stream.h"

#define PATH "/events"
#define BUFFER_BYTES 65536
#define BATCH_FRAMES 256
#define ROUNDS_MAX 32 /* writes to one stream in a turn; then the others come first */
#define RETRY_HINT_MS 2000
/* "id: CURSOR\ndata: " and the lines behind it. */
#define AROUND_BYTES (CURSOR_MAX_BYTES + 32)

struct sse {
	struct sse *prev, *next; /* of all, the one that was written to the longest ago first */
	struct client *client;
	struct session *session;
	size_t n_channels;
	int64_t written_ms;
	bool begun; /* the head is written */
	bool covered; /* the last frame had a cursor */
};

static struct sse *first, *last;

static void wake(struct session *session, void *connection)
{
	struct client *client = connection;
	(void)session;
	flush_mark(lws_context_user(lws_get_context(client->wsi)), client);
}

static const struct session_transport transport = {.name = "sse", .wake = wake, .merged = true, .patient = true};

/* ---- the list */

static void unlink_sse(struct sse *sse)
{
	*(sse->prev ? &sse->prev->next : &first) = sse->next;
	*(sse->next ? &sse->next->prev : &last) = sse->prev;
}

static void link_last(struct sse *sse)
{
	sse->next = NULL;
	sse->prev = last;
	*(last ? &last->next : &first) = sse;
	last = sse;
}

static void written(struct server *server, struct sse *sse)
{
	sse->written_ms = (int64_t)uv_now(server->settings.loop);
	unlink_sse(sse);
	link_last(sse);
}

/* ---- life */

bool sse_owns(const char *path)
{
	return strcmp(path, PATH) == 0;
}

void sse_gone(struct server *server, struct client *client)
{
	struct sse *sse = client->sse;
	if (!sse) {
		return;
	}
	client->sse = NULL;
	flush_unmark(server, client);
	session_gone(sse->session);
	unlink_sse(sse);
	free(sse);
	stream_leave(server, client);
}

int sse_request(struct server *server, struct lws *wsi, struct client *client)
{
	struct stream_ask ask;
	const char *error;
	int code;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
		return http_error(wsi, 405, "bad_message", "a stream is asked for with GET", true);
	}
	stream_ask_begin(&ask);
	if (!stream_read_query(wsi, &ask, &error)) {
		stream_ask_end(&ask);
		return http_error(wsi, 400, "bad_message", error, false);
	}
	stream_read_last_id(wsi, &ask);
	struct sse *sse = calloc(1, sizeof *sse);
	if (!sse) {
		stream_ask_end(&ask);
		return http_error(wsi, 503, "unavailable", "out of memory", true);
	}
	sse->session = stream_open(server, wsi, client, &transport, &ask, false, &code);
	sse->n_channels = ask.n_channels;
	stream_ask_end(&ask);
	if (!sse->session) {
		free(sse);
		return code;
	}
	sse->client = client;
	client->sse = sse;
	link_last(sse);
	written(server, sse);
	flush_mark(server, client); /* it may have been answered before it was ours */
	return 0;
}

/* ---- writing */

static struct {
	unsigned char room[LWS_PRE];
	char bytes[BUFFER_BYTES];
	size_t len;
} out;

static bool write_bytes(struct server *server, struct sse *sse, char *bytes, size_t len)
{
	if (len == 0) {
		return true;
	}
	if (lws_write(sse->client->wsi, (unsigned char *)bytes, len, LWS_WRITE_RAW) < 0) {
		return false;
	}
	metrics.bytes_sent += len;
	written(server, sse);
	return true;
}

/* JSON's line ends, which can only be space, would end the line. */
static void copy_line(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	for (char *at = to; (at = memchr(at, '\n', len - (size_t)(at - to))) != NULL;) {
		*at = ' ';
	}
	for (char *at = to; (at = memchr(at, '\r', len - (size_t)(at - to))) != NULL;) {
		*at = ' ';
	}
}

/* One frame in at most frame->len + AROUND_BYTES; returns how many. cursor: NULL: none. */
static size_t put_frame(char *to, struct frame *frame, const char *cursor)
{
	size_t n = 0;
	if (cursor) {
		n = (size_t)snprintf(to, AROUND_BYTES, "id: %s\n", cursor);
	}
	memcpy(to + n, "data: ", 6);
	n += 6;
	copy_line(to + n, frame_text(frame), frame->len);
	n += frame->len;
	memcpy(to + n, "\n\n", 2);
	return n + 2;
}

/* One that is larger than the buffer. */
static bool write_large(struct server *server, struct sse *sse, struct frame *frame, const char *cursor)
{
	char *bytes = malloc(LWS_PRE + frame->len + AROUND_BYTES);
	if (!bytes) {
		return false;
	}
	bool ok = write_bytes(server, sse, bytes + LWS_PRE, put_frame(bytes + LWS_PRE, frame, cursor));
	free(bytes);
	return ok;
}

/* The first of these frames, in one write. Returns how many; -1: the connection is broken. */
static int write_some(struct server *server, struct sse *sse, struct frame *const *frames, size_t n)
{
	char cursor[CURSOR_MAX_BYTES];
	bool ok = true, failed = false;
	size_t i = 0;
	out.len = 0;
	for (; i < n && ok; i++) {
		struct frame *frame = stream_frame(frames[i], &failed);
		if (!frame) {
			if (failed) {
				return -1;
			}
			continue;
		}
		bool covered = session_cursor(sse->session, i + 1, cursor);
		if (frame->len + AROUND_BYTES > BUFFER_BYTES && out.len == 0) {
			ok = write_large(server, sse, frame, covered ? cursor : NULL);
			sse->covered = covered;
			frame_unref(frame);
			i++;
			break;
		}
		if (out.len + frame->len + AROUND_BYTES > BUFFER_BYTES) {
			frame_unref(frame);
			break;
		}
		out.len += put_frame(out.bytes + out.len, frame, covered ? cursor : NULL);
		sse->covered = covered;
		frame_unref(frame);
	}
	return ok && write_bytes(server, sse, out.bytes, out.len) ? (int)i : -1;
}

static bool write_head(struct server *server, struct sse *sse)
{
	char cors[CORS_MAX_BYTES];
	struct lws *wsi = sse->client->wsi;
	unsigned timeout_ms = (unsigned)(2 * server->settings.config->heartbeat_ms);
	http_cors(wsi, cors);
	int n = snprintf(out.bytes, sizeof out.bytes,
	                 "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
	                 "X-Accel-Buffering: no\r\n%sConnection: close\r\n\r\nretry: %d\n\n",
	                 cors, RETRY_HINT_MS);
	/* No socket of TCP: then its peer cannot be lost without a word. */
	(void)setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
	metrics.http_answers[metrics_status(200)]++;
	sse->begun = true;
	return write_bytes(server, sse, out.bytes, (size_t)n);
}

/* An id: line alone, or where there is no cursor a comment. */
static bool write_id(struct server *server, struct sse *sse)
{
	char cursor[CURSOR_MAX_BYTES];
	sse->covered = session_cursor(sse->session, SIZE_MAX, cursor);
	int n = sse->covered ? snprintf(out.bytes, sizeof out.bytes, "id: %s\n\n", cursor)
	                     : snprintf(out.bytes, sizeof out.bytes, ":\n\n");
	return write_bytes(server, sse, out.bytes, (size_t)n);
}

enum beginning {
	BEGUN,
	NOT_YET, /* or it was refused, and is gone */
	BROKEN /* the connection is to be closed */
};

/* Has every channel been answered? Then the stream begins, or is refused. */
static enum beginning begin(struct server *server, struct sse *sse, int closing)
{
	struct stream_answers answers = {0};
	struct client *client = sse->client;
	struct frame *frame;
	/* All that is there: any number of events may have come before the last answer. */
	for (size_t i = 0; (frame = session_frame(sse->session, i)); i++) {
		stream_look(&answers, frame);
	}
	bool all = answers.answered >= sse->n_channels;
	if (closing == 0 && all && !stream_is_refused(&answers, sse->n_channels)) {
		return write_head(server, sse) ? BEGUN : BROKEN;
	}
	if (closing == 0 && !all) {
		session_listen(sse->session);
		return NOT_YET;
	}
	if (answers.refusal) {
		frame_ref(answers.refusal); /* it is the session's */
	}
	size_t n_channels = sse->n_channels;
	sse_gone(server, client);
	int code = stream_refuse(client->wsi, &answers, n_channels, closing, server->draining);
	frame_unref(answers.refusal);
	return code == 0 ? NOT_YET : BROKEN;
}

static bool write_closing(struct server *server, struct sse *sse, int code, const char *reason)
{
	struct frame *frame = stream_closing(code, reason);
	if (frame) {
		out.len = put_frame(out.bytes, frame, NULL);
		(void)write_bytes(server, sse, out.bytes, out.len);
		frame_unref(frame);
	}
	return false; /* that was it */
}

bool sse_write(struct server *server, struct client *client)
{
	static struct frame *frames[BATCH_FRAMES];
	struct sse *sse = client->sse;
	const char *reason = NULL;
	(void)session_output(sse->session, frames, 0); /* heard */
	int code = session_closing(sse->session, &reason);
	if (!sse->begun) {
		enum beginning beginning = begin(server, sse, code);
		if (beginning != BEGUN) {
			return beginning == NOT_YET;
		}
	}
	if (code != 0) {
		websocket_set_deadline(server, client);
	}
	for (int round = 0; !lws_partial_buffered(client->wsi) && round < ROUNDS_MAX; round++) {
		size_t n = session_output(sse->session, frames, BATCH_FRAMES);
		if (n == 0 && code != 0) {
			return write_closing(server, sse, code, reason);
		}
		if (n == 0) {
			char cursor[CURSOR_MAX_BYTES];
			return sse->covered || !session_cursor(sse->session, 0, cursor) || write_id(server, sse);
		}
		int taken = write_some(server, sse, frames, n);
		if (taken < 0) {
			return false;
		}
		session_sent(sse->session, (size_t)taken);
	}
	lws_callback_on_writable(client->wsi);
	return true;
}

void sse_look(struct server *server)
{
	int64_t now = (int64_t)uv_now(server->settings.loop), heartbeat_ms = server->settings.config->heartbeat_ms;
	struct sse *stop = last;
	while (first && now - first->written_ms >= heartbeat_ms) {
		struct sse *sse = first;
		bool was_last = sse == stop;
		if (!sse->begun || lws_partial_buffered(sse->client->wsi)) {
			written(server, sse); /* there is more than enough to write */
		} else if (!write_id(server, sse)) {
			written(server, sse);
			lws_set_timeout(sse->client->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
		}
		if (was_last) {
			break;
		}
	}
}
