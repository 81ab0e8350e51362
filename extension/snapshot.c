/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  livefeed.snapshot(): what a channel holds now, and where in the order of
 *	  events that stands.
 *
 * Rows, last tick and transactions seen must be of one MVCC taking. It is
 * taken here, after the tables have been locked: one that is older than a lock
 * would show a table that was rewritten or truncated meanwhile as empty, and no
 * event would ever mend that. All queries then run under it, which SPI does
 * where they are read only, as does a function that is STABLE.
 *
 * The rows are those that a subscriber of the channel would be told of: the
 * query narrows them down by what an index may serve, and each is then judged by
 * the code that judges it for events (scope.c), and rendered by the same
 * (frame.c). Both run with the rights of the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "batch.h"
#include "compat.h"
#include "feed.h"
#include "frame.h"
#include "livefeed.h"
#include "lookup.h"
#include "plan.h"
#include "retain.h"
#include "scope.h"
#include "snapshot_function.h"
#include "text.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_snapshot);

/* What all rows of a snapshot may take; beyond it is cut off, and said to be. */
#define SNAPSHOT_MAX_BYTES (8 * 1024 * 1024)

/* Rows that are fetched at a time. */
#define SNAPSHOT_FETCH_ROWS 100

typedef enum SnapshotScope
{
	SNAPSHOT_UNIT,
	SNAPSHOT_USER,
	SNAPSHOT_ROW,
	SNAPSHOT_ALL,
	SNAPSHOT_OPEN,				/* all, less what a declared feed has for units or users */
} SnapshotScope;

static const char *const scope_names[] = {"unit", "user", "row", "all", "open"};

typedef struct Taking
{
	/* asked for */
	const char *feed;
	SnapshotScope scope;
	char	   *value;			/* NULL: of SNAPSHOT_ALL */

	/* the answer */
	const char *status;
	BatchLast	last;
	Datum		seen;
	List	   *key_columns;	/* of const char *; NIL: none */
	StringInfoData data;		/* UTF-8, as keys are */
	StringInfoData keys;		/* empty: none */
	bool		truncated;
	const char *row_status;		/* NULL: not of SNAPSHOT_ROW */
	char	   *row_unit;
	ArrayType  *row_users;
} Taking;

/* Which rows a query is to return; what it lets through is looked at again. */
typedef struct Condition
{
	StringInfoData sql;			/* empty: none */
	int			nargs;
	Oid		   *types;
	Datum	   *values;
	bool		vague;			/* it lets many others through: a LIMIT would cut off wanted ones */
} Condition;

/* ---------- the condition ---------- */

static void
condition_init(Condition *condition, int max_args)
{
	memset(condition, 0, sizeof(Condition));
	initStringInfo(&condition->sql);
	condition->types = palloc(Max(max_args, 1) * sizeof(Oid));
	condition->values = palloc(Max(max_args, 1) * sizeof(Datum));
}

static void
condition_add(Condition *condition, Oid type, Datum value)
{
	condition->types[condition->nargs] = type;
	condition->values[condition->nargs++] = value;
}

static void
condition_or(Condition *condition)
{
	if (condition->sql.len > 0)
		appendStringInfoString(&condition->sql, " OR ");
}

/* COLUMN = value; false if the column cannot hold what the text says. */
static bool
add_equal(Condition *condition, Relation relation, const WatchColumn *column, char *given)
{
	int32		typmod;
	Oid			type = lookup_column_type(relation, column, &typmod);
	Datum		value;

	if (!lookup_read_value(type, typmod, given, &value))
		return false;
	condition_or(condition);
	if (lookup_append_equal(&condition->sql, column->name, type, condition->nargs + 1))
		condition_add(condition, type, value);
	else
		condition->vague = true;
	return true;
}

/* COLUMN @> ARRAY[value], which a GIN index can serve; likewise. */
static bool
add_contains(Condition *condition, Relation relation, const WatchColumn *column, char *given)
{
	int32		typmod;
	Oid			type = lookup_column_type(relation, column, &typmod);
	Oid			array = getBaseTypeAndTypmod(type, &typmod);
	RenderType *element = column->type->element;
	Datum		value;

	if (!lookup_read_value(element->type, typmod, given, &value))
		return false;
	if (!OidIsValid(lookup_type_cache(element->type, TYPECACHE_EQ_OPR)->eq_opr))
	{
		condition->vague = true;
		return true;
	}
	condition_or(condition);
	appendStringInfo(&condition->sql, "x.%s OPERATOR(pg_catalog.@>) $%d",
					 quote_identifier(column->name), condition->nargs + 1);
	condition_add(condition, array,
				  PointerGetDatum(construct_array(&value, 1, element->type, element->length,
												  element->by_value, element->align)));
	return true;
}

