/*-------------------------------------------------------------------------
 *
 * feed.c
 *	  Declared feeds: those that livefeed.publish() fills.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "feed.h"
#include "livefeed.h"

/* The first columns of livefeed.declared (feeds.sql). */
#define DECLARED_FEED 1
#define DECLARED_ENTITY 2

bool
feed_is_declared(const char *feed, char **entity)
{
	/* Feeds are few: no index. The rights of whoever asks do not matter. */
	Relation	declared = table_open(livefeed_relation("declared"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;
	bool		found;

	ScanKeyInit(&key, DECLARED_FEED, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(feed));
	scan = systable_beginscan(declared, InvalidOid, false, NULL, 1, &key);
	row = systable_getnext(scan);
	found = HeapTupleIsValid(row);
	if (found)
		*entity = TextDatumGetCString(heap_getattr(row, DECLARED_ENTITY, RelationGetDescr(declared), &isnull));
	systable_endscan(scan);
	table_close(declared, AccessShareLock);
	return found;
}
