/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  What a relation publishes, ready for use by its trigger.
 *
 * The definition is the trigger's argument, names in JSON. It is resolved
 * against the relation once per backend and kept until a relcache invalidation
 * says that the relation changed. A partition has trigger and definition from
 * its parent, but attribute numbers of its own: hence names.
 *
 * A definition that no longer fits (a column was renamed or dropped, a function
 * is gone) makes a watch with a problem, which the trigger reports instead of
 * events. So does a definition whose feed is another table's: watch() refuses
 * that, but anyone may make a trigger on a table of his own by hand, and must
 * not be able to speak in another's name. The older trigger has the feed.
 *
 * A replaced watch is not freed at once: the trigger may be at work with it, up
 * the stack, while a function it called writes to the same table. It is handed
 * to the transaction's memory and goes with that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "definition.h"
#include "duplicate.h"
#include "feed.h"
#include "guard.h"
#include "livefeed.h"
#include "text.h"
#include "watch.h"

typedef struct WatchEntry
{
	Oid			relation;		/* hash key */
	Oid			trigger;
	bool		valid;
	uint32		changes;		/* invalidations so far */
	bool		complained;		/* warned of, and not mended since */
	Watch	   *watch;			/* NULL: none yet */
} WatchEntry;

static HTAB *watches = NULL;

/* ---------- cache ---------- */

static void
invalidate(WatchEntry *entry)
{
	entry->valid = false;
	entry->changes++;
}

static void
watches_invalidate_relation(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS status;
	WatchEntry *entry;

	if (watches == NULL)
		return;
	if (OidIsValid(relation))
	{
		entry = hash_search(watches, &relation, HASH_FIND, NULL);
		if (entry != NULL)
			invalidate(entry);
		return;
	}
	hash_seq_init(&status, watches);
	while ((entry = hash_seq_search(&status)) != NULL)
		invalidate(entry);
}

/* A function was replaced or dropped, or a type changed: rare enough to forget all. */
static void
watches_invalidate_all(Datum arg, int cache, uint32 hash)
{
	watches_invalidate_relation(arg, InvalidOid);
}

/* ---------- building ---------- */

/* What a watch is built from. */
typedef struct Building
{
	Relation	relation;
	const Trigger *trigger;
	Watch	   *watch;
} Building;

static Form_pg_attribute
find_column(Relation relation, const char *name)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return attribute;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of relation \"%s\" does not exist",
					name, RelationGetRelationName(relation))));
	return NULL;				/* keep compiler quiet */
}

static void
set_column(WatchColumn *column, Form_pg_attribute attribute)
{
	StringInfoData label;

	if (attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is a virtual generated column", NameStr(attribute->attname))));

	initStringInfo(&label);
	text_append_json(&label, NameStr(attribute->attname), strlen(NameStr(attribute->attname)));
	appendStringInfoChar(&label, ':');
	column->attnum = attribute->attnum;
	column->type = render_type(attribute->atttypid);
	column->name = pstrdup(NameStr(attribute->attname));
	column->label = label.data;
	column->label_len = label.len;
}

static WatchColumn *
resolve_columns(Relation relation, List *names, int *n)
{
	WatchColumn *columns = palloc0(Max(list_length(names), 1) * sizeof(WatchColumn));
	ListCell   *cell;

	*n = 0;
	foreach(cell, names)
		set_column(&columns[(*n)++], find_column(relation, lfirst(cell)));
	return columns;
}

static WatchColumn *
resolve_column(Relation relation, const char *name)
{
	int			n;

	return name == NULL ? NULL : resolve_columns(relation, list_make1(unconstify(char *, name)), &n);
}

static bool
is_named(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/*
 * The published columns, in the table's order: the key always is. A name that
 * is gone is a problem even in except_columns: renamed, it would be published.
 */
static void
resolve_published(Watch *watch, Relation relation, const Definition *definition)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ListCell   *cell;

	foreach(cell, definition->columns)
		(void) find_column(relation, lfirst(cell));
	foreach(cell, definition->except_columns)
		(void) find_column(relation, lfirst(cell));

	watch->published = palloc0(desc->natts * sizeof(WatchColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = NameStr(attribute->attname);

		if (attribute->attisdropped)
			continue;
		if (!is_named(definition->key, name))
		{
			if (is_named(definition->except_columns, name) ||
				(definition->columns != NIL && !is_named(definition->columns, name)))
				continue;
			/* Added later, beside "all columns": it has no value that a trigger could see. */
			if (definition->columns == NIL && attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
				continue;
		}
		set_column(&watch->published[watch->npublished++], attribute);
	}
}

/*
 * A writer needs no right to what the function reads to tell a row's unit, no
 * more than foreign keys ask it of him: it runs with the table owner's rights.
 * Not so a stranger's function, in a trigger made by hand: that would give the
 * owner's rights to whoever has TRIGGER on the table.
 */
static Oid
function_user(Oid function, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			function_owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	function_owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return function_owner == owner || superuser_arg(function_owner) ? owner : InvalidOid;
}

/* The function of that name which takes a row of the relation, or of one that it is a partition of. */
static WatchFunction *
resolve_function(Relation relation, List *names)
{
	WatchFunction *function;
	List	   *relations;
	ListCell   *cell;
	Oid			oid = InvalidOid;
	Oid			row_type = InvalidOid;

	if (names == NIL)
		return NULL;

	relations = lcons_oid(RelationGetRelid(relation),
						  relation->rd_rel->relispartition
						  ? get_partition_ancestors(RelationGetRelid(relation)) : NIL);
	foreach(cell, relations)
	{
		row_type = get_rel_type_id(lfirst_oid(cell));
		oid = watch_find_function(linitial(names), lsecond(names), &row_type, 1);
		if (OidIsValid(oid))
			break;
	}
	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s of a row of \"%s\" does not exist",
						quote_qualified_identifier(linitial(names), lsecond(names)),
						RelationGetRelationName(relation))));
	if (compat_function_aclcheck(oid, relation->rd_rel->relowner) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of \"%s\" may not execute function %s",
						RelationGetRelationName(relation),
						quote_qualified_identifier(linitial(names), lsecond(names)))));

	function = palloc0(sizeof(WatchFunction));
	fmgr_info_cxt(oid, &function->call, CurrentMemoryContext);
	function->run_as = function_user(oid, relation->rd_rel->relowner);
	function->row_type = row_type;
	function->row_desc = lookup_rowtype_tupdesc_copy(row_type, -1);
	function->map = row_type == relation->rd_rel->reltype ? NULL :
		convert_tuples_by_name(CreateTupleDescCopy(RelationGetDescr(relation)), function->row_desc);
	return function;
}

