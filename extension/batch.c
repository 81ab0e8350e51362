/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Reads events in the order that the ticks made.
 *
 * The story of a walk:
 *
 *	1. Under one snapshot: the last tick, the kept mark, and the ticks from the
 *	   one that holds the event after after_id, with the tick before that.
 *	2. A tick's batch is what its snapshot sees and that of the tick before it
 *	   does not. As transaction ids that is: those that were running at the
 *	   former, and all from its xmax up to the xmax of the latter, cut at each
 *	   that was running then. So an old open transaction costs one cut, not a
 *	   scan from it on.
 *	3. Small ticks are read several at a time: one index scan a range. Their
 *	   rows are put into order here: transactions by their greatest seq, inside
 *	   by (command, seq), and numbered from the tick's id_from.
 *	4. Large ticks are read by segments, which the tick stored in order: where a
 *	   page begins is found by its id, however large the batch.
 *	5. What was read is counted against what the tick, or the segment, says. The
 *	   one cause of a difference is livefeed.prune(): TRUNCATE is not MVCC. Then
 *	   the walk begins anew in a new snapshot, which shows the new kept mark.
 *
 * Bounds: at most BATCH_GROUP_EVENTS durable events, and as many transient ones
 * for each of its ticks, are in memory at a time, with frames that are out of
 * line left there; a walk reads at most BATCH_WALK_EVENTS events, whatever the
 * sink does with them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batch.h"
#include "compat.h"
#include "event.h"
#include "plan.h"

/* Small ticks are read together until they have this many events. */
#define BATCH_GROUP_EVENTS 1000

/* Rows of livefeed.ticks, and of livefeed.segments, that are fetched at a time. */
#define BATCH_TICKS 256
#define BATCH_SEGMENTS 8

/* A walk ends when it has read this many events, taken or not. */
#define BATCH_WALK_EVENTS 100000

/*
 * pg_snapshot as it stands in a table (xid8funcs.c has it as a private type;
 * pg_upgrade keeps its form from version to version).
 */
typedef struct BatchSnapshot
{
	int32		vl_len_;
	uint32		nxip;
	uint64		xmin;
	uint64		xmax;
	uint64		xip[FLEXIBLE_ARRAY_MEMBER];
} BatchSnapshot;

/* An event in memory, with what orders it. */
typedef struct BatchRow
{
	int			n;				/* tag of its range, or place in its list */
	uint32		command;
	uint64		xid;
	int64		seq;
	int64		last;			/* greatest seq of its transaction */
	HeapTuple	tuple;
} BatchRow;

/* Rows of one plan, in order. */
typedef struct BatchRows
{
	int64		n;
	BatchRow   *rows;
	SPITupleTable *table;
} BatchRows;

typedef struct BatchSegment
{
	int64		id;
	int32		events;
	bool		transient;
	bool		part;
	Datum		xids;
	int32		command;
	int64		seq;
} BatchSegment;

/* What a step of the walk says. */
typedef enum BatchStep
{
	STEP_GO_ON,
	STEP_FULL,					/* the sink, or the bound */
	STEP_GONE,					/* rows are missing: begin anew */
} BatchStep;

/* A walk's working state. */
typedef struct BatchState
{
	BatchWalk  *walk;
	MemoryContext context;		/* for one group or segment */
	int64		scanned;
} BatchState;

static Datum
batch_column(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	if (isnull)
		elog(ERROR, "column %d of a tick or segment is null", column);
	return value;
}

static void
batch_get_tick(BatchTick *tick, HeapTuple tuple, TupleDesc desc)
{
	tick->tick = DatumGetInt64(batch_column(tuple, desc, 1));
	strlcpy(tick->epoch, TextDatumGetCString(batch_column(tuple, desc, 2)), EPOCH_BYTES);
	tick->snapshot = PointerGetDatum(PG_DETOAST_DATUM_COPY(batch_column(tuple, desc, 3)));
	tick->id_from = DatumGetInt64(batch_column(tuple, desc, 4));
	tick->id_to = DatumGetInt64(batch_column(tuple, desc, 5));
	tick->id_last = DatumGetInt64(batch_column(tuple, desc, 6));
	tick->at = DatumGetTimestampTz(batch_column(tuple, desc, 7));
	tick->segments = DatumGetInt32(batch_column(tuple, desc, 8));
}

