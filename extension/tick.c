/*-------------------------------------------------------------------------
 *
 * tick.c
 *	  Makes the order of events.
 *
 * Sequence numbers do not follow commits, and a lock at commit would make all
 * writers wait for each other. So it is the reader's side that makes the order:
 * a tick is a snapshot, and its batch is what that snapshot sees and the former
 * tick's does not. The life of a tick:
 *
 *	1. Guards: READ COMMITTED, no transaction block, no standby, nothing changed
 *	   yet by this transaction (its own events would be visible to the snapshot
 *	   although they are not committed).
 *	2. A look, without lock or transaction id: is there anything to do?
 *	3. The tick lock: a transactional advisory lock whose fourth field no SQL
 *	   function can set, so that nobody else can take it. Ticks are made one
 *	   after the other.
 *	4. In a new snapshot, the last tick P is read again. In a later one, S, the
 *	   events that S sees and P does not are counted, and get the ids that
 *	   follow: transactions in the order of their greatest seq, the durable
 *	   events first, then the transient ones. Which event gets which id is not
 *	   stored: it follows from P and S. For a large batch we store where its
 *	   segments begin, so that readers need not start at its head.
 *	5. The tick is inserted and committed with synchronous_commit at least on:
 *	   its flush makes all that it shows durable, since that was in the WAL
 *	   before. Nobody forwards an event before this commit.
 *
 * If nothing is new no tick is made, unless the epoch changed: the epoch of the
 * last tick is to be the database's.
 *
 * Lock order: the tick lock; then locks of the tables, which prune() only ever
 * takes NOWAIT, and reset() after the tick lock.
 *
 * Not promised: that a tick shows a transaction whose commit returned before
 * tick() was called on a standby, or that of two ticks the later has the later
 * clock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batch.h"
#include "clock.h"
#include "compat.h"
#include "epoch.h"
#include "event.h"
#include "livefeed.h"
#include "plan.h"
#include "read.h"
#include "tick.h"
#include "wake.h"

/* The tick lock: "live", "feed", and 3: pg_advisory_lock() uses 1 and 2 only. */
#define TICK_LOCK_KEY1 0x6c697665
#define TICK_LOCK_KEY2 0x66656564
#define TICK_LOCK_KIND 3

/* tick_wait() returns after this time even if there is nothing, to hold no snapshot for long. */
#define TICK_WAIT_MS 1000

/* So many ticks may follow each other at once. */
#define TICK_BURST 3

/* How often to look where no writer can wake us (all slots are taken). */
#define TICK_POLL_MS 50

/* Events that wait for longer than this tell that the ticker is gone. */
#define TICK_STALE_MS 1000

/* Rows that are fetched at a time while segments are made. */
#define TICK_FETCH 1000

/* A tick in the making. */
typedef struct TickMaker
{
	BatchLast	last;
	BatchTick	tick;			/* the new one */
	Datum		lo;				/* its ranges, as arrays */
	Datum		hi;
} TickMaker;

/* Transactions that will share a segment. */
typedef struct TickSegment
{
	int64		id;
	int64		events;
	int			n;
	Datum		xids[BATCH_SEGMENT_TRANSACTIONS];
} TickSegment;

PG_FUNCTION_INFO_V1(livefeed_tick);
PG_FUNCTION_INFO_V1(livefeed_tick_wait);
PG_FUNCTION_INFO_V1(livefeed_look_order);
PG_FUNCTION_INFO_V1(livefeed_tick_lock);
PG_FUNCTION_INFO_V1(livefeed_require_own_transaction);

void
tick_require_own_transaction(const char *what)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s cannot run on a standby", what),
				 errhint("Connect to the primary.")));
	PreventCommandIfReadOnly(what);
	if (IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", what)));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("%s needs the isolation level READ COMMITTED", what),
				 errhint("SET default_transaction_isolation = 'read committed'.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run in a transaction that has changed something", what),
				 errhint("Call it in a statement of its own.")));
}

