/*-------------------------------------------------------------------------
 *
 * call.c
 *	  livefeed.call(): runs a command, for bridges (call.sql).
 *
 * The command's function is the application's, and the connection that it runs
 * on is the bridge's: it serves others after it, and may read the key. So:
 *
 *	- It runs with the rights of its owner, or of the role that the token names,
 *	  switched to as foreign keys do: SET and RESET ROLE, and SET SESSION
 *	  AUTHORIZATION, are refused inside.
 *	- Nothing is left that would run later with the bridge's rights. Constraints
 *	  that it deferred are checked before we return, where none can be deferred
 *	  again; a cursor WITH HOLD is refused, since its query would run at commit.
 *	- Nothing is left for the next command: settings are put back, temporary
 *	  tables dropped.
 *
 * A command with an idempotency key begins with a row in livefeed.answer, which
 * anyone with the same key waits for, and ends with its answer in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "claims.h"
#include "compat.h"
#include "expose.h"
#include "function.h"
#include "journal.h"
#include "livefeed.h"

PG_FUNCTION_INFO_V1(livefeed_call);

/* A longer idempotency key is refused. */
#define CALL_MAX_KEY_BYTES 255

/* The arguments of livefeed.call(). */
enum
{
	ARG_NAME,
	ARG_ARGS,
	ARG_CLAIMS,
	ARG_ROLE,
	ARG_KEY,
};

typedef struct Answer
{
	text	   *data;
	bool		has_xid;
	FullTransactionId xid;
	bool		events;
} Answer;

/* What a repeat must be the same in. */
typedef struct Identity
{
	const char *user;
	const char *key;
	const char *name;
	int64		args;			/* hash */
} Identity;

/* ---------- under whose rights ---------- */

/* The role that the token names: one that the bridge was granted, and none that could do what the bridge can. */
static Oid
command_role(const char *name)
{
	Oid			bridge = GetUserId();
	Oid			role = get_role_oid(name, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which the token names, does not exist", name)));
	if (superuser_arg(role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", which the token names, is a superuser", name),
				 errhint("Commands run under roles with no more rights than their users have.")));
	if (has_privs_of_role(role, bridge))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", which the token names, has the rights of the bridge", name)));
	if (!compat_can_set_role(bridge, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the bridge's role \"%s\" may not act as role \"%s\", which the token names",
						GetUserNameFromId(bridge, false), name),
				 errhint("GRANT %s TO %s.", quote_identifier(name), quote_identifier(GetUserNameFromId(bridge, false)))));
	return role;
}

static void
check_may_execute(Oid function, Oid role, const Exposure *command)
{
	if (compat_function_aclcheck(function, role) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, command->function.name);
}

/* ---------- leaving nothing behind ---------- */

static uint64
run(const char *sql)
{
	int			result = SPI_execute(sql, false, 1);

	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * Checks what was deferred, with the rights under which it was done. In a
 * restricted operation, where a trigger that wanted to put off something again
 * raises.
 */
static void
settle(Oid user, const char *name)
{
	FunctionRights former;

	SPI_connect();
	function_enter(&former, user, true);
	run("SET CONSTRAINTS ALL IMMEDIATE");
	function_leave(&former);
	if (run("SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_STATE),
				 errmsg("command \"%s\" left a cursor WITH HOLD open", name)));
	SPI_finish();
	if (OidIsValid(LookupExplicitNamespace("pg_temp", true)))
		ResetTempTableNamespace();
}

/* ---------- answers that are kept ---------- */

static void
check_key(const char *key)
{
	if (*key == '\0' || strlen(key) > CALL_MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_LIVEFEED_KEY),
				 errmsg("an idempotency key has 1 to %d bytes", CALL_MAX_KEY_BYTES)));
}

/* Runs a statement on livefeed.answer, for its owner; how many rows. SPI is connected, and left so. */
static uint64
on_answers(const char *sql, const Identity *identity, int nargs, Oid *types, Datum *values, const char *nulls)
{
	FunctionRights former;
	int			result;

	values[0] = CStringGetTextDatum(identity->user);
	values[1] = CStringGetTextDatum(identity->key);
	function_enter_as_owner_of(&former, "answer");
	result = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);
	function_leave(&former);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* The answer that was given before, which another transaction has committed. */
static bool
read_answer(const Identity *identity, Answer *answer, MemoryContext context)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[lengthof(types)];
	HeapTuple	row;
	TupleDesc	desc;
	MemoryContext spi;
	Datum		data;
	Datum		xid;
	bool		isnull;

	/* A statement of its own, with a snapshot of its own: it sees what we waited for. */
	if (on_answers("SELECT name, args, data, xid, events FROM " LIVEFEED_SCHEMA ".answer"
				   " WHERE user_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
				   identity, lengthof(types), types, values, NULL) == 0)
		return false;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	if (strcmp(TextDatumGetCString(SPI_getbinval(row, desc, 1, &isnull)), identity->name) != 0 ||
		DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull)) != identity->args)
		ereport(ERROR,
				(errcode(ERRCODE_LIVEFEED_KEY),
				 errmsg("idempotency key \"%s\" was used for another command, or with other arguments", identity->key)));
	data = SPI_getbinval(row, desc, 3, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_LIVEFEED_KEY),
				 errmsg("idempotency key \"%s\" is in use by a command that this one is part of", identity->key)));
	spi = MemoryContextSwitchTo(context);
	answer->data = DatumGetTextPCopy(data);
	xid = SPI_getbinval(row, desc, 4, &isnull);
	answer->has_xid = !isnull;
	if (answer->has_xid)
		answer->xid = FullTransactionIdFromU64(DatumGetUInt64(xid));
	answer->events = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull));
	MemoryContextSwitchTo(spi);
	return true;
}

