/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  Writes events to the log, in the writer's own transaction.
 *
 * An event goes into the log by table_tuple_insert() and index_insert(), past
 * SPI, executor and privileges: the writer of a watched table needs no grant
 * on the log, and pays about what one more index would cost him. The only lock
 * is the RowExclusiveLock that every INSERT takes, on the log's current child.
 *
 * There are two logs: events of feeds that are not durable go to the transient
 * one, which is unlogged and rotates each minute.
 *
 * Which child that is stands in livefeed.state. A backend keeps it, with the
 * indexes, until a relcache invalidation says that the state or the child has
 * changed. A copy that is a moment old does no harm: readers read all children,
 * and livefeed.prune() empties none that an open transaction may have written.
 *
 * Through the life of a transaction:
 *
 *	1. Its first event finds the ticker's slot (wake_prepare).
 *	2. Events are counted (fold.c). At the limit the caller is told, and feeds
 *	   are remembered instead of events.
 *	3. At PRE_COMMIT, and at PRE_PREPARE, the remembered resyncs are written.
 *	   Where writers ring the bells themselves, NOTIFY is queued, but never for a
 *	   prepared transaction, which cannot.
 *	4. At COMMIT, when the rows are visible, the ticker is woken: nothing there
 *	   allocates, looks anything up or can fail. COMMIT PREPARED happens in
 *	   another backend, perhaps; the ticker finds it at its next look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "feed.h"
#include "fold.h"
#include "journal.h"
#include "livefeed.h"
#include "number.h"
#include "wake.h"

/* The columns of the log, in their order (tables.sql). */
enum
{
	LOG_XID,
	LOG_SEQ,
	LOG_AT,
	LOG_COMMAND,
	LOG_FLAGS,
	LOG_FEED,
	LOG_UNIT,
	LOG_USERS,
	LOG_TO_USERS,
	LOG_KEY,
	LOG_PARENT_FEED,
	LOG_PARENT_KEY,
	LOG_FRAME,
	LOG_COLUMNS
};

#define LOG_MAX_INDEXES 8

/* Invalidations that arrive while the log is opened are followed this often. */
#define LOG_OPEN_TRIES 3

/* What a log row adds to the log beside its frame and texts, roughly. */
#define LOG_ROW_BYTES 100

/*
 * The child of a log that events go to. Looked at when it is first written to:
 * who writes no transient events has no lock on that log's children, which would
 * be in the way of their rotation.
 */
typedef struct TargetLog
{
	int			child;
	Oid			table;			/* InvalidOid: not looked at yet */
	int			nindexes;
	Oid			index_oids[LOG_MAX_INDEXES];
	IndexInfo  *index_infos[LOG_MAX_INDEXES];
	TupleTableSlot *slot;		/* virtual, of the log's row type */
} TargetLog;

/* Where events go; a copy of what livefeed.state says. */
typedef struct Target
{
	bool		valid;
	MemoryContext context;		/* of what the logs' pointers lead to */
	Oid			state;
	Oid			sequence;
	bool		registered;
	TargetLog	logs[2];		/* durable, transient */
} Target;

static Target target;

/* Has this transaction written? */
static bool journal_in_use = false;

/* The latest command of this transaction of which a deletion was written. */
static CommandId last_deletion = 0;

static void
target_invalidate(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == target.state ||
		relation == target.logs[0].table || relation == target.logs[1].table)
		target.valid = false;
}

/* Reads the state row: the numbers of the current children, and whether a bridge ever registered. */
static void
read_state(Oid state)
{
	Relation	relation = table_open(state, AccessShareLock);
	AttrNumber	current = get_attnum(state, "current");
	AttrNumber	transient_current = get_attnum(state, "transient_current");
	AttrNumber	registered = get_attnum(state, "registered");
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	row = systable_getnext(scan);
	bool		isnull;

	if (HeapTupleIsValid(row))
	{
		target.logs[0].child = DatumGetInt16(heap_getattr(row, current, RelationGetDescr(relation), &isnull));
		target.logs[1].child = DatumGetInt16(heap_getattr(row, transient_current, RelationGetDescr(relation), &isnull));
		target.registered = DatumGetBool(heap_getattr(row, registered, RelationGetDescr(relation), &isnull));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (!HeapTupleIsValid(row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.state\" is empty", LIVEFEED_SCHEMA),
				 errhint("Call livefeed.reset().")));
}

