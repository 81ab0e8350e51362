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

/* Of a declared feed. */
typedef struct DeclaredFeed
{
	char	   *entity;			/* palloc'd */
	bool		retain;
	bool		durable;
} DeclaredFeed;

/* True if there is such a declared feed. */
extern bool feed_get_declared(const char *feed, DeclaredFeed *declared);

/* True if there is such a declared feed; then *entity is its entity, palloc'd. */
extern bool feed_is_declared(const char *feed, char **entity);

/* The same, with what decides which log its events go to. */
extern bool feed_find_declared(const char *feed, char **entity, bool *durable);

/* What the journal needs to know of any feed. */
typedef struct FeedFacts
{
	bool		durable;
	char	   *parent_feed;	/* NULL: none */
} FeedFacts;

/* Of a feed that nobody knows: durable, and without parent. Not for the fast path. */
extern void feed_look_up(const char *feed, FeedFacts *facts);

#endif							/* LIVEFEED_FEED_H */