static bool
tick_is_epoch_new(const BatchLast *last)
{
	char		epoch[EPOCH_BYTES];

	epoch_write(&last->random, epoch);
	return strcmp(epoch, last->tick.epoch) != 0;
}

/* The active snapshot, as a value. */
static Datum
tick_snapshot(void)
{
	return DirectFunctionCall1(pg_current_snapshot, (Datum) 0);
}

/*
 * Is there anything in the transient logs at all? A row that the active
 * snapshot shows was written before it, and has its block since. It costs less
 * to look at three sizes than to run a query.
 */
static bool
tick_has_transient(void)
{
	char		name[NAMEDATALEN];
	bool		found = false;

	for (int i = 0; i < PLAN_CHILDREN && !found; i++)
	{
		Relation	relation;

		snprintf(name, sizeof(name), "transient_%d", i);
		relation = table_open(livefeed_relation(name), AccessShareLock);
		found = RelationGetNumberOfBlocks(relation) > 0;
		table_close(relation, AccessShareLock);
	}
	return found;
}

/* Does the active snapshot show anything that the last tick does not? */
static bool
tick_has_events(const BatchLast *last)
{
	BatchRanges ranges = {0};
	Datum		values[2];
	bool		found = false;

	batch_ranges(&ranges, 0, last->tick.snapshot, tick_snapshot());
	if (ranges.n == 0)
		return false;
	values[0] = batch_xids(ranges.lo, ranges.n);
	values[1] = batch_xids(ranges.hi, ranges.n);
	for (int transient = 0; transient < 2 && !found; transient++)
	{
		if (transient && !tick_has_transient())
			break;
		found = plan_read(PLAN_OF(PLAN_LOG_ANY, transient), values, NULL, 1) > 0;
		SPI_freetuptable(SPI_tuptable);
	}
	return found;
}

/* How many events the new tick has, counted no further than needed to tell that it is large. */
static int64
tick_count(const TickMaker *maker, bool transient)
{
	Datum		values[3];
	bool		isnull;
	int64		n;

	values[0] = maker->lo;
	values[1] = maker->hi;
	values[2] = Int64GetDatum((int64) BATCH_LARGE_EVENTS + 1);
	(void) plan_read(PLAN_OF(PLAN_LOG_COUNT, transient), values, NULL, 1);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static void
tick_store_segment(TickMaker *maker, int64 id, int64 events, bool transient,
				   Datum *xids, int n, const Datum *place)
{
	Datum		values[7];
	char		nulls[8] = "       ";

	values[0] = Int64GetDatum(maker->tick.tick);
	values[1] = Int64GetDatum(id);
	values[2] = Int32GetDatum((int32) events);
	values[3] = BoolGetDatum(transient);
	values[4] = batch_xids(xids, n);
	values[5] = place ? place[0] : (Datum) 0;
	values[6] = place ? place[1] : (Datum) 0;
	if (place == NULL)
		nulls[5] = nulls[6] = 'n';
	plan_write((PlanId) (PLAN_INSERT_SEGMENT + maker->last.tick_current), values, nulls);
	pfree(DatumGetPointer(values[4]));
	maker->tick.segments++;
}

/* Closes the segment that is being filled, if there is anything in it. */
static void
tick_close_segment(TickMaker *maker, TickSegment *segment, bool transient)
{
	if (segment->n > 0)
		tick_store_segment(maker, segment->id, segment->events, transient, segment->xids, segment->n, NULL);
	segment->id += segment->events;
	segment->events = 0;
	segment->n = 0;
}

/* The segments of one transaction that is too large for one. */
static void
tick_store_parts(TickMaker *maker, int64 id, Datum xid, int64 events, bool transient)
{
	Datum		values[2];
	Portal		portal;
	int64		end = id + events;

	values[0] = xid;
	values[1] = Int64GetDatum((int64) BATCH_SEGMENT_EVENTS);
	portal = SPI_cursor_open(NULL, plan_get(PLAN_OF(PLAN_LOG_CUTS, transient)), values, NULL, true);
	for (;;)
	{
		SPITupleTable *table;
		uint64		n;

		SPI_cursor_fetch(portal, true, TICK_FETCH);
		n = SPI_processed;
		table = SPI_tuptable;
		if (n == 0)
			break;
		for (uint64 i = 0; i < n; i++)
		{
			Datum		place[2];
			bool		isnull;

			place[0] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
			place[1] = SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull);
			tick_store_segment(maker, id, Min(end - id, BATCH_SEGMENT_EVENTS), transient, &xid, 1, place);
			id += BATCH_SEGMENT_EVENTS;
		}
		SPI_freetuptable(table);
	}
	SPI_cursor_close(portal);
	if (id < end || id >= end + BATCH_SEGMENT_EVENTS)
		elog(ERROR, "a transaction of " INT64_FORMAT " events was cut at the wrong places", events);
}