/* True if the answer is there already; else the key is ours until this transaction ends. */
static bool
answered_before(const Identity *identity, Answer *answer)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[lengthof(types)];
	MemoryContext caller = CurrentMemoryContext;
	bool		found = false;

	values[2] = CStringGetTextDatum(identity->name);
	values[3] = Int64GetDatum(identity->args);
	SPI_connect();
	/* Waits for a transaction that has the same key. The row may be pruned before we read it. */
	while (!found && on_answers("INSERT INTO " LIVEFEED_SCHEMA ".answer (user_id, key, name, args)"
								" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
								identity, lengthof(types), types, values, NULL) == 0)
	{
		CHECK_FOR_INTERRUPTS();
		found = read_answer(identity, answer, caller);
	}
	SPI_finish();
	return found;
}

static void
keep_answer(const Identity *identity, const Answer *answer)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, XID8OID, BOOLOID};
	Datum		values[lengthof(types)];

	values[2] = PointerGetDatum(answer->data);
	values[3] = UInt64GetDatum(U64FromFullTransactionId(answer->xid));
	values[4] = BoolGetDatum(answer->events);
	SPI_connect();
	on_answers("UPDATE " LIVEFEED_SCHEMA ".answer SET data = $3, xid = $4, events = $5"
			   " WHERE user_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
			   identity, lengthof(types), types, values, answer->has_xid ? NULL : "   n ");
	SPI_finish();
}

/* ---------- the command ---------- */

/* Runs the function, and looks at what that did. */
static void
run_command(const Exposure *command, Oid role, Jsonb *args, Answer *answer)
{
	NullableDatum argument = {.value = JsonbPGetDatum(args),.isnull = false};
	Oid			owner;
	Oid			function = exposure_function(command, &owner);
	FunctionRights former;
	Datum		result;
	Oid			user = owner;

	if (OidIsValid(role))
	{
		check_may_execute(function, role, command);
		user = role;
	}
	function_enter(&former, user, false);
	answer->data = function_call(function, 1, &argument, &result)
		? function_json(result) : cstring_to_text("null");
	function_leave(&former);
	settle(user, command->name);
}

/* The same, on behalf of the user; whatever happens, no longer so afterwards. */
static void
run_for(const Claims *claims, const Exposure *command, Oid role, Jsonb *args, Answer *answer)
{
	const Claims *former = claims_set(claims);

	PG_TRY();
	{
		run_command(command, role, args, answer);
	}
	PG_FINALLY();
	{
		claims_set(former);
	}
	PG_END_TRY();
}

static Datum
result_row(FunctionCallInfo fcinfo, const Answer *answer)
{
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, !answer->has_xid, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = PointerGetDatum(answer->data);
	values[1] = UInt64GetDatum(U64FromFullTransactionId(answer->xid));
	values[2] = BoolGetDatum(answer->events);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Jsonb *
args_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(ARG_ARGS))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	return PG_GETARG_JSONB_P(ARG_ARGS);
}

/* call(name text, args jsonb, claims jsonb, role text, idempotency_key text): (data text, xid xid8, events boolean) */
Datum
livefeed_call(PG_FUNCTION_ARGS)
{
	Exposure	command;
	Answer		answer = {0};
	Identity	identity = {0};
	Claims	   *claims;
	Oid			role = InvalidOid;
	Jsonb	   *args = args_argument(fcinfo);

	if (PG_ARGISNULL(ARG_NAME) || PG_ARGISNULL(ARG_CLAIMS))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(ARG_NAME) ? "name" : "claims")));
	exposure_get(EXPOSE_COMMAND, text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME)), &command);
	claims = claims_read(PG_GETARG_JSONB_P(ARG_CLAIMS));
	if (!PG_ARGISNULL(ARG_ROLE))
		role = command_role(text_to_cstring(PG_GETARG_TEXT_PP(ARG_ROLE)));
	if (!PG_ARGISNULL(ARG_KEY))
	{
		identity.user = claims->user;
		identity.key = text_to_cstring(PG_GETARG_TEXT_PP(ARG_KEY));
		identity.name = command.name;
		identity.args = DatumGetInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(args), Int64GetDatum(0)));
		check_key(identity.key);
		if (answered_before(&identity, &answer))
			PG_RETURN_DATUM(result_row(fcinfo, &answer));
	}

	run_for(claims, &command, role, args, &answer);
	answer.xid = GetTopFullTransactionIdIfAny();
	answer.has_xid = FullTransactionIdIsValid(answer.xid);
	answer.events = journal_has_written();
	if (identity.key != NULL)
		keep_answer(&identity, &answer);
	PG_RETURN_DATUM(result_row(fcinfo, &answer));
}
