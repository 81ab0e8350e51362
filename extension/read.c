/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Pages of events as SQL rows, for bridges: livefeed.read(), and what
 *	  livefeed.tick_wait() returns.
 *
 * A page is events in the order of their ids, then exactly one mark that says
 * up to where it is complete. It is bounded in rows and in bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "batch.h"
#include "compat.h"
#include "event.h"
#include "feed.h"
#include "plan.h"
#include "read.h"
#include "watch.h"

/* Rows of a page at most, whatever is asked for. */
#define READ_MAX_ROWS 100000

/* What a row takes besides its values of varying length. */
#define READ_ROW_BYTES 128

/* The columns of livefeed.read(). */
enum
{
	READ_ID, READ_TICK, READ_XID, READ_AT, READ_FLAGS, READ_FEED, READ_UNIT, READ_USERS, READ_TO_USERS,
	READ_KEY, READ_PARENT_FEED, READ_PARENT_KEY, READ_FRAME, READ_EPOCH,
	READ_COLUMNS
};

/* Columns of an event that a page has too, in both. */
static const struct
{
	int			event;
	int			read;
}			read_columns[] =
{
	{EVENT_XID, READ_XID},
	{EVENT_AT, READ_AT},
	{EVENT_FLAGS, READ_FLAGS},
	{EVENT_FEED, READ_FEED},
	{EVENT_UNIT, READ_UNIT},
	{EVENT_USERS, READ_USERS},
	{EVENT_USERS_TO, READ_TO_USERS},
	{EVENT_KEY, READ_KEY},
	{EVENT_PARENT_FEED, READ_PARENT_FEED},
	{EVENT_PARENT_KEY, READ_PARENT_KEY},
	{EVENT_FRAME, READ_FRAME},
};

typedef struct ReadPage
{
	ReadResult *result;
	int			max;
	int64		max_bytes;
	bool		strict;			/* not even one event beyond max_bytes */
	const char *feed;			/* NULL: all */
	int			feed_len;
	int			rows;
	int64		bytes;
	bool		cut;			/* there was more */
	int64		lost_id;		/* transient events up to here are gone, which is not said yet; 0: none */
	int64		lost_tick;
	int			lossy;			/* is that the feed's concern? -1: not looked at yet */
} ReadPage;

PG_FUNCTION_INFO_V1(livefeed_read);

void
read_begin(ReadResult *result, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext before;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this function returns a set: call it in FROM")));

	before = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &result->desc) != TYPEFUNC_COMPOSITE ||
		result->desc->natts != READ_COLUMNS)
		elog(ERROR, "this function is declared with the wrong columns");
	result->desc = CreateTupleDescCopy(result->desc);
	result->store = tuplestore_begin_heap(false, false, work_mem);
	MemoryContextSwitchTo(before);

	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = result->store;
	rsinfo->setDesc = result->desc;
}

void
read_mark(ReadResult *result, int flags, int64 id, int64 tick, const char *epoch)
{
	Datum		values[READ_COLUMNS] = {0};
	bool		nulls[READ_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[READ_ID] = Int64GetDatum(id);
	nulls[READ_ID] = false;
	values[READ_FLAGS] = Int32GetDatum(EVENT_MARK | flags);
	nulls[READ_FLAGS] = false;
	if (tick != 0)
	{
		values[READ_TICK] = Int64GetDatum(tick);
		nulls[READ_TICK] = false;
	}
	if (epoch != NULL)
	{
		values[READ_EPOCH] = CStringGetTextDatum(epoch);
		nulls[READ_EPOCH] = false;
	}
	tuplestore_putvalues(result->store, result->desc, values, nulls);
}

static void
read_restart(void *arg)
{
	ReadPage   *page = arg;

	tuplestore_clear(page->result->store);
	page->rows = 0;
	page->bytes = 0;
	page->cut = false;
	page->lost_id = 0;
}

static bool
read_is_feed(const ReadPage *page, Datum feed)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(feed);

	return VARSIZE_ANY_EXHDR(value) == page->feed_len &&
		memcmp(VARDATA_ANY(value), page->feed, page->feed_len) == 0;
}

/* Neither of the feed that was asked for nor of a child of it, or for those who ask for all. */
static bool
read_is_unwanted(const ReadPage *page, const Datum *values, const bool *nulls)
{
	if (page->feed == NULL)
		return false;
	if (DatumGetInt32(values[EVENT_FLAGS]) & EVENT_CONTROL)
		return true;
	return !read_is_feed(page, values[EVENT_FEED]) &&
		(nulls[EVENT_PARENT_FEED] || !read_is_feed(page, values[EVENT_PARENT_FEED]));
}

static bool
read_cut(ReadPage *page)
{
	page->cut = true;
	return false;
}

/* May it be of this page's feed that transient events are gone? */
static bool
read_is_lossy(ReadPage *page)
{
	FeedFacts	facts;

	if (page->feed == NULL)
		return true;
	if (page->lossy < 0)
	{
		feed_look_up(page->feed, &facts);
		page->lossy = !facts.durable || watch_has_transient_child(page->feed);
	}
	return page->lossy;
}

/*
 * Transient events are gone. That is said by a row of its own, but once for all
 * that were between two others.
 */
