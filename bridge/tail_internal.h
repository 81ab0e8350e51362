/*
 * tail_internal.h - what the files of the tail share: tail.c, which connects and asks, and forward.c, which hands on
 * what was answered. tail.c has the story and the invariants.
 */
#ifndef LIVEFEED_TAIL_INTERNAL_H
#define LIVEFEED_TAIL_INTERNAL_H

#include "backoff.h"
#include "connection.h"
#include "probe.h"
#include "rows.h"
#include "tail.h"
#include "ticker.h"

#define EPOCH_MAX 17

struct page {
	PGresult *result; /* NULL: none */
	int row; /* the next to forward */
	bool begun; /* it was seen to continue what we have, or a new history was begun with it */
	int64_t asked_after;
	unsigned asked_in; /* the history that was being read then */
	struct rows_mark mark;
};

enum { FROM_READER, FROM_TICKER, N_PAGES };

struct tail {
	uv_loop_t *loop;
	struct tail_events events;
	char *dsn, *bridge, *version;

	struct connection *reader;
	struct ticker *ticker;
	uv_timer_t *second; /* looks */
	uv_timer_t *hurry; /* looks more often, for a while */
	uv_timer_t *retry; /* the next connect, or the end of stopping */
	uv_timer_t *reload; /* definitions could not be loaded */
	uv_idle_t *more; /* a page is not forwarded to its end */

	bool running; /* steps 1 to 3 are done */
	bool live;
	bool was_live;
	bool stopping, stopped;
	struct backoff backoff;
	struct probe probe;
	char said[PROBE_WHY_MAX]; /* the last line to `unusable` */

	bool known; /* epoch and after mean something */
	char epoch[EPOCH_MAX];
	int64_t after;
	unsigned history; /* counts restarts: pages asked for before one are of no use */
	char definitions[64]; /* fingerprint of those being used or loaded */
	bool blocked; /* until they are loaded */

	bool looks; /* as set */
	bool want_look, want_read, want_seen, want_tick;
	int looks_made, looks_behind, looks_hurried;
	struct page pages[N_PAGES];
	int turn; /* the page being forwarded, while another waits */
	struct rows_scratch scratch;
};

/* tail.c */
/* Whatever went wrong: closes, and connects again later. */
void tail_fail(struct tail *tail, const char *why);
/* Blocks until the definitions were read again. */
void tail_reload(struct tail *tail);
/* The reader is idle, or something new is to be done: does it. */
void tail_reader_next(struct tail *tail);

/* forward.c */
/* A history begins at head, or begins again. */
void tail_restart(struct tail *tail, const char *epoch, int64_t head, const char *reason);
/* Queues a page that came from FROM_READER or FROM_TICKER; it belongs to the tail now. */
void tail_take_page(struct tail *tail, int from, PGresult *result, const struct rows_mark *mark, int64_t asked_after);
/* Forwards what can be forwarded now: a part of the page whose turn it is; the rest in later turns of the loop. */
void tail_forward(struct tail *tail);
void tail_drop_pages(struct tail *tail);

#endif
