/*
 * server.h - what talks to clients, as main.c sees it: HTTP and WebSocket over libwebsockets on the one loop.
 * Connections come from listen.c by server_adopt; sessions go to the hub.
 */
#ifndef LIVEFEED_SERVER_H
#define LIVEFEED_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "catalog.h"
#include "config.h"
#include "session.h"

struct server;

struct server_settings {
	uv_loop_t *loop;
	struct hub *hub;
	const struct catalog *catalog;
	const struct config *config; /* not copied: valid until the next server_configure */
	/* Why requests cannot be served now, for /readyz; NULL: they can. */
	const char *(*not_ready)(void *arg);
	void (*measure)(void *arg); /* brings metrics' gauges up to date, before they are shown */
	void *arg;
};

/* NULL: the reason was logged. Runs the loop for a moment, to test itself: nothing else may be on it yet. */
struct server *server_new(const struct server_settings *settings);
/* After a reload: other limits and origins, and certificates read again. */
void server_configure(struct server *server, const struct config *config);
void server_adopt(void *server, int fd); /* as listen.c calls it */
void monitor_adopt(void *server, int fd); /* the same, of --metrics-listen */
/* Sends what the sessions have for their clients; called before the loop sleeps. */
/* Tells the hub what time it is: before what depends on it, since the loop may have slept. */
void server_set_clock(struct server *server);
void server_flush(struct server *server);
/* From now on no new sessions. */
void server_drain(struct server *server);
size_t server_connections(const struct server *server);
/* Closes everything; the loop has to run on until its handles are gone. Frees server. */
void server_free(struct server *server);

#endif
