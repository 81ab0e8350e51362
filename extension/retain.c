/*-------------------------------------------------------------------------
 *
 * retain.c
 *	  The last event of each key of a declared feed, as the feed's snapshot.
 *
 * livefeed.publish() keeps it in the same transaction, in livefeed.retained, or
 * in its unlogged twin where the feed is not durable. So a snapshot sees exactly
 * what the events up to it made.
 *
 * That holds if those who publish the same key at the same time do so here in
 * the order that their events will have. The later one waits here for the former
 * one's commit, and writes his event to the log after that, which gives him the
 * greater sequence number. What is deleted has no row to wait for, so one is put
 * there and taken away again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "compat.h"
#include "livefeed.h"
#include "lookup.h"
#include "retain.h"
#include "text.h"

/* Rows that are fetched at a time. */
#define RETAIN_FETCH_ROWS 100

typedef enum RetainPlan
{
	RETAIN_PLAN_KEEP,
	RETAIN_PLAN_REMOVE,
	RETAIN_PLANS,
} RetainPlan;

#define KEEP_INTO(table, constraint) \
	"INSERT INTO livefeed." table " AS r (feed, key, unit, users, at, data) VALUES ($1, $2, $3, $4, $5, $6)" \
	" ON CONFLICT ON CONSTRAINT " constraint " DO UPDATE" \
	" SET unit = excluded.unit, users = excluded.users, at = excluded.at, data = excluded.data"

#define REMOVE_FROM(table) \
	"DELETE FROM livefeed." table " r WHERE r.feed OPERATOR(pg_catalog.=) $1 AND r.key OPERATOR(pg_catalog.=) $2"

static const struct
{
	const char *sql[2];			/* of the unlogged table, of the durable one */
	int			nargs;
}			plan_texts[RETAIN_PLANS] = {
	{{KEEP_INTO("retained_transient", "retained_transient_pkey"), KEEP_INTO("retained", "retained_pkey")}, 6},
	{{REMOVE_FROM("retained_transient"), REMOVE_FROM("retained")}, 2},
};

static const char *
table_name(bool durable)
{
	return durable ? "retained" : "retained_transient";
}

/* ---------- keeping ---------- */

/* Prepared once a backend: a feed may be published to a thousand times a second. */
static uint64
run(RetainPlan plan, bool durable, Datum *values, const char *nulls)
{
	static SPIPlanPtr plans[RETAIN_PLANS][2];
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, BYTEAOID};
	SPIPlanPtr *prepared = &plans[plan][durable];
	const char *sql = plan_texts[plan].sql[durable];

	if (*prepared == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(sql, plan_texts[plan].nargs, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		*prepared = made;
	}
	if (SPI_execute_plan(*prepared, values, nulls, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

void
retain_event(const RetainedEvent *event)
{
	Datum		values[6] = {CStringGetTextDatum(event->feed), CStringGetTextDatum(event->key)};
	char		nulls[] = "      ";
	const char *data = event->data ? event->data : "null";
	LookupUser	former;

	if (event->unit != NULL)
		values[2] = CStringGetTextDatum(event->unit);
	else
		nulls[2] = 'n';
	if (event->users != NULL)
		values[3] = PointerGetDatum(event->users);
	else
		nulls[3] = 'n';
	values[4] = TimestampTzGetDatum(event->at);
	values[5] = PointerGetDatum(cstring_to_text_with_len(data, event->data ? event->len : strlen(data)));

	lookup_become_owner(livefeed_relation(table_name(event->durable)), &former);
	SPI_connect();
	if (event->data != NULL)
		run(RETAIN_PLAN_KEEP, event->durable, values, nulls);
	else if (run(RETAIN_PLAN_REMOVE, event->durable, values, nulls) == 0)
	{
		/* Another transaction may be putting it there. */
		run(RETAIN_PLAN_KEEP, event->durable, values, nulls);
		run(RETAIN_PLAN_REMOVE, event->durable, values, nulls);
	}
	SPI_finish();
	lookup_leave_owner(&former);
}

/* ---------- reading ---------- */

static Datum
column(HeapTuple row, int number, bool *isnull)
{
	return SPI_getbinval(row, SPI_tuptable->tupdesc, number, isnull);
}

bool
retain_find(const char *feed, bool durable, const char *key, char **unit, ArrayType **users)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(feed), CStringGetTextDatum(key)};
	LookupUser	former;
	bool		found;

	lookup_become_owner(livefeed_relation(table_name(durable)), &former);
	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT r.unit, r.users FROM " LIVEFEED_SCHEMA ".%s r"
									   " WHERE r.feed OPERATOR(pg_catalog.=) $1 AND r.key OPERATOR(pg_catalog.=) $2",
									   table_name(durable)),
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "looking up what is kept of \"%s\" failed", feed);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		bool		isnull;
		Datum		value = column(SPI_tuptable->vals[0], 1, &isnull);

		*unit = isnull ? NULL : TextDatumGetCString(value);
		value = column(SPI_tuptable->vals[0], 2, &isnull);
		*users = isnull ? NULL : DatumGetArrayTypePCopy(value);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	lookup_leave_owner(&former);
	return found;
}

