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

#endif							/* LIVEFEED_FEED_H */
