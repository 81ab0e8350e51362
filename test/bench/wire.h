/*
 * wire.h - what the load client says to a server and how it takes frames out of
 * the bytes that come back: WebSocket (livefeed's protocol, or a bare stream),
 * MQTT 3.1.1 and NATS. Pure bytes, no I/O: wsload.c owns the sockets.
 */
#ifndef LIVEFEED_BENCH_WIRE_H
#define LIVEFEED_BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum wire_protocol { WIRE_LIVEFEED, WIRE_BARE, WIRE_MQTT, WIRE_NATS };

enum wire_kind {
	WIRE_MORE,    /* no whole frame here yet */
	WIRE_TEXT,    /* a message: look inside */
	WIRE_OPENED,  /* the server accepted the connection (101, CONNACK, INFO) */
	WIRE_READY,   /* the server accepted the one subscription (SUBACK, PONG) */
	WIRE_PING,    /* answer with wire_pong */
	WIRE_IGNORED, /* a frame without meaning for us */
	WIRE_CLOSED,  /* the server closes; text is its reason */
	WIRE_BROKEN   /* no such protocol */
};

struct wire_frame {
	enum wire_kind kind;
	const char *text; /* of WIRE_TEXT, WIRE_CLOSED, WIRE_PING, WIRE_BROKEN */
	size_t len;
	size_t used; /* bytes of input that this frame took */
	int code;    /* of WIRE_CLOSED */
};

/* The next frame in bytes. opened: the connection was accepted before. */
struct wire_frame wire_next(enum wire_protocol protocol, int opened, const char *bytes, size_t len);

/* What to send first, on connect, and once opened; each returns the length written into out. */
size_t wire_hello(enum wire_protocol protocol, const char *path, char *out, size_t room);
size_t wire_subscribe(enum wire_protocol protocol, const char *topic, char *out, size_t room);
size_t wire_pong(enum wire_protocol protocol, const char *text, size_t len, char *out, size_t room);
/* A masked WebSocket text frame. */
size_t wire_text(const char *text, size_t len, char *out, size_t room);

#endif
