/*
 * value.h - values: what exposed queries give, one for each channel of a query that somebody subscribes to.
 *
 * A value is run once however many subscribe, and again when an event of its query's feeds touches its scope (or leaves
 * it), or when its refresh is due; at most once in its query's debounce, first and last touch included. Whoever does not
 * have the latest result is sent it; who is slow skips what a newer one replaced. value.c is life, runs and answers,
 * value_touch.c which values an event touches.
 */
#ifndef LIVEFEED_VALUE_H
#define LIVEFEED_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "frame.h"
#include "query.h"

struct channel;
struct hub;
struct request;
struct subscription;

enum value_state {
	VALUE_RESTING, /* may be due later: see due_ms */
	VALUE_READY, /* waits for its turn to run */
	VALUE_RUNNING,
	VALUE_AHEAD /* has a result of what the stream has not brought yet: sent once it has */
};

struct value {
	struct value *prev, *next; /* of its query's */
	struct value *ready_prev, *ready_next;
	struct value_query *query;
	struct channel *channel;
	struct request *request; /* VALUE_RUNNING */
	struct frame *frame; /* the latest result; NULL: none */
	struct frame *ahead; /* VALUE_AHEAD */
	uint64_t serial; /* of frame: another for each result that differs; 0: none yet */
	uint64_t error_serial; /* of the latest failure; 0: the last run was good */
	int64_t after, ahead_after; /* the place of frame, and of ahead, in the order of events */
	int64_t touched_id; /* of the last event that touched it */
	int64_t started_ms, retry_ms; /* the last run; none before */
	int64_t behind_ms; /* then those who had no room are sent it; 0: nobody */
	int64_t due_ms;
	size_t heap_index; /* plus 1; 0: not due */
	uint32_t failures; /* one after the other */
	uint8_t state;
	bool ran; /* at all */
	bool dirty; /* not run since it was touched */
	bool again; /* what the run under way gives is not the last word */
	bool slow; /* the last run was */
};

struct value_query { /* a query that has values */
	struct value_query *next;
	struct query *query;
	struct value *values;
	size_t n_running;
	bool touched; /* all of them, by an event up to touched_id */
	int64_t touched_id;
	int64_t complained_ms;
	uint64_t unsaid;
};

struct value_list {
	struct value *first, *last;
};

struct values { /* the hub's */
	struct value_query *queries;
	struct value **heap; /* by due_ms */
	size_t n_heap, heap_capacity, n_values;
	struct value_list ready, ready_slow;
	struct value_list ahead; /* by ready_next */
	size_t n_running, n_running_slow, at_once; /* at_once: as many may run */
	int64_t last_started_ms; /* of all runs */
	size_t kept_bytes; /* of frames */
	uint64_t serial;
	bool slow_next; /* whose turn it is */
};

void values_end(struct hub *hub);
/* Established: it is sent the value when there is one. False: out of memory. */
bool value_join(struct subscription *subscription, struct query *query);
/* The last subscription of the channel ends. */
void value_leave(struct channel *channel);
/* Sends those of the channel who do not have the latest, if they can take it. */
void value_send(struct value *value);
void values_pump(struct hub *hub);
/* When values_pump has to be called again; INT64_MAX: with the next event. */
int64_t values_due_ms(const struct hub *hub);
/* The stream was given up to its head. */
void values_advance(struct hub *hub);
/* The stream began anew: this channel's value is run again. */
void value_restart(struct channel *channel);
/* The database went away. */
void values_away(struct hub *hub);
/* The database is back, definitions changed. */
void values_touch_all(struct hub *hub);
void values_definitions(struct hub *hub);

/* ---- value_touch.c */
void values_event(struct hub *hub, const struct event *event);
/* ---- value.c, for it */
/* id: of the event; 0: something else than an event. */
void value_touch(struct value *value, int64_t id);

#endif
