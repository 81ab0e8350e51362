/*-------------------------------------------------------------------------
 *
 * watch_feed.c
 *	  Which watch has a feed, and whose: a look through the triggers of ours, as
 *	  the catalog has them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "compat.h"
#include "definition.h"
#include "feed.h"
#include "livefeed.h"
#include "watch.h"

/*
 * The parser's look-ups would ask whether the current user may use the schema;
 * he is just someone who writes to a table.
 */
Oid
watch_find_function(const char *schema_name, const char *name, const Oid *argument_types, int narguments)
{
	Oid			schema = get_namespace_oid(schema_name, true);

	if (!OidIsValid(schema))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(argument_types, narguments)),
						   ObjectIdGetDatum(schema));
}

Oid
watch_function(void)
{
	return watch_find_function(LIVEFEED_SCHEMA, "capture_row", NULL, 0);
}

/* ---------- who has a feed ---------- */

/* The first argument of a trigger, NULL if it has none. */
static char *
trigger_argument(HeapTuple trigger, TupleDesc desc)
{
	bool		isnull;
	Datum		args = heap_getattr(trigger, Anum_pg_trigger_tgargs, desc, &isnull);

	if (isnull || ((Form_pg_trigger) GETSTRUCT(trigger))->tgnargs < 1)
		return NULL;
	/* Arguments end with NUL each. */
	return pstrdup(VARDATA_ANY(DatumGetByteaPP(args)));
}

/* True if the trigger, of that oid, is a watch's own (not a partition's copy) and has the feed. */
static bool
trigger_has_feed(Relation triggers, Oid oid, const char *feed, Oid *relation)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row) && !OidIsValid(((Form_pg_trigger) GETSTRUCT(row))->tgparentid))
	{
		char	   *argument = trigger_argument(row, RelationGetDescr(triggers));
		char	   *its = argument == NULL ? NULL : definition_feed(argument);

		found = its != NULL && strcmp(its, feed) == 0;
		*relation = ((Form_pg_trigger) GETSTRUCT(row))->tgrelid;
	}
	systable_endscan(scan);
	return found;
}

/*
 * Calls each() with the oid of every trigger of ours: those that depend on our
 * function, which are few, and indexed.
 */
static void
each_trigger(void (*each) (Oid trigger, void *arg), void *arg)
{
	Relation	depends = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(watch_function()));
	scan = systable_beginscan(depends, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
		if (((Form_pg_depend) GETSTRUCT(row))->classid == TriggerRelationId)
			each(((Form_pg_depend) GETSTRUCT(row))->objid, arg);
	systable_endscan(scan);
	table_close(depends, AccessShareLock);
}

/* Looks for the oldest trigger that has a feed. */
typedef struct FeedSearch
{
	const char *feed;
	Relation	triggers;
	Oid			trigger;
	Oid			relation;
} FeedSearch;

static void
search_trigger(Oid trigger, void *arg)
{
	FeedSearch *search = arg;
	Oid			relation;

	if (OidIsValid(search->trigger) && trigger > search->trigger)
		return;
	if (trigger_has_feed(search->triggers, trigger, search->feed, &relation))
	{
		search->trigger = trigger;
		search->relation = relation;
	}
}

Oid
watch_find_feed(const char *feed, Oid *trigger)
{
	FeedSearch	search = {feed, table_open(TriggerRelationId, AccessShareLock), InvalidOid, InvalidOid};

	each_trigger(search_trigger, &search);
	table_close(search.triggers, AccessShareLock);
	*trigger = search.trigger;
	return search.relation;
}

/* What the trigger says of which this is the row, or NULL. */
static Definition *
definition_of(HeapTuple trigger, TupleDesc desc)
{
	char	   *argument = HeapTupleIsValid(trigger) ? trigger_argument(trigger, desc) : NULL;

	return argument == NULL ? NULL : definition_read(argument);
}