void
batch_last(BatchLast *last)
{
	HeapTuple	tuple;
	TupleDesc	desc;

	if (plan_read(PLAN_LAST, NULL, NULL, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("livefeed has no tick to start from"),
				 errhint("Its tables were emptied by hand: run SELECT livefeed.reset().")));
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	batch_get_tick(&last->tick, tuple, desc);
	last->random = *DatumGetUUIDP(batch_column(tuple, desc, 9));
	last->kept = DatumGetInt64(batch_column(tuple, desc, 10));
	last->kept_tick = DatumGetInt64(batch_column(tuple, desc, 11));
	last->tick_current = DatumGetInt16(batch_column(tuple, desc, 12));
	SPI_freetuptable(SPI_tuptable);
}

static void
batch_add_range(BatchRanges *ranges, int tag, uint64 lo, uint64 hi)
{
	if (lo >= hi)
		return;
	if (ranges->n == ranges->room)
	{
		ranges->room = ranges->room ? ranges->room * 2 : 64;
		if (ranges->tag == NULL)
		{
			ranges->tag = palloc(ranges->room * sizeof(Datum));
			ranges->lo = palloc(ranges->room * sizeof(Datum));
			ranges->hi = palloc(ranges->room * sizeof(Datum));
		}
		else
		{
			ranges->tag = repalloc(ranges->tag, ranges->room * sizeof(Datum));
			ranges->lo = repalloc(ranges->lo, ranges->room * sizeof(Datum));
			ranges->hi = repalloc(ranges->hi, ranges->room * sizeof(Datum));
		}
	}
	ranges->tag[ranges->n] = Int32GetDatum(tag);
	ranges->lo[ranges->n] = UInt64GetDatum(lo);
	ranges->hi[ranges->n] = UInt64GetDatum(hi);
	ranges->n++;
}

void
batch_ranges(BatchRanges *ranges, int tag, Datum before, Datum after)
{
	const BatchSnapshot *p = (const BatchSnapshot *) DatumGetPointer(before);
	const BatchSnapshot *s = (const BatchSnapshot *) DatumGetPointer(after);
	uint32		is = 0;
	uint64		lo;

	/* Both xip are sorted. Those that were running then, and are not now ... */
	for (uint32 ip = 0; ip < p->nxip; ip++)
	{
		uint64		xid = p->xip[ip];

		while (is < s->nxip && s->xip[is] < xid)
			is++;
		if (xid < s->xmax && !(is < s->nxip && s->xip[is] == xid))
			batch_add_range(ranges, tag, xid, xid + 1);
	}
	/* ... and those that began since and have ended. */
	lo = p->xmax;
	for (is = 0; is < s->nxip; is++)
	{
		if (s->xip[is] < lo)
			continue;
		batch_add_range(ranges, tag, lo, s->xip[is]);
		lo = s->xip[is] + 1;
	}
	batch_add_range(ranges, tag, lo, s->xmax);
}

Datum
batch_xids(Datum *xids, int n)
{
	return PointerGetDatum(construct_array(xids, n, XID8OID, 8, FLOAT8PASSBYVAL, 'd'));
}

