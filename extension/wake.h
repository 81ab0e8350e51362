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

#endif							/* LIVEFEED_WAKE_H */