/* Takes down the indexes of the log's child, and a slot of its row type. */
static void
describe_log(TargetLog *into, bool transient)
{
	char		name[NAMEDATALEN];
	Oid			table;
	Relation	log;
	MemoryContext caller;
	List	   *indexes;
	ListCell   *cell;

	snprintf(name, sizeof(name), "%s_%d", transient ? "transient" : "log", into->child);
	table = livefeed_relation(name);
	log = table_open(table, RowExclusiveLock);
	caller = MemoryContextSwitchTo(target.context);
	indexes = RelationGetIndexList(log);
	into->nindexes = 0;

	if (RelationGetDescr(log)->natts != LOG_COLUMNS || list_length(indexes) > LOG_MAX_INDEXES)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the livefeed log has another version than the library"),
				 errhint("Run ALTER EXTENSION livefeed UPDATE.")));

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);

		into->index_oids[into->nindexes] = lfirst_oid(cell);
		into->index_infos[into->nindexes++] = BuildIndexInfo(index);
		index_close(index, NoLock);
	}
	into->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(log)), &TTSOpsVirtual);

	into->table = table;

	MemoryContextSwitchTo(caller);
	table_close(log, NoLock);
}

static void
target_refresh(void)
{
	if (target.context == NULL)
		target.context = AllocSetContextCreate(TopMemoryContext, "livefeed journal", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(target.context);
	memset(target.logs, 0, sizeof(target.logs));

	/* First, so that an invalidation that arrives meanwhile counts. */
	target.valid = true;
	PG_TRY();
	{
		target.state = livefeed_relation("state");
		read_state(target.state);
		target.sequence = livefeed_relation("seq");
	}
	PG_CATCH();
	{
		target.valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static inline void
set_text(TupleTableSlot *slot, int column, const char *value)
{
	slot->tts_isnull[column] = (value == NULL);
	if (value != NULL)
		slot->tts_values[column] = CStringGetTextDatum(value);
}

static inline void
set_array(TupleTableSlot *slot, int column, ArrayType *value)
{
	slot->tts_isnull[column] = (value == NULL);
	slot->tts_values[column] = PointerGetDatum(value);
}

/*
 * The place of an event inside its transaction, after which come those of equal
 * place in the order of writing: that of the command that made the version of
 * the row, and of one command the deletions first. For no row is both made and
 * deleted by one command, but a key may be: a statement deletes the row that
 * has it and makes another, and with a deferrable key it may do so in any order.
 *
 * A row may be made by a command that began before another that deleted the
 * former row of its key: a trigger BEFORE INSERT makes room for it. So a new row
 * comes after all deletions that were written before it was told, but for those
 * that may be of that very row: such as the next command that came to it.
 */
static int32
place_in_transaction(const LivefeedEvent *event)
{
	CommandId	command = event->command;
	bool		deletes = (event->flags & EVENT_DELETED) != 0;

	if (deletes)
		last_deletion = Max(last_deletion, command);
	else if (event->next_command > command)
		command = Max(command, Min(last_deletion, event->next_command - 1));
	return (int32) Min(command, (CommandId) (PG_INT32_MAX / 2)) * 2 + (deletes ? 0 : 1);
}

/* Lays the event out as a row of the log. */
static void
fill_row(TupleTableSlot *slot, const LivefeedEvent *event)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, LOG_COLUMNS * sizeof(bool));

	slot->tts_values[LOG_XID] = UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId()));
	slot->tts_values[LOG_SEQ] = Int64GetDatum(number_draw(target.sequence));
	slot->tts_values[LOG_AT] = TimestampTzGetDatum(event->at != 0 ? event->at : GetCurrentTimestamp());
	slot->tts_values[LOG_COMMAND] = Int32GetDatum(place_in_transaction(event));
	slot->tts_values[LOG_FLAGS] = Int32GetDatum(event->flags);
	set_text(slot, LOG_FEED, event->feed);
	set_text(slot, LOG_UNIT, event->unit);
	set_array(slot, LOG_USERS, event->users);
	set_array(slot, LOG_TO_USERS, event->to_users);
	set_text(slot, LOG_KEY, event->key);
	set_text(slot, LOG_PARENT_FEED, event->parent_feed);
	set_text(slot, LOG_PARENT_KEY, event->parent_key);
	slot->tts_isnull[LOG_FRAME] = (event->frame == NULL);
	if (event->frame != NULL)
	{
		SET_VARSIZE(event->frame->data, event->frame->len);
		slot->tts_values[LOG_FRAME] = PointerGetDatum(event->frame->data);
	}
	ExecStoreVirtualTuple(slot);
}

/* The log's indexes are on columns, never on expressions, and not partial. */
static void
insert_index_entries(const TargetLog *into, Relation log)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	for (int i = 0; i < into->nindexes; i++)
	{
		Relation	index = index_open(into->index_oids[i], RowExclusiveLock);

		/*
		 * One that is still being made, CONCURRENTLY, takes no entries yet. When
		 * it does, that is told of the index alone, not of its table.
		 */
		if (!index->rd_index->indisready)
		{
			index_close(index, NoLock);
			continue;
		}
		FormIndexDatum(into->index_infos[i], into->slot, NULL, values, isnull);
		compat_index_insert(index, values, isnull, &into->slot->tts_tid, log, into->index_infos[i]);
		index_close(index, NoLock);
	}
}

