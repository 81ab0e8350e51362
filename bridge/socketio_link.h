/*
 * socketio_link.h - the namespaces of one connection of Socket.IO: each is a session of the hub. Plain C: packets in, packets out;
 * engineio.h is below it, socketio.c carries both.
 *
 * A namespace is answered (CONNECT) when all channels that it brings are live. From then on its session's frames go out in order, each with
 * the cursor that covers the client once it has it. A session that ends takes the connection along, so that the client comes back; but
 * 4403 is a DISCONNECT, and a token that is refused at once a CONNECT_ERROR: from these it does not return by itself.
 */
#ifndef LIVEFEED_SOCKETIO_LINK_H
#define LIVEFEED_SOCKETIO_LINK_H

#include "catalog.h"
#include "jsontext.h"
#include "session.h"

#define SOCKETIO_NAMESPACES_MAX 32 /* of one connection */

struct socketio_link;

struct socketio_link_settings {
	struct hub *hub;
	const struct catalog *catalog;
	const char *address; /* copied, as is the next */
	const char *token; /* that came with the request; NULL: none */
	/* Some session has output, or is to close; it may only take a note. */
	void (*wake)(void *arg);
	void *arg;
	int64_t max_bad_messages;
#ifdef LIVEFEED_ECHO
	bool echoes; /* whatever it is sent: /engine.io/ */
#endif
};

/* NULL: out of memory. */
struct socketio_link *socketio_link_new(const struct socketio_link_settings *settings);
/* Ends its sessions. */
void socketio_link_free(struct socketio_link *link);
void socketio_link_receive(struct socketio_link *link, const char *text, size_t len);
/* A binary message, or part of one: refused. */
void socketio_link_binary(struct socketio_link *link);
/* Appends the next packet. False: there is none now. */
bool socketio_link_output(struct socketio_link *link, struct json_out *out);
/* Once there is no more output. 0: it goes on, else the code to close the connection with. */
int socketio_link_closing(const struct socketio_link *link, const char **reason);
/* Its output cannot be taken at present. True: it is to be closed, or one of its sessions is, whatever is still to go out. */
bool socketio_link_blocked(struct socketio_link *link);
/* It has no namespace. */
bool socketio_link_is_empty(const struct socketio_link *link);
/* The connection is to be closed, for a reason of its own; static. */
void socketio_link_close(struct socketio_link *link, enum close_code code, const char *reason);

/* 20 characters by chance, for the ids of connections, and a NUL. False: the system gives none. */
#define SOCKETIO_ID_BYTES 20
bool socketio_id(char to[SOCKETIO_ID_BYTES + 1]);

#ifdef LIVEFEED_ECHO
/* socketio_echo.c: for the public test suites. False: not theirs. */
bool socketio_echo(const char *text, size_t len, struct json_out *out, struct json_out *later);
/* The next packet is to be sent a little later; it is now. */
bool socketio_link_is_late(const struct socketio_link *link);
void socketio_link_ripen(struct socketio_link *link);
#endif

#endif
