/*
 * flush.c - the writer: from the sessions' outboxes to their sockets, once a turn of the loop.
 *
 * A session that has output is put on a list (flush_mark). Before the loop sleeps, each of them is written to, outside
 * of libwebsockets' writeable callback, with LWS_WRITE_RAW: the frames carry their WebSocket headers already.
 *  - One frame goes out from the bytes that all its receivers share.
 *  - Several are copied into one buffer and go out in one write. The buffer remembers the frames that it was made of,
 *    and so the thousand members of a unit, whose outboxes hold the same frames, cost one copy.
 *  - What the socket does not take, libwebsockets keeps; until that is gone nothing more is written, and the frames
 *    wait, counted, in the outbox. Only then is the writeable callback armed.
 *
 * libwebsockets' manual asks for writes inside the writeable callback. Up to 4.5 nothing depends on that for a plain
 * HTTP/1 upgrade; should it ever, this file is the only one to change, and the end-to-end tests compare the bytes.
 */
#include "transport.h"

#include <string.h>

#include "frame.h"
#include "metrics.h"

#define BUFFER_BYTES 65536
#define BATCH_FRAMES 512
#define ROUNDS_MAX 32 /* writes to one session in a turn; then the others come first */

static struct {
	unsigned char room[LWS_PRE];
	unsigned char bytes[BUFFER_BYTES];
	size_t len;
	struct frame *frames[BATCH_FRAMES]; /* what bytes was made of: a reference each */
	size_t n;
} last;

static void forget(void)
{
	for (size_t i = 0; i < last.n; i++) {
		frame_unref(last.frames[i]);
	}
	last.n = 0;
	last.len = 0;
}

/* How many of the first frames fit into one buffer. At least one. */
static size_t fitting(struct frame *const *frames, size_t n)
{
	size_t bytes = 0, fits = 0, len;
	while (fits < n) {
		frame_wire(frames[fits], &len);
		if (bytes + len > BUFFER_BYTES) {
			break;
		}
		bytes += len;
		fits++;
	}
	return fits > 0 ? fits : 1;
}

static const unsigned char *coalesce(struct frame *const *frames, size_t n, size_t *len)
{
	if (n != last.n || memcmp(frames, last.frames, n * sizeof *frames) != 0) {
		forget();
		for (size_t i = 0; i < n; i++) {
			size_t wire_len;
			const uint8_t *wire = frame_wire(frames[i], &wire_len);
			memcpy(last.bytes + last.len, wire, wire_len);
			last.len += wire_len;
			last.frames[i] = frame_ref(frames[i]);
		}
		last.n = n;
	}
	*len = last.len;
	return last.bytes;
}

/* One write. Returns how many frames it took, -1: the connection is broken. */
static int write_some(struct client *client, struct frame *const *frames, size_t n)
{
	size_t len, k = fitting(frames, n);
	const unsigned char *bytes = k == 1 ? frame_wire(frames[0], &len) : coalesce(frames, k, &len);
	/* RAW writes neither change the bytes nor what stands before them. */
	if (lws_write(client->wsi, (unsigned char *)bytes, len, LWS_WRITE_RAW) < 0) {
		return -1;
	}
	metrics.bytes_sent += len;
	return (int)k;
}

static bool write_client(struct server *server, struct client *client)
{
	static struct frame *frames[BATCH_FRAMES];
	const char *why;
	struct gate *gate = transport_gate(client->wsi);
	if (client->engine) {
		flush_unmark(server, client);
		socketio_writable(client);
		return true;
	}
	if (gate && client->session && gate_fault(gate, &why) != 0) {
		/* What came before the fault has been dealt with by now. */
		session_close(client->session, (enum close_code)gate_fault(gate, &why), why);
	}
	flush_unmark(server, client);
	if (client->oneshot) {
		return oneshot_write(server, client->wsi, client) == 0;
	}
	if (client->poll) {
		return poll_write(server, client) == 0;
	}
	if (client->sse) {
		return sse_write(server, client);
	}
	if (!client->session || client->close_sent) {
		return true;
	}
	/* Heard, even if the socket takes nothing now: the session may wake us again, when it has to close. */
	(void)session_output(client->session, frames, 0);
	const char *reason = NULL;
	int code = session_closing(client->session, &reason);
	if (code != 0) {
		websocket_set_deadline(server, client);
	}
	for (int round = 0; !lws_partial_buffered(client->wsi); round++) {
		size_t n = session_output(client->session, frames, BATCH_FRAMES);
		if (n == 0) {
			return code == 0 || websocket_close(server, client, code, reason);
		}
		if (round == ROUNDS_MAX) {
			break;
		}
		int taken = write_some(client, frames, n);
		if (taken < 0) {
			return false;
		}
		session_sent(client->session, (size_t)taken);
		server_set_clock(server); /* the token may be over before the next write, if the process stood still */
	}
	/* On with it once the socket has taken what it was given. */
	lws_callback_on_writable(client->wsi);
	return true;
}

void flush_mark(struct server *server, struct client *client)
{
	if (client->dirty) {
		return;
	}
	client->dirty = true;
	client->next = NULL;
	client->prev = server->dirty_last;
	*(server->dirty_last ? &server->dirty_last->next : &server->dirty) = client;
	server->dirty_last = client;
}

void flush_unmark(struct server *server, struct client *client)
{
	if (!client->dirty) {
		return;
	}
	client->dirty = false;
	*(client->prev ? &client->prev->next : &server->dirty) = client->next;
	*(client->next ? &client->next->prev : &server->dirty_last) = client->prev;
	client->prev = client->next = NULL;
}

bool flush_client(struct server *server, struct client *client)
{
	server_set_clock(server);
	return write_client(server, client);
}

void flush_all(struct server *server)
{
	server_set_clock(server); /* tokens expire: now, not when the loop last woke */
	/* Those who are marked while we write come in the next turn. */
	struct client *stop = server->dirty_last;
	while (server->dirty) {
		struct client *client = server->dirty;
		bool was_last = client == stop;
		if (!write_client(server, client)) {
			lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
		}
		if (was_last) {
			break;
		}
	}
	forget();
	socketio_flush(server);
	if (server->wake) {
		/* On libuv a deadline that was set from outside is seen only when libwebsockets is woken. */
		server->wake = false;
		lws_cancel_service(server->context);
	}
}
