/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  The triggers: OLD and NEW to events.
 *
 * INSERT is .created, DELETE is .deleted. An UPDATE is looked through, cheapest
 * first:
 *
 *	1. Did a column change that matters here? Values are compared as they are
 *	   stored; a toasted one that the UPDATE did not touch has the same pointer.
 *	2. A key that changed is .deleted and .created.
 *	3. Did the row move, to another unit, other users or another parent? Then each
 *	   scope it left gets .deleted "moved_out" without data, each it entered .created
 *	   "moved_in", and those that stay one .updated, in this order.
 *	4. Else it is one .updated, if something that is published changed.
 *
 * Events are ordered inside their transaction by the command that made the
 * row's version (NEW's cmin, for DELETE OLD's cmax), not by when the trigger
 * fired: a trigger of the application that updates another row of the same
 * statement makes ours fire for the third version before the second. What is
 * deleted comes before what is made in its place: journal.c has the rule.
 *
 * The application's write does not fail because of us: a definition that does
 * not fit, or a function of the application that raises, is a warning and a
 * resync at the end of the transaction (watch_complain()).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/combocid.h"
#include "utils/formatting.h"

#include "compat.h"
#include "duplicate.h"
#include "frame.h"
#include "journal.h"
#include "livefeed.h"
#include "scope.h"
#include "text.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_capture_row);
PG_FUNCTION_INFO_V1(livefeed_capture_truncate);

/* One firing of the row trigger. */
typedef struct Capture
{
	const Watch *watch;
	CommandId	command;
	CommandId	next_command;	/* that came to the new version, or InvalidCommandId */
	TimestampTz at;
	const bool *changed;		/* by attribute number; NULL: no UPDATE */
	bool		new_key;		/* the row has a key that it had not before */
} Capture;

/* What an event says beside its row. */
typedef struct Telling
{
	int			flags;
	const char *action;
	const char *unit;
	const UserSet *users;
	const UserSet *to_users;	/* NULL: as users */
	const char *key;
	const char *parent;			/* the parent's key: to whoever holds that row; NULL: none */
	TupleTableSlot *row;		/* NULL: no data */
} Telling;

/* ---------- events ---------- */

static void
append_changed(StringInfo frame, const Watch *watch, const bool *changed)
{
	bool		comma = false;

	appendBinaryStringInfo(frame, ",\"changed\":[", 12);
	for (int i = 0; i < watch->npublished; i++)
	{
		WatchColumn *column = &watch->published[i];

		if (!changed[column->attnum])
			continue;
		if (comma)
			appendStringInfoCharMacro(frame, ',');
		comma = true;
		/* The label less its colon. */
		appendBinaryStringInfo(frame, column->label, column->label_len - 1);
	}
	appendStringInfoCharMacro(frame, ']');
}

static void
tell(const Capture *capture, const Telling *telling)
{
	const Watch *watch = capture->watch;
	LivefeedEvent event = {0};
	StringInfoData frame;
	Renderer	renderer;

	if (telling->flags & EVENT_CREATED)
		frame_begin(&frame, watch->created_head, watch->created_head_len,
					telling->action, telling->unit, telling->key);
	else if (telling->flags & EVENT_UPDATED)
		frame_begin(&frame, watch->updated_head, watch->updated_head_len,
					telling->action, telling->unit, telling->key);
	else
		frame_begin(&frame, watch->deleted_head, watch->deleted_head_len,
					telling->action, telling->unit, telling->key);
	if (telling->flags & EVENT_UPDATED)
		append_changed(&frame, watch, capture->changed);
	frame_begin_data(&frame, capture->at, &renderer);
	frame_append_row(&renderer, watch, telling->row);
	frame_end(&frame, &renderer);

	event.flags = telling->flags;
	event.command = capture->command;
	if ((telling->flags & EVENT_CREATED) && (telling->flags & EVENT_TO_ALL) == EVENT_TO_ALL)
		event.next_command = capture->next_command;
	event.at = capture->at;
	event.feed = watch->feed;
	event.unit = telling->unit;
	event.users = telling->users ? users_array(telling->users) : NULL;
	event.to_users = telling->to_users ? users_array(telling->to_users) : NULL;
	event.key = telling->key;
	if (telling->parent != NULL)
	{
		event.parent_feed = watch->parent_feed;
		event.parent_key = telling->parent;
	}
	event.transient = !watch->durable;
	event.action = telling->action;
	event.frame = &frame;
	journal_write(&event);
}

static void
tell_all(const Capture *capture, int type, const char *action, const Scope *scope,
		 const char *key, TupleTableSlot *row)
{
	Telling		telling = {0};

	telling.flags = type | EVENT_TO_ALL;
	telling.action = action;
	telling.unit = scope->unit;
	telling.users = &scope->users;
	telling.key = key;
	telling.parent = scope->parent;
	telling.row = row;
	tell(capture, &telling);
}

