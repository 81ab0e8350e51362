/*-------------------------------------------------------------------------
 *
 * query.c
 *	  livefeed.run_query(): the value of an exposed query, for bridges.
 *
 * The function is STABLE, and so are we: the value, and the last tick that says
 * up to where it is complete, come from the one snapshot of the statement. It
 * runs with the rights of its owner, read only, in a security-restricted
 * operation: it leaves nothing behind that would run with the bridge's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "batch.h"
#include "compat.h"
#include "expose.h"
#include "function.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(livefeed_run_query);

/* The last tick that the active snapshot sees. */
static void
read_tick(int64 *after, char *epoch)
{
	BatchLast	last;
	FunctionRights former;
	int			level;

	SPI_connect();
	function_enter_as_owner_of(&former, "ticks");
	level = plan_enter();
	batch_last(&last);
	plan_leave(level);
	function_leave(&former);
	*after = last.tick.id_last;
	strlcpy(epoch, last.tick.epoch, EPOCH_BYTES);
	SPI_finish();
}

/* run_query(name text, value text): (data text, after bigint, epoch text) */
Datum
livefeed_run_query(PG_FUNCTION_ARGS)
{
	NullableDatum value = {.value = PG_GETARG_DATUM(1),.isnull = PG_ARGISNULL(1)};
	bool		was_read_only = XactReadOnly;
	Exposure	query;
	Oid			function;
	Oid			owner;
	FunctionRights former;
	Datum		result;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	int64		after;
	char		epoch[EPOCH_BYTES];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	exposure_get(EXPOSE_QUERY, text_to_cstring(PG_GETARG_TEXT_PP(0)), &query);
	if (value.isnull != (query.function.nargs == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query \"%s\" is of scope %s: value must %s null", query.name, query.scope,
						value.isnull ? "not be" : "be")));
	function = exposure_function(&query, &owner);
	read_tick(&after, epoch);

	function_enter(&former, owner, true);
	XactReadOnly = true;		/* an error puts it back, as a subtransaction's abort does */
	values[0] = function_call(function, query.function.nargs, &value, &result)
		? PointerGetDatum(function_json(result))
		: CStringGetTextDatum("null");
	XactReadOnly = was_read_only;
	function_leave(&former);

	values[1] = Int64GetDatum(after);
	values[2] = CStringGetTextDatum(epoch);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
