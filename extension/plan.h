/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  The statements that ticking and reading run through SPI, each prepared
 *	  once per backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_PLAN_H
#define LIVEFEED_PLAN_H

#include "postgres.h"

#include "executor/spi.h"

/* Children that rotate: log, transient, ticks and segments have as many each. */
#define PLAN_CHILDREN 3

typedef enum PlanId
{
	PLAN_LAST,					/* the last tick, and the state */
	PLAN_TICKS_AFTER_ID,		/* ticks from the one before the first with id_last > $1 */
	PLAN_TICKS_FROM,			/* ticks from number $1 */
	PLAN_SEGMENTS,				/* of tick $1, from the one that holds id $2 */
	PLAN_LOG_ANY,				/* is there anything in the ranges $1, $2? */
	PLAN_LOG_COUNT,				/* how many, up to $3 */
	PLAN_LOG_TRANSACTIONS,		/* the transactions of the ranges in their order */
	PLAN_LOG_CUTS,				/* each $2-th event of transaction $1 */
	PLAN_LOG_RANGES,			/* the events of the ranges $2, $3, tagged $1 */
	PLAN_LOG_LIST,				/* the events of the transactions $1 */
	PLAN_LOG_PART,				/* $4 events of transaction $1 from ($2, $3) */
	PLAN_TRANSIENT_ANY,			/* the same of the transient log */
	PLAN_TRANSIENT_COUNT,
	PLAN_TRANSIENT_TRANSACTIONS,
	PLAN_TRANSIENT_CUTS,
	PLAN_TRANSIENT_RANGES,
	PLAN_TRANSIENT_LIST,
	PLAN_TRANSIENT_PART,
	PLAN_INSERT_TICK,			/* one for each child */
	PLAN_INSERT_SEGMENT = PLAN_INSERT_TICK + PLAN_CHILDREN,
	PLANS = PLAN_INSERT_SEGMENT + PLAN_CHILDREN,
} PlanId;

/* From a plan of the log to the same of the transient log. */
#define PLAN_OF(id, transient) \
	((transient) ? (PlanId) ((id) + (PLAN_TRANSIENT_ANY - PLAN_LOG_ANY)) : (id))

/*
 * Sets, until plan_leave() or an error, what these statements are planned
 * under; every use of plan_get() stands between the two.
 */
extern int	plan_enter(void);
extern void plan_leave(int level);

extern SPIPlanPtr plan_get(PlanId id);

/* Runs it under the active snapshot; at most limit rows, 0: all. They are in SPI_tuptable. */
extern uint64 plan_read(PlanId id, Datum *values, const char *nulls, long limit);

/* Runs an INSERT. */
extern void plan_write(PlanId id, Datum *values, const char *nulls);

#endif							/* LIVEFEED_PLAN_H */
