/*
 * engineio.h - Engine.IO, protocol 4: the packets of a connection, and what each of them means in the state that it is in. Plain C, no I/O:
 * socketio.c carries the packets and does what engineio_take says.
 *
 * A connection begins by polling, and may be moved to a WebSocket (probe, answer, upgrade), or begins as one. The server asks
 * (ping) once an interval, and gives up who has not answered (pong) within the time-out. Text only: binary packets are told apart, not taken.
 */
#ifndef LIVEFEED_ENGINEIO_H
#define LIVEFEED_ENGINEIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

#define ENGINEIO_SEPARATOR '\x1e'
#define ENGINEIO_SID_BYTES 20

enum engineio_way { ENGINEIO_POLLING, ENGINEIO_WEBSOCKET };

enum engineio_verdict {
	ENGINEIO_NOTHING, /* to be done */
	ENGINEIO_DELIVER, /* *message is one for Socket.IO */
	ENGINEIO_BINARY, /* refused: a binary message */
	ENGINEIO_PROBED, /* the WebSocket is to be answered "3probe", a poll that waits, with a noop */
	ENGINEIO_UPGRADED, /* from now on the WebSocket carries it; a poll that waits is answered with a noop */
	ENGINEIO_CLOSED, /* the client closes; a poll that waits is answered with a noop */
	ENGINEIO_BROKEN /* no packet, or none that belongs here: the connection (of a probe: the WebSocket) is closed */
};

enum engineio_due { ENGINEIO_IDLE, ENGINEIO_PING, ENGINEIO_DEAD };

struct engineio {
	enum engineio_way way; /* that carries it now */
	bool probed; /* a WebSocket has asked and was answered, and may now take over */
	bool asked; /* a ping is on its way */
	int64_t interval_ms, timeout_ms, due_ms;
};

void engineio_begin(struct engineio *engineio, enum engineio_way way, int64_t heartbeat_ms, int64_t now_ms);
/* A packet that came by that way. */
enum engineio_verdict engineio_take(struct engineio *engineio, enum engineio_way by, struct text packet, int64_t now_ms,
                                    struct text *message);
/* The WebSocket that probed is gone. */
void engineio_probe_lost(struct engineio *engineio);
/* What is due by now: a ping to be sent, or the end. due_ms says when to ask again. */
enum engineio_due engineio_look(struct engineio *engineio, int64_t now_ms);
/* The packet that a connection begins with, of sid; returns its length. */
size_t engineio_open(const struct engineio *engineio, const char *sid, int64_t max_payload, char *to, size_t size);
/* Cuts the next packet off a payload. False: there is none. */
bool engineio_split(struct text *payload, struct text *packet);

#endif