/*
 * Counts a large batch, and stores where its segments begin; the first event
 * gets this id. Transactions come from the executor in their order, which
 * sorts on disk if there are many: memory is bounded.
 */
static int64
tick_store_segments(TickMaker *maker, int64 id, bool transient)
{
	TickSegment *segment = palloc0(sizeof(TickSegment));
	Datum		values[2];
	Portal		portal;
	int64		events;

	segment->id = id;
	values[0] = maker->lo;
	values[1] = maker->hi;
	portal = SPI_cursor_open(NULL, plan_get(PLAN_OF(PLAN_LOG_TRANSACTIONS, transient)), values, NULL, true);
	for (;;)
	{
		SPITupleTable *table;
		uint64		n;

		SPI_cursor_fetch(portal, true, TICK_FETCH);
		n = SPI_processed;
		table = SPI_tuptable;
		if (n == 0)
			break;
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;
			Datum		xid = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
			int64		count = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));

			if (segment->n == BATCH_SEGMENT_TRANSACTIONS || segment->events + count > BATCH_SEGMENT_EVENTS)
				tick_close_segment(maker, segment, transient);
			if (count > BATCH_SEGMENT_EVENTS)
			{
				tick_store_parts(maker, segment->id, xid, count, transient);
				segment->id += count;
				continue;
			}
			segment->xids[segment->n++] = xid;
			segment->events += count;
		}
		SPI_freetuptable(table);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	tick_close_segment(maker, segment, transient);
	events = segment->id - id;
	pfree(segment);
	return events;
}

/* For this transaction alone: its commit is to be flushed, and what it shows with it. */
static void
tick_require_flush(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_ON)
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

static void
tick_insert(const TickMaker *maker)
{
	const BatchTick *tick = &maker->tick;
	Datum		values[8];

	values[0] = Int64GetDatum(tick->tick);
	values[1] = CStringGetTextDatum(tick->epoch);
	values[2] = tick->snapshot;
	values[3] = Int64GetDatum(tick->id_from);
	values[4] = Int64GetDatum(tick->id_to);
	values[5] = Int64GetDatum(tick->id_last);
	values[6] = TimestampTzGetDatum(tick->at);
	values[7] = Int32GetDatum(tick->segments);
	plan_write((PlanId) (PLAN_INSERT_TICK + maker->last.tick_current), values, NULL);
}

/* Steps 4 and 5, under the active snapshot, which is later than that in which P was read. */
static bool
tick_make_next(TickMaker *maker)
{
	const BatchTick *p = &maker->last.tick;
	BatchTick  *s = &maker->tick;
	BatchRanges ranges = {0};
	int64		durable;
	int64		transient;

	s->tick = p->tick + 1;
	s->snapshot = tick_snapshot();
	s->id_from = p->id_last + 1;
	epoch_write(&maker->last.random, s->epoch);
	batch_ranges(&ranges, 0, p->snapshot, s->snapshot);
	maker->lo = batch_xids(ranges.lo, ranges.n);
	maker->hi = batch_xids(ranges.hi, ranges.n);

	durable = tick_count(maker, false);
	transient = tick_has_transient() ? tick_count(maker, true) : 0;
	if (durable == 0 && transient == 0 && strcmp(s->epoch, p->epoch) == 0)
		return false;
	if (durable > BATCH_LARGE_EVENTS || transient > BATCH_LARGE_EVENTS)
	{
		durable = tick_store_segments(maker, s->id_from, false);
		transient = tick_store_segments(maker, s->id_from + durable, true);
	}
	s->id_to = p->id_last + durable;
	s->id_last = s->id_to + transient;
	s->at = GetCurrentTimestamp();
	tick_require_flush();
	tick_insert(maker);
	return true;
}