/*
 * What the function returns is value, or contains it. Only of an immutable
 * function, of which there may be an index; and one that may run with the
 * owner's rights.
 */
static void
add_function(Condition *condition, const WatchFunction *function, const char *operator, Oid type, Datum value)
{
	Oid			oid = function->call.fn_oid;

	if (func_volatile(oid) != PROVOLATILE_IMMUTABLE || !OidIsValid(function->run_as))
	{
		condition->vague = true;
		return;
	}
	condition_or(condition);
	appendStringInfo(&condition->sql, "%s(x.*) OPERATOR(pg_catalog.%s) $%d",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(oid)), get_func_name(oid)),
					 operator, condition->nargs + 1);
	condition_add(condition, type, value);
}

/* NULL, or the status that ends it here. */
static const char *
unit_condition(Condition *condition, Relation relation, const Watch *watch, char *value)
{
	condition_init(condition, 1);
	if (watch->unit != NULL)
		return add_equal(condition, relation, watch->unit, value) ? NULL : "spelling";
	if (watch->unit_function == NULL)
		return "no_scope";
	add_function(condition, watch->unit_function, "=", TEXTOID, CStringGetTextDatum(value));
	return NULL;
}

static const char *
users_condition(Condition *condition, Relation relation, const Watch *watch, char *value)
{
	Datum		id = CStringGetTextDatum(value);
	bool		known = watch->users_function != NULL;

	if (watch->nusers == 0 && watch->users_function == NULL)
		return "no_scope";
	condition_init(condition, watch->nusers + 1);
	for (int i = 0; i < watch->nusers; i++)
		known |= watch->users[i].type->kind == RENDER_ARRAY
			? add_contains(condition, relation, &watch->users[i], value)
			: add_equal(condition, relation, &watch->users[i], value);
	if (watch->users_function != NULL)
		add_function(condition, watch->users_function, "@>", TEXTARRAYOID,
					 PointerGetDatum(construct_array(&id, 1, TEXTOID, -1, false, TYPALIGN_INT)));
	return known ? NULL : "spelling";
}

static const char *
row_condition(Condition *condition, Relation relation, const Watch *watch, char *value)
{
	condition_init(condition, watch->nkeys);
	if (!lookup_read_key(relation, watch, value, condition->values))
		return "spelling";
	for (int i = 0; i < watch->nkeys; i++)
	{
		int32		typmod;

		condition->types[i] = lookup_column_type(relation, &watch->keys[i], &typmod);
		if (i > 0)
			appendStringInfoString(&condition->sql, " AND ");
		(void) lookup_append_equal(&condition->sql, watch->keys[i].name, condition->types[i], i + 1);
	}
	condition->nargs = watch->nkeys;
	return NULL;
}

static const char *
make_condition(Condition *condition, const Taking *taking, Relation relation, const Watch *watch)
{
	if (taking->value != NULL && (*taking->value == '\0' || strlen(taking->value) > SCOPE_MAX_BYTES * 4))
		return "spelling";
	switch (taking->scope)
	{
		case SNAPSHOT_UNIT:
			return unit_condition(condition, relation, watch, taking->value);
		case SNAPSHOT_USER:
			return users_condition(condition, relation, watch, taking->value);
		case SNAPSHOT_ROW:
			return row_condition(condition, relation, watch, taking->value);
		case SNAPSHOT_ALL:
		case SNAPSHOT_OPEN:
			condition_init(condition, 0);
			return NULL;
	}
	return "no_scope";
}

/* ---------- the rows ---------- */

