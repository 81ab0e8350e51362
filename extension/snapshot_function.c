/*-------------------------------------------------------------------------
 *
 * snapshot_function.c
 *	  Functions of the application that make a feed's snapshots:
 *	  livefeed.expose_snapshot().
 *
 * Such a function is STABLE: all of its queries see what the active snapshot
 * sees, and that is the one whose place in the order of events is known. It runs
 * as a query's does: with its owner's rights, read only, in a security-restricted
 * operation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "expose.h"
#include "feed.h"
#include "journal.h"
#include "livefeed.h"
#include "own_row.h"
#include "render.h"
#include "snapshot_function.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_expose_snapshot);

/* The columns of livefeed.exposed_snapshot (snapshot.sql). */
enum
{
	EXPOSED_FEED = 1,
	EXPOSED_SCHEMA,
	EXPOSED_FUNCTION,
	EXPOSED_OWNER,
};

bool
snapshot_function_get(const char *feed, FunctionName *function)
{
	OwnRow		row;

	if (!own_row_get(livefeed_relation("exposed_snapshot"), feed, &row))
		return false;
	function->schema = own_row_text(&row, EXPOSED_SCHEMA);
	function->name = own_row_text(&row, EXPOSED_FUNCTION);
	function->owner = own_row_text(&row, EXPOSED_OWNER);
	function->nargs = 2;
	function->argument = TEXTOID;
	return true;
}

static void
append_rows(const char *subject, Datum result, StringInfo data, int end)
{
	Renderer	renderer = {data, data->len, end, false};
	Jsonb	   *rows = DatumGetJsonbP(result);

	if (!JB_ROOT_IS_ARRAY(rows) || JB_ROOT_IS_SCALAR(rows))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s did not return a JSON array", subject),
				 errhint("A snapshot is an array of rows: jsonb_agg(to_jsonb(row)).")));
	render_value(&renderer, render_type(JSONBOID), result);
	if (renderer.too_large)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s returned more than %d bytes", subject, end)));
}

void
snapshot_function_run(const char *feed, const FunctionName *function, const char *scope,
					  const char *value, StringInfo data, int end)
{
	char	   *subject = psprintf("function %s of snapshot \"%s\"", function_signature(function), feed);
	NullableDatum arguments[2] = {{.isnull = false}, {.isnull = value == NULL}};
	bool		was_read_only = XactReadOnly;
	Oid			owner;
	Oid			oid = function_find(function, subject, "livefeed.expose_snapshot()", &owner);
	FunctionRights former;
	Datum		result;
	bool		has_rows;

	/* It was not when it was exposed; CREATE OR REPLACE makes it so where STABLE is left out. */
	if (func_volatile(oid) == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s is VOLATILE, and must be STABLE", subject),
				 errdetail("Its queries would see more than the snapshot does.")));
	arguments[0].value = CStringGetTextDatum(scope);
	if (value != NULL)
		arguments[1].value = CStringGetTextDatum(value);
	function_enter(&former, owner, true);
	XactReadOnly = true;		/* an error puts it back, as the transaction's abort does */
	has_rows = function_call(oid, 2, arguments, &result);
	XactReadOnly = was_read_only;
	function_leave(&former);

	/* jsonb_agg() of no row is null. */
	if (has_rows)
		append_rows(subject, result, data, end);
	else
		appendStringInfoString(data, "[]");
}

/* ---------- exposing ---------- */

static void
check_feed(const char *feed)
{
	char	   *entity;
	Oid			trigger;
	Oid			relation;

	if (feed_is_declared(feed, &entity))
		return;
	relation = watch_find_feed(feed, &trigger);
	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist", feed),
				 errhint("Watch its table, or declare it, first; the view livefeed.feeds lists those there are.")));
	if (!compat_relation_ownercheck(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relation)), get_rel_name(relation));
}

static void
write_function(const char *feed, const FunctionName *function)
{
	Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4] = {CStringGetTextDatum(feed)};
	FunctionRights former;
	int			result;

	SPI_connect();
	function_enter_as_owner_of(&former, "exposed_snapshot");
	if (function == NULL)
		result = SPI_execute_with_args("DELETE FROM " LIVEFEED_SCHEMA ".exposed_snapshot"
									   " WHERE feed OPERATOR(pg_catalog.=) $1", 1, types, values, NULL, false, 0);
	else
	{
		values[1] = CStringGetTextDatum(function->schema);
		values[2] = CStringGetTextDatum(function->name);
		values[3] = CStringGetTextDatum(function->owner);
		result = SPI_execute_with_args("INSERT INTO " LIVEFEED_SCHEMA ".exposed_snapshot (feed, schema, function, owner)"
									   " VALUES ($1, $2, $3, $4) ON CONFLICT ON CONSTRAINT exposed_snapshot_pkey"
									   " DO UPDATE SET schema = excluded.schema, function = excluded.function,"
									   " owner = excluded.owner", 4, types, values, NULL, false, 0);
	}
	if (result < 0)
		elog(ERROR, "could not write to \"%s.exposed_snapshot\"", LIVEFEED_SCHEMA);
	function_leave(&former);
	SPI_finish();
}

/* expose_snapshot(feed text, function regprocedure) */
Datum
livefeed_expose_snapshot(PG_FUNCTION_ARGS)
{
	FunctionName function = {.nargs = 2,.argument = TEXTOID};
	char	   *feed;

	PreventCommandIfReadOnly("livefeed.expose_snapshot()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("feed must not be null")));
	feed = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_feed(feed);
	if (PG_ARGISNULL(1))
		write_function(feed, NULL);
	else
	{
		exposure_check_function("snapshot", feed, PG_GETARG_OID(1), &function);
		write_function(feed, &function);
	}
	PG_RETURN_VOID();
}