/* An event for one unit alone, or for some users alone. */
static void
tell_moved(const Capture *capture, int flags, const char *unit, const UserSet *users,
		   const char *key, TupleTableSlot *row)
{
	Telling		telling = {0};

	telling.flags = flags;
	telling.action = (flags & EVENT_CREATED) ? "moved_in" : "moved_out";
	telling.unit = unit;
	telling.users = users;
	telling.key = key;
	telling.row = row;
	tell(capture, &telling);
}

/* ---------- reading the row ---------- */

/*
 * The command that made this version of the row, or deleted it. Access methods
 * other than heap need not keep it.
 */
static CommandId
command_of(const TriggerData *trigger, bool deleted)
{
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)
		? trigger->tg_newtuple : trigger->tg_trigtuple;

	if (trigger->tg_relation->rd_tableam != GetHeapamTableAmRoutine())
		return GetCurrentCommandId(false);
	return deleted
		? HeapTupleHeaderGetCmax(tuple->t_data)
		: HeapTupleHeaderGetCmin(tuple->t_data);
}

/*
 * The command of this transaction that already updated or deleted the version
 * that the row trigger fires for; InvalidCommandId: none did.
 */
static CommandId
next_command_of(const TriggerData *trigger)
{
	HeapTupleHeader tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)
		? trigger->tg_newtuple->t_data : trigger->tg_trigtuple->t_data;

	if (trigger->tg_relation->rd_tableam != GetHeapamTableAmRoutine() ||
		(tuple->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) ||
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple)))
		return InvalidCommandId;
	return HeapTupleHeaderGetCmax(tuple);
}

/*
 * True if two stored values differ, which is looked at without detoasting where
 * that can be told. Two different copies of a value larger than an event may be
 * count as different: reading them would cost the writer more than a needless
 * event that says "too large".
 */
static bool
values_differ(Datum a, Datum b, int16 length, bool by_value)
{
	struct varlena *x = (struct varlena *) DatumGetPointer(a);
	struct varlena *y = (struct varlena *) DatumGetPointer(b);
	Size		raw;

	if (by_value)
		return a != b;
	if (length > 0)
		return memcmp(x, y, length) != 0;
	if (length == -2)
		return strcmp((char *) x, (char *) y) != 0;

	/* The same bytes: the same value, and for a toast pointer the same object. */
	if (VARSIZE_ANY(x) == VARSIZE_ANY(y) && memcmp(x, y, VARSIZE_ANY(x)) == 0)
		return false;
	raw = toast_raw_datum_size(a);
	if (raw != toast_raw_datum_size(b))
		return true;
	if (!VARATT_IS_EXTENDED(x) && !VARATT_IS_EXTENDED(y))
		return true;
	if (raw > (Size) livefeed_max_event_bytes && (VARATT_IS_EXTERNAL(x) || VARATT_IS_EXTERNAL(y)))
		return true;

	x = pg_detoast_datum_packed(x);
	y = pg_detoast_datum_packed(y);
	return memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x)) != 0;
}

static bool
column_differs(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum)
{
	Form_pg_attribute attribute = TupleDescAttr(new->tts_tupleDescriptor, attnum - 1);

	if (old->tts_isnull[attnum - 1] || new->tts_isnull[attnum - 1])
		return old->tts_isnull[attnum - 1] != new->tts_isnull[attnum - 1];
	return values_differ(old->tts_values[attnum - 1], new->tts_values[attnum - 1],
						 attribute->attlen, attribute->attbyval);
}

/* True if any of the columns changed. */
static bool
any_changed(const bool *changed, const WatchColumn *columns, int n)
{
	for (int i = 0; i < n; i++)
		if (changed[columns[i].attnum])
			return true;
	return false;
}

/* "Sent Back" is sent_back: words in lower case, joined by _. NULL if there are none. */
static const char *
action_of_value(const char *value)
{
	char	   *lower = str_tolower(value, strlen(value), DEFAULT_COLLATION_OID);
	char	   *out = lower;
	bool		gap = false;

	for (const char *at = lower; *at != '\0'; at++)
	{
		if (IS_HIGHBIT_SET(*at) || isalnum((unsigned char) *at))
		{
			if (gap && out > lower)
				*out++ = '_';
			gap = false;
			*out++ = *at;
		}
		else
			gap = true;
	}
	*out = '\0';
	return *lower != '\0' ? lower : NULL;
}

