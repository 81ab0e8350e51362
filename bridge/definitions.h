/*
 * definitions.h - what livefeed.feeds, livefeed.paths, livefeed.keys, livefeed.authority() and livefeed.revocations return,
 * put into the catalog, the keys and the hub. For database.c, which does the asking.
 */
#ifndef LIVEFEED_DEFINITIONS_H
#define LIVEFEED_DEFINITIONS_H

#include <stdbool.h>

#include "access.h"
#include "catalog.h"
#include "connection.h"
#include "session.h"

/* One query each; results binary, to be taken in this order. */
#define DEFINITIONS_FEEDS_SQL                                                                                          \
	"SELECT f.feed, f.declared, f.has_unit, f.has_users, f.durable, f.latest_only, f.key_columns, f.roles, "           \
	"f.feed OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT c.parent_feed FROM livefeed.feeds AS c WHERE NOT c.durable)) "    \
	"FROM livefeed.feeds AS f"
#define DEFINITIONS_QUERIES_SQL                                                                                        \
	"SELECT name, scope, feeds, roles, access_feed, debounce_ms, refresh_ms, function FROM livefeed.queries"
#define DEFINITIONS_PATHS_SQL "SELECT path, channels FROM livefeed.paths"
#define DEFINITIONS_NAMESPACES_SQL "SELECT namespace, channels FROM livefeed.socketio_namespaces"
#define DEFINITIONS_EVENT_NAMES_SQL "SELECT source, action, event FROM livefeed.socketio_events"
#define DEFINITIONS_COMMANDS_SQL "SELECT name, roles FROM livefeed.commands"
#define DEFINITIONS_KEYS_SQL "SELECT kid, secret FROM livefeed.keys"
#define DEFINITIONS_AUTHORITY_SQL "SELECT authorizer, token_max_age_s FROM livefeed.authority()"
#define DEFINITIONS_REVOCATIONS_SQL "SELECT user_id, session, kind, before FROM livefeed.revocations"

/* False: out of memory, or malformed. */
bool definitions_take_feeds(struct catalog_load *load, const PGresult *result);
bool definitions_take_queries(struct catalog_load *load, const PGresult *result);
bool definitions_take_paths(struct catalog_load *load, const PGresult *result);
bool definitions_take_namespaces(struct catalog_load *load, const PGresult *result);
bool definitions_take_event_names(struct catalog_load *load, const PGresult *result);
bool definitions_take_commands(struct catalog_load *load, const PGresult *result);
bool definitions_take_keys(struct access *access, const PGresult *result);
void definitions_take_revocations(struct hub *hub, const PGresult *result);

#endif
