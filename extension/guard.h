/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Runs what may raise so that the writer's transaction survives it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_GUARD_H
#define LIVEFEED_GUARD_H

#include "postgres.h"

/*
 * Runs work(arg) in a subtransaction. True if it returned; false, with the
 * error's message, if it raised. PostgreSQL's own troubles (cancel, deadlock,
 * no memory, no disk) go on to the caller.
 */
extern bool guard_run(void (*work) (void *arg), void *arg, char **problem);

#endif							/* LIVEFEED_GUARD_H */