static void
tick_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, TICK_LOCK_KEY1, TICK_LOCK_KEY2, TICK_LOCK_KIND);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Step 2. */
static bool
tick_is_due(BatchLast *last)
{
	bool		due;

	PushActiveSnapshot(GetTransactionSnapshot());
	batch_last(last);
	due = tick_is_epoch_new(last) || tick_has_events(last);
	PopActiveSnapshot();
	return due;
}

/* The steps from 3 on: a tick's number, 0 if there was nothing to do. Wants SPI and plan_enter(). */
static int64
tick_make(void)
{
	TickMaker	maker;
	bool		due;

	memset(&maker, 0, sizeof(maker));
	tick_lock();
	PushActiveSnapshot(GetTransactionSnapshot());
	batch_last(&maker.last);
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
	due = tick_make_next(&maker);
	PopActiveSnapshot();
	if (!due)
		return 0;

	/* Bells begin with the first tick after the server started (or the extension was made anew). */
	if (wake_rung() == 0 || wake_rung() > maker.last.tick.tick)
		wake_set_rung(maker.last.tick.tick);
	CommandCounterIncrement();
	return maker.tick.tick;
}

static int
tick_begin(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	return plan_enter();
}

static void
tick_end(int level)
{
	plan_leave(level);
	SPI_finish();
}

/* livefeed.tick() */
Datum
livefeed_tick(PG_FUNCTION_ARGS)
{
	int			level;
	int64		tick;
	BatchLast	last;

	tick_require_own_transaction("livefeed.tick()");
	level = tick_begin();
	tick = tick_is_due(&last) ? tick_make() : 0;
	tick_end(level);
	if (tick == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(tick);
}

/*
 * Looks from inside the wait. In a subtransaction that is rolled back, so that
 * no lock on the log outlives the look: livefeed.prune() needs it for itself.
 */
static bool
tick_look(BatchLast *last)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		due;
	int			level;

	BeginInternalSubTransaction(NULL);
	level = tick_begin();
	due = tick_is_due(last);
	tick_end(level);
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return due;
}

/* True: a commit ended the sleep, most likely. */
static bool
tick_sleep(long ms)
{
	int			events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	bool		woken = (WaitLatch(MyLatch, events, ms, PG_WAIT_EXTENSION) & WL_LATCH_SET) != 0;

	CHECK_FOR_INTERRUPTS();
	return woken;
}

/*
 * A sleep of a few milliseconds that commits do not end: it is known that there
 * is something to do, and a writer whose SetLatch() finds the latch set, or
 * nobody waiting for it, pays no system call for the ticker.
 */
