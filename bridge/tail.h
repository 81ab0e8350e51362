/*
 * tail.h - the stream of events out of the database.
 *
 * One connection LISTENs, looks once a second and reads (livefeed.look, livefeed.read); while this bridge is the ticker, a second
 * one sits in livefeed.tick_wait and gets the events with the tick. See tail.c for the story.
 */
#ifndef LIVEFEED_TAIL_H
#define LIVEFEED_TAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "event.h"

struct tail;

struct tail_settings { /* copied */
	const char *dsn;
	const char *bridge; /* name of this process for livefeed.bridges */
	const char *version;
	int64_t tick_interval_ms;
	bool looks; /* on alone: does not register, nor become the ticker; where there is none, asks for single ticks */
};

struct tail_events { /* all on the loop */
	void *arg;
	/* A history begins (first connection), or cannot be continued: reason NULL at first, else "epoch" or "pruned". */
	void (*restart)(void *arg, const char *epoch, int64_t head, const char *reason);
	/* The next event, in order, control events included; whoever keeps it takes a reference. */
	void (*event)(void *arg, struct event *event);
	/*
	 * All up to head was given; called at the end of each page or part of one: flush before the loop goes on. whole: of every transaction
	 * that events were given of, all were.
	 */
	void (*advance)(void *arg, int64_t head, bool whole);
	/* Connected and reading, or not. why: one line for the log. */
	void (*live)(void *arg, bool live, const char *why);
	/* Definitions or keys have to be read again (at start, after a control event, or when look() says so). The tail goes on only after
	 * tail_definitions_loaded, so that no event is judged by old definitions. */
	void (*reload)(void *arg);
	/* The database cannot be served, and waiting will not help by itself (no extension, other log version, standby, transaction pooling): one clear line. The tail keeps trying. */
	void (*unusable)(void *arg, const char *why, bool for_good); /* for_good: there is no use in trying on */
	uint64_t (*sessions)(void *arg);
};

struct tail *tail_new(uv_loop_t *loop, const struct tail_settings *settings, const struct tail_events *events);
void tail_start(struct tail *tail);
/* Answers reload; false: it is asked again in a second. */
void tail_definitions_loaded(struct tail *tail, bool ok);
/* Somebody knows that the database's head is at least here: read up to it. */
void tail_read_to(struct tail *tail, int64_t head);
bool tail_is_live(const struct tail *tail);
bool tail_is_ticker(const struct tail *tail);
/* Unregisters and closes; tail_is_stopped once that is done, within STOP_TIMEOUT_MS of tail.c. */
void tail_stop(struct tail *tail);
bool tail_is_stopped(const struct tail *tail);
void tail_free(struct tail *tail);

#endif
