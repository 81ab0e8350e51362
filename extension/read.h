/*-------------------------------------------------------------------------
 *
 * read.h
 *	  Pages of events as SQL rows, for bridges.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_READ_H
#define LIVEFEED_READ_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/tuplestore.h"

/* Default of livefeed.read()'s max_bytes, and what tick_wait() takes. */
#define READ_MAX_BYTES (4 * 1024 * 1024)

/*
 * What tick_wait() returns at most in the transaction that made the tick. Rows
 * are sent before that commits; if a reader that was stopped left them in the
 * socket, the tick lock would be held until it goes on. So they must fit the
 * socket's buffers, even small ones; the rest is read by the next call.
 */
#define READ_TICKED_BYTES (32 * 1024)

/* The result of a set-returning function, filled at once. */
typedef struct ReadResult
{
	Tuplestorestate *store;
	TupleDesc	desc;
} ReadResult;

extern void read_begin(ReadResult *result, FunctionCallInfo fcinfo);

/*
 * Adds the events after after_id, and the mark. At least one event, if there is
 * any, unless strict: then not even one beyond max_bytes. Wants an SPI
 * connection and plan_enter().
 */
extern void read_page(ReadResult *result, int64 after_id, int max, const char *feed, int64 max_bytes, bool strict);

/* Adds a mark; flags besides EVENT_MARK. */
extern void read_mark(ReadResult *result, int flags, int64 id, int64 tick, const char *epoch);

#endif							/* LIVEFEED_READ_H */
