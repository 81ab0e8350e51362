/*-------------------------------------------------------------------------
 *
 * function.c
 *	  Functions of the application that we call with their owner's rights: found
 *	  by name and owner, run, and the caller's rights put back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "function.h"
#include "livefeed.h"
#include "text.h"

char *
function_signature(const FunctionName *function)
{
	char	   *type = format_type_be(function->argument);

	return psprintf("%s(%s%s%s)", quote_qualified_identifier(function->schema, function->name),
					function->nargs == 0 ? "" : type, function->nargs == 2 ? ", " : "",
					function->nargs == 2 ? type : "");
}

Oid
function_find(const FunctionName *name, const char *subject, const char *setter, Oid *owner)
{
	Oid			types[FUNCTION_MAX_ARGS] = {name->argument, name->argument};
	Oid			schema = get_namespace_oid(name->schema, true);
	HeapTuple	tuple = NULL;
	Form_pg_proc form;
	Oid			function;

	if (OidIsValid(schema))
		tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name->name),
								PointerGetDatum(buildoidvector(types, name->nargs)), ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("%s does not exist", subject),
				 errhint("Set another with %s.", setter)));

	form = (Form_pg_proc) GETSTRUCT(tuple);
	function = form->oid;
	*owner = form->proowner;
	if (form->prokind != PROKIND_FUNCTION || form->proretset || form->prorettype != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s must return jsonb", subject)));
	if (!superuser_arg(*owner) && *owner != get_role_oid(name->owner, true))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has another owner than when it was set", subject),
				 errhint("Set it again with %s.", setter)));
	ReleaseSysCache(tuple);
	return function;
}

void
function_enter(FunctionRights *former, Oid user, bool restricted)
{
	GetUserIdAndSecContext(&former->user, &former->context);
	SetUserIdAndSecContext(user, former->context | SECURITY_LOCAL_USERID_CHANGE |
						   (restricted ? SECURITY_RESTRICTED_OPERATION : 0));
	former->settings = NewGUCNestLevel();
}

void
function_leave(const FunctionRights *former)
{
	AtEOXact_GUC(false, former->settings);
	SetUserIdAndSecContext(former->user, former->context);
}

void
function_enter_as_owner_of(FunctionRights *former, const char *table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(livefeed_relation(table)));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation \"%s.%s\"", LIVEFEED_SCHEMA, table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	function_enter(former, owner, false);
}

bool
function_call(Oid function, int nargs, const NullableDatum *arguments, Datum *result)
{
	LOCAL_FCINFO(call, FUNCTION_MAX_ARGS);
	FmgrInfo	info;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*call, &info, nargs, DEFAULT_COLLATION_OID, NULL, NULL);
	for (int i = 0; i < nargs; i++)
	{
		if (arguments[i].isnull && info.fn_strict)
			return false;
		call->args[i] = arguments[i];
	}
	*result = FunctionCallInvoke(call);
	return !call->isnull;
}

text *
function_json(Datum jsonb)
{
	char	   *json = DatumGetCString(DirectFunctionCall1(jsonb_out, jsonb));
	StringInfoData utf8;
	StringInfoData out;

	initStringInfo(&utf8);
	text_append_compact_json(&utf8, json, strlen(json));
	pfree(json);
	initStringInfo(&out);
	text_append_from_utf8_json(&out, utf8.data, utf8.len);
	pfree(utf8.data);
	return cstring_to_text_with_len(out.data, out.len);
}