/*
 * Opens the child that is written to. Its lock may bring the news that the list
 * of its indexes has changed (REINDEX CONCURRENTLY); from then on the lock keeps
 * any index that we know from going away, and a new one from taking entries.
 */
static Relation
open_log(bool transient)
{
	TargetLog  *into = &target.logs[transient];

	for (int try = 1;; try++)
	{
		Relation	log;

		if (!target.valid)
			target_refresh();
		if (unlikely(!OidIsValid(into->table)))
			describe_log(into, transient);
		log = table_open(into->table, RowExclusiveLock);
		if (likely(target.valid) || try == LOG_OPEN_TRIES)
			return log;
		table_close(log, NoLock);
	}
}

/* The row itself; the limits are the caller's concern. */
static void
write_row(const LivefeedEvent *event)
{
	TargetLog  *into = &target.logs[event->transient];
	Relation	log = open_log(event->transient);
	bool		rings;

	if (!journal_in_use)
	{
		wake_prepare();
		journal_in_use = true;
	}

	fill_row(into->slot, event);
	table_tuple_insert(log, into->slot, GetCurrentCommandId(true), 0, NULL);
	insert_index_entries(into, log);
	ExecClearTuple(into->slot);
	table_close(log, NoLock);

	fold_count(LOG_ROW_BYTES + (event->frame != NULL ? event->frame->len : 0));

	rings = livefeed_notify == LIVEFEED_NOTIFY_ALWAYS ||
		(livefeed_notify == LIVEFEED_NOTIFY_AUTO && !target.registered);
	if (rings && (event->flags & EVENT_CONTROL) == 0)
		fold_add_bell(event);
}

void
journal_write(const LivefeedEvent *event)
{
	write_row(event);
}

bool
journal_is_full(const char *feed)
{
	if (likely(!fold_is_full()))
		return false;
	fold_add_resync(feed, "folded");
	return true;
}

static void
write_resync(const char *feed, const char *reason)
{
	StringInfoData frame;
	LivefeedEvent event = {0};
	FeedFacts	facts;

	/* It stands among the feed's other events, and reaches whom they would have reached. */
	feed_look_up(feed, &facts);
	event.transient = !facts.durable;
	event.parent_feed = facts.parent_feed;
	initStringInfo(&frame);
	appendStringInfoSpaces(&frame, VARHDRSZ);
	appendStringInfoString(&frame, reason);
	event.flags = EVENT_RESYNC;
	event.command = GetCurrentCommandId(false);
	event.feed = feed;
	event.frame = &frame;
	write_row(&event);
	pfree(frame.data);
}

void
journal_resync(const char *feed, const char *reason)
{
	if (fold_just_resynced(feed, reason))
		return;
	write_resync(feed, reason);
	fold_note_resync(feed, reason);
}

void
journal_resync_at_end(const char *feed, const char *reason)
{
	fold_add_resync(feed, reason);
}

void
journal_control(const char *kind)
{
	LivefeedEvent event = {0};

	event.flags = EVENT_CONTROL;
	event.command = GetCurrentCommandId(false);
	event.feed = kind;
	write_row(&event);
}

bool
journal_has_written(void)
{
	return journal_in_use || fold_has_resyncs();
}

static void
journal_end_transaction(XactEvent event, void *arg)
{
	MemoryContext caller;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			caller = MemoryContextSwitchTo(TopTransactionContext);
			if (fold_has_resyncs())
			{
				/* Looking up feeds, and values that are stored apart (TOAST), want one; those of the commands are gone. */
				PushActiveSnapshot(GetTransactionSnapshot());
				fold_each_resync(write_resync);
				PopActiveSnapshot();
			}
			if (event == XACT_EVENT_PRE_COMMIT)
				fold_ring();
			MemoryContextSwitchTo(caller);
			break;

		case XACT_EVENT_COMMIT:
			if (journal_in_use)
				wake_ticker();
			/* FALLTHROUGH */
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			journal_in_use = false;
			last_deletion = 0;
			fold_reset();
			break;

		default:
			break;
	}
}

static void
journal_end_subtransaction(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB)
		fold_end_subtransaction(GetCurrentTransactionNestLevel(), event == SUBXACT_EVENT_COMMIT_SUB);
}

void
journal_init(void)
{
	CacheRegisterRelcacheCallback(target_invalidate, (Datum) 0);
	RegisterXactCallback(journal_end_transaction, NULL);
	RegisterSubXactCallback(journal_end_subtransaction, NULL);
}