static char *
rows_query(const Condition *condition, Relation relation, const Watch *watch)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	lookup_append_columns(&query, relation);
	appendStringInfoString(&query, " FROM ");
	lookup_append_table(&query, relation);
	if (condition->sql.len > 0 && !condition->vague)
		appendStringInfo(&query, " WHERE %s", condition->sql.data);
	for (int i = 0; i < watch->nkeys; i++)
		appendStringInfo(&query, "%s x.%s DESC", i == 0 ? " ORDER BY" : ",", quote_identifier(watch->keys[i].name));
	if (!condition->vague)
		appendStringInfo(&query, " LIMIT %d", livefeed_snapshot_rows + 1);
	return query.data;
}

static bool
is_in_scope(const Taking *taking, Relation relation, const Watch *watch, TupleTableSlot *row)
{
	Scope		scope;
	char	   *problem;

	if (taking->scope == SNAPSHOT_ALL || taking->scope == SNAPSHOT_OPEN)
		return true;
	if (taking->scope == SNAPSHOT_ROW)
		return strcmp(scope_key(watch, row), taking->value) == 0;
	if (!scope_of_row(watch, row, &scope, &problem))
		lookup_raise_problem(relation, problem);
	if (taking->scope == SNAPSHOT_UNIT)
		return scope.unit != NULL && strcmp(scope.unit, taking->value) == 0;
	for (int i = 0; i < scope.users.n; i++)
		if (strcmp(scope.users.ids[i], taking->value) == 0)
			return true;
	return false;
}

/* Whether a client cannot make the key's text from its JSON: 1.50 is the number 1.5 to it. */
static bool
key_is_not_its_json(const Watch *watch)
{
	for (int i = 0; i < watch->nkeys; i++)
		switch (watch->keys[i].type->kind)
		{
			case RENDER_FLOAT4:
			case RENDER_FLOAT8:
			case RENDER_NUMERIC:
			case RENDER_BYTEA:
			case RENDER_JSON:
			case RENDER_JSONB:
			case RENDER_ARRAY:
			case RENDER_COMPOSITE:
				return true;
			default:
				break;
		}
	return false;
}

/* Appends the row, if it is one; false: enough. */
static bool
take_row(Taking *taking, Relation relation, const Watch *watch, TupleTableSlot *row, int *nrows)
{
	StringInfo	data = &taking->data;
	int			start = data->len;
	Renderer	renderer = {data, start, SNAPSHOT_MAX_BYTES - 1, false};

	if (!is_in_scope(taking, relation, watch, row))
		return true;
	if (*nrows == livefeed_snapshot_rows)
	{
		taking->truncated = true;
		return false;
	}
	if (*nrows > 0)
		appendStringInfoCharMacro(data, ',');
	frame_append_row(&renderer, watch, row);
	if (renderer.too_large || data->len > renderer.end)
	{
		/* What does not fit even alone is left out; else the newest rows are what there is. */
		data->len = start;
		data->data[start] = '\0';
		taking->truncated = true;
		return *nrows == 0;
	}
	if (key_is_not_its_json(watch))
	{
		const char *key = scope_key(watch, row);

		appendStringInfoChar(&taking->keys, *nrows == 0 ? '[' : ',');
		text_append_json(&taking->keys, key, strlen(key));
	}
	(*nrows)++;
	return true;
}

