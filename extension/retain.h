/*-------------------------------------------------------------------------
 *
 * retain.h
 *	  The last event of each key of a declared feed, as the feed's snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_RETAIN_H
#define LIVEFEED_RETAIN_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/timestamp.h"

typedef struct RetainedEvent
{
	const char *feed;
	bool		durable;		/* the feed is */
	const char *key;
	const char *unit;			/* NULL: none */
	ArrayType  *users;			/* text[], NULL: none */
	TimestampTz at;
	const char *data;			/* JSON in UTF-8; NULL: it is deleted */
	int			len;
} RetainedEvent;

/*
 * Keeps the event in place of the key's former one, or, deleted, none. Waits
 * for other transactions that are at the same key: whoever goes on after that
 * must write his event to the log only then.
 */
extern void retain_event(const RetainedEvent *event);

/* Who may see a key: false if nothing is kept of it. In the caller's memory. */
extern bool retain_find(const char *feed, bool durable, const char *key, char **unit, ArrayType **users);

/* What of a feed is kept, newest first. */
typedef enum RetainScope
{
	RETAIN_UNIT,
	RETAIN_USER,
	RETAIN_KEY,
	RETAIN_ALL,
	RETAIN_OPEN,				/* what has neither unit nor users */
} RetainScope;

/*
 * Appends the rows to a JSON array, and their keys to another, up to
 * livefeed.snapshot_rows and end bytes; false if there are more.
 */
extern bool retain_read(const char *feed, bool durable, RetainScope scope, const char *value,
						StringInfo data, StringInfo keys, int end);

#endif							/* LIVEFEED_RETAIN_H */
