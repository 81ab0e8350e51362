/*-------------------------------------------------------------------------
 *
 * scope.c
 *	  Whom a row concerns: its key, its unit, its users.
 *
 * These are what access is judged by, so they are exact: the canonical text of
 * the column, in the database's encoding. NULL and '' are nobody's; so is a
 * value with bytes that have no form in UTF-8, since replaced they could pass
 * for another's. A value too long to be an id is a fault of the definition, and
 * said to be one, not cut.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/qunique.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "guard.h"
#include "livefeed.h"
#include "scope.h"
#include "text.h"

/*
 * A key is what a client calls the row by, so it must be told even if it has no
 * form in UTF-8. Its strange bytes then stand as %XX.
 */
static char *
sendable_key(char *key)
{
	StringInfoData sendable;

	if (likely(text_is_sendable(key, strlen(key))))
		return key;
	initStringInfo(&sendable);
	for (; *key != '\0'; key++)
	{
		if (IS_HIGHBIT_SET(*key))
			appendStringInfo(&sendable, "%%%02X", (unsigned char) *key);
		else
			appendStringInfoChar(&sendable, *key);
	}
	return sendable.data;
}

/* A column that lost its NOT NULL since it was watched, or is named in a trigger made by hand, may be null: told as ''. */
char *
scope_key(const Watch *watch, TupleTableSlot *row)
{
	StringInfoData key;

	if (watch->nkeys == 1 && !row->tts_isnull[watch->keys[0].attnum - 1])
		return sendable_key(render_text(watch->keys[0].type,
										row->tts_values[watch->keys[0].attnum - 1]));

	initStringInfo(&key);
	for (int i = 0; i < watch->nkeys; i++)
	{
		int			column = watch->keys[i].attnum - 1;
		char	   *value = row->tts_isnull[column] ? "" :
			render_text(watch->keys[i].type, row->tts_values[column]);

		if (i > 0)
			appendStringInfoChar(&key, ',');
		text_append_uri(&key, value, strlen(value));
	}
	return key.data;
}

/* ---------- sets of users ---------- */

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

void
users_normalize(UserSet *users)
{
	if (users->n < 2)
		return;
	qsort(users->ids, users->n, sizeof(char *), compare_ids);
	users->n = qunique(users->ids, users->n, sizeof(char *), compare_ids);
}

/* Those of a that are in b, or that are not. */
static UserSet
users_select(const UserSet *a, const UserSet *b, bool in_b)
{
	UserSet		selected = {0, palloc(Max(a->n, 1) * sizeof(char *))};
	int			j = 0;

	for (int i = 0; i < a->n; i++)
	{
		while (j < b->n && strcmp(b->ids[j], a->ids[i]) < 0)
			j++;
		if ((j < b->n && strcmp(b->ids[j], a->ids[i]) == 0) == in_b)
			selected.ids[selected.n++] = a->ids[i];
	}
	return selected;
}

UserSet
users_common(const UserSet *a, const UserSet *b)
{
	return users_select(a, b, true);
}

UserSet
users_minus(const UserSet *a, const UserSet *b)
{
	return users_select(a, b, false);
}

ArrayType *
users_array(const UserSet *users)
{
	Datum	   *values;
	ArrayType  *array;

	if (users->n == 0)
		return NULL;
	values = palloc(users->n * sizeof(Datum));
	for (int i = 0; i < users->n; i++)
		values[i] = CStringGetTextDatum(users->ids[i]);
	array = construct_array(values, users->n, TEXTOID, -1, false, TYPALIGN_INT);
	for (int i = 0; i < users->n; i++)
		pfree(DatumGetPointer(values[i]));
	pfree(values);
	return array;
}

/* ---------- rows ---------- */

/* What a scope is made from; also the argument of the guarded part. */
typedef struct Reading
{
	const Watch *watch;
	TupleTableSlot *row;
	Scope	   *scope;
	int			room;			/* of scope->users.ids */
	char	   *problem;
} Reading;

static void
too_long(Reading *reading, const char *source)
{
	reading->problem = psprintf("a value of \"%s\" is longer than %d bytes", source, SCOPE_MAX_BYTES);
}

/* The id that a value is; NULL if it is nobody's, or no good (then there is a problem). */
static char *
read_id(Reading *reading, RenderType *type, Datum value, const char *source)
{
	char	   *id;

	if (type->length == -1 && toast_raw_datum_size(value) - VARHDRSZ > SCOPE_MAX_BYTES)
	{
		too_long(reading, source);
		return NULL;
	}
	id = render_text(type, value);
	/* A number of few bytes may have many digits. */
	if (strlen(id) > SCOPE_MAX_BYTES)
	{
		too_long(reading, source);
		return NULL;
	}
	return *id != '\0' && text_is_sendable(id, strlen(id)) ? id : NULL;
}

