/*-------------------------------------------------------------------------
 *
 * own_row.c
 *	  Rows of the extension's own short tables: what is declared, what is exposed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "own_row.h"

bool
own_row_get(Oid table, const char *key, OwnRow *row)
{
	Relation	relation = table_open(table, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	if (desc->natts > OWN_ROW_MAX_COLUMNS)
		elog(ERROR, "relation \"%s\" has more than %d columns", RelationGetRelationName(relation), OWN_ROW_MAX_COLUMNS);
	if (key != NULL)
		ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key));

	/* They are short: no index. What is read outlives the scan. */
	scan = systable_beginscan(relation, InvalidOid, false, NULL, key != NULL ? 1 : 0, &scankey);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		tuple = HeapTupleHasExternal(tuple) ? toast_flatten_tuple(tuple, desc) : heap_copytuple(tuple);
		heap_deform_tuple(tuple, desc, row->values, row->nulls);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

char *
own_row_text(const OwnRow *row, int column)
{
	return row->nulls[column - 1] ? NULL : TextDatumGetCString(row->values[column - 1]);
}

bool
own_row_bool(const OwnRow *row, int column)
{
	Assert(!row->nulls[column - 1]);
	return DatumGetBool(row->values[column - 1]);
}
