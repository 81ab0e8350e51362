/*
 * seen.h - what a snapshot of the database saw beyond the tick that its cursor names.
 *
 * A snapshot is read by one statement: its rows, the last tick b that it sees, and pg_current_snapshot(). It may see transactions
 * that no tick up to b has: those of tick b + 1, which somebody may just be making, and of b + 2. (Tick b + 3 has nothing of what it
 * saw: a tick shows all that is committed when it is made, and b + 2 is made after the statement began, or b + 1 would be seen.)
 * Events of those are in the rows already. All others of later ticks are not.
 */
#ifndef LIVEFEED_SEEN_H
#define LIVEFEED_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* Ticks after b that may have events of transactions which the snapshot saw. */
#define SEEN_TICKS 2
/* Transactions that were running: PostgreSQL has 2^18 connections at most. */
#define SEEN_RUNNING_MAX ((size_t)1 << 18)

struct seen {
	uint32_t refs;
	int64_t tick; /* b */
	uint64_t xmin, xmax; /* below xmin: all were seen; from xmax on: none; between: all but ... */
	size_t n_running;
	uint64_t running[]; /* ... these, in order */
};

/* text: a pg_snapshot, XMIN:XMAX:XID,XID... NULL: it is none, or out of memory. One reference. */
struct seen *seen_new(struct text text, int64_t tick);
struct seen *seen_ref(struct seen *seen);
void seen_unref(struct seen *seen);
/* Did the snapshot see this transaction, whose events are of that tick? */
bool seen_holds(const struct seen *seen, int64_t tick, uint64_t xid);
/* Events of this tick and later ones were not seen, whatever their transaction. */
bool seen_is_past(const struct seen *seen, int64_t tick);

#endif