static void
add_user(Reading *reading, char *id)
{
	UserSet    *users = &reading->scope->users;

	if (id == NULL)
		return;
	if (users->n == reading->room)
	{
		reading->room = Max(4, reading->room * 2);
		users->ids = users->ids == NULL
			? palloc(reading->room * sizeof(char *))
			: repalloc(users->ids, reading->room * sizeof(char *));
	}
	users->ids[users->n++] = id;
}

/* A user column is one id, or an array of them. */
static void
add_users(Reading *reading, RenderType *type, Datum value, const char *source)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (type->kind != RENDER_ARRAY)
	{
		add_user(reading, read_id(reading, type, value, source));
		return;
	}
	if (toast_raw_datum_size(value) - VARHDRSZ > (Size) livefeed_max_event_bytes)
	{
		reading->problem = psprintf("a value of \"%s\" is larger than livefeed.max_event_bytes", source);
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(value), ARR_ELEMTYPE(DatumGetArrayTypeP(value)),
					  type->element->length, type->element->by_value, type->element->align,
					  &values, &nulls, &n);
	for (int i = 0; i < n && reading->problem == NULL; i++)
		if (!nulls[i])
			add_user(reading, read_id(reading, type->element, values[i], source));
}

/*
 * The row as the function's argument. What is larger than an event may be is
 * passed as NULL: it would be read from disk on every write.
 */
static Datum
row_argument(const WatchFunction *function, TupleTableSlot *row)
{
	TupleDesc	desc = row->tts_tupleDescriptor;
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;

	slot_getallattrs(row);
	for (int i = 0; i < desc->natts; i++)
		nulls[i] = row->tts_isnull[i] ||
			(TupleDescAttr(desc, i)->attlen == -1 &&
			 VARATT_IS_EXTERNAL(DatumGetPointer(row->tts_values[i])) &&
			 toast_raw_datum_size(row->tts_values[i]) > (Size) livefeed_max_event_bytes);
	tuple = heap_form_tuple(desc, row->tts_values, nulls);
	if (function->map != NULL)
		tuple = execute_attr_map_tuple(tuple, function->map);
	return heap_copy_tuple_as_datum(tuple, function->row_desc);
}

/* False if it returned NULL. */
static bool
call_function(const WatchFunction *function, TupleTableSlot *row, Datum *result)
{
	LOCAL_FCINFO(call, 1);
	Oid			user;
	int			context;

	InitFunctionCallInfoData(*call, unconstify(FmgrInfo *, &function->call), 1,
							 DEFAULT_COLLATION_OID, NULL, NULL);
	call->args[0].value = row_argument(function, row);
	call->args[0].isnull = false;

	/* An error puts the user back by itself: the subtransaction's abort does. */
	GetUserIdAndSecContext(&user, &context);
	if (OidIsValid(function->run_as))
		SetUserIdAndSecContext(function->run_as, context | SECURITY_LOCAL_USERID_CHANGE);
	*result = FunctionCallInvoke(call);
	SetUserIdAndSecContext(user, context);
	return !call->isnull;
}

/* Under guard_run(): may raise. */
static void
call_functions(void *arg)
{
	Reading    *reading = arg;
	const Watch *watch = reading->watch;
	Datum		result;

	if (watch->unit_function != NULL &&
		call_function(watch->unit_function, reading->row, &result))
		reading->scope->unit = read_id(reading, render_type(TEXTOID), result, "unit_function");
	if (watch->users_function != NULL &&
		call_function(watch->users_function, reading->row, &result))
		add_users(reading, render_type(TEXTARRAYOID), result, "users_function");
}

bool
scope_of_row(const Watch *watch, TupleTableSlot *row, Scope *scope, char **problem)
{
	Reading		reading = {watch, row, scope, 0, NULL};

	memset(scope, 0, sizeof(Scope));
	if (watch->unit != NULL && !row->tts_isnull[watch->unit->attnum - 1])
		scope->unit = read_id(&reading, watch->unit->type,
							  row->tts_values[watch->unit->attnum - 1], watch->unit->name);
	for (int i = 0; i < watch->nusers; i++)
	{
		int			column = watch->users[i].attnum - 1;

		if (!row->tts_isnull[column])
			add_users(&reading, watch->users[i].type, row->tts_values[column], watch->users[i].name);
	}
	if (watch->parent != NULL && !row->tts_isnull[watch->parent->attnum - 1])
		scope->parent = read_id(&reading, watch->parent->type,
								row->tts_values[watch->parent->attnum - 1], watch->parent->name);
	if ((watch->unit_function != NULL || watch->users_function != NULL) && reading.problem == NULL)
	{
		if (!guard_run(call_functions, &reading, problem))
			return false;
	}
	users_normalize(&scope->users);
	*problem = reading.problem;
	return reading.problem == NULL;
}

char *
scope_check_id(const char *what, char *id)
{
	int			len = id == NULL ? 0 : strlen(id);

	if (len == 0)
		return NULL;
	if (len > SCOPE_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is longer than %d bytes", what, SCOPE_MAX_BYTES)));
	if (!text_is_sendable(id, len))
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("%s has characters that cannot be written in UTF-8", what)));
	return id;
}
