/*
 * route.h - channel to subscriptions, and back.
 *
 * A hash table of channels (feed, scope, value) that have subscribers; each
 * with an array of subscriptions. Knows nothing of rights or frames.
 */
#ifndef LIVEFEED_ROUTE_H
#define LIVEFEED_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "event.h"

struct route;
struct subscription; /* session.c's */
struct value; /* value.c's */

struct channel { /* exists while somebody subscribes to it */
	struct channel *next; /* in its bucket */
	uint64_t hash;
	struct text name; /* as clients write it */
	struct text feed;
	struct text value; /* plain: unit, user; of SCOPE_ROW the key as events carry it */
	enum scope scope;
	struct subscription **subscriptions;
	uint32_t n, capacity;
	struct subscription *only; /* where subscriptions points while capacity is 1 */
	uint64_t mark; /* the hub's: the last event that this channel was matched for */
	struct value *result; /* the hub's: of a query's channel; else NULL */
};

struct route *route_new(void);
void route_free(struct route *route);
/* Adds subscription to the channel of that name (canonical, parsed). *slot: where it stands in the array. NULL: out of memory. */
struct channel *route_add(struct route *route, const char *name, size_t len, const struct channel_name *parsed,
                          struct subscription *subscription, uint32_t *slot);
/* Removes what stands at slot; returns the subscription that was moved into its place (its slot is now slot), or NULL. Frees an empty channel. */
struct subscription *route_remove(struct route *route, struct channel *channel, uint32_t slot);
/* NULL: nobody subscribes to it. value is plain, as events carry it. */
struct channel *route_find(const struct route *route, struct text feed, enum scope scope, struct text value);
/* Calls each() for every channel of a feed (feed NULL bytes: of all). Not for the fast path. */
void route_each(const struct route *route, struct text feed, void (*each)(struct channel *channel, void *arg),
                void *arg);
size_t route_channels(const struct route *route);

#endif
