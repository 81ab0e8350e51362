/*-------------------------------------------------------------------------
 *
 * feed.c
 *	  Declared feeds: those that livefeed.publish() fills; and what the journal
 *	  needs to know of a feed of either kind.
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
#include "watch.h"

/* The first columns of livefeed.declared (feeds.sql). */
enum
{
	DECLARED_FEED = 1,
	DECLARED_ENTITY,
	DECLARED_ROLES,
	DECLARED_RETAIN,
	DECLARED_DURABLE,
};

bool
feed_get_declared(const char *feed, DeclaredFeed *it)
{
	/* Feeds are few: no index. The rights of whoever asks do not matter. */
	Relation	declared = table_open(livefeed_relation("declared"), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(declared);
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
	{
		it->entity = TextDatumGetCString(heap_getattr(row, DECLARED_ENTITY, desc, &isnull));
		it->retain = DatumGetBool(heap_getattr(row, DECLARED_RETAIN, desc, &isnull));
		it->durable = DatumGetBool(heap_getattr(row, DECLARED_DURABLE, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(declared, AccessShareLock);
	return found;
}

bool
feed_is_declared(const char *feed, char **entity)
{
	DeclaredFeed declared;
	bool		found = feed_get_declared(feed, &declared);

	if (found)
		*entity = declared.entity;
	return found;
}

bool
feed_find_declared(const char *feed, char **entity, bool *durable)
{
	DeclaredFeed declared;

	if (!feed_get_declared(feed, &declared))
		return false;
	*entity = declared.entity;
	*durable = declared.durable;
	return true;
}

void
feed_look_up(const char *feed, FeedFacts *facts)
{
	DeclaredFeed declared;
	Definition *definition;
	Oid			owner;

	facts->durable = true;
	facts->parent_feed = NULL;
	if (feed_get_declared(feed, &declared))
	{
		facts->durable = declared.durable;
		return;
	}
	definition = watch_find_definition(feed, &owner);
	if (definition == NULL)
		return;
	facts->durable = definition->durable;
	if (definition->parent_feed != NULL && watch_judge_parent(owner, definition->parent_feed) == WATCH_PARENT_FITS)
		facts->parent_feed = definition->parent_feed;
}
