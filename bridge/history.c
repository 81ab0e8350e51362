/*
 * history.c - a ring of recent events, in order of id.
 *
 * Each entry keeps beside the event a 64-bit filter of the channels it goes to (two bits a channel), so that
 * a replay that looks for one unit's events among a hundred thousand reads the ring from one end to the other and touches only
 * those that are likely its own.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

#define HISTORY_FIRST_CAPACITY 256
#define EPOCH_MAX_CHARS 16
#define STEP_COST_NS 2 /* one event passed over */

struct entry {
	struct event *event;
	int64_t id;
	uint64_t filter;
};

struct history {
	struct entry *ring; /* capacity is a power of two */
	uint64_t capacity;
	uint64_t first, end; /* positions; first <= end */
	int64_t floor, head;
	size_t bytes, max_bytes;
	char epoch[EPOCH_MAX_CHARS + 1];
};

struct history *history_new(size_t max_bytes)
{
	struct history *history = calloc(1, sizeof(*history));
	if (history != NULL)
		history->max_bytes = max_bytes;
	return history;
}

static struct entry *entry_at(const struct history *history, uint64_t position)
{
	return &history->ring[position & (history->capacity - 1)];
}

static void evict_oldest(struct history *history)
{
	struct entry *entry = entry_at(history, history->first);
	history->floor = entry->id;
	history->bytes -= entry->event->size + sizeof(*entry);
	event_unref(entry->event);
	history->first++;
}

static void evict_all(struct history *history)
{
	while (history->first < history->end)
		evict_oldest(history);
	free(history->ring);
	history->ring = NULL;
	history->capacity = 0;
}

void history_free(struct history *history)
{
	if (history == NULL)
		return;
	evict_all(history);
	free(history);
}

/* Never the last one: an event is there at least until the next. */
static void evict_beyond_limit(struct history *history)
{
	while (history->bytes > history->max_bytes && history->end - history->first > 1)
		evict_oldest(history);
}

void history_limit(struct history *history, size_t max_bytes)
{
	history->max_bytes = max_bytes;
	evict_beyond_limit(history);
}

void history_begin(struct history *history, const char *epoch, int64_t head)
{
	if (epoch != history->epoch)
		snprintf(history->epoch, sizeof(history->epoch), "%s", epoch);
	evict_all(history);
	history->floor = history->head = head;
}

uint64_t history_mask(uint64_t channel_hash)
{
	return UINT64_C(1) << (channel_hash & 63) | UINT64_C(1) << (channel_hash >> 6 & 63);
}

uint64_t history_filter(const struct event *event)
{
	if (event->flags & EVENT_CONTROL)
		return event_is_transient_lost(event) ? UINT64_MAX : 0;
	if (event->flags & EVENT_RESYNC)
		return UINT64_MAX;
	uint64_t filter = 0;
	if ((event->flags & EVENT_TO_UNIT) && event->unit.bytes != NULL)
		filter |= history_mask(channel_hash(event->feed, SCOPE_UNIT, event->unit));
	if (event->flags & EVENT_TO_USERS) {
		const struct text *users = event->to_users != NULL ? event->to_users : event->users;
		uint32_t n = event->to_users != NULL ? event->n_to_users : event->n_users;
		for (uint32_t i = 0; i < n; i++)
			filter |= history_mask(channel_hash(event->feed, SCOPE_USER, users[i]));
	}
	if ((event->flags & EVENT_TO_ROW) && event->key.bytes != NULL)
		filter |= history_mask(channel_hash(event->feed, SCOPE_ROW, event->key));
	if (event->flags & EVENT_TO_FEED)
		filter |= history_mask(channel_hash(event->feed, SCOPE_FEED, (struct text){NULL, 0}));
	if (event->parent_feed.bytes != NULL && event->parent_key.bytes != NULL)
		filter |= history_mask(channel_hash(event->parent_feed, SCOPE_ROW, event->parent_key));
	return filter;
}

static bool grow(struct history *history)
{
	uint64_t capacity = history->capacity == 0 ? HISTORY_FIRST_CAPACITY : history->capacity * 2;
	struct entry *ring = malloc(capacity * sizeof(*ring));
	if (ring == NULL)
		return false;
	for (uint64_t position = history->first; position < history->end; position++)
		ring[position & (capacity - 1)] = *entry_at(history, position);
	free(history->ring);
	history->ring = ring;
	history->capacity = capacity;
	return true;
}

bool history_append(struct history *history, struct event *event)
{
	size_t size = event->size + sizeof(struct entry);
	while (history->bytes + size > history->max_bytes && history->first < history->end)
		evict_oldest(history);
	if (history->end - history->first == history->capacity && !grow(history))
		return false;
	*entry_at(history, history->end) = (struct entry){event_ref(event), event->id, history_filter(event)};
	history->end++;
	history->bytes += size;
	history->head = event->id;
	return true;
}

void history_advance(struct history *history, int64_t head)
{
	if (head > history->head)
		history->head = head;
}

const char *history_epoch(const struct history *history)
{
	return history->epoch;
}

int64_t history_head(const struct history *history)
{
	return history->head;
}

int64_t history_floor(const struct history *history)
{
	return history->floor;
}

uint64_t history_seek(const struct history *history, int64_t after_id)
{
	uint64_t low = history->first, high = history->end;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (entry_at(history, middle)->id <= after_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct event *history_at(const struct history *history, uint64_t position)
{
	if (position < history->first || position >= history->end)
		return NULL;
	return entry_at(history, position)->event;
}

struct history_walk history_walk(const struct history *history, int64_t after_id, uint64_t mask)
{
	return (struct history_walk){history, history_seek(history, after_id), history->end, mask};
}

struct event *history_step(struct history_walk *walk, int64_t *after_id, int64_t *budget_ns)
{
	uint64_t first = walk->position, position = first;
	uint64_t slice = *budget_ns > 0 ? (uint64_t)(*budget_ns / STEP_COST_NS) + 1 : 0;
	uint64_t limit = slice < walk->end - first ? first + slice : walk->end;
	while (position < limit && (entry_at(walk->history, position)->filter & walk->mask) != walk->mask)
		position++;
	*budget_ns -= (int64_t)(position - first) * STEP_COST_NS;
	if (position > first)
		*after_id = entry_at(walk->history, position - 1)->id;
	walk->position = position;
	return position < limit ? entry_at(walk->history, walk->position++)->event : NULL;
}

bool history_walked(const struct history_walk *walk)
{
	return walk->position >= walk->end;
}

uint64_t history_first(const struct history *history)
{
	return history->first;
}

uint64_t history_end(const struct history *history)
{
	return history->end;
}

size_t history_bytes(const struct history *history)
{
	return history->bytes;
}
