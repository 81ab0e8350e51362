/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  Who ticks in which database: a small array in shared memory through
 *	  which a committing writer sets the ticker's latch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_WAKE_H
#define LIVEFEED_WAKE_H

#include "postgres.h"

/*
 * Finds this database's slot. May allocate, lock and raise; the journal calls
 * it when a transaction writes its first event. Where there is no ticker, or
 * no room, the later call does nothing.
 */
extern void wake_prepare(void);

/*
 * Sets the latch of this database's ticker, if there is one. Called at
 * XACT_EVENT_COMMIT, after which nothing may fail: no allocation, no lookup,
 * no lock. A spurious wake is harmless.
 */
extern void wake_ticker(void);

/* What wake_take() found. */
typedef enum WakeRole
{
	WAKE_TICKER,				/* this backend is the ticker now */
	WAKE_FOLLOWER,				/* another live backend is */
	WAKE_NO_SLOT,				/* no slot is free: tick, but nobody will wake us */
} WakeRole;

/* Becomes the ticker if nobody is, or, with force, even if another backend is. Kept until the backend ends. */
extern WakeRole wake_take(bool force);

/* Is this backend still the ticker? */
extern bool wake_is_ticker(void);

/* The ticker's process id, 0 if there is none. */
extern int	wake_ticker_pid(void);

/* The last tick whose bells were rung, 0 if that is not known. */
extern int64 wake_rung(void);
extern void wake_set_rung(int64 tick);

/*
 * Remembers for all backends since when events wait for the tick after this
 * one of this epoch, and tells for how many microseconds; 0 if it was not known.
 */
extern int64 wake_waiting_us(int64 tick, const char *epoch);

#endif							/* LIVEFEED_WAKE_H */
