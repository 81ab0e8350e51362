/*-------------------------------------------------------------------------
 *
 * tick.h
 *	  What the rooms beside tick.c need to know of ticks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_TICK_H
#define LIVEFEED_TICK_H

#include "postgres.h"

/*
 * Raises unless this is a READ COMMITTED transaction of its own, on a primary,
 * that changed nothing so far. what names the function for the error.
 */
extern void tick_require_own_transaction(const char *what);

#endif							/* LIVEFEED_TICK_H */