static void
resolve_actions(Watch *watch, Relation relation, List *actions)
{
	ListCell   *cell;

	watch->actions = palloc0(Max(list_length(actions), 1) * sizeof(WatchAction));
	foreach(cell, actions)
	{
		DefinitionAction *from = lfirst(cell);
		WatchAction *action = &watch->actions[watch->nactions++];
		ListCell   *name;

		action->name = from->name;
		action->columns = palloc(Max(list_length(from->columns), 1) * sizeof(AttrNumber));
		foreach(name, from->columns)
			action->columns[action->ncolumns++] = find_column(relation, lfirst(name))->attnum;
	}
}

static const char *
make_head(const Definition *definition, const char *verb, int *len)
{
	*len = strlen(definition->entity) + strlen(definition->feed) + strlen(verb) +
		strlen("{\"type\":\".\",\"feed\":\"\",\"action\":");
	return psprintf("{\"type\":\"%s.%s\",\"feed\":\"%s\",\"action\":", definition->entity, verb, definition->feed);
}

/* The columns that an UPDATE is looked through for. */
static void
list_compared(Watch *watch, Relation relation)
{
	int			natts = RelationGetDescr(relation)->natts;
	bool	   *wanted = palloc0((natts + 1) * sizeof(bool));

	/* A function of the row may depend on any column. */
	if (watch->unit_function != NULL || watch->users_function != NULL)
		for (int i = 1; i <= natts; i++)
			wanted[i] = !TupleDescAttr(RelationGetDescr(relation), i - 1)->attisdropped &&
				TupleDescAttr(RelationGetDescr(relation), i - 1)->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL;

	for (int i = 0; i < watch->npublished; i++)
		wanted[watch->published[i].attnum] = true;
	for (int i = 0; i < watch->nusers; i++)
		wanted[watch->users[i].attnum] = true;
	for (int i = 0; i < watch->nactions; i++)
		for (int j = 0; j < watch->actions[i].ncolumns; j++)
			wanted[watch->actions[i].columns[j]] = true;
	if (watch->unit != NULL)
		wanted[watch->unit->attnum] = true;
	if (watch->action != NULL)
		wanted[watch->action->attnum] = true;
	if (watch->parent != NULL)
		wanted[watch->parent->attnum] = true;

	watch->compared = palloc(Max(natts, 1) * sizeof(AttrNumber));
	for (int i = 1; i <= natts; i++)
		if (wanted[i])
		{
			watch->compared[watch->ncompared++] = i;
			watch->last_attnum = i;
		}
	pfree(wanted);
}

static void
check_feed_is_ours(Watch *watch, Oid trigger)
{
	Oid			holder;
	Oid			relation;
	char	   *entity;

	if (feed_is_declared(watch->feed, &entity))
	{
		char	   *feed = watch->feed;

		watch->feed = NULL;		/* not ours to speak in */
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is a declared feed", feed)));
	}
	relation = watch_find_feed(watch->feed, &holder);
	if (OidIsValid(relation) && holder < watch_topmost_trigger(trigger))
	{
		char	   *feed = watch->feed;

		watch->feed = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feed \"%s\" is that of relation \"%s\"", feed, get_rel_name(relation))));
	}
}

static Oid
find_deferrable_key(const Watch *watch, Relation relation)
{
	AttrNumber *columns = palloc(watch->nkeys * sizeof(AttrNumber));

	for (int i = 0; i < watch->nkeys; i++)
		columns[i] = watch->keys[i].attnum;
	return duplicate_find_index(relation, columns, watch->nkeys);
}