static Portal
open_cursor(const char *feed, bool durable, RetainScope scope, const char *value)
{
	static const char *const conditions[] = {
		" AND r.unit OPERATOR(pg_catalog.=) $2",
		" AND r.users OPERATOR(pg_catalog.@>) $2",
		" AND r.key OPERATOR(pg_catalog.=) $2",
		"",
		" AND r.unit IS NULL AND r.users IS NULL",
	};
	Oid			types[2] = {TEXTOID, scope == RETAIN_USER ? TEXTARRAYOID : TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(feed)};

	if (value != NULL)
		values[1] = CStringGetTextDatum(value);
	if (scope == RETAIN_USER)
		values[1] = PointerGetDatum(construct_array(&values[1], 1, TEXTOID, -1, false, TYPALIGN_INT));
	return SPI_cursor_open_with_args(NULL, psprintf("SELECT r.key, r.data FROM " LIVEFEED_SCHEMA ".%s r"
													" WHERE r.feed OPERATOR(pg_catalog.=) $1%s"
													" ORDER BY r.at DESC, r.key DESC LIMIT %d",
													table_name(durable), conditions[scope], livefeed_snapshot_rows + 1),
									 value == NULL ? 1 : 2, types, values, NULL, true, 0);
}

/* False if it does not fit any more. */
static bool
take(HeapTuple row, StringInfo data, StringInfo keys, int end)
{
	bool		isnull;
	bytea	   *json = DatumGetByteaPP(column(row, 2, &isnull));
	char	   *key = TextDatumGetCString(column(row, 1, &isnull));

	if (VARSIZE_ANY_EXHDR(json) >= end - data->len)
		return false;
	if (keys->data[keys->len - 1] != '[')
	{
		appendStringInfoChar(data, ',');
		appendStringInfoChar(keys, ',');
	}
	appendBinaryStringInfo(data, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
	text_append_json(keys, key, strlen(key));
	return true;
}

bool
retain_read(const char *feed, bool durable, RetainScope scope, const char *value,
			StringInfo data, StringInfo keys, int end)
{
	LookupUser	former;
	Portal		cursor;
	bool		complete = true;
	int			nrows = 0;

	appendStringInfoChar(data, '[');
	appendStringInfoChar(keys, '[');
	lookup_become_owner(livefeed_relation(table_name(durable)), &former);
	SPI_connect();
	cursor = open_cursor(feed, durable, scope, value);
	while (complete)
	{
		SPI_cursor_fetch(cursor, true, RETAIN_FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed && complete; i++)
			complete = nrows++ < livefeed_snapshot_rows && take(SPI_tuptable->vals[i], data, keys, end);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	lookup_leave_owner(&former);
	appendStringInfoChar(data, ']');
	appendStringInfoChar(keys, ']');
	return complete;
}
