/*-------------------------------------------------------------------------
 *
 * duplicate.h
 *	  Keys that two rows of a table hold at once, as a deferrable constraint
 *	  lets them from one statement to the next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_DUPLICATE_H
#define LIVEFEED_DUPLICATE_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/rel.h"

/*
 * The index by which a relation's key of these columns is unique at the end of
 * a transaction alone; InvalidOid: there is none, or another one is stricter.
 */
extern Oid	duplicate_find_index(Relation relation, const AttrNumber *columns, int ncolumns);

/* True if a row beside this one has its key now, in the eyes of this transaction. */
extern bool duplicate_is_held(Relation relation, Oid index, TupleTableSlot *row);

#endif							/* LIVEFEED_DUPLICATE_H */
