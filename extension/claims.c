/*-------------------------------------------------------------------------
 *
 * claims.c
 *	  Who is asking, while a command runs: livefeed.current_user_id() and its kin.
 *
 * What they say stands in this backend's memory, set by livefeed.call() alone,
 * and only for as long as that is on the stack. It is no setting: nobody can
 * set_config() himself into being someone else, and row-level security may
 * build on it. Outside of a command the readers say null, and has_unit() and
 * has_role() false, so that IF NOT has_role(...) THEN RAISE holds there too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "claims.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(livefeed_current_user_id);
PG_FUNCTION_INFO_V1(livefeed_claims);
PG_FUNCTION_INFO_V1(livefeed_current_units);
PG_FUNCTION_INFO_V1(livefeed_has_unit);
PG_FUNCTION_INFO_V1(livefeed_has_role);

static const Claims *current = NULL;

/* A member of an object; NULL if there is none. */
static JsonbValue *
member(JsonbContainer *object, const char *name, int len)
{
	JsonbValue	key;

	if (!JsonContainerIsObject(object))
		return NULL;
	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = len;
	return findJsonbValueFromContainer(object, JB_FOBJECT, &key);
}

/* A member that is an object or an array; NULL if there is none. */
static JsonbContainer *
container(JsonbContainer *object, const char *name, int len)
{
	JsonbValue *value = member(object, name, len);

	return value != NULL && value->type == jbvBinary ? value->val.binary.data : NULL;
}

/* Is the string an element of the array? */
static bool
has_string(JsonbContainer *array, const char *string, int len)
{
	JsonbValue	key;

	if (array == NULL || !JsonContainerIsArray(array))
		return false;
	key.type = jbvString;
	key.val.string.val = unconstify(char *, string);
	key.val.string.len = len;
	return findJsonbValueFromContainer(array, JB_FARRAY, &key) != NULL;
}

Claims *
claims_read(Jsonb *all)
{
	Claims	   *claims = palloc0(sizeof(Claims));
	JsonbValue *user = member(&all->root, "user", strlen("user"));

	if (user == NULL || user->type != jbvString || user->val.string.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("claims must be an object with \"user\", a string that is not empty")));
	claims->user = pnstrdup(user->val.string.val, user->val.string.len);
	claims->all = all;
	return claims;
}

const Claims *
claims_set(const Claims *claims)
{
	const Claims *former = current;

	current = claims;
	return former;
}

const char *
claims_user(void)
{
	return current != NULL ? current->user : NULL;
}

static JsonbContainer *
claim(const char *name)
{
	return current != NULL ? container(&current->all->root, name, strlen(name)) : NULL;
}

/* current_user_id(): the command's user */
Datum
livefeed_current_user_id(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(current->user));
}

/* claims(): what the token says, as it is */
Datum
livefeed_claims(PG_FUNCTION_ARGS)
{
	JsonbValue *value = current != NULL ? member(&current->all->root, "claims", strlen("claims")) : NULL;

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(value));
}

/* current_units(): the units of the token */
Datum
livefeed_current_units(PG_FUNCTION_ARGS)
{
	JsonbContainer *units = claim("units");
	ArrayBuildState *array = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (current == NULL)
		PG_RETURN_NULL();
	if (units != NULL && JsonContainerIsObject(units))
	{
		iterator = JsonbIteratorInit(units);
		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
			if (token == WJB_KEY)
				accumArrayResult(array,
								 PointerGetDatum(cstring_to_text_with_len(value.val.string.val, value.val.string.len)),
								 false, TEXTOID, CurrentMemoryContext);
	}
	PG_RETURN_DATUM(makeArrayResult(array, CurrentMemoryContext));
}

static bool
has_unit(const char *unit, int len)
{
	JsonbContainer *units = claim("units");

	return units != NULL && member(units, unit, len) != NULL;
}

/* has_unit(unit text) */
Datum
livefeed_has_unit(PG_FUNCTION_ARGS)
{
	text	   *unit;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	unit = PG_GETARG_TEXT_PP(0);
	PG_RETURN_BOOL(has_unit(VARDATA_ANY(unit), VARSIZE_ANY_EXHDR(unit)));
}

/* Is the role held in any unit? */
static bool
has_role_somewhere(JsonbContainer *units, const char *role, int len)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (units == NULL || !JsonContainerIsObject(units))
		return false;
	iterator = JsonbIteratorInit(units);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_VALUE && value.type == jbvBinary && has_string(value.val.binary.data, role, len))
			return true;
	return false;
}

/*
 * has_role(role text, unit text): is it held in that unit, of its own or with
 * the token's roles, which are held in all of its units; null: in any, or by
 * the token's roles alone
 */
Datum
livefeed_has_role(PG_FUNCTION_ARGS)
{
	JsonbContainer *units = claim("units");
	text	   *role;
	text	   *unit;
	bool		everywhere;

	if (PG_ARGISNULL(0) || current == NULL)
		PG_RETURN_BOOL(false);
	role = PG_GETARG_TEXT_PP(0);
	everywhere = has_string(claim("roles"), VARDATA_ANY(role), VARSIZE_ANY_EXHDR(role));
	if (PG_ARGISNULL(1))
		PG_RETURN_BOOL(everywhere || has_role_somewhere(units, VARDATA_ANY(role), VARSIZE_ANY_EXHDR(role)));

	unit = PG_GETARG_TEXT_PP(1);
	if (!has_unit(VARDATA_ANY(unit), VARSIZE_ANY_EXHDR(unit)))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(everywhere ||
				   has_string(container(units, VARDATA_ANY(unit), VARSIZE_ANY_EXHDR(unit)),
							VARDATA_ANY(role), VARSIZE_ANY_EXHDR(role)));
}
