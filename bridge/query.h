/*
 * query.h - what an exposed query is: which scope it has, whose events touch it, how often it runs. Immutable and
 * reference-counted: it may be in use when the definitions that it came with are gone.
 */
#ifndef LIVEFEED_QUERY_H
#define LIVEFEED_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog.h"
#include "channel.h"

struct query {
	uint32_t refs;
	char *name;
	enum scope scope; /* SCOPE_FEED: of all */
	char **feeds; /* whose events touch it */
	uint64_t *feed_hashes;
	size_t n_feeds;
	char *access_feed; /* of SCOPE_ROW: whose row's rule applies; else NULL */
	char *function; /* for whether it is still the same */
	int64_t debounce_ms, refresh_ms; /* refresh: 0 none */
	struct feed rules; /* who may subscribe, as if it were a feed that has this scope alone */
};

struct query_template { /* what a query is made of: copied */
	struct text name, scope, access_feed, function;
	const struct text *feeds, *roles;
	size_t n_feeds, n_roles;
	int64_t debounce_ms, refresh_ms;
};

/* NULL: out of memory, or a scope that is none. */
struct query *query_new(const struct query_template *from);
struct query *query_ref(struct query *query);
void query_unref(struct query *query);
/* Is a value of the one also a value of the other? */
bool query_same(const struct query *a, const struct query *b);
/* Is there such a channel of this feed, or query? */
bool rules_have(const struct feed *rules, const struct channel_name *name);
uint64_t query_feed_hash(struct text feed);
bool query_reads(const struct query *query, struct text feed, uint64_t hash);

#endif
