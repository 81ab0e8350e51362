/*-------------------------------------------------------------------------
 *
 * bell.c
 *	  livefeed.ring(): tells listeners what the ticks brought, by NOTIFY.
 *
 * A bell says which feed and unit have something new; what it is stands in the
 * log. So a bell may be lost, or come twice, and nothing may wait or fail for
 * one:
 *
 * - NOTIFY takes a lock of the whole cluster from before the commit until
 *	 after it. So bells ring in a transaction of their own that does not wait
 *	 for its flush, and never in a writer's or a tick's.
 * - Which ticks have been rung is kept in shared memory (wake.c), and forgotten
 *	 with a restart: then bells begin with the next tick.
 * - If NOTIFY's queue is nearly full, because some listener sits in a
 *	 transaction, we leave it alone and say so in the server's log, once a
 *	 minute. Bridges look at ours once a second anyway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "batch.h"
#include "clock.h"
#include "compat.h"
#include "event.h"
#include "livefeed.h"
#include "plan.h"
#include "tick.h"
#include "wake.h"

/* Beyond either number of a ring's events or bells, one bell says "many". */
#define BELL_MAX_EVENTS 2000
#define BELL_MAX_BELLS 300

/* Actions that a bell names at most. */
#define BELL_MAX_ACTIONS 16

/* Bytes of a payload; NOTIFY itself takes less than 8000. */
#define BELL_MAX_BYTES 7900

/* The queue is left alone when it is fuller than this. */
#define BELL_MAX_QUEUE_USAGE 0.9

/* How often a backend says so: it is asked to ring after every tick. */
#define BELL_WARN_EVERY_US (INT64CONST(60) * 1000 * 1000)

/* An event, as far as a bell tells of it. */
typedef struct BellEvent
{
	int64		id;
	const char *feed;
	const char *unit;			/* "" for none, which no event has as its unit */
	const char *action;			/* a JSON string, NULL: not known */
} BellEvent;

typedef struct BellList
{
	MemoryContext context;
	int			n;
	BellEvent  *events;
} BellList;

PG_FUNCTION_INFO_V1(livefeed_ring);

/* The end of the JSON string that begins at s[i], behind its quote; -1 if it does not end. */
static int
bell_string_end(const char *s, int len, int i)
{
	for (i++; i < len; i++)
	{
		if (s[i] == '\\')
			i++;
		else if (s[i] == '"')
			return i + 1;
	}
	return -1;
}

/*
 * The action, as the JSON string that it is in the frame. The renderer writes
 * "type", "feed" and "action" first, in this order and without white space.
 */
static const char *
bell_action(const bytea *frame)
{
	static const char *const before[] = {"{\"type\":", ",\"feed\":", ",\"action\":"};
	const char *s = VARDATA_ANY(frame);
	int			len = VARSIZE_ANY_EXHDR(frame);
	int			i = 0;
	int			start = 0;

	for (int k = 0; k < lengthof(before); k++)
	{
		int			n = (int) strlen(before[k]);

		if (len - i <= n || memcmp(s + i, before[k], n) != 0 || s[i + n] != '"')
			return NULL;
		start = i + n;
		i = bell_string_end(s, len, start);
		if (i < 0)
			return NULL;
	}
	/* Frames are in UTF-8 whatever the database is in; a payload is not. */
	if (GetDatabaseEncoding() != PG_UTF8)
		for (int k = start; k < i; k++)
			if (IS_HIGHBIT_SET(s[k]))
				return NULL;
	return pnstrdup(s + start, i - start);
}

static void
bell_restart(void *arg)
{
	BellList   *list = arg;

	MemoryContextReset(list->context);
	list->n = 0;
	list->events = MemoryContextAlloc(list->context, BELL_MAX_EVENTS * sizeof(BellEvent));
}

static bool
bell_take(void *arg, int64 id, int64 tick, Datum *values, bool *nulls)
{
	BellList   *list = arg;
	int			flags = DatumGetInt32(values[EVENT_FLAGS]);
	MemoryContext before;
	BellEvent  *event;

	if (flags & EVENT_CONTROL)
		return true;
	if (list->n == BELL_MAX_EVENTS)
		return false;
	before = MemoryContextSwitchTo(list->context);
	event = &list->events[list->n++];
	event->id = id;
	event->feed = TextDatumGetCString(values[EVENT_FEED]);
	event->unit = nulls[EVENT_UNIT] ? "" : TextDatumGetCString(values[EVENT_UNIT]);
	event->action = NULL;
	if (flags & EVENT_RESYNC)
		event->action = "\"resync\"";
	else if (!nulls[EVENT_FRAME])
	{
		/* The beginning is enough, and all that is read of a frame that is out of line. */
		Datum		head = DirectFunctionCall3(bytea_substr, values[EVENT_FRAME], Int32GetDatum(1), Int32GetDatum(1024));

		event->action = bell_action(DatumGetByteaPP(head));
	}
	MemoryContextSwitchTo(before);
	return true;
}

static int
bell_compare(const void *left, const void *right)
{
	const BellEvent *a = left;
	const BellEvent *b = right;
	int			order = strcmp(a->feed, b->feed);

	if (order == 0)
		order = strcmp(a->unit, b->unit);
	if (order == 0)
		order = a->id < b->id ? -1 : a->id > b->id;
	return order;
}

static bool
bell_is_same(const BellEvent *a, const BellEvent *b)
{
	return strcmp(a->feed, b->feed) == 0 && strcmp(a->unit, b->unit) == 0;
}