/* Runs in a subtransaction, under guard_run(): may raise. */
static void
build(void *arg)
{
	Building   *building = arg;
	Watch	   *watch = building->watch;
	Relation	relation = building->relation;
	MemoryContext caller = MemoryContextSwitchTo(watch->context);
	Definition *definition;

	if (building->trigger->tgnargs < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" has no definition", building->trigger->tgname)));
	definition = definition_parse(building->trigger->tgargs[0]);
	watch->feed = definition->feed;
	check_feed_is_ours(watch, building->trigger->tgoid);

	watch->created_head = make_head(definition, "created", &watch->created_head_len);
	watch->updated_head = make_head(definition, "updated", &watch->updated_head_len);
	watch->deleted_head = make_head(definition, "deleted", &watch->deleted_head_len);
	watch->keys = resolve_columns(relation, definition->key, &watch->nkeys);
	watch->deferrable_key = find_deferrable_key(watch, relation);
	resolve_published(watch, relation, definition);
	watch->unit = resolve_column(relation, definition->unit);
	watch->unit_function = resolve_function(relation, definition->unit_function);
	watch->users = resolve_columns(relation, definition->users, &watch->nusers);
	watch->users_function = resolve_function(relation, definition->users_function);
	watch->action = resolve_column(relation, definition->action);
	resolve_actions(watch, relation, definition->actions);
	watch->durable = definition->durable;
	watch->parent_feed = definition->parent_feed;
	if (definition->parent != NULL)
	{
		WatchColumn *parent = resolve_column(relation, definition->parent);

		WatchParent judged = watch_judge_parent(relation->rd_rel->relowner, definition->parent_feed);

		if (judged == WATCH_PARENT_FOREIGN)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the owner of \"%s\" has no right to parent_feed \"%s\"",
							RelationGetRelationName(relation), definition->parent_feed)));
		if (judged == WATCH_PARENT_FITS)
			watch->parent = parent;
	}
	list_compared(watch, relation);

	MemoryContextSwitchTo(caller);
}

static Watch *
make_watch(Relation relation, const Trigger *trigger)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "livefeed watch",
												  ALLOCSET_SMALL_SIZES);
	Watch	   *watch = MemoryContextAllocZero(context, sizeof(Watch));
	Building	building = {relation, trigger, watch};
	char	   *problem;

	watch->context = context;
	watch->relation = RelationGetRelid(relation);
	watch->relation_name = MemoryContextStrdup(context, RelationGetRelationName(relation));
	if (!guard_run(build, &building, &problem))
		watch->problem = MemoryContextStrdup(context, problem);
	return watch;
}

static const Trigger *
find_trigger(Relation relation)
{
	Oid			function = watch_function();
	TriggerDesc *desc = relation->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		if (desc->triggers[i].tgfoid == function)
			return &desc->triggers[i];
	return NULL;
}

static WatchEntry *
get_entry(Oid relation)
{
	WatchEntry *entry;
	bool		found;

	if (watches == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(WatchEntry);
		watches = hash_create("livefeed watches", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(watches, &relation, HASH_ENTER, &found);
	if (!found)
	{
		entry->trigger = InvalidOid;
		entry->valid = false;
		entry->changes = 0;
		entry->complained = false;
		entry->watch = NULL;
	}
	return entry;
}

const Watch *
watch_get(Relation relation, const Trigger *trigger)
{
	WatchEntry *entry;
	Watch	   *watch;
	uint32		changes;

	if (trigger == NULL)
		trigger = find_trigger(relation);
	if (trigger == NULL)
		return NULL;

	entry = get_entry(RelationGetRelid(relation));
	if (likely(entry->valid && entry->trigger == trigger->tgoid))
		return entry->watch;

	changes = entry->changes;
	watch = make_watch(relation, trigger);
	if (entry->trigger != trigger->tgoid ||
		(entry->watch != NULL && entry->watch->problem != NULL && watch->problem == NULL))
		entry->complained = false;
	if (entry->watch != NULL)
		MemoryContextSetParent(entry->watch->context, TopTransactionContext);
	MemoryContextSetParent(watch->context, TopMemoryContext);
	entry->watch = watch;
	entry->trigger = trigger->tgoid;
	entry->valid = (changes == entry->changes);
	return watch;
}

void
watch_complain(const Watch *watch, const char *problem)
{
	WatchEntry *entry = get_entry(watch->relation);

	if (livefeed_strict)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("livefeed watch of relation \"%s\" is broken: %s", watch->relation_name, problem),
				 errhint("Call livefeed.watch() again, or livefeed.unwatch().")));
	if (entry->complained)
		return;
	entry->complained = true;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("livefeed watch of relation \"%s\" is broken: %s", watch->relation_name, problem),
			 watch->feed != NULL
			 ? errdetail("The row is written, but its event is lost; clients are told to refetch.")
			 : errdetail("The row is written, but there is no event."),
			 errhint("Call livefeed.watch() again, or livefeed.unwatch().")));
}

void
watch_init(void)
{
	CacheRegisterRelcacheCallback(watches_invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, watches_invalidate_all, (Datum) 0);
}