/* Calls each() for the row of a trigger, by its oid. */
static void
with_trigger(Relation triggers, Oid oid, void (*each) (HeapTuple row, TupleDesc desc, void *arg), void *arg)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
		each(row, RelationGetDescr(triggers), arg);
	systable_endscan(scan);
}

static void
take_definition(HeapTuple row, TupleDesc desc, void *arg)
{
	*(Definition **) arg = definition_of(row, desc);
}

static Oid
relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

Definition *
watch_find_definition(const char *feed, Oid *owner)
{
	Relation	triggers;
	Definition *definition = NULL;
	Oid			trigger;
	Oid			relation = watch_find_feed(feed, &trigger);

	if (!OidIsValid(relation))
		return NULL;
	*owner = relation_owner(relation);
	triggers = table_open(TriggerRelationId, AccessShareLock);
	with_trigger(triggers, trigger, take_definition, &definition);
	table_close(triggers, AccessShareLock);
	return definition;
}

WatchParent
watch_judge_parent(Oid owner, const char *feed)
{
	static const Oid publish_types[] = {TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTARRAYOID, TEXTOID};
	Oid			trigger;
	Oid			parent;
	char	   *entity;
	bool		fits;

	if (feed_is_declared(feed, &entity))
	{
		Oid			publish = watch_find_function(LIVEFEED_SCHEMA, "publish", publish_types, lengthof(publish_types));

		fits = OidIsValid(publish) && compat_function_aclcheck(publish, owner) == ACLCHECK_OK;
	}
	else
	{
		parent = watch_find_feed(feed, &trigger);
		if (!OidIsValid(parent))
			return WATCH_PARENT_MISSING;
		fits = compat_relation_ownercheck(parent, owner);
	}
	return fits ? WATCH_PARENT_FITS : WATCH_PARENT_FOREIGN;
}

/* Looks for a child that is not durable. */
typedef struct ChildSearch
{
	const char *feed;
	Relation	triggers;
	bool		found;
} ChildSearch;

static void
look_at_child(HeapTuple row, TupleDesc desc, void *arg)
{
	ChildSearch *search = arg;
	Definition *definition = definition_of(row, desc);

	if (definition != NULL && !definition->durable && definition->parent_feed != NULL &&
		strcmp(definition->parent_feed, search->feed) == 0)
		search->found = true;
}

static void
search_child(Oid trigger, void *arg)
{
	ChildSearch *search = arg;

	if (!search->found)
		with_trigger(search->triggers, trigger, look_at_child, search);
}

bool
watch_has_transient_child(const char *feed)
{
	ChildSearch search = {feed, table_open(TriggerRelationId, AccessShareLock), false};

	each_trigger(search_child, &search);
	table_close(search.triggers, AccessShareLock);
	return search.found;
}

static void
forget_child(HeapTuple row, TupleDesc desc, void *arg)
{
	Definition *definition = definition_of(row, desc);

	if (definition != NULL && definition->parent_feed != NULL)
		CacheInvalidateRelcacheByRelid(((Form_pg_trigger) GETSTRUCT(row))->tgrelid);
}

static void
forget_child_of(Oid trigger, void *arg)
{
	with_trigger(arg, trigger, forget_child, NULL);
}

void
watch_forget_children(void)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);

	each_trigger(forget_child_of, triggers);
	table_close(triggers, AccessShareLock);
}

/* The trigger that a partition's is a copy of, up to the topmost. */
Oid
watch_topmost_trigger(Oid trigger)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);

	for (;;)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	row;
		Oid			parent;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
		scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
		row = systable_getnext(scan);
		parent = HeapTupleIsValid(row) ? ((Form_pg_trigger) GETSTRUCT(row))->tgparentid : InvalidOid;
		systable_endscan(scan);
		if (!OidIsValid(parent))
			break;
		trigger = parent;
	}
	table_close(triggers, AccessShareLock);
	return trigger;
}