/* By tag, then as the index has them; how plans return them, most likely. */
static int
batch_compare_found(const void *left, const void *right)
{
	const BatchRow *a = left;
	const BatchRow *b = right;

	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	if (a->xid != b->xid)
		return a->xid < b->xid ? -1 : 1;
	if (a->command != b->command)
		return a->command < b->command ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* By tag, then in the order of ids. */
static int
batch_compare_order(const void *left, const void *right)
{
	const BatchRow *a = left;
	const BatchRow *b = right;

	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	if (a->last != b->last)
		return a->last < b->last ? -1 : 1;
	if (a->command != b->command)
		return a->command < b->command ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/*
 * Runs a plan of events and puts them in order: by tag, then, with by_last,
 * transactions by their greatest seq.
 */
static void
batch_fetch(BatchRows *rows, PlanId id, Datum *values, bool by_last)
{
	int64		i;
	int64		j;

	rows->n = plan_read(id, values, NULL, 0);
	rows->table = SPI_tuptable;
	rows->rows = palloc_extended(Max(rows->n, 1) * sizeof(BatchRow), MCXT_ALLOC_HUGE);
	for (i = 0; i < rows->n; i++)
	{
		BatchRow   *row = &rows->rows[i];
		TupleDesc	desc = rows->table->tupdesc;

		row->tuple = rows->table->vals[i];
		row->n = DatumGetInt32(batch_column(row->tuple, desc, EVENT_N + 1));
		row->xid = DatumGetUInt64(batch_column(row->tuple, desc, EVENT_XID + 1));
		row->seq = DatumGetInt64(batch_column(row->tuple, desc, EVENT_SEQ + 1));
		row->command = DatumGetUInt32(batch_column(row->tuple, desc, EVENT_COMMAND_ID + 1));
		row->last = 0;
	}
	qsort(rows->rows, rows->n, sizeof(BatchRow), batch_compare_found);
	if (!by_last)
		return;

	for (i = 0; i < rows->n; i = j)
	{
		int64		last = rows->rows[i].seq;

		for (j = i; j < rows->n && rows->rows[j].n == rows->rows[i].n && rows->rows[j].xid == rows->rows[i].xid; j++)
			last = Max(last, rows->rows[j].seq);
		while (i < j)
			rows->rows[i++].last = last;
	}
	qsort(rows->rows, rows->n, sizeof(BatchRow), batch_compare_order);
}

/* Gives n rows to the sink, as ids from id on. */
static BatchStep
batch_give(BatchState *state, BatchRows *rows, int64 first, int64 n, int64 id, int64 tick)
{
	BatchWalk  *walk = state->walk;
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];

	for (int64 i = first; i < first + n; i++, id++)
	{
		if (id <= walk->after_id)
			continue;
		heap_deform_tuple(rows->rows[i].tuple, rows->table->tupdesc, values, nulls);
		if (!walk->sink(walk->arg, id, tick, values, nulls))
			return STEP_FULL;
		walk->id = id;
		walk->tick = tick;
	}
	return STEP_GO_ON;
}

/* How many of the rows from first on carry this tag. */
static int64
batch_count_tag(BatchRows *rows, int64 first, int tag)
{
	int64		i = first;

	while (i < rows->n && rows->rows[i].n == tag)
		i++;
	return i - first;
}

/*
 * Tells the sink that transient events up to this id, of which none can be given
 * its number, are gone. False: full.
 */
static bool
batch_lose(BatchState *state, int64 id, int64 tick)
{
	BatchWalk  *walk = state->walk;
	Datum		values[EVENT_COLUMNS] = {0};
	bool		nulls[EVENT_COLUMNS];

	if (id <= walk->after_id)
		return true;
	memset(nulls, true, sizeof(nulls));
	values[EVENT_FLAGS] = Int32GetDatum(EVENT_CONTROL);
	values[EVENT_FEED] = CStringGetTextDatum(EVENT_KIND_TRANSIENT_LOST);
	nulls[EVENT_FLAGS] = nulls[EVENT_FEED] = false;
	if (!walk->sink(walk->arg, id, tick, values, nulls))
		return false;
	walk->id = id;
	walk->tick = tick;
	return true;
}

/* Gives the rows of ticks[from] to ticks[to - 1], each tagged with its tick's place. */
static BatchStep
batch_give_group(BatchState *state, const BatchTick *ticks, int from, int to, BatchRows *durable, BatchRows *transient)
{
	int64		d = 0;
	int64		t = 0;

	for (int i = from; i < to; i++)
	{
		const BatchTick *tick = &ticks[i];
		int64		n = batch_count_tag(durable, d, i);
		int64		m = batch_count_tag(transient, t, i);

		if (n != tick->id_to - tick->id_from + 1)
			return STEP_GONE;
		if (batch_give(state, durable, d, n, tick->id_from, tick->tick) == STEP_FULL)
			return STEP_FULL;
		/* Transient events are there as a whole or count as gone. */
		if (m != tick->id_last - tick->id_to)
		{
			if (!batch_lose(state, tick->id_last, tick->tick))
				return STEP_FULL;
		}
		else if (batch_give(state, transient, t, m, tick->id_to + 1, tick->tick) == STEP_FULL)
			return STEP_FULL;
		d += n;
		t += m;
		state->walk->id = Max(state->walk->id, tick->id_last);
		state->walk->tick = tick->tick;
	}
	return STEP_GO_ON;
}

/* The batches of ticks[from] to ticks[to - 1], none of which is large. */
static BatchStep
batch_read_group(BatchState *state, const BatchTick *ticks, int from, int to)
{
	BatchRanges ranges = {0};
	BatchRows	durable;
	BatchRows	transient = {0};
	Datum		values[3];
	bool		has_transient = false;
	BatchStep	step;

	for (int i = from; i < to; i++)
	{
		batch_ranges(&ranges, i, ticks[i - 1].snapshot, ticks[i].snapshot);
		has_transient = has_transient || ticks[i].id_last > ticks[i].id_to;
	}
	values[0] = PointerGetDatum(construct_array(ranges.tag, ranges.n, INT4OID, sizeof(int32), true, 'i'));
	values[1] = batch_xids(ranges.lo, ranges.n);
	values[2] = batch_xids(ranges.hi, ranges.n);
	batch_fetch(&durable, PLAN_LOG_RANGES, values, true);
	/* Unlogged tables cannot be read on a standby. */
	if (has_transient && !RecoveryInProgress())
		batch_fetch(&transient, PLAN_TRANSIENT_RANGES, values, true);
	state->scanned += durable.n + transient.n;

	step = batch_give_group(state, ticks, from, to, &durable, &transient);
	SPI_freetuptable(durable.table);
	SPI_freetuptable(transient.table);
	return step;
}

static void
batch_get_segment(BatchSegment *segment, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	segment->id = DatumGetInt64(batch_column(tuple, desc, 1));
	segment->events = DatumGetInt32(batch_column(tuple, desc, 2));
	segment->transient = DatumGetBool(batch_column(tuple, desc, 3));
	segment->xids = PointerGetDatum(PG_DETOAST_DATUM_COPY(batch_column(tuple, desc, 4)));
	segment->command = DatumGetInt32(SPI_getbinval(tuple, desc, 5, &isnull));
	segment->part = !isnull;
	segment->seq = DatumGetInt64(SPI_getbinval(tuple, desc, 6, &isnull));
}

static BatchStep
batch_read_segment(BatchState *state, const BatchTick *tick, const BatchSegment *segment)
{
	BatchRows	rows;
	int64		last = segment->id + segment->events - 1;

	if (segment->transient && RecoveryInProgress())
		return batch_lose(state, last, tick->tick) ? STEP_GO_ON : STEP_FULL;
	if (segment->part)
	{
		ArrayType  *xids = DatumGetArrayTypeP(segment->xids);
		Datum		values[4];

		values[0] = UInt64GetDatum(*(uint64 *) ARR_DATA_PTR(xids));
		values[1] = Int32GetDatum(segment->command);
		values[2] = Int64GetDatum(segment->seq);
		values[3] = Int64GetDatum((int64) segment->events);
		batch_fetch(&rows, PLAN_OF(PLAN_LOG_PART, segment->transient), values, false);
	}
	else
	{
		Datum		xids = segment->xids;

		batch_fetch(&rows, PLAN_OF(PLAN_LOG_LIST, segment->transient), &xids, false);
	}
	state->scanned += rows.n;
	if (rows.n != segment->events)
	{
		if (!segment->transient)
			return STEP_GONE;
		return batch_lose(state, last, tick->tick) ? STEP_GO_ON : STEP_FULL;
	}
	return batch_give(state, &rows, 0, rows.n, segment->id, tick->tick);
}

/* Has the walk read as much as one may? */
static bool
batch_is_over(const BatchState *state)
{
	return state->scanned >= BATCH_WALK_EVENTS;
}

/* The batch of one large tick, from the segment on that holds the first id wanted. */
static BatchStep
batch_read_large(BatchState *state, const BatchTick *tick)
{
	BatchWalk  *walk = state->walk;
	int64		next = Max(walk->after_id + 1, tick->id_from);
	BatchSegment segments[BATCH_SEGMENTS];

	for (;;)
	{
		Datum		values[3];
		int			n;

		values[0] = Int64GetDatum(tick->tick);
		values[1] = Int64GetDatum(next);
		values[2] = Int64GetDatum((int64) BATCH_SEGMENTS);
		n = (int) plan_read(PLAN_SEGMENTS, values, NULL, BATCH_SEGMENTS);
		if (n == 0)
			return STEP_GONE;
		for (int i = 0; i < n; i++)
			batch_get_segment(&segments[i], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);

		for (int i = 0; i < n; i++)
		{
			MemoryContext before = MemoryContextSwitchTo(state->context);
			BatchStep	step = batch_read_segment(state, tick, &segments[i]);

			MemoryContextSwitchTo(before);
			SPI_freetuptable(SPI_tuptable);
			MemoryContextReset(state->context);
			if (step != STEP_GO_ON)
				return step;
			next = segments[i].id + segments[i].events;
			walk->id = Max(walk->after_id, next - 1);
			walk->tick = tick->tick;
			if (next > tick->id_last)
				return STEP_GO_ON;
			if (batch_is_over(state))
				return STEP_FULL;
		}
	}
}

/* How many of the ticks from ticks[from] on are read together. */
static int
batch_group(const BatchState *state, const BatchTick *ticks, int from, int n)
{
	int64		budget = Min(BATCH_GROUP_EVENTS, Max(state->walk->want - state->scanned, 1));
	int64		events = 0;
	int			to = from;

	while (to < n && ticks[to].segments == 0 && events < budget &&
		   strcmp(ticks[to].epoch, state->walk->epoch) == 0 &&
		   (to == from || events + ticks[to].id_last - ticks[to].id_from < BATCH_GROUP_EVENTS))
	{
		events += ticks[to].id_last - ticks[to].id_from + 1;
		to++;
	}
	return to;
}

/* Reads the batches of ticks[1] to ticks[n - 1]; ticks[0] is known. */
static BatchStep
batch_read_ticks(BatchState *state, BatchTick *ticks, int n)
{
	int			i = 1;

	while (i < n)
	{
		BatchStep	step;
		int			to = i;

		/* A page never crosses an epoch: its mark could not say both. */
		if (strcmp(ticks[i].epoch, state->walk->epoch) != 0)
			return STEP_FULL;
		if (ticks[i].tick != ticks[i - 1].tick + 1)
			return STEP_GONE;
		if (ticks[i].segments > 0)
		{
			step = batch_read_large(state, &ticks[i]);
			to = i + 1;
		}
		else
		{
			MemoryContext before = MemoryContextSwitchTo(state->context);

			to = batch_group(state, ticks, i, n);
			for (int j = i + 1; j < to; j++)
				if (ticks[j].tick != ticks[j - 1].tick + 1)
					to = j;
			step = batch_read_group(state, ticks, i, to);
			MemoryContextSwitchTo(before);
			MemoryContextReset(state->context);
		}
		if (step != STEP_GO_ON)
			return step;
		if (batch_is_over(state))
			return STEP_FULL;
		i = to;
	}
	return STEP_GO_ON;
}

/* Fetches the ticks that a plan returns; they live in the current context. */
static int
batch_fetch_ticks(BatchTick *ticks, PlanId id, int64 from)
{
	Datum		values[2];
	int			n;

	values[0] = Int64GetDatum(from);
	values[1] = Int64GetDatum((int64) BATCH_TICKS);
	n = (int) plan_read(id, values, NULL, BATCH_TICKS);
	for (int i = 0; i < n; i++)
		batch_get_tick(&ticks[i], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* One attempt, under the active snapshot; false: rows are missing. */
static bool
batch_walk_once(BatchState *state)
{
	BatchWalk  *walk = state->walk;
	BatchLast	last;
	BatchTick  *ticks;
	BatchStep	step;
	int			n;

	batch_last(&last);
	strlcpy(walk->epoch, last.tick.epoch, EPOCH_BYTES);
	walk->pruned = walk->after_id < last.kept;
	if (walk->pruned)
	{
		walk->id = last.kept;
		walk->tick = last.kept_tick;
		return true;
	}
	walk->id = walk->after_id;
	if (walk->after_id >= last.tick.id_last)
	{
		walk->id = last.tick.id_last;
		walk->tick = last.tick.tick;
		return true;
	}

	ticks = palloc(BATCH_TICKS * sizeof(BatchTick));
	n = batch_fetch_ticks(ticks, PLAN_TICKS_AFTER_ID, walk->after_id);
	if (n < 2 || ticks[0].id_last > walk->after_id)
		return false;
	strlcpy(walk->epoch, ticks[1].epoch, EPOCH_BYTES);
	walk->tick = walk->after_id > ticks[0].id_last ? ticks[1].tick : ticks[0].tick;
	for (;;)
	{
		step = batch_read_ticks(state, ticks, n);
		if (step != STEP_GO_ON || n < BATCH_TICKS)
			break;
		n = batch_fetch_ticks(ticks, PLAN_TICKS_FROM, ticks[n - 1].tick);
	}
	return step != STEP_GONE;
}

void
batch_walk(BatchWalk *walk)
{
	MemoryContext outer = AllocSetContextCreate(CurrentMemoryContext, "livefeed walk", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(outer);
	bool		done = false;

	for (int attempt = 0; attempt < 2 && !done; attempt++)
	{
		BatchState	state = {.walk = walk};

		state.context = AllocSetContextCreate(outer, "livefeed batch", ALLOCSET_DEFAULT_SIZES);
		walk->restart(walk->arg);
		PushActiveSnapshot(GetTransactionSnapshot());
		done = batch_walk_once(&state);
		PopActiveSnapshot();
		MemoryContextReset(outer);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(outer);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("events after %lld are not in the log as the ticks have them", (long long) walk->after_id),
				 errdetail("Rows of livefeed.log or livefeed.ticks are missing although they were not pruned."),
				 errhint("In a REPEATABLE READ transaction begin anew; otherwise run SELECT livefeed.reset().")));
}
