/*
 * engines.h - the Engine.IO connections of Socket.IO: by their ids, in time, and which of them have something to write. engines.c keeps
 * them; socketio.c carries their bytes.
 */
#ifndef LIVEFEED_ENGINES_H
#define LIVEFEED_ENGINES_H

#include "transport.h"

#include "engineio.h"
#include "socketio_link.h"

#define ENGINE_BUCKETS 4096

enum due_list { DUE_HEARTBEAT, DUE_PONG, DUE_NAMESPACE, DUE_LISTS };

struct due {
	struct due *prev, *next;
	struct engine *engine;
	int64_t at_ms;
	uint8_t list;
	bool in;
};

struct engine {
	struct engine *by_sid, *dirty_prev, *dirty_next;
	struct server *server;
	struct engineio io;
	struct socketio_link *link;
	char sid[SOCKETIO_ID_BYTES + 1];
	char *address; /* that it is counted under while polling; NULL: not counted */
	struct client *socket; /* the WebSocket that carries it, or probes */
	struct client *poll; /* a GET that waits */
	struct due heartbeat, namespace;
	bool dirty;
	bool opens, probes, ping, noop; /* packets that are to be written */
	bool over; /* the next poll is told, and that was it */
};

struct engines {
	struct engine *by_sid[ENGINE_BUCKETS];
	struct engine *dirty, *dirty_last; /* with something to write */
	struct due *first[DUE_LISTS], *last[DUE_LISTS];
	uv_timer_t timer;
	int64_t timer_ms; /* set to; 0: not set */
	size_t n;
};

/* The one way in. NULL: out of memory. address: what engines_count gave, and taken; NULL: a WebSocket's, which counts itself. */
struct engine *engine_new(struct server *server, struct lws *wsi, enum engineio_way way, char *address);
/* Ends its namespaces; a WebSocket or a poll that it still has is hung up on. */
void engine_free(struct engine *engine);
/* NULL: there is none. */
struct engine *engine_find(struct server *server, const char *sid);
/* It has something to write, or is to be closed: socketio_flush looks at it. */
void engine_mark(struct engine *engine);
void engine_unmark(struct engine *engine);
/* engineio's due_ms has changed. */
void engine_heartbeat(struct engine *engine);
#ifdef LIVEFEED_ECHO
/* To be looked at 20 ms later. */
void engine_later(struct engine *engine);
#endif
/* Soon, and not from within. */
void engine_hang_up(struct server *server, struct lws *wsi);
/* Counts a polling connection as a WebSocket: its address. NULL: no more of them. */
char *engines_count(struct server *server, struct lws *wsi);
void engine_uncount(struct engine *engine);
/* At the end of a flush: wakes the loop for what is due next. */
void engines_set_timer(struct server *server);
int64_t engines_now_ms(const struct server *server);

#endif
