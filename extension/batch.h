/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Reads events in the order that the ticks made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_BATCH_H
#define LIVEFEED_BATCH_H

#include "postgres.h"

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "epoch.h"

/* Beyond this number of events, durable or transient, a tick stores segments. */
#define BATCH_LARGE_EVENTS 1000

/* A segment closes at either number. */
#define BATCH_SEGMENT_EVENTS 1000
#define BATCH_SEGMENT_TRANSACTIONS 200

/* A row of livefeed.ticks. */
typedef struct BatchTick
{
	int64		tick;
	char		epoch[EPOCH_BYTES];
	Datum		snapshot;		/* pg_snapshot, not toasted */
	int64		id_from;
	int64		id_to;
	int64		id_last;
	TimestampTz at;
	int32		segments;
} BatchTick;

/* The last tick, and what of livefeed.state goes with it. */
typedef struct BatchLast
{
	BatchTick	tick;
	pg_uuid_t	random;
	int64		kept;
	int64		kept_tick;
	int			tick_current;
} BatchLast;

/* Ranges lo <= xid < hi of transactions, each with a tag; for plans. */
typedef struct BatchRanges
{
	int			n;
	int			room;
	Datum	   *tag;			/* integer */
	Datum	   *lo;				/* xid8 */
	Datum	   *hi;
} BatchRanges;

/* The columns that a sink gets, after n (the first of plan.c's). */
enum
{
	EVENT_N, EVENT_XID, EVENT_SEQ, EVENT_COMMAND_ID, EVENT_AT, EVENT_FLAGS, EVENT_FEED, EVENT_UNIT,
	EVENT_USERS, EVENT_USERS_TO, EVENT_KEY, EVENT_PARENT_FEED, EVENT_PARENT_KEY, EVENT_FRAME,
	EVENT_COLUMNS
};

/* Takes one event; false: full, this one was not taken. */
typedef bool (*BatchSink) (void *arg, int64 id, int64 tick, Datum *values, bool *nulls);

typedef struct BatchWalk
{
	int64		after_id;
	int64		want;			/* about as many events as the sink will take */
	BatchSink	sink;
	void		(*restart) (void *arg); /* forget what was taken: the walk begins anew */
	void	   *arg;
	/* what came of it */
	int64		id;				/* all events up to here were given to the sink */
	int64		tick;			/* the tick that holds that id */
	char		epoch[EPOCH_BYTES];
	bool		pruned;			/* after_id is no longer kept; id is what is */
} BatchWalk;

/* All of these want an SPI connection and plan_enter(). */

/* The last tick, under the active snapshot. */
extern void batch_last(BatchLast *last);

/* Adds the transactions that snapshot "after" sees and "before" does not. */
extern void batch_ranges(BatchRanges *ranges, int tag, Datum before, Datum after);

/* Arrays of what batch_ranges() collected, for a plan. */
extern Datum batch_xids(Datum *xids, int n);

/*
 * Gives the sink the events after after_id, in order, until it is full, a
 * bounded number was read, the epoch ends or there are no more.
 */
extern void batch_walk(BatchWalk *walk);

#endif							/* LIVEFEED_BATCH_H */
