/*-------------------------------------------------------------------------
 *
 * expose.c
 *	  Queries and commands: functions of the application under a name of ours
 *	  (expose.sql).
 *
 * What is exposed runs with the rights of the function's owner, for whoever
 * calls. So only he who may act as that owner may expose it: expose_query() and
 * expose_command() run as their caller, and what they call here looks for
 * itself, then writes with the rights of the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "expose.h"
#include "feed.h"
#include "journal.h"
#include "livefeed.h"
#include "own_row.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_expose_function);

/* The first columns of livefeed.exposed (expose.sql). */
enum
{
	EXPOSED_NAME = 1,
	EXPOSED_KIND,
	EXPOSED_SCHEMA,
	EXPOSED_FUNCTION,
	EXPOSED_OWNER,
	EXPOSED_SCOPE,
};

/* The arguments of livefeed.expose_function(). */
enum
{
	ARG_KIND,
	ARG_NAME,
	ARG_FUNCTION,
	ARG_ROLES,
	ARG_SCOPE,
	ARG_FEEDS,
	ARG_ACCESS_FEED,
	ARG_DEBOUNCE,
	ARG_REFRESH,
};

/* ---------- what is exposed ---------- */

/* A query takes a scope's value, unless it is of all; a command takes its arguments. */
static void
set_arguments(FunctionName *function, const char *kind, const char *scope)
{
	function->argument = strcmp(kind, EXPOSE_COMMAND) == 0 ? JSONBOID : TEXTOID;
	function->nargs = scope != NULL && strcmp(scope, "all") == 0 ? 0 : 1;
}

/* False if the name is nobody's, or the database has still the version without such. The caller's rights do not matter. */
static bool
find_exposure(const char *name, Exposure *exposure)
{
	Oid			schema = get_namespace_oid(LIVEFEED_SCHEMA, true);
	Oid			table = OidIsValid(schema) ? get_relname_relid("exposed", schema) : InvalidOid;
	OwnRow		row;

	if (!OidIsValid(table) || !own_row_get(table, name, &row))
		return false;
	exposure->name = own_row_text(&row, EXPOSED_NAME);
	exposure->kind = own_row_text(&row, EXPOSED_KIND);
	exposure->scope = own_row_text(&row, EXPOSED_SCOPE);
	exposure->function.schema = own_row_text(&row, EXPOSED_SCHEMA);
	exposure->function.name = own_row_text(&row, EXPOSED_FUNCTION);
	exposure->function.owner = own_row_text(&row, EXPOSED_OWNER);
	set_arguments(&exposure->function, exposure->kind, exposure->scope);
	return true;
}

void
exposure_get(const char *kind, const char *name, Exposure *exposure)
{
	if (!find_exposure(name, exposure) || strcmp(exposure->kind, kind) != 0)
		ereport(ERROR,
				(errcode(strcmp(kind, EXPOSE_COMMAND) == 0 ? ERRCODE_LIVEFEED_NO_COMMAND : ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s \"%s\" does not exist", kind, name),
				 strcmp(kind, EXPOSE_QUERY) == 0
				 ? errhint("The view livefeed.queries lists those there are.")
				 : errhint("The view livefeed.commands lists those there are.")));
}

Oid
exposure_function(const Exposure *exposure, Oid *owner)
{
	char	   *subject = psprintf("function %s of %s \"%s\"", function_signature(&exposure->function),
								   exposure->kind, exposure->name);

	return function_find(&exposure->function, subject, psprintf("livefeed.expose_%s()", exposure->kind), owner);
}

/* ---------- names ---------- */

static void
refuse_reserved(const char *name)
{
	if (strcmp(name, EXPOSE_SESSIONS_FEED) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("the name \"%s\" is reserved", name),
				 errdetail("It stands for the changes of livefeed.sessions, among the feeds of a query.")));
}

void
exposure_refuse_feed(const char *name)
{
	Exposure	exposure;

	refuse_reserved(name);
	if (find_exposure(name, &exposure))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feed \"%s\" is in use: it is a %s", name, exposure.kind),
				 errhint("Give another name as \"feed\", or take that one back with livefeed.hide().")));
}

/* Makes sure that nobody else has the name, nor takes it before this transaction ends (see declare.c). */
static void
take_name(const char *kind, const char *name)
{
	Exposure	exposure;
	char	   *entity;
	Oid			trigger;
	Oid			holder;

	LockRelationOid(livefeed_relation("declared"), ShareRowExclusiveLock);
	refuse_reserved(name);
	if (find_exposure(name, &exposure) && strcmp(exposure.kind, kind) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s \"%s\" is in use: it is a %s", kind, name, exposure.kind),
				 errhint("Give another name, or take that one back with livefeed.hide().")));
	if (feed_is_declared(name, &entity))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s \"%s\" is in use: it is a declared feed", kind, name),
				 errhint("Feeds, queries and commands share their names: give another one.")));
	holder = watch_find_feed(name, &trigger);
	if (OidIsValid(holder))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("%s \"%s\" is in use: it is the feed of relation \"%s\"", kind, name, get_rel_name(holder)),
				 errhint("Feeds, queries and commands share their names: give another one.")));
}

/* ---------- exposing ---------- */

static void
check_feed(const char *query, const char *what, const char *feed, bool sessions)
{
	char	   *entity;
	Oid			trigger;

	if (sessions && strcmp(feed, EXPOSE_SESSIONS_FEED) == 0)
		return;
	if (!feed_is_declared(feed, &entity) && !OidIsValid(watch_find_feed(feed, &trigger)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s \"%s\" of query \"%s\" does not exist", what, feed, query),
				 errhint("Watch its table, or declare it, first; the view livefeed.feeds lists those there are.")));
}