/* What an UPDATE is called. */
static const char *
update_action(const Watch *watch, const bool *changed, TupleTableSlot *new)
{
	const char *action;

	if (livefeed_action != NULL && *livefeed_action != '\0')
		return livefeed_action;

	if (watch->action != NULL && changed[watch->action->attnum] &&
		!new->tts_isnull[watch->action->attnum - 1])
	{
		Datum		value = new->tts_values[watch->action->attnum - 1];

		if (watch->action->type->length != -1 || toast_raw_datum_size(value) <= FRAME_MAX_NAME_BYTES)
		{
			action = action_of_value(render_text(watch->action->type, value));
			if (action != NULL)
				return action;
		}
	}
	for (int i = 0; i < watch->nactions; i++)
		for (int j = 0; j < watch->actions[i].ncolumns; j++)
			if (changed[watch->actions[i].columns[j]])
				return watch->actions[i].name;
	return "updated";
}

/* ---------- kinds of change ---------- */

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* No row can be told by a key that is null; NULL if it is not. */
static char *
null_key(const Watch *watch, TupleTableSlot *row)
{
	for (int i = 0; i < watch->nkeys; i++)
		if (row->tts_isnull[watch->keys[i].attnum - 1])
			return psprintf("its key \"%s\" is null", watch->keys[i].name);
	return NULL;
}

/* False, and all is said, if the row's key or scope cannot be told. */
static bool
read_scope(const Watch *watch, TupleTableSlot *row, Scope *scope)
{
	char	   *problem;

	if (scope_of_row(watch, row, scope, &problem))
	{
		problem = null_key(watch, row);
		if (problem == NULL)
			return true;
	}
	watch_complain(watch, problem);
	journal_resync_at_end(watch->feed, "broken_watch");
	return false;
}

static void
capture_one(Capture *capture, int type, const char *action, TupleTableSlot *row)
{
	Scope		scope;

	if (journal_is_full(capture->watch->feed))
		return;
	slot_getsomeattrs(row, capture->watch->last_attnum);
	if (read_scope(capture->watch, row, &scope))
		tell_all(capture, type, action, &scope, scope_key(capture->watch, row),
				 type == EVENT_DELETED ? NULL : row);
}

/* An event for whoever holds the row of a parent that the row left, or came to. */
static void
tell_parent(const Capture *capture, int type, const Scope *scope, const char *key, TupleTableSlot *row)
{
	Telling		telling = {0};

	telling.flags = type;
	telling.action = type == EVENT_CREATED ? "moved_in" : "moved_out";
	telling.unit = scope->unit;
	telling.key = key;
	telling.parent = scope->parent;
	telling.row = row;
	tell(capture, &telling);
}

/* A row that went from some scopes to others. */
static void
capture_move(const Capture *capture, const char *action, const Scope *from, const Scope *to,
			 const char *key, TupleTableSlot *new)
{
	bool		unit_moved = !same_text(from->unit, to->unit);
	bool		parent_moved = !same_text(from->parent, to->parent);
	UserSet		left = users_minus(&from->users, &to->users);
	UserSet		entered = users_minus(&to->users, &from->users);
	UserSet		stayed = users_common(&from->users, &to->users);
	bool		users_moved = left.n > 0 || entered.n > 0;
	Telling		telling = {0};

	if (unit_moved && from->unit != NULL)
		tell_moved(capture, EVENT_DELETED | EVENT_TO_UNIT, from->unit, NULL, key, NULL);
	if (left.n > 0)
		tell_moved(capture, EVENT_DELETED | EVENT_TO_USERS, from->unit, &left, key, NULL);
	if (parent_moved && from->parent != NULL)
		tell_parent(capture, EVENT_DELETED, from, key, NULL);
	if (unit_moved && to->unit != NULL)
		tell_moved(capture, EVENT_CREATED | EVENT_TO_UNIT, to->unit, NULL, key, new);
	if (entered.n > 0)
		tell_moved(capture, EVENT_CREATED | EVENT_TO_USERS, to->unit, &entered, key, new);
	if (parent_moved && to->parent != NULL)
		tell_parent(capture, EVENT_CREATED, to, key, new);

	telling.flags = EVENT_UPDATED | EVENT_TO_ROW | EVENT_TO_FEED;
	if (!unit_moved)
		telling.flags |= EVENT_TO_UNIT;
	if (!users_moved || stayed.n > 0)
		telling.flags |= EVENT_TO_USERS;
	telling.action = action;
	telling.unit = to->unit;
	telling.users = &to->users;
	telling.to_users = users_moved && stayed.n > 0 ? &stayed : NULL;
	telling.key = key;
	telling.parent = parent_moved ? NULL : to->parent;
	telling.row = new;
	tell(capture, &telling);
}

/* Do both belong to the same unit, users and parent? */
static bool
same_scope(const Scope *a, const Scope *b)
{
	return same_text(a->unit, b->unit) && same_text(a->parent, b->parent) &&
		users_minus(&a->users, &b->users).n == 0 && users_minus(&b->users, &a->users).n == 0;
}

