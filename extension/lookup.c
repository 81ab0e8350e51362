/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Rows of watched tables, read with the rights of the table's owner; and
 *	  livefeed.row_scope(): who may see the row of a key now.
 *
 * The bridge asks when a client wants a row's channel, so the answer must be as
 * exact as the events are: key, unit and users are made from the row by the code
 * that makes them for events (scope.c). A key is looked up only if it is
 * spelled as we would spell it, so that no row has two channels.
 *
 * The look-up runs with the rights of the table's owner, as those of foreign
 * keys do, and so do the watch's functions. An owner may be bound by row-level
 * security too, if he asked for it with FORCE: then he cannot tell, and the
 * table is refused by name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "feed.h"
#include "guard.h"
#include "livefeed.h"
#include "lookup.h"
#include "retain.h"
#include "scope.h"
#include "text.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_row_scope);

/* A key on its way from text to values. */
typedef struct KeyText
{
	Relation	relation;
	const Watch *watch;
	char	  **parts;			/* one for each key column, decoded */
	Datum	   *values;
} KeyText;

/* ---------- with whose rights ---------- */

static Oid
relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
lookup_become_owner(Oid relation, LookupUser *former)
{
	GetUserIdAndSecContext(&former->user, &former->context);
	SetUserIdAndSecContext(relation_owner(relation), former->context | SECURITY_LOCAL_USERID_CHANGE);
}

void
lookup_leave_owner(const LookupUser *former)
{
	SetUserIdAndSecContext(former->user, former->context);
}

void
lookup_check_row_security(Relation relation)
{
	if (relation->rd_rel->relrowsecurity && relation->rd_rel->relforcerowsecurity &&
		!has_bypassrls_privilege(relation->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has FORCE ROW LEVEL SECURITY", RelationGetRelationName(relation)),
				 errdetail("Rows are looked up with the rights of the table's owner."),
				 errhint("ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
}

void
lookup_raise_problem(Relation relation, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("livefeed watch of relation \"%s\" is broken: %s", RelationGetRelationName(relation), problem)));
}

/*
 * We run them with the owner's rights, so a stranger's function would have
 * those: whoever has the privilege TRIGGER can name one, in a trigger made by
 * hand. (The trigger itself runs such a one with the rights of whoever writes.)
 */
static void
check_function(Relation relation, const WatchFunction *function)
{
	if (function == NULL || OidIsValid(function->run_as))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s belongs neither to the owner of table \"%s\" nor to a superuser",
					format_procedure(function->call.fn_oid), RelationGetRelationName(relation)),
			 errdetail("Rows are looked up with the rights of the table's owner."),
			 errhint("ALTER FUNCTION ... OWNER TO %s.",
					 quote_identifier(GetUserNameFromId(relation->rd_rel->relowner, false)))));
}

Relation
lookup_open(Oid relation_oid, const Watch **watch)
{
	Relation	relation = relation_open(relation_oid, AccessShareLock);

	*watch = watch_get(relation, NULL);
	if (*watch == NULL || (*watch)->problem != NULL)
		lookup_raise_problem(relation, *watch ? (*watch)->problem : "it has no trigger");
	check_function(relation, (*watch)->unit_function);
	check_function(relation, (*watch)->users_function);
	return relation;
}

/* ---------- from text to values ---------- */

static int
hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* Undoes text_append_uri(); NULL if the text cannot be its result. */
static char *
uri_decode(const char *encoded, int len)
{
	char	   *utf8 = palloc(len + 1);
	char	   *out = utf8;

	for (int i = 0; i < len; i++)
	{
		if (encoded[i] != '%')
			*out++ = encoded[i];
		else if (i + 2 < len && hex_value(encoded[i + 1]) >= 0 && hex_value(encoded[i + 2]) >= 0)
		{
			*out++ = (char) (hex_value(encoded[i + 1]) << 4 | hex_value(encoded[i + 2]));
			i += 2;
		}
		else
			return NULL;
	}
	*out = '\0';
	if (strlen(utf8) != out - utf8 || !pg_verify_mbstr(PG_UTF8, utf8, out - utf8, true))
		return NULL;
	return pg_any_to_server(utf8, out - utf8, PG_UTF8);
}

/* Cuts a composite key at its commas. False if it has another number of parts. */
static bool
split_key(const char *key, char **parts, int nparts)
{
	for (int i = 0; i < nparts; i++)
	{
		int			len = strcspn(key, ",");

		parts[i] = uri_decode(key, len);
		if (parts[i] == NULL || (key[len] == ',') != (i + 1 < nparts))
			return false;
		key += len + 1;
	}
	return true;
}

/* Under guard_run(): raises where a part is no value of its column's type. */
static void
read_values(void *arg)
{
	KeyText    *key = arg;

	for (int i = 0; i < key->watch->nkeys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(key->relation),
													key->watch->keys[i].attnum - 1);
		Oid			input;
		Oid			param;

		getTypeInputInfo(attribute->atttypid, &input, &param);
		key->values[i] = OidInputFunctionCall(input, key->parts[i], param, attribute->atttypmod);
	}
}

