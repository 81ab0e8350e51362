/*
 * database.h - a small pool of connections for what sessions ask: row look-ups, cursor checks, pages of the log,
 * definitions and keys, the authorizer, snapshots, values and commands. Queued by class, bounded, with deadlines.
 */
#ifndef LIVEFEED_DATABASE_H
#define LIVEFEED_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "access.h"
#include "catalog.h"
#include "event.h"
#include "session.h"

struct database;

/* Connections open as they are needed, up to n; idle ones stay. queue_max: requests waiting; beyond it they are answered unavailable. */
struct database *database_new(uv_loop_t *loop, const char *dsn, size_t n_connections, size_t queue_max);
/* bridge: the name under which the tail registers this process; kept as it is. Without one nobody is told of sessions. */
void database_name(struct database *database, const char *bridge);
/* What still waits is answered unavailable, while there is a hub. */
void database_free(struct database *database);
/* The answers to session requests go to this hub (set once, before the first request; NULL: it is gone). */
void database_attach(struct database *database, struct hub *hub);
/* Told of the database's head when a cursor was looked at, before the answer, so that the tail can read up to it. */
void database_on_head(struct database *database, void (*head)(void *arg, int64_t head), void *arg);
/* The tail lost its connection: idle ones of the same server may hang as well, and make way for new ones. */
void database_doubt(struct database *database);
size_t database_waiting(const struct database *database); /* requests without a connection yet */
/* The functions for hub_new. */
struct session_backend database_backend(struct database *database);

/* Reads livefeed.feeds, livefeed.paths and livefeed.keys and puts them into catalog and access; tells the hub; then done(ok). Coalesced. */
void database_load_definitions(struct database *database, struct catalog *catalog, struct access *access,
                               void (*done)(void *arg, bool ok), void *arg);

#endif
