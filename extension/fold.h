/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  What the journal keeps of a transaction until its end: how much it has
 *	  written, which feeds need a resync, which bells to ring.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_FOLD_H
#define LIVEFEED_FOLD_H

#include "postgres.h"

#include "event.h"

/* Counts an event; the size is what it adds to the log. */
extern void fold_count(int64 bytes);

/* True if the limits of a transaction are reached. */
extern bool fold_is_full(void);

/* Remembers that the feed needs a resync of that reason at the end. */
extern void fold_add_resync(const char *feed, const char *reason);

/*
 * True if such a resync was the last thing the transaction wrote, so that
 * another one would say nothing new. fold_note_resync() says it was.
 */
extern bool fold_just_resynced(const char *feed, const char *reason);
extern void fold_note_resync(const char *feed, const char *reason);

/* Remembers a bell to ring at commit. */
extern void fold_add_bell(const LivefeedEvent *event);

/* Are there remembered resyncs? */
extern bool fold_has_resyncs(void);

/* Hands the remembered resyncs to a callback, and forgets them. */
extern void fold_each_resync(void (*write) (const char *feed, const char *reason));

/* Sends the remembered bells. */
extern void fold_ring(void);

/* A savepoint ended: its share is kept, or given back. */
extern void fold_end_subtransaction(int level, bool commit);

/* The transaction ended. */
extern void fold_reset(void);

#endif							/* LIVEFEED_FOLD_H */
