/*-------------------------------------------------------------------------
 *
 * feed.h
 *	  Declared feeds: those that livefeed.publish() fills.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_FEED_H
#define LIVEFEED_FEED_H

#include "postgres.h"

/* True if there is such a declared feed; then *entity is its entity, palloc'd. */
extern bool feed_is_declared(const char *feed, char **entity);

/* What the journal needs to know of any feed. */
typedef struct FeedFacts
{
	bool		durable;
	char	   *parent_feed;	/* NULL: none */
} FeedFacts;

/* Of a feed that nobody knows: durable, and without parent. Not for the fast path. */
extern void feed_look_up(const char *feed, FeedFacts *facts);

#endif							/* LIVEFEED_FEED_H */
