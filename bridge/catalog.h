/*
 * catalog.h - what the database defines: feeds, queries, commands, and the application's own paths.
 * Loaded whole and swapped, so that nobody sees half of a change.
 */
#ifndef LIVEFEED_CATALOG_H
#define LIVEFEED_CATALOG_H

#include <stdbool.h>
#include <stddef.h>

#include "event.h"

struct feed {
	char *name;
	bool declared; /* by declare_feed, filled by publish; else a watched table */
	bool has_unit;
	bool has_users;
	bool durable;
	bool latest_only;
	bool transient_children; /* some feed that is not durable has it as parent */
	int n_key_columns; /* 1 for a declared feed; a row channel has as many values */
	char **roles; /* who may subscribe; none: every member of the unit */
	size_t n_roles;
	bool any_user; /* roles is {*}: any signed-in user */
	const struct query *query; /* these are the rules of a query; NULL: of a feed */
};

struct command {
	char *name;
	char **roles; /* one of which must be held, in any unit; none: any signed-in user */
	size_t n_roles;
};

struct query; /* query.h */

struct catalog; /* current definitions */
struct catalog_load; /* definitions being read */

struct catalog *catalog_new(void);
void catalog_free(struct catalog *catalog);

struct catalog_load *catalog_load_begin(void);
/* Copies what it is given. Of two feeds of one name the first counts. False: out of memory. */
bool catalog_load_feed(struct catalog_load *load, const struct feed *feed);
/* Takes the reference, on failure too. */
bool catalog_load_query(struct catalog_load *load, struct query *query);
bool catalog_load_path(struct catalog_load *load, struct text path, const struct text *channels, size_t n_channels);
/* Of livefeed.socketio_event; action without bytes: all. */
bool catalog_load_event_name(struct catalog_load *load, struct text source, struct text action, struct text event);
bool catalog_load_command(struct catalog_load *load, struct text name, const struct text *roles, size_t n_roles);
/* Makes the load current and frees it; pointers to former feeds and paths become invalid. */
void catalog_load_commit(struct catalog *catalog, struct catalog_load *load);
void catalog_load_abort(struct catalog_load *load);

/* NULL: no such feed. Valid until the next commit. */
const struct feed *catalog_feed(const struct catalog *catalog, struct text name);
const struct command *catalog_command(const struct catalog *catalog, struct text name);
struct event_names; /* event_names.h */
const struct event_names *catalog_event_names(const struct catalog *catalog);
struct query *catalog_query(const struct catalog *catalog, struct text name);
/* Of the feed or query of that name: who may subscribe. */
const struct feed *catalog_rules(const struct catalog *catalog, struct text name);
/* The feed whose rule decides over the row of a row channel; NULL: it is gone. */
const struct feed *catalog_row_feed(const struct catalog *catalog, const struct feed *rules);
bool catalog_is_loaded(const struct catalog *catalog);

/* The path of the namespace of Socket.IO "/" or, with that behind it, "/NAME": its channels are those of an exposed path. */
#define CATALOG_NAMESPACE_PATH "/socket.io"

struct principal;
/*
 * The channels of an exposed path such as /ws/orders/{1}/ for this principal: {1}.. are the path's own
 * parts (decoded from the URL, encoded for the channel), {user} the user, {unit} repeats the channel for each unit of the token.
 * Calls each(channel, arg) for every one, at most CATALOG_PATH_CHANNELS_MAX times. False: no such path (a closing slash is optional).
 *
 * path: after the base path, without the query, and still percent-encoded as in the request line. What libwebsockets
 * hands out is decoded already: encode it again (all but unreserved characters and the slash).
 * In a path, {N} stands for one whole part, which is not empty; in a channel, for its value. Of several paths that match, the one
 * with the most fixed parts counts.
 */
#define CATALOG_PATH_CHANNELS_MAX 1000
bool catalog_match_path(const struct catalog *catalog, struct text path, const struct principal *principal,
                        void (*each)(struct text channel, void *arg), void *arg);
/* True if the path is exposed at all: asked at the handshake, before anybody is known. */
bool catalog_has_path(const struct catalog *catalog, struct text path);

#endif