/* True if the values' canonical text is the key as it was given. */
static bool
is_canonical(const KeyText *key, const char *given)
{
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(key->relation), &TTSOpsVirtual);
	bool		same;

	ExecStoreAllNullTuple(row);
	for (int i = 0; i < key->watch->nkeys; i++)
	{
		row->tts_values[key->watch->keys[i].attnum - 1] = key->values[i];
		row->tts_isnull[key->watch->keys[i].attnum - 1] = false;
	}
	same = strcmp(scope_key(key->watch, row), given) == 0;
	ExecDropSingleTupleTableSlot(row);
	return same;
}

bool
lookup_read_key(Relation relation, const Watch *watch, char *given, Datum *values)
{
	KeyText		key = {relation, watch, palloc(watch->nkeys * sizeof(char *)), values};
	char	   *problem;

	if (*given == '\0' || strlen(given) > SCOPE_MAX_BYTES * 4)
		return false;
	if (watch->nkeys == 1)
		key.parts[0] = given;
	else if (!split_key(given, key.parts, watch->nkeys))
		return false;
	return guard_run(read_values, &key, &problem) && is_canonical(&key, given);
}

/* A single value on that way. */
typedef struct ValueText
{
	Oid			type;
	int32		typmod;
	char	   *text;
	Datum		value;
} ValueText;

/* Under guard_run(): raises where the text is no value of the type. */
static void
read_value(void *arg)
{
	ValueText  *it = arg;
	Oid			input;
	Oid			param;

	getTypeInputInfo(it->type, &input, &param);
	it->value = OidInputFunctionCall(input, it->text, param, it->typmod);
}

bool
lookup_read_value(Oid type, int32 typmod, char *given, Datum *value)
{
	ValueText	it = {type, typmod, given, (Datum) 0};
	char	   *problem;

	if (*given == '\0' || strlen(given) > SCOPE_MAX_BYTES)
		return false;
	if (!guard_run(read_value, &it, &problem) || strcmp(render_text(render_type(type), it.value), given) != 0)
		return false;
	*value = it.value;
	return true;
}

/* ---------- the row ---------- */

void
lookup_append_table(StringInfo query, Relation relation)
{
	appendStringInfo(query, "%s%s x",
					 relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
												RelationGetRelationName(relation)));
}

bool
lookup_append_equal(StringInfo query, const char *column, Oid type, int number)
{
	Oid			equal = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple;
	Form_pg_operator operator;

	if (!OidIsValid(equal))
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equal));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", equal);
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	appendStringInfo(query, "x.%s OPERATOR(%s.%s) $%d", quote_identifier(column),
					 quote_identifier(get_namespace_name(operator->oprnamespace)),
					 NameStr(operator->oprname), number);
	ReleaseSysCache(tuple);
	return true;
}

Oid
lookup_column_type(Relation relation, const WatchColumn *column, int32 *typmod)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), column->attnum - 1);

	*typmod = attribute->atttypmod;
	return attribute->atttypid;
}

/* A trigger does not see a virtual generated column's value, nor do we ask for it. */
static bool
is_read(Form_pg_attribute attribute)
{
	return !attribute->attisdropped && attribute->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL;
}

void
lookup_append_columns(StringInfo query, Relation relation)
{
	const char *separator = "";

	for (int i = 0; i < RelationGetDescr(relation)->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), i);

		if (!is_read(attribute))
			continue;
		appendStringInfo(query, "%sx.%s", separator, quote_identifier(NameStr(attribute->attname)));
		separator = ", ";
	}
}

void
lookup_store_row(TupleTableSlot *slot, HeapTuple tuple, TupleDesc desc)
{
	int			column = 0;

	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_isnull[i] = true;
		slot->tts_values[i] = (Datum) 0;
		if (is_read(TupleDescAttr(slot->tts_tupleDescriptor, i)))
			slot->tts_values[i] = SPI_getbinval(tuple, desc, ++column, &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
}

static char *
row_query(Relation relation, const Watch *watch, Oid *types)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	lookup_append_columns(&query, relation);
	appendStringInfoString(&query, " FROM ");
	lookup_append_table(&query, relation);
	appendStringInfoString(&query, " WHERE ");
	for (int i = 0; i < watch->nkeys; i++)
	{
		int32		typmod;

		types[i] = lookup_column_type(relation, &watch->keys[i], &typmod);
		if (i > 0)
			appendStringInfoString(&query, " AND ");
		if (!lookup_append_equal(&query, watch->keys[i].name, types[i], i + 1))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("type %s has no equality operator", format_type_be(types[i]))));
	}
	return query.data;
}

/*
 * Looks the row up, as the table's owner; true if there is one. A row that is
 * merely equal (1.0 and 1.00, or under a collation that ignores case) has
 * another key as text, and is another channel's. The scope lives in SPI's
 * memory.
 */
