/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  Writes events to the log in the writer's own transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_JOURNAL_H
#define LIVEFEED_JOURNAL_H

#include "postgres.h"

#include "event.h"

/* Writes one event to the current log table. Ask journal_is_full() first. */
extern void journal_write(const LivefeedEvent *event);

/*
 * True if the transaction has reached its limits. Then this event of the feed
 * needs no rendering: one resync of the feed, at the transaction's end, stands
 * for it and all later ones.
 */
extern bool journal_is_full(const char *feed);

/* Writes a resync of a feed now; reason is one of PROTOCOL.md's. */
extern void journal_resync(const char *feed, const char *reason);

/* Has a resync written when the transaction ends, once per feed and reason. */
extern void journal_resync_at_end(const char *feed, const char *reason);

/* Writes a control event, which only bridges read; kind such as "definitions". */
extern void journal_control(const char *kind);

/* True if this transaction has made events, or will when it ends. */
extern bool journal_has_written(void);

/* Registers the transaction callbacks; called once, at load. */
extern void journal_init(void);

#endif							/* LIVEFEED_JOURNAL_H */
