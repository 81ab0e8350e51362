/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  What a watch says, as it stands in its trigger's argument.
 *
 * livefeed.watch() writes the text, but a trigger can be made by hand as well,
 * and comes back from a dump in whatever database: nothing is taken for granted
 * beyond what is looked at here.
 *
 * "actions" is an array of pairs, since their order counts and jsonb forgets
 * that of an object's fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "definition.h"
#include "livefeed.h"

pg_noreturn static void
malformed(const char *field)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the watch's definition is malformed at \"%s\"", field),
			 errhint("Call livefeed.watch() again.")));
}

static char *
string_of(const JsonbValue *value, const char *field)
{
	if (value->type != jbvString || value->val.string.len == 0)
		malformed(field);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static JsonbValue *
field_of(Jsonb *object, const char *field)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&object->root, field, strlen(field), NULL);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

static char *
string_field(Jsonb *object, const char *field)
{
	JsonbValue *value = field_of(object, field);

	return value == NULL ? NULL : string_of(value, field);
}

static bool
boolean_field(Jsonb *object, const char *field, bool otherwise)
{
	JsonbValue *value = field_of(object, field);

	if (value == NULL)
		return otherwise;
	if (value->type != jbvBool)
		malformed(field);
	return value->val.boolean;
}

static List *
strings_of(const JsonbValue *value, const char *field)
{
	List	   *strings = NIL;
	uint32		n;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		malformed(field);
	n = JsonContainerSize(value->val.binary.data);
	for (uint32 i = 0; i < n; i++)
		strings = lappend(strings, string_of(getIthJsonbValueFromContainer(value->val.binary.data, i), field));
	return strings;
}

static List *
strings_field(Jsonb *object, const char *field)
{
	JsonbValue *value = field_of(object, field);

	return value == NULL ? NIL : strings_of(value, field);
}

/* [["moved", ["column_id", "position"]], ...] */
static List *
actions_field(Jsonb *object, const char *field)
{
	JsonbValue *value = field_of(object, field);
	List	   *actions = NIL;
	uint32		n;

	if (value == NULL)
		return NIL;
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		malformed(field);
	n = JsonContainerSize(value->val.binary.data);
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *pair = getIthJsonbValueFromContainer(value->val.binary.data, i);
		DefinitionAction *action = palloc(sizeof(DefinitionAction));

		if (pair->type != jbvBinary || !JsonContainerIsArray(pair->val.binary.data) ||
			JsonContainerSize(pair->val.binary.data) != 2)
			malformed(field);
		action->name = string_of(getIthJsonbValueFromContainer(pair->val.binary.data, 0), field);
		action->columns = strings_of(getIthJsonbValueFromContainer(pair->val.binary.data, 1), field);
		actions = lappend(actions, action);
	}
	return actions;
}

static List *
function_field(Jsonb *object, const char *field)
{
	List	   *names = strings_field(object, field);

	if (names != NIL && list_length(names) != 2)
		malformed(field);
	return names;
}

static Jsonb *
read_object(const char *json)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));

	if (!JB_ROOT_IS_OBJECT(object))
		malformed("");
	return object;
}

/* [a-z][a-z0-9_]*, so that no feed can pass for a channel or break a frame. */
static char *
name_field(Jsonb *object, const char *field)
{
	char	   *name = string_field(object, field);

	if (name != NULL && !definition_name_is_valid(name))
		malformed(field);
	return name;
}

bool
definition_name_is_valid(const char *name)
{
	int			len = strlen(name);

	return len <= LIVEFEED_NAME_MAX_BYTES && name[0] >= 'a' && name[0] <= 'z' &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

Definition *
definition_parse(const char *json)
{
	Jsonb	   *object = read_object(json);
	Definition *definition = palloc0(sizeof(Definition));

	definition->feed = name_field(object, "feed");
	definition->entity = name_field(object, "entity");
	definition->unit = string_field(object, "unit");
	definition->unit_function = function_field(object, "unit_function");
	definition->users = strings_field(object, "users");
	definition->users_function = function_field(object, "users_function");
	definition->columns = strings_field(object, "columns");
	definition->except_columns = strings_field(object, "except_columns");
	definition->action = string_field(object, "action");
	definition->actions = actions_field(object, "actions");
	definition->key = strings_field(object, "key");
	definition->parent_feed = name_field(object, "parent_feed");
	definition->parent = string_field(object, "parent");
	definition->durable = boolean_field(object, "durable", true);
	if (definition->feed == NULL)
		malformed("feed");
	if (definition->key == NIL)
		malformed("key");
	if ((definition->parent_feed == NULL) != (definition->parent == NULL))
		malformed("parent");
	if (definition->entity == NULL)
		definition->entity = definition->feed;
	return definition;
}

/*
 * The following are asked of other tables' triggers, whose faults are not ours
 * to report. Reading JSON takes nothing but memory, so that no subtransaction
 * is needed to abandon it.
 */
static bool
read_quietly(const char *json, Definition **definition, char **feed)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool good = true;

	PG_TRY();
	{
		if (definition != NULL)
			*definition = definition_parse(json);
		else
			*feed = string_field(read_object(json), "feed");
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		good = false;
	}
	PG_END_TRY();
	return good;
}

char *
definition_feed(const char *json)
{
	char	   *feed;

	return read_quietly(json, NULL, &feed) ? feed : NULL;
}

Definition *
definition_read(const char *json)
{
	Definition *definition;

	return read_quietly(json, &definition, NULL) ? definition : NULL;
}

bool
definition_is_valid(const char *json)
{
	return definition_read(json) != NULL;
}