/* Under SPI, as the table's owner. */
static void
read_rows(Taking *taking, Relation relation, const Watch *watch, Condition *condition)
{
	MemoryContext spi = CurrentMemoryContext;
	MemoryContext per_row = AllocSetContextCreate(spi, "livefeed snapshot row", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	Portal		cursor = SPI_cursor_open_with_args(NULL, rows_query(condition, relation, watch), condition->nargs,
												   condition->types, condition->values, NULL, true, 0);
	uint64		fetched = 0;
	int			nrows = 0;
	bool		more = true;

	for (;;)
	{
		uint64		n;

		SPI_cursor_fetch(cursor, true, SNAPSHOT_FETCH_ROWS);
		n = SPI_processed;
		fetched += n;
		for (uint64 i = 0; i < n && more; i++)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextSwitchTo(per_row);
			lookup_store_row(row, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			more = take_row(taking, relation, watch, row, &nrows);
			ExecClearTuple(row);
			MemoryContextSwitchTo(spi);
			MemoryContextReset(per_row);
		}
		SPI_freetuptable(SPI_tuptable);
		if (n == 0 || !more)
			break;
	}
	/* The limit may have been spent on rows that are merely equal. */
	if (!condition->vague && fetched > (uint64) livefeed_snapshot_rows)
		taking->truncated = true;
	SPI_cursor_close(cursor);
	ExecDropSingleTupleTableSlot(row);
	MemoryContextDelete(per_row);
}

static void
snapshot_table(Taking *taking, Oid relation_oid)
{
	LookupUser	former;
	const Watch *watch;
	Relation	relation;
	Condition	condition;
	const char *refused;
	FunctionName function;
	bool		exposed = snapshot_function_get(taking->feed, &function);

	lookup_become_owner(relation_oid, &former);
	relation = lookup_open(relation_oid, &watch);
	if (!exposed)
		lookup_check_row_security(relation);
	refused = make_condition(&condition, taking, relation, watch);
	if (refused != NULL)
		taking->status = refused;
	else
	{
		for (int i = 0; i < watch->nkeys; i++)
			taking->key_columns = lappend(taking->key_columns, pstrdup(watch->keys[i].name));
		if (!exposed)
		{
			appendStringInfoChar(&taking->data, '[');
			SPI_connect();
			read_rows(taking, relation, watch, &condition);
			SPI_finish();
			appendStringInfoChar(&taking->data, ']');
			if (taking->keys.len > 0)
				appendStringInfoChar(&taking->keys, ']');
		}
	}
	relation_close(relation, AccessShareLock);
	lookup_leave_owner(&former);
	if (refused == NULL && exposed)
		snapshot_function_run(taking->feed, &function,
							  scope_names[taking->scope == SNAPSHOT_OPEN ? SNAPSHOT_ALL : taking->scope],
							  taking->value, &taking->data, SNAPSHOT_MAX_BYTES);
}

/* ---------- a declared feed ---------- */

static void
snapshot_declared(Taking *taking, const DeclaredFeed *declared)
{
	static const RetainScope scopes[] = {RETAIN_UNIT, RETAIN_USER, RETAIN_KEY, RETAIN_ALL, RETAIN_OPEN};

	FunctionName function;

	if (taking->value != NULL && (*taking->value == '\0' || strlen(taking->value) > SCOPE_MAX_BYTES))
		taking->status = "spelling";
	else if (snapshot_function_get(taking->feed, &function))
	{
		/* The rows name their key themselves. */
		taking->key_columns = list_make1("key");
		snapshot_function_run(taking->feed, &function, scope_names[taking->scope], taking->value,
							  &taking->data, SNAPSHOT_MAX_BYTES);
	}
	else if (declared->retain)
		taking->truncated = !retain_read(taking->feed, declared->durable, scopes[taking->scope], taking->value,
										 &taking->data, &taking->keys, SNAPSHOT_MAX_BYTES);
	else
	{
		/* Events that are gone are no state. */
		appendStringInfoString(&taking->data, "[]");
		appendStringInfoString(&taking->keys, "[]");
	}
}

/* ---------- together ---------- */

/* Where in the order of events the active snapshot stands. */
static void
find_place(Taking *taking)
{
	MemoryContext caller = CurrentMemoryContext;
	LookupUser	former;
	int			level;

	taking->seen = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	lookup_become_owner(livefeed_relation("ticks"), &former);
	SPI_connect();
	level = plan_enter();
	batch_last(&taking->last);
	plan_leave(level);
	SPI_finish();
	lookup_leave_owner(&former);
	MemoryContextSwitchTo(caller);
}

/* A table and its partitions: until they are locked, no snapshot is good for them. */
static void
lock_tables(Oid relation)
{
	LockRelationOid(relation, AccessShareLock);
	list_free(find_all_inheritors(relation, AccessShareLock, NULL));
}

static SnapshotScope
scope_argument(FunctionCallInfo fcinfo)
{
	char	   *name = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));

	for (int i = 0; i < lengthof(scope_names); i++)
	{
		if (strcmp(name, scope_names[i]) != 0)
			continue;
		if ((i >= SNAPSHOT_ALL) != PG_ARGISNULL(2))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("scope \"%s\" %s", name, i >= SNAPSHOT_ALL ? "has no value" : "needs a value")));
		return (SnapshotScope) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid scope \"%s\"", name),
			 errhint("It is unit, user, row, all or open.")));
	return SNAPSHOT_ALL;		/* keep compiler quiet */
}

