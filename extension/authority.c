/*-------------------------------------------------------------------------
 *
 * authority.c
 *	  Who users are and whose tokens count no more: what disconnect(),
 *	  reauthorize() and authorize() need of C (authority.sql).
 *
 * A revocation is a control event, which takes its place in the one order of
 * events, so that every bridge applies it between the same two events; and a
 * row of livefeed.revocation_new, for bridges that start later.
 *
 * The authorizer runs with the rights of its owner, in a security-restricted
 * operation: it leaves nothing behind that would run with the bridge's rights
 * (temporary objects, deferred triggers, settings).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "journal.h"
#include "livefeed.h"
#include "own_row.h"
#include "scope.h"
#include "text.h"

PG_FUNCTION_INFO_V1(livefeed_token_max_age);
PG_FUNCTION_INFO_V1(livefeed_revoke);
PG_FUNCTION_INFO_V1(livefeed_authorize);

/* The first columns of livefeed.authorizer (authority.sql). */
enum
{
	AUTHORIZER_SCHEMA = 1,
	AUTHORIZER_NAME,
	AUTHORIZER_OWNER,
};

#define UNIX_EPOCH_OFFSET_S ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* token_max_age(): seconds */
Datum
livefeed_token_max_age(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(livefeed_token_max_age_s);
}

/* ---------- revoking ---------- */

/* The id of a user or a session. */
static char *
id_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	char	   *id = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (id == NULL || *id == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be %s", name, id == NULL ? "null" : "empty"),
				 strcmp(name, "session") == 0 ? errhint("Null stands for all sessions of the user.") : 0));
	return scope_check_id(name, id);
}

/* The reason as clients get it: UTF-8, on one line. NULL: none. */
static StringInfo
reason_argument(FunctionCallInfo fcinfo, int argument)
{
	char	   *reason = PG_ARGISNULL(argument) ? NULL
		: scope_check_id("reason", text_to_cstring(PG_GETARG_TEXT_PP(argument)));
	StringInfo	frame;
	const char *utf8;
	int			len;

	if (reason == NULL)
		return NULL;
	utf8 = text_utf8(reason, strlen(reason), &len);
	frame = makeStringInfo();
	appendStringInfoSpaces(frame, VARHDRSZ);
	for (int i = 0; i < len; i++)
		appendStringInfoChar(frame, (unsigned char) utf8[i] < ' ' || utf8[i] == '\177' ? ' ' : utf8[i]);
	return frame;
}

/* revoke(kind text, user_id text, session text, reason text): the second up to which tokens are refused */
Datum
livefeed_revoke(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *user = id_argument(fcinfo, 1, "user_id");
	UserSet		users = {1, &user};
	LivefeedEvent event = {0};
	int64		before;

	PreventCommandIfReadOnly(psprintf("livefeed.%s()", kind));
	event.at = GetCurrentTimestamp();
	before = event.at / USECS_PER_SEC + UNIX_EPOCH_OFFSET_S;

	event.flags = EVENT_CONTROL;
	event.command = GetCurrentCommandId(false);
	event.feed = kind;
	event.users = users_array(&users);
	event.key = PG_ARGISNULL(2) ? NULL : id_argument(fcinfo, 2, "session");
	event.parent_key = psprintf(INT64_FORMAT, before);
	event.frame = reason_argument(fcinfo, 3);
	journal_write(&event);
	PG_RETURN_INT64(before);
}

/* ---------- the authorizer ---------- */

/* What livefeed.authorizer says; false: there is none. */
static bool
read_authorizer(char **schema, char **name, char **owner)
{
	OwnRow		row;

	if (!own_row_get(livefeed_relation("authorizer"), NULL, &row))
		return false;
	*schema = own_row_text(&row, AUTHORIZER_SCHEMA);
	*name = own_row_text(&row, AUTHORIZER_NAME);
	*owner = own_row_text(&row, AUTHORIZER_OWNER);
	return true;
}

/*
 * The function that livefeed.authorizer names, and its owner: he who set it, or
 * someone who could as well (a restore without owners makes it a superuser's).
 */
static Oid
find_authorizer(Oid *owner)
{
	Oid			types[1] = {JSONBOID};
	char	   *schema;
	char	   *name;
	char	   *owner_name;
	Oid			schema_oid;
	HeapTuple	tuple = NULL;
	Form_pg_proc form;
	Oid			function;

	if (!read_authorizer(&schema, &name, &owner_name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no authorizer is set"),
				 errhint("Set one with livefeed.set_authorizer().")));
	schema_oid = get_namespace_oid(schema, true);
	if (OidIsValid(schema_oid))
		tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
								PointerGetDatum(buildoidvector(types, 1)), ObjectIdGetDatum(schema_oid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the authorizer %s(jsonb) does not exist", quote_qualified_identifier(schema, name)),
				 errhint("Set another with livefeed.set_authorizer().")));

	form = (Form_pg_proc) GETSTRUCT(tuple);
	function = form->oid;
	*owner = form->proowner;
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("the authorizer %s(jsonb) must return jsonb", quote_qualified_identifier(schema, name))));
	if (!superuser_arg(*owner) && *owner != get_role_oid(owner_name, true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the authorizer %s(jsonb) has another owner than when it was set",
						quote_qualified_identifier(schema, name)),
				 errhint("Set it again with livefeed.set_authorizer().")));
	ReleaseSysCache(tuple);
	return function;
}

/* authorize(claims jsonb): what the authorizer says of them */
Datum
livefeed_authorize(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	function;
	Oid			owner;
	Oid			user;
	int			context;
	int			settings;
	Datum		result;

	fmgr_info(find_authorizer(&owner), &function);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	/* An error puts user and settings back by itself: the transaction's abort does. */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	settings = NewGUCNestLevel();

	InitFunctionCallInfoData(*call, &function, 1, InvalidOid, NULL, NULL);
	call->args[0].value = PG_GETARG_DATUM(0);
	call->args[0].isnull = false;
	result = FunctionCallInvoke(call);

	AtEOXact_GUC(false, settings);
	SetUserIdAndSecContext(user, context);
	if (call->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}