static void
bell_append_actions(StringInfo payload, const BellEvent *events, int n)
{
	const char *actions[BELL_MAX_ACTIONS];
	int			found = 0;

	appendStringInfoString(payload, ",\"actions\":[");
	for (int i = 0; i < n && found < BELL_MAX_ACTIONS; i++)
	{
		int			k = 0;

		if (events[i].action == NULL)
			continue;
		while (k < found && strcmp(actions[k], events[i].action) != 0)
			k++;
		if (k < found)
			continue;
		appendStringInfo(payload, "%s%s", found > 0 ? "," : "", events[i].action);
		actions[found++] = events[i].action;
	}
	appendStringInfoChar(payload, ']');
}

/* The payload of n events of one feed and unit; false if it does not fit. */
static bool
bell_payload(StringInfo payload, const BellEvent *events, int n)
{
	int			without_actions;

	resetStringInfo(payload);
	appendStringInfoString(payload, "{\"v\":1,\"feed\":");
	escape_json(payload, events->feed);
	if (*events->unit != '\0')
	{
		appendStringInfoString(payload, ",\"unit\":");
		escape_json(payload, events->unit);
	}
	appendStringInfo(payload, ",\"count\":%d,\"first\":" INT64_FORMAT ",\"last\":" INT64_FORMAT,
					 n, events[0].id, events[n - 1].id);
	without_actions = payload->len;
	bell_append_actions(payload, events, n);
	appendStringInfoChar(payload, '}');
	if (payload->len > BELL_MAX_BYTES)
	{
		payload->len = without_actions;
		appendStringInfoString(payload, ",\"actions\":[]}");
	}
	return payload->len <= BELL_MAX_BYTES;
}

/* Queues the bells of these events; false if there are too many of them. */
static bool
bell_ring_each(BellList *list)
{
	StringInfoData payload;
	List	   *payloads = NIL;
	ListCell   *cell;
	int			n;

	initStringInfo(&payload);
	qsort(list->events, list->n, sizeof(BellEvent), bell_compare);
	for (int i = 0; i < list->n; i += n)
	{
		for (n = 1; i + n < list->n && bell_is_same(&list->events[i], &list->events[i + n]);)
			n++;
		if (list_length(payloads) == BELL_MAX_BELLS || !bell_payload(&payload, &list->events[i], n))
			return false;
		payloads = lappend(payloads, pstrdup(payload.data));
	}
	foreach(cell, payloads)
		Async_Notify(LIVEFEED_CHANNEL, (char *) lfirst(cell));
	return true;
}

static void
bell_ring_many(int64 first, int64 last)
{
	char		payload[128];

	snprintf(payload, sizeof(payload),
			 "{\"v\":1,\"many\":true,\"first\":" INT64_FORMAT ",\"last\":" INT64_FORMAT "}", first, last);
	Async_Notify(LIVEFEED_CHANNEL, payload);
}

/* The head as of a tick, -1 if that is no longer kept. */
static int64
bell_head_of(int64 tick)
{
	Datum		values[2];
	int64		head = -1;

	values[0] = Int64GetDatum(tick);
	values[1] = Int64GetDatum((int64) 1);
	if (plan_read(PLAN_TICKS_FROM, values, NULL, 1) == 1)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		bool		isnull;

		if (DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull)) == tick)
			head = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 6, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return head;
}

/* Queues the bells of all ticks that were not rung yet. */
static void
bell_ring(void)
{
	BellList	list = {0};
	BatchWalk	walk = {0};
	BatchLast	last;
	int64		rung = wake_rung();
	int64		head;

	PushActiveSnapshot(GetTransactionSnapshot());
	batch_last(&last);
	/* Not known, or of an extension that was dropped and made again. */
	if (rung == 0 || rung > last.tick.tick)
		rung = last.tick.tick - 1;
	head = rung < last.tick.tick ? bell_head_of(rung) : last.tick.id_last;
	PopActiveSnapshot();
	wake_set_rung(last.tick.tick);
	if (head < 0)
		head = last.kept;
	if (head >= last.tick.id_last)
		return;

	if (last.tick.id_last - head > BELL_MAX_EVENTS)
	{
		bell_ring_many(head + 1, last.tick.id_last);
		return;
	}
	list.context = AllocSetContextCreate(CurrentMemoryContext, "livefeed bells", ALLOCSET_DEFAULT_SIZES);
	walk.after_id = head;
	walk.want = last.tick.id_last - head;
	walk.sink = bell_take;
	walk.restart = bell_restart;
	walk.arg = &list;
	batch_walk(&walk);
	if (walk.pruned || walk.id < last.tick.id_last || !bell_ring_each(&list))
		bell_ring_many(head + 1, last.tick.id_last);
	MemoryContextDelete(list.context);
}

/* livefeed.ring() */
Datum
livefeed_ring(PG_FUNCTION_ARGS)
{
	int			level;

	tick_require_own_transaction("livefeed.ring()");
	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > BELL_MAX_QUEUE_USAGE)
	{
		static int64 said = 0;
		int64		now = clock_passed_us();

		if (said != 0 && now - said < BELL_WARN_EVERY_US)
			PG_RETURN_VOID();
		said = now;
		ereport(WARNING,
				(errmsg("the NOTIFY queue is nearly full: bells are left out"),
				 errhint("Some session that LISTENs sits in a transaction. Bridges find new events by themselves.")));
		PG_RETURN_VOID();
	}
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	level = plan_enter();
	bell_ring();
	plan_leave(level);
	SPI_finish();
	PG_RETURN_VOID();
}