static Datum
text_of_json(const StringInfoData *json)
{
	StringInfoData out;

	initStringInfo(&out);
	text_append_from_utf8_json(&out, json->data, json->len);
	return PointerGetDatum(cstring_to_text_with_len(out.data, out.len));
}

static Datum
names_array(List *names)
{
	Datum	   *values = palloc(Max(list_length(names), 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, names)
		values[n++] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}

enum
{
	ANSWER_STATUS, ANSWER_AFTER, ANSWER_TICK, ANSWER_EPOCH, ANSWER_SEEN, ANSWER_KEY_COLUMNS, ANSWER_DATA,
	ANSWER_TRUNCATED, ANSWER_KEYS, ANSWER_ROW_STATUS, ANSWER_ROW_UNIT, ANSWER_ROW_USERS, ANSWER_COLUMNS
};

static Datum
answer(FunctionCallInfo fcinfo, const Taking *taking)
{
	TupleDesc	desc;
	Datum		values[ANSWER_COLUMNS] = {0};
	bool		nulls[ANSWER_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, taking->status != NULL, sizeof(nulls));
	nulls[ANSWER_STATUS] = false;
	values[ANSWER_STATUS] = CStringGetTextDatum(taking->status ? taking->status : "ok");
	if (taking->status == NULL)
	{
		values[ANSWER_AFTER] = Int64GetDatum(taking->last.tick.id_last);
		values[ANSWER_TICK] = Int64GetDatum(taking->last.tick.tick);
		values[ANSWER_EPOCH] = CStringGetTextDatum(taking->last.tick.epoch);
		values[ANSWER_SEEN] = CStringGetTextDatum(OidOutputFunctionCall(F_PG_SNAPSHOT_OUT, taking->seen));
		nulls[ANSWER_KEY_COLUMNS] = taking->key_columns == NIL;
		if (taking->key_columns != NIL)
			values[ANSWER_KEY_COLUMNS] = names_array(taking->key_columns);
		values[ANSWER_DATA] = text_of_json(&taking->data);
		values[ANSWER_TRUNCATED] = BoolGetDatum(taking->truncated);
		nulls[ANSWER_KEYS] = taking->keys.len == 0;
		if (taking->keys.len > 0)
			values[ANSWER_KEYS] = text_of_json(&taking->keys);
		nulls[ANSWER_ROW_STATUS] = taking->row_status == NULL;
		if (taking->row_status != NULL)
			values[ANSWER_ROW_STATUS] = CStringGetTextDatum(taking->row_status);
		nulls[ANSWER_ROW_UNIT] = taking->row_unit == NULL;
		if (taking->row_unit != NULL)
			values[ANSWER_ROW_UNIT] = CStringGetTextDatum(taking->row_unit);
		nulls[ANSWER_ROW_USERS] = taking->row_users == NULL;
		values[ANSWER_ROW_USERS] = PointerGetDatum(taking->row_users);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* snapshot(feed text, scope text, value text): see snapshot.sql */
Datum
livefeed_snapshot(PG_FUNCTION_ARGS)
{
	Taking		taking = {0};
	DeclaredFeed declared;
	bool		is_declared;
	Oid			relation;
	Oid			trigger;

	taking.feed = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	taking.scope = scope_argument(fcinfo);
	taking.value = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	initStringInfo(&taking.data);
	initStringInfo(&taking.keys);

	is_declared = feed_get_declared(taking.feed, &declared);
	relation = is_declared ? InvalidOid : watch_find_feed(taking.feed, &trigger);
	if (!is_declared && !OidIsValid(relation))
	{
		taking.status = "no_feed";
		return answer(fcinfo, &taking);
	}
	lock_tables(livefeed_relation("ticks"));
	if (!is_declared)
		lock_tables(relation);
	PushActiveSnapshot(GetTransactionSnapshot());
	find_place(&taking);
	if (is_declared)
		snapshot_declared(&taking, &declared);
	else
		snapshot_table(&taking, relation);
	if (taking.status == NULL && taking.scope == SNAPSHOT_ROW)
		taking.row_status = lookup_row_scope(taking.feed, relation, taking.value, &taking.row_unit, &taking.row_users);
	PopActiveSnapshot();
	return answer(fcinfo, &taking);
}
