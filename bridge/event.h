/*
 * event.h - one event as the bridge holds it: immutable, in one allocation,
 * shared by the history and by those who are replaying it.
 */
#ifndef LIVEFEED_EVENT_H
#define LIVEFEED_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The same numbers as extension/event.h; livefeed.log_version() names the format. */
enum {
	EVENT_TO_UNIT = 0x0001, /* feed:unit:<unit> */
	EVENT_TO_USERS = 0x0002, /* feed:user:<u>, u of to_users, else of users */
	EVENT_TO_ROW = 0x0004, /* feed:row:<key> */
	EVENT_TO_FEED = 0x0008, /* the whole feed */
	EVENT_RESYNC = 0x0010, /* every channel of the feed; body is the reason */
	EVENT_CONTROL = 0x0020, /* for bridges alone; feed is the kind */
	EVENT_DELETED = 0x0040,
	EVENT_UPDATED = 0x0080,
	EVENT_CREATED = 0x0100,
	EVENT_MARK = 0x0200, /* last row of a page: everything up to id was returned */
	EVENT_PRUNED = 0x0400, /* with MARK: ids up to here are gone from the log */
	EVENT_NOT_TICKER = 0x0800, /* with MARK: another backend is the ticker */
	EVENT_MORE = 0x1000 /* with MARK: the page was cut, maybe within a transaction */
};

#define LIVEFEED_LOG_VERSION 1

struct latest;

struct text {
	const char *bytes; /* not NUL-terminated; NULL where the column is NULL */
	size_t len;
};

struct event {
	uint32_t refs;
	uint32_t flags;
	int64_t id;
	int64_t tick;
	uint64_t xid;
	int64_t at_us; /* when the event was made, microseconds since 1970 */
	struct text feed, unit, key, parent_feed, parent_key;
	struct text body; /* JSON object without its closing brace; of a RESYNC the reason, plain */
	const struct text *users;
	const struct text *to_users; /* NULL: as users */
	uint32_t n_users, n_to_users;
	struct latest *latest; /* what may replace it (latest.h); NULL: nothing. Not of a template */
	size_t size; /* of this allocation, bytes, and what it brought along */
};

/* Copies all that the template points to into one new event with one reference. NULL: out of memory. */
struct event *event_new(const struct event *template_event);
/* A control event: transient events are gone that stood before it or in its place. */
bool event_is_transient_lost(const struct event *event);
struct event *event_ref(struct event *event);
void event_unref(struct event *event);

#endif
