/*-------------------------------------------------------------------------
 *
 * snapshot_function.h
 *	  Functions of the application that make a feed's snapshots.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_SNAPSHOT_FUNCTION_H
#define LIVEFEED_SNAPSHOT_FUNCTION_H

#include "postgres.h"

#include "function.h"
#include "lib/stringinfo.h"

/* True if the feed has one. */
extern bool snapshot_function_get(const char *feed, FunctionName *function);

/*
 * Runs it under the active snapshot, with its owner's rights, and appends the
 * array that it returns; raises where it is more than end bytes, or no array.
 */
extern void snapshot_function_run(const char *feed, const FunctionName *function, const char *scope,
								  const char *value, StringInfo data, int end);

#endif							/* LIVEFEED_SNAPSHOT_FUNCTION_H */