static void
capture_update(Capture *capture, TupleTableSlot *old, TupleTableSlot *new)
{
	const Watch *watch = capture->watch;
	bool	   *changed;
	bool		published_changed;
	bool		scope_may_change;
	bool		any = false;
	bool		has_function = watch->unit_function != NULL || watch->users_function != NULL;
	Scope		from;
	Scope		to;
	const char *action;

	slot_getsomeattrs(old, watch->last_attnum);
	slot_getsomeattrs(new, watch->last_attnum);
	changed = palloc0((watch->last_attnum + 1) * sizeof(bool));
	for (int i = 0; i < watch->ncompared; i++)
		if (column_differs(old, new, watch->compared[i]))
			any = changed[watch->compared[i]] = true;

	published_changed = any_changed(changed, watch->published, watch->npublished);
	scope_may_change = any_changed(changed, watch->users, watch->nusers) ||
		(watch->unit != NULL && changed[watch->unit->attnum]) ||
		(watch->parent != NULL && changed[watch->parent->attnum]) ||
		(has_function && any);
	if (!published_changed && !scope_may_change)
		return;
	if (journal_is_full(watch->feed))
		return;

	capture->changed = changed;
	if (any_changed(changed, watch->keys, watch->nkeys))
	{
		capture->new_key = true;
		capture_one(capture, EVENT_DELETED, "deleted", old);
		capture_one(capture, EVENT_CREATED, "created", new);
		return;
	}

	if (!read_scope(watch, new, &to))
		return;
	action = update_action(watch, changed, new);
	if (!scope_may_change)
	{
		tell_all(capture, EVENT_UPDATED, action, &to, scope_key(watch, new), new);
		return;
	}

	if (!read_scope(watch, old, &from))
		return;
	if (same_scope(&from, &to))
	{
		if (published_changed)
			tell_all(capture, EVENT_UPDATED, action, &to, scope_key(watch, new), new);
		return;
	}
	capture_move(capture, action, &from, &to, scope_key(watch, new), new);
}

/* ---------- triggers ---------- */

static const TriggerData *
check_called(FunctionCallInfo fcinfo, const char *function, bool for_row)
{
	const TriggerData *trigger = (const TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) != 0) != for_row)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s.%s\" can only be called as an AFTER %s trigger",
						LIVEFEED_SCHEMA, function, for_row ? "ROW" : "TRUNCATE"),
				 errhint("Use livefeed.watch().")));
	return trigger;
}

Datum
livefeed_capture_row(PG_FUNCTION_ARGS)
{
	const TriggerData *trigger = check_called(fcinfo, "capture_row", true);
	Capture		capture = {0};

	if (!livefeed_enabled)
		return PointerGetDatum(NULL);

	capture.watch = watch_get(trigger->tg_relation, trigger->tg_trigger);
	if (capture.watch->problem != NULL)
	{
		watch_complain(capture.watch, capture.watch->problem);
		if (capture.watch->feed != NULL)
			journal_resync_at_end(capture.watch->feed, "broken_watch");
		return PointerGetDatum(NULL);
	}

	capture.at = GetCurrentTimestamp();
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		capture.command = command_of(trigger, false);
		capture.next_command = next_command_of(trigger);
		capture.new_key = true;
		capture_one(&capture, EVENT_CREATED, "created", trigger->tg_trigslot);
	}
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		capture.command = command_of(trigger, true);
		capture_one(&capture, EVENT_DELETED, "deleted", trigger->tg_trigslot);
	}
	else
	{
		capture.command = command_of(trigger, false);
		capture.next_command = next_command_of(trigger);
		capture_update(&capture, trigger->tg_trigslot, trigger->tg_newslot);
	}
	if (capture.new_key && OidIsValid(capture.watch->deferrable_key) &&
		duplicate_is_held(trigger->tg_relation, capture.watch->deferrable_key,
						  TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : trigger->tg_trigslot))
		journal_resync_at_end(capture.watch->feed, "folded");
	return PointerGetDatum(NULL);
}

/*
 * Whose feed it is the row trigger of the same table tells; without one (it was
 * a partition once) there is nothing to say.
 */
Datum
livefeed_capture_truncate(PG_FUNCTION_ARGS)
{
	const TriggerData *trigger = check_called(fcinfo, "capture_truncate", false);
	const Watch *watch;

	if (!livefeed_enabled)
		return PointerGetDatum(NULL);
	watch = watch_get(trigger->tg_relation, NULL);
	if (watch == NULL)
		return PointerGetDatum(NULL);
	if (watch->problem != NULL)
		watch_complain(watch, watch->problem);
	if (watch->feed != NULL && !journal_is_full(watch->feed))
		journal_resync(watch->feed, "truncated_table");
	return PointerGetDatum(NULL);
}