static bool
find_row(Relation relation, const Watch *watch, Datum *key, const char *given, Scope *scope)
{
	Oid		   *types = palloc(watch->nkeys * sizeof(Oid));
	char	   *query = row_query(relation, watch, types);
	TupleTableSlot *row;
	char	   *problem;
	bool		found;

	if (SPI_execute_with_args(query, watch->nkeys, types, key, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "looking up a row of \"%s\" failed", RelationGetRelationName(relation));
	if (SPI_processed == 0)
		return false;

	row = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	lookup_store_row(row, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	found = strcmp(scope_key(watch, row), given) == 0;
	if (found && !scope_of_row(watch, row, scope, &problem))
		lookup_raise_problem(relation, problem);
	ExecDropSingleTupleTableSlot(row);
	return found;
}

/* ---------- a declared feed ---------- */

/* The unit and users of the key's last event that the log still has. */
static bool
find_event(const char *feed, const char *key, Scope *scope, ArrayType **users)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(feed), CStringGetTextDatum(key)};
	Datum		value;
	bool		isnull;
	FeedFacts	facts;
	char	   *query;

	feed_look_up(feed, &facts);
	query = psprintf("SELECT unit, users FROM " LIVEFEED_SCHEMA ".%s"
					 " WHERE feed OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2"
					 " ORDER BY seq DESC LIMIT 1", facts.durable ? "log" : "transient");
	if (SPI_execute_with_args(query,
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "looking up an event of \"%s\" failed", feed);
	if (SPI_processed == 0)
		return false;
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	scope->unit = isnull ? NULL : TextDatumGetCString(value);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	*users = isnull ? NULL : DatumGetArrayTypePCopy(value);
	return true;
}

/* ---------- together ---------- */

static Datum
answer(FunctionCallInfo fcinfo, TupleDesc desc, const char *status, const char *unit, ArrayType *users)
{
	Datum		values[3] = {CStringGetTextDatum(status), (Datum) 0, PointerGetDatum(users)};
	bool		nulls[3] = {false, unit == NULL, users == NULL};

	if (unit != NULL)
		values[1] = CStringGetTextDatum(unit);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Of a table's feed; fills in what is to be answered. */
static const char *
look_up_row(Oid relation_oid, char *key_text, char **unit, ArrayType **users)
{
	MemoryContext caller = CurrentMemoryContext;
	const Watch *watch;
	Relation	relation = lookup_open(relation_oid, &watch);
	Datum	   *key = palloc(watch->nkeys * sizeof(Datum));
	Scope		scope = {0};
	const char *status = "spelling";

	lookup_check_row_security(relation);
	if (lookup_read_key(relation, watch, key_text, key))
	{
		MemoryContext spi;

		SPI_connect();
		status = find_row(relation, watch, key, key_text, &scope) ? "found" : "absent";
		spi = MemoryContextSwitchTo(caller);
		*unit = scope.unit ? pstrdup(scope.unit) : NULL;
		*users = users_array(&scope.users);
		MemoryContextSwitchTo(spi);
		SPI_finish();
	}
	relation_close(relation, AccessShareLock);
	return status;
}

static const char *
look_up_event(const char *feed, const char *key, char **unit, ArrayType **users)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	Scope		scope = {0};
	ArrayType  *found_users = NULL;
	DeclaredFeed declared;
	bool		found;

	if (*key == '\0' || strlen(key) > SCOPE_MAX_BYTES)
		return "spelling";
	if (feed_get_declared(feed, &declared) && declared.retain &&
		retain_find(feed, declared.durable, key, unit, users))
		return "found";
	SPI_connect();
	found = find_event(feed, key, &scope, &found_users);
	spi = MemoryContextSwitchTo(caller);
	*unit = scope.unit ? pstrdup(scope.unit) : NULL;
	*users = found_users ? DatumGetArrayTypePCopy(PointerGetDatum(found_users)) : NULL;
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return found ? "found" : "absent";
}

const char *
lookup_row_scope(const char *feed, Oid relation, char *key, char **unit, ArrayType **users)
{
	LookupUser	former;
	const char *status;

	*unit = NULL;
	*users = NULL;
	lookup_become_owner(OidIsValid(relation) ? relation : livefeed_relation("log"), &former);
	status = OidIsValid(relation)
		? look_up_row(relation, key, unit, users)
		: look_up_event(feed, key, unit, users);
	lookup_leave_owner(&former);
	return status;
}

/* row_scope(feed text, key text): (status text, unit text, users text[]) */
Datum
livefeed_row_scope(PG_FUNCTION_ARGS)
{
	char	   *feed = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	TupleDesc	desc;
	Oid			relation;
	Oid			trigger;
	char	   *entity;
	bool		declared = feed_is_declared(feed, &entity);
	const char *status;
	char	   *unit;
	ArrayType  *users;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	relation = declared ? InvalidOid : watch_find_feed(feed, &trigger);
	if (!declared && !OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist", feed)));
	status = lookup_row_scope(feed, relation, key, &unit, &users);
	return answer(fcinfo, desc, status, unit, users);
}
