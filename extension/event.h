/*-------------------------------------------------------------------------
 *
 * event.h
 *	  What an event is, between the room that makes it (capture, publish) and
 *	  the one that writes it to the log (journal).
 *
 * The flags are part of the log's format: the bridge has the same numbers in
 * bridge/event.h, and livefeed.log_version() names the format.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_EVENT_H
#define LIVEFEED_EVENT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/timestamp.h"

/* Which channels an event goes to. */
#define EVENT_TO_UNIT		0x0001	/* feed:unit:<unit> */
#define EVENT_TO_USERS		0x0002	/* feed:user:<u>, u of to_users, else users */
#define EVENT_TO_ROW		0x0004	/* feed:row:<key> */
#define EVENT_TO_FEED		0x0008	/* the whole feed */
#define EVENT_TO_ALL		0x000F

/* What it is, where it is no ordinary event. */
#define EVENT_RESYNC		0x0010	/* all channels of the feed; frame is the reason */
#define EVENT_CONTROL		0x0020	/* for bridges alone; feed is the kind */

/*
 * A control event in whose place, or before which, there were transient events
 * that are gone. read() makes it up where it misses them.
 */
#define EVENT_KIND_TRANSIENT_LOST "transient_lost"

/* The type of an ordinary event. */
#define EVENT_DELETED		0x0040
#define EVENT_UPDATED		0x0080
#define EVENT_CREATED		0x0100

/* Only in what livefeed.read() and tick_wait() return, never in the log. */
#define EVENT_MARK			0x0200	/* the last row: all up to its id was returned */
#define EVENT_PRUNED		0x0400	/* with MARK: ids up to here are gone */
#define EVENT_NOT_TICKER	0x0800	/* with MARK: another backend is the ticker */
#define EVENT_MORE			0x1000	/* with MARK: the page was cut, maybe within a transaction */

#define LIVEFEED_LOG_VERSION 1

/*
 * One row of the log, less what the journal adds itself (xid, seq).
 * Pointers belong to the caller and need to live only for the call. Text is in
 * the database's encoding; a frame is UTF-8, and its buffer begins with
 * VARHDRSZ spare bytes (frame_begin()), so that it becomes a bytea in place.
 */
typedef struct LivefeedEvent
{
	int			flags;
	CommandId	command;		/* orders events inside their transaction (journal.c) */
	CommandId	next_command;	/* of a row that is new: what came to it after that; else 0 */
	TimestampTz at;				/* the clock when it was made; 0: journal looks */
	const char *feed;
	const char *unit;			/* NULL: none */
	ArrayType  *users;			/* text[], NULL: none */
	ArrayType  *to_users;		/* text[], NULL: as users */
	const char *key;			/* NULL: none */
	const char *parent_feed;	/* with parent_key: goes to parent_feed:row:<parent_key> as well */
	const char *parent_key;
	const char *action;			/* for the NOTIFY payload only */
	bool		transient;		/* of a feed that is not durable */
	StringInfo	frame;			/* NULL: none */
} LivefeedEvent;

#endif							/* LIVEFEED_EVENT_H */