static void
tick_rest(long ms)
{
	(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Ticks follow each other at once while there is little to do, and interval_ms
 * apart under load, so that batches grow: a few may come early, as many as were
 * left out before. Kept as the time at which the next would be due if each were
 * interval_ms after the one before.
 */
static void
tick_pace(int interval_ms)
{
	static int64 due = 0;		/* clock_passed_us() */
	int64		slack = (int64) interval_ms * TICK_BURST * 1000;
	int64		now = clock_passed_us();

	/* Not longer than that, where the interval was larger before. */
	due = Min(Max(due, now), now + slack + (int64) interval_ms * 1000);
	while (due > now + slack)
	{
		tick_rest((long) ((due - now - slack + 999) / 1000));
		now = clock_passed_us();
	}
	due += (int64) interval_ms * 1000;
}

/* Waits for events and ticks them; false: this backend is not the ticker any more. */
static bool
tick_wait(int64 after_id, int interval_ms, bool polls, bool *ticked)
{
	int64		end = clock_passed_us() + TICK_WAIT_MS * 1000;
	bool		woken = false;

	*ticked = false;
	for (;;)
	{
		long		ms;

		/* In this order: a commit after the reset sets the latch again. */
		ResetLatch(MyLatch);
		if (!polls && !wake_is_ticker())
			return false;
		/* Whom a commit has woken need not look: the time it takes is what the event would wait. */
		if (!woken)
		{
			BatchLast	last;

			woken = tick_look(&last);
			if (last.tick.id_last != after_id)
				return true;	/* somebody ticked, or history went back */
		}
		if (woken)
		{
			int			level;

			tick_pace(interval_ms);
			level = tick_begin();
			*ticked = tick_make() != 0;
			tick_end(level);
			/* Also if somebody else has ticked them: the tick lock must not be held while we sleep. */
			return true;
		}
		ms = (long) ((end - clock_passed_us() + 999) / 1000);
		if (ms <= 0)
			return true;
		woken = tick_sleep(polls ? Min(ms, TICK_POLL_MS) : ms);
	}
}

/* livefeed.tick_wait(after_id bigint, max integer, interval_ms integer, take boolean) */
Datum
livefeed_tick_wait(PG_FUNCTION_ARGS)
{
	int64		after_id;
	int			interval_ms;
	ReadResult	result;
	WakeRole	role;
	bool		ticked;
	int			level;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the arguments of livefeed.tick_wait() must not be null")));
	after_id = PG_GETARG_INT64(0);
	interval_ms = PG_GETARG_INT32(2);
	if (interval_ms < 0 || interval_ms > TICK_WAIT_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("interval_ms must be between 0 and %d", TICK_WAIT_MS)));

	tick_require_own_transaction("livefeed.tick_wait()");
	read_begin(&result, fcinfo);
	role = wake_take(PG_GETARG_BOOL(3));
	if (role == WAKE_FOLLOWER || !tick_wait(after_id, interval_ms, role == WAKE_NO_SLOT, &ticked))
	{
		read_mark(&result, EVENT_NOT_TICKER, after_id, 0, NULL);
		return (Datum) 0;
	}
	level = tick_begin();
	read_page(&result, after_id, PG_GETARG_INT32(1), NULL, ticked ? READ_TICKED_BYTES : READ_MAX_BYTES, ticked);
	tick_end(level);
	return (Datum) 0;
}

/* livefeed.look_order(): epoch, head, tick, kept, ticker_pid, stale */
Datum
livefeed_look_order(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	BatchLast	last;
	Datum		values[6];
	bool		nulls[6] = {false};
	bool		stale = false;
	int			level;
	int			pid;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != lengthof(values))
		elog(ERROR, "livefeed.look_order() is declared with the wrong columns");
	desc = BlessTupleDesc(desc);

	level = tick_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	batch_last(&last);
	if (!RecoveryInProgress())
	{
		stale = tick_is_epoch_new(&last);
		if (!stale && tick_has_events(&last))
			stale = wake_waiting_us(last.tick.tick, last.tick.epoch) > TICK_STALE_MS * 1000;
	}
	PopActiveSnapshot();
	tick_end(level);

	values[0] = CStringGetTextDatum(last.tick.epoch);
	values[1] = Int64GetDatum(last.tick.id_last);
	values[2] = Int64GetDatum(last.tick.tick);
	values[3] = Int64GetDatum(last.kept);
	pid = wake_ticker_pid();
	values[4] = Int32GetDatum(pid);
	nulls[4] = pid == 0;
	values[5] = BoolGetDatum(stale);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* livefeed.require_own_transaction(what text): for livefeed.prune() */
Datum
livefeed_require_own_transaction(PG_FUNCTION_ARGS)
{
	tick_require_own_transaction(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* livefeed.tick_lock(): for livefeed.reset(), that no tick be made meanwhile */
Datum
livefeed_tick_lock(PG_FUNCTION_ARGS)
{
	tick_lock();
	PG_RETURN_VOID();
}