static void
check_feeds(const char *query, ArrayType *feeds)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(feeds, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			check_feed(query, "feed", TextDatumGetCString(values[i]), true);
}

/* What is wrong with a function, as an error. */
static void
refuse_function(const char *kind, const char *name, Oid function, const FunctionName *wanted, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("function %s cannot be %s \"%s\": %s", format_procedure(function), kind, name, problem),
			 wanted->argument == JSONBOID
			 ? errhint("CREATE FUNCTION f(args jsonb) RETURNS jsonb ...")
			 : wanted->nargs == 0
			 ? errhint("CREATE FUNCTION f() RETURNS jsonb STABLE ...")
			 : wanted->nargs == 2
			 ? errhint("CREATE FUNCTION f(scope text, scope_value text) RETURNS jsonb STABLE ...")
			 : errhint("CREATE FUNCTION f(scope_value text) RETURNS jsonb STABLE ...")));
}

static bool
takes(Form_pg_proc form, const FunctionName *wanted)
{
	if (form->pronargs != wanted->nargs)
		return false;
	for (int i = 0; i < wanted->nargs; i++)
		if (form->proargtypes.values[i] != wanted->argument)
			return false;
	return true;
}

void
exposure_check_function(const char *kind, const char *name, Oid function, FunctionName *wanted)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION)
		refuse_function(kind, name, function, wanted, "it is no plain function");
	if (!takes(form, wanted))
		refuse_function(kind, name, function, wanted,
						wanted->nargs == 0 ? "it must take no argument" :
						psprintf("it must take %s%s", wanted->nargs == 2 ? "two arguments of type " : "",
								 format_type_be(wanted->argument)));
	if (form->proretset || form->prorettype != JSONBOID)
		refuse_function(kind, name, function, wanted, "it must return jsonb");
	if (wanted->argument != JSONBOID && form->provolatile == PROVOLATILE_VOLATILE)
		refuse_function(kind, name, function, wanted, "it is VOLATILE, and must be STABLE");
	if (wanted->nargs == 2 && form->proisstrict)
		refuse_function(kind, name, function, wanted, "it is STRICT, and would not run for the whole feed, which has no value");
	if (!has_privs_of_role(GetUserId(), form->proowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of function %s", format_procedure(function)),
				 errdetail("A %s runs with the rights of its function's owner.", kind)));
	wanted->schema = get_namespace_name(form->pronamespace);
	wanted->name = pstrdup(NameStr(form->proname));
	wanted->owner = GetUserNameFromId(form->proowner, false);
	ReleaseSysCache(tuple);
}

static void
write_exposure(FunctionCallInfo fcinfo, const FunctionName *function)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID,
		INTERVALOID, INTERVALOID};
	int			arguments[] = {ARG_NAME, ARG_KIND, -1, -1, -1, ARG_SCOPE, ARG_ROLES, ARG_FEEDS, ARG_ACCESS_FEED,
		ARG_DEBOUNCE, ARG_REFRESH};
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types) + 1] = {0};
	FunctionRights former;

	for (int i = 0; i < lengthof(types); i++)
	{
		nulls[i] = arguments[i] >= 0 && PG_ARGISNULL(arguments[i]) ? 'n' : ' ';
		if (arguments[i] >= 0 && nulls[i] == ' ')
			values[i] = PG_GETARG_DATUM(arguments[i]);
	}
	values[2] = CStringGetTextDatum(function->schema);
	values[3] = CStringGetTextDatum(function->name);
	values[4] = CStringGetTextDatum(function->owner);

	SPI_connect();
	function_enter_as_owner_of(&former, "exposed");
	if (SPI_execute_with_args("INSERT INTO " LIVEFEED_SCHEMA ".exposed"
							  " (name, kind, schema, function, owner, scope, roles, feeds, access_feed, debounce, refresh)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
							  " ON CONFLICT ON CONSTRAINT exposed_pkey DO UPDATE SET schema = excluded.schema,"
							  " function = excluded.function, owner = excluded.owner, scope = excluded.scope,"
							  " roles = excluded.roles, feeds = excluded.feeds, access_feed = excluded.access_feed,"
							  " debounce = excluded.debounce, refresh = excluded.refresh",
							  lengthof(types), types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write to \"%s.exposed\"", LIVEFEED_SCHEMA);
	function_leave(&former);
	SPI_finish();
}

/*
 * expose_function(kind text, name text, function regprocedure, roles text[], scope text, feeds text[],
 * access_feed text, debounce interval, refresh interval)
 */
Datum
livefeed_expose_function(PG_FUNCTION_ARGS)
{
	FunctionName function = {0};
	char	   *kind;
	char	   *name;
	char	   *scope;

	for (int i = ARG_KIND; i <= ARG_ROLES; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("livefeed.expose_function() is part of livefeed.expose_query() and expose_command()")));
	kind = text_to_cstring(PG_GETARG_TEXT_PP(ARG_KIND));
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME));
	scope = PG_ARGISNULL(ARG_SCOPE) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_SCOPE));

	PreventCommandIfReadOnly(psprintf("livefeed.expose_%s()", kind));
	set_arguments(&function, kind, scope);
	exposure_check_function(kind, name, PG_GETARG_OID(ARG_FUNCTION), &function);
	take_name(kind, name);
	if (!PG_ARGISNULL(ARG_FEEDS))
		check_feeds(name, PG_GETARG_ARRAYTYPE_P(ARG_FEEDS));
	if (!PG_ARGISNULL(ARG_ACCESS_FEED))
		check_feed(name, "access_feed", text_to_cstring(PG_GETARG_TEXT_PP(ARG_ACCESS_FEED)), false);

	write_exposure(fcinfo, &function);
	journal_control("definitions");
	PG_RETURN_VOID();
}
