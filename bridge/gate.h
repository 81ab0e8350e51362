/*
 * gate.h - every byte that a client sends comes through here before libwebsockets sees it.
 *
 * libwebsockets 4.1 lets things through that it should not (unmasked frames, odd requests), answers others by hanging up or with pages of
 * HTML, and offers no place to look at the bytes. So the bridge defines recv (gate.c) and SSL_read (tls.c) in front of the C library's and
 * OpenSSL's. For a socket that a gate was opened for, they hand on only requests that head.c judged good, whole, and frames that
 * framing.c found no fault with. All other sockets (the database's) are left alone. Plain C but for reading sockets.
 */
#ifndef LIVEFEED_GATE_H
#define LIVEFEED_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "head.h"

struct gate;

struct gate_settings {
	int64_t (*now_ms)(void *arg);
	/* A WebSocket must be closed, gate_fault says why: to be done soon, not from within. */
	void (*faulty)(void *arg, void *connection);
	void *arg;
	uint64_t max_header_bytes, max_body_bytes, max_message_bytes;
	int64_t rate_per_s, burst; /* of control frames and small fragments; rate 0: any */
};
void gate_configure(const struct gate_settings *settings);

/* For a socket that was just accepted. False: out of memory. */
bool gate_open(int fd);
/* connection: what the oldest and faulty are called by. */
void gate_attach(int fd, void *connection);
struct gate *gate_of(int fd); /* NULL: none */
void *gate_connection(const struct gate *gate);
/* With the socket, or before another may have its number. */
void gate_close(int fd);

/* The request that is being answered; NULL: libwebsockets has one that did not come through here. */
const struct head *gate_request(const struct gate *gate);
/* What to answer instead of serving it; NULL: serve it. */
const struct head_fault *gate_refusal(const struct gate *gate);
/* It is answered. False: the connection must be closed, for what came behind the request was not kept. */
bool gate_answered(struct gate *gate);
/* It has become a WebSocket: frames from now on. */
void gate_upgraded(struct gate *gate);
/* 0: none, else the code to close with. */
int gate_fault(const struct gate *gate, const char **reason);

/* Connections whose request is not complete: the oldest of them, or NULL, and since when. */
void *gate_oldest(int64_t *since_ms);
size_t gate_unfinished(void);
/* The connection is being closed: no longer counted among them. */
void gate_forget(struct gate *gate);

/* When a WebSocket's client was last heard. */
int64_t gate_heard_ms(const struct gate *gate);
/* It takes what it is sent, slowly: as good as a word from it. */
void gate_heard(struct gate *gate);
/* For looking at all: the connections that are WebSockets, by file descriptor. */
int gate_files(void); /* all are below this */
void *gate_websocket(int fd); /* its connection, or NULL */

/*
 * Reads, by source: what it returns that is not more than 0 is handed on as it is. Where something came and nothing can be handed on yet,
 * until_dry reads on until source itself says that there is no more; else it is EAGAIN.
 */
typedef ssize_t (*gate_source)(void *arg, void *to, size_t len);
ssize_t gate_read(struct gate *gate, gate_source source, void *arg, void *to, size_t len, bool until_dry);

#endif
