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

/*
 * Writes one event to the current log table. Beyond the limits of a
 * transaction it is folded into one resync of its feed instead, at the
 * transaction's end.
 */
extern void journal_write(const LivefeedEvent *event);

/* True if a further event of this feed would only be folded: then there is no need to render it. */
extern bool journal_is_full(const char *feed);

/* Writes a resync of a feed: reason is one of PROTOCOL.md's. */
extern void journal_resync(const char *feed, const char *reason);

/* Writes a control event, which only bridges read; kind such as "definitions". */
extern void journal_control(const char *kind);

/* Registers the transaction callbacks; called once, at load. */
extern void journal_init(void);

#endif							/* LIVEFEED_JOURNAL_H */
