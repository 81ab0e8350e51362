/*
 * history.h - the events that the bridge has read most recently, in the one
 * order, for resume without a query. Bounded in bytes; of one epoch at a time.
 *
 * A position is an absolute index that stays valid while events are appended
 * and evicted, so a replay holds a position and nothing else.
 */
#ifndef LIVEFEED_HISTORY_H
#define LIVEFEED_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct history;
struct history *history_new(size_t max_bytes);
void history_free(struct history *history);
void history_limit(struct history *history, size_t max_bytes);

/* Forgets everything and begins at head in this epoch: at start, and when the database's history changed. */
void history_begin(struct history *history, const char *epoch, int64_t head);
/*
 * Takes a reference. Ids must grow; the head moves to this one. Evicts the oldest beyond the limit, never the one
 * appended. False: out of memory, nothing was changed (the hub then begins anew behind the event).
 */
bool history_append(struct history *history, struct event *event);
/* Everything up to head was appended. */
void history_advance(struct history *history, int64_t head);

const char *history_epoch(const struct history *history); /* "" before the first begin */
int64_t history_head(const struct history *history);
/* A cursor with an id from here on can be resumed from memory. */
int64_t history_floor(const struct history *history);

/* The position of the first event with an id above after_id. */
uint64_t history_seek(const struct history *history, int64_t after_id);
/* NULL: at the end (position == history_end) or evicted (position < history_first). */
struct event *history_at(const struct history *history, uint64_t position);

/*
 * A walk over the events behind after_id, to where the history ends now, that stops at those which may go to a channel with this mask:
 * a filter that looks at no event (false alarms happen, misses do not). Resyncs of every feed pass it, control events never do.
 * It costs rough nanoseconds, so that a turn of the loop stays short, and does not outlive the turn.
 */
struct history_walk {
	const struct history *history;
	uint64_t position; /* behind the event that it has come to */
	uint64_t end;
	uint64_t mask;
};
struct history_walk history_walk(const struct history *history, int64_t after_id, uint64_t mask);
/*
 * The event that it comes to next; *after_id becomes that of the last one passed over. NULL: there is none (the walk is at its end),
 * or the budget is spent.
 */
struct event *history_step(struct history_walk *walk, int64_t *after_id, int64_t *budget_ns);
bool history_walked(const struct history_walk *walk); /* is it at its end? */
/* What stands for an event's channels: it may go to a channel only if all bits of that channel's mask are set. */
uint64_t history_filter(const struct event *event);
/* The mask of a channel, from its channel_hash. */
uint64_t history_mask(uint64_t channel_hash);
uint64_t history_first(const struct history *history);
uint64_t history_end(const struct history *history);
size_t history_bytes(const struct history *history);

#endif
