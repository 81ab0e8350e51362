/*
 * ticker.h - the connections of the one bridge that makes ticks: one that sits in livefeed.tick_wait and rings the
 * bells, one that prunes. tail.c decides when to have them.
 */
#ifndef LIVEFEED_TICKER_H
#define LIVEFEED_TICKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "connection.h"

struct ticker;

/* What a page of rows holds at most; see tail.c for how it is forwarded. */
#define TICKER_PAGE_ROWS 1000

/*
 * A page came from tick_wait, which was asked for what is after asked_after. Taking it means to call
 * ticker_go_on once it was forwarded; the result belongs to the taker.
 */
typedef void (*ticker_page)(void *arg, PGresult *page, int64_t asked_after);

struct ticker *ticker_new(uv_loop_t *loop, const char *dsn, int64_t tick_interval_ms, ticker_page page, void *arg);
void ticker_free(struct ticker *ticker);

/* Connects and ticks; take: even where another bridge holds the slot. Nothing if it does so already, or failed just now. */
void ticker_start(struct ticker *ticker, int64_t after, bool take);
void ticker_stop(struct ticker *ticker);
/* A look saw events that no tick has ordered: a server process of ours that has hung for too long is given up. */
void ticker_stale(struct ticker *ticker);
bool ticker_is_open(const struct ticker *ticker);
/* The slot is ours: as the last tick_wait said. */
bool ticker_is_active(const struct ticker *ticker);
/* The page was forwarded: on with what is after that id. */
void ticker_go_on(struct ticker *ticker, int64_t after);
/* Once a second: prunes. */
void ticker_second(struct ticker *ticker);
/* Did this server process ring? Then the bell tells us nothing. */
bool ticker_is_backend(const struct ticker *ticker, int backend_pid);

#endif
