/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  Events that are no row's: livefeed.publish() and livefeed.resync().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "feed.h"
#include "frame.h"
#include "journal.h"
#include "livefeed.h"
#include "render.h"
#include "retain.h"
#include "scope.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_publish);
PG_FUNCTION_INFO_V1(livefeed_resync);

static char *
text_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static char *
required_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	char	   *value = text_argument(fcinfo, argument);

	if (value == NULL || *value == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null or empty", name)));
	return value;
}

static UserSet
users_argument(ArrayType *array)
{
	UserSet		users = {0, NULL};
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	users.ids = palloc(Max(n, 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		char	   *id = nulls[i] ? NULL : scope_check_id("a user", TextDatumGetCString(values[i]));

		if (id != NULL)
			users.ids[users.n++] = id;
	}
	users_normalize(&users);
	return users;
}

/* The event's flags, and the verb of its type. */
static int
flags_of(const char *action, const char **verb)
{
	if (strcmp(action, "created") == 0)
	{
		*verb = "created";
		return EVENT_CREATED;
	}
	if (strcmp(action, "deleted") == 0)
	{
		*verb = "deleted";
		return EVENT_DELETED;
	}
	*verb = "updated";
	return EVENT_UPDATED;
}

/* As the key's last event, of a feed with retain; from the frame, so that snapshot and event are the same bytes. */
static void
retain(const LivefeedEvent *event, int data_start, int data_len)
{
	RetainedEvent retained = {0};

	retained.feed = event->feed;
	retained.durable = !event->transient;
	retained.key = event->key;
	retained.unit = event->unit;
	retained.users = event->users;
	retained.at = event->at;
	if ((event->flags & EVENT_DELETED) == 0)
	{
		retained.data = event->frame->data + data_start;
		retained.len = data_len;
	}
	retain_event(&retained);
}

/* publish(feed text, action text, data jsonb, unit text, users text[], key text) */
Datum
livefeed_publish(PG_FUNCTION_ARGS)
{
	char	   *feed = required_argument(fcinfo, 0, "feed");
	char	   *action = required_argument(fcinfo, 1, "action");
	char	   *unit = scope_check_id("unit", text_argument(fcinfo, 3));
	UserSet		users = {0, NULL};
	char	   *key = scope_check_id("key", text_argument(fcinfo, 5));
	DeclaredFeed declared;
	char	   *head;
	const char *verb;
	LivefeedEvent event = {0};
	StringInfoData frame;
	Renderer	renderer;
	int			data_len;
	bool		full;

	/* The log is written past the executor, which would look. */
	PreventCommandIfReadOnly("livefeed.publish()");
	if (!PG_ARGISNULL(4))
		users = users_argument(PG_GETARG_ARRAYTYPE_P(4));
	if (!feed_get_declared(feed, &declared))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" is not declared", feed),
				 errhint("Declare it with livefeed.declare_feed(). The feed of a watched table is filled by the table.")));
	full = journal_is_full(feed);
	if (full && !(declared.retain && key != NULL))
		PG_RETURN_VOID();

	event.flags = EVENT_TO_UNIT | EVENT_TO_USERS | EVENT_TO_FEED | (key != NULL ? EVENT_TO_ROW : 0) |
		flags_of(action, &verb);
	event.command = GetCurrentCommandId(false);
	event.at = GetCurrentTimestamp();
	head = psprintf("{\"type\":\"%s.%s\",\"feed\":\"%s\",\"action\":", declared.entity, verb, feed);
	frame_begin(&frame, head, strlen(head), action, unit, key);
	frame_begin_data(&frame, event.at, &renderer);
	if (PG_ARGISNULL(2) || (event.flags & EVENT_DELETED))
		appendStringInfoString(&frame, "null");
	else
		render_value(&renderer, render_type(JSONBOID), PG_GETARG_DATUM(2));
	data_len = frame_end(&frame, &renderer);

	event.feed = feed;
	event.unit = unit;
	event.users = users_array(&users);
	event.key = key;
	event.action = action;
	event.transient = !declared.durable;
	event.frame = &frame;
	/* First: it waits for others at the same key, who then come before us in the log. */
	if (declared.retain && key != NULL)
		retain(&event, renderer.start, data_len);
	if (!full)
		journal_write(&event);
	PG_RETURN_VOID();
}

/* resync(feed text) */
Datum
livefeed_resync(PG_FUNCTION_ARGS)
{
	char	   *feed = required_argument(fcinfo, 0, "feed");
	char	   *entity;
	Oid			trigger;

	PreventCommandIfReadOnly("livefeed.resync()");
	if (!feed_is_declared(feed, &entity) && !OidIsValid(watch_find_feed(feed, &trigger)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist", feed),
				 errhint("The view livefeed.feeds lists those there are.")));
	if (!journal_is_full(feed))
		journal_resync(feed, "requested");
	PG_RETURN_VOID();
}
