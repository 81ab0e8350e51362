/*-------------------------------------------------------------------------
 *
 * duplicate.c
 *	  Keys that two rows of a table hold at once.
 *
 * Clients keep rows by their key, so a key that two rows hold cannot be told to
 * them: where a row is made while another has its key, and that one is deleted
 * by a later statement, a client that follows would lose the row that stays.
 * Only SET CONSTRAINTS ... DEFERRED allows it. capture.c asks here for each row
 * that is new in a table whose key is deferrable, and has a resync written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_index.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "duplicate.h"

/* Is that index one over just these columns, unique, without a condition? */
static bool
covers(Relation index, const AttrNumber *columns, int ncolumns)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || form->indnkeyatts != ncolumns ||
		RelationGetIndexExpressions(index) != NIL || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < ncolumns; i++)
	{
		bool		found = false;

		for (int j = 0; j < ncolumns; j++)
			found = found || form->indkey.values[i] == columns[j];
		if (!found || compat_equality_strategy(index, i) == InvalidStrategy)
			return false;
	}
	return true;
}

Oid
duplicate_find_index(Relation relation, const AttrNumber *columns, int ncolumns)
{
	List	   *indexes = RelationGetIndexList(relation);
	Oid			deferrable = InvalidOid;
	bool		immediate = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (covers(index, columns, ncolumns))
		{
			if (index->rd_index->indimmediate)
				immediate = true;
			else
				deferrable = RelationGetRelid(index);
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return immediate ? InvalidOid : deferrable;
}

bool
duplicate_is_held(Relation relation, Oid oid, TupleTableSlot *row)
{
	Relation	index = index_open(oid, AccessShareLock);
	int			nkeys = index->rd_index->indnkeyatts;
	ScanKeyData keys[INDEX_MAX_KEYS];
	bool		null = false;
	int			held = 0;

	for (int i = 0; i < nkeys && !null; i++)
	{
		Oid			type = index->rd_opcintype[i];
		StrategyNumber strategy = compat_equality_strategy(index, i);
		Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type, strategy);
		Datum		value = slot_getattr(row, index->rd_index->indkey.values[i], &null);

		ScanKeyEntryInitialize(&keys[i], 0, i + 1, strategy, type,
							   index->rd_indcollation[i], get_opcode(equal), value);
	}
	if (!null)
	{
		TupleTableSlot *found = table_slot_create(relation, NULL);
		IndexScanDesc scan = compat_index_beginscan(relation, index, SnapshotSelf, nkeys, 0);

		index_rescan(scan, keys, nkeys, NULL, 0);
		while (held < 2 && index_getnext_slot(scan, ForwardScanDirection, found))
			held++;
		index_endscan(scan);
		ExecDropSingleTupleTableSlot(found);
	}
	index_close(index, AccessShareLock);
	return held > 1;
}