static bool
read_take_lost(ReadPage *page, int64 id, int64 tick)
{
	if (!read_is_lossy(page))
		return true;
	if (page->lost_id == 0)
	{
		if (page->rows >= page->max || (page->strict && page->bytes + READ_ROW_BYTES > page->max_bytes))
			return read_cut(page);
		page->rows++;
		page->bytes += READ_ROW_BYTES;
	}
	page->lost_id = id;
	page->lost_tick = tick;
	return true;
}

static void
read_tell_lost(ReadPage *page)
{
	Datum		values[READ_COLUMNS] = {0};
	bool		nulls[READ_COLUMNS];

	if (page->lost_id == 0)
		return;
	memset(nulls, true, sizeof(nulls));
	values[READ_ID] = Int64GetDatum(page->lost_id);
	values[READ_TICK] = Int64GetDatum(page->lost_tick);
	values[READ_FLAGS] = Int32GetDatum(EVENT_CONTROL);
	values[READ_FEED] = CStringGetTextDatum(EVENT_KIND_TRANSIENT_LOST);
	nulls[READ_ID] = nulls[READ_TICK] = nulls[READ_FLAGS] = nulls[READ_FEED] = false;
	tuplestore_putvalues(page->result->store, page->result->desc, values, nulls);
	page->lost_id = 0;
}

/* Such a row, of a tick or, after a crash, of the log. */
static bool
read_is_lost(const Datum *values)
{
	return (DatumGetInt32(values[EVENT_FLAGS]) & EVENT_CONTROL) &&
		strcmp(TextDatumGetCString(values[EVENT_FEED]), EVENT_KIND_TRANSIENT_LOST) == 0;
}

/* A value of varying length, and NULL, as it stands in the log. */
static bool
read_is_varlena(int column)
{
	return column >= EVENT_FEED && column <= EVENT_FRAME;
}

static bool
read_take(void *arg, int64 id, int64 tick, Datum *values, bool *nulls)
{
	ReadPage   *page = arg;
	Datum		out[READ_COLUMNS] = {0};
	bool		out_nulls[READ_COLUMNS];
	int64		bytes = READ_ROW_BYTES;

	if (read_is_lost(values))
		return read_take_lost(page, id, tick);
	if (read_is_unwanted(page, values, nulls))
		return true;
	if (page->rows >= page->max)
		return read_cut(page);
	for (int i = 0; i < EVENT_COLUMNS; i++)
		if (read_is_varlena(i) && !nulls[i])
			bytes += toast_raw_datum_size(values[i]);
	if ((page->rows > 0 || page->strict) && page->bytes + bytes > page->max_bytes)
		return read_cut(page);
	page->rows++;
	page->bytes += bytes;
	read_tell_lost(page);

	memset(out_nulls, true, sizeof(out_nulls));
	out[READ_ID] = Int64GetDatum(id);
	out_nulls[READ_ID] = false;
	out[READ_TICK] = Int64GetDatum(tick);
	out_nulls[READ_TICK] = false;
	for (int i = 0; i < lengthof(read_columns); i++)
	{
		int			from = read_columns[i].event;
		int			to = read_columns[i].read;

		out_nulls[to] = nulls[from];
		if (nulls[from])
			continue;
		/* No pointer into the log's toast table leaves here: it may be emptied. */
		if (read_is_varlena(from) && VARATT_IS_EXTERNAL(DatumGetPointer(values[from])))
			out[to] = PointerGetDatum(PG_DETOAST_DATUM(values[from]));
		else
			out[to] = values[from];
	}
	tuplestore_putvalues(page->result->store, page->result->desc, out, out_nulls);
	return true;
}

void
read_page(ReadResult *result, int64 after_id, int max, const char *feed, int64 max_bytes, bool strict)
{
	ReadPage	page = {.result = result,.max = Min(max, READ_MAX_ROWS),.max_bytes = max_bytes,.strict = strict,.feed = feed,.lossy = -1};
	BatchWalk	walk = {.after_id = after_id,.sink = read_take,.restart = read_restart,.arg = &page};
	int			flags;

	if (max < 1 || max_bytes < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the limits of a page must be positive")));
	page.feed_len = feed ? (int) strlen(feed) : 0;
	/* With a filter there is no telling how many will be taken. */
	walk.want = feed ? PG_INT32_MAX : page.max;
	batch_walk(&walk);
	read_tell_lost(&page);
	/* As many as were wanted: there may be more. */
	flags = (walk.pruned ? EVENT_PRUNED : 0) | (page.cut || page.rows >= page.max ? EVENT_MORE : 0);
	read_mark(result, flags, walk.id, walk.tick, walk.epoch);
}

/* livefeed.read(after_id bigint, max integer, feed text, max_bytes integer) */
Datum
livefeed_read(PG_FUNCTION_ARGS)
{
	ReadResult	result;
	int			level;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("after_id, max and max_bytes must not be null")));

	read_begin(&result, fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	level = plan_enter();
	read_page(&result, PG_GETARG_INT64(0), PG_GETARG_INT32(1),
			  PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), PG_GETARG_INT32(3), false);
	plan_leave(level);
	SPI_finish();
	return (Datum) 0;
}
