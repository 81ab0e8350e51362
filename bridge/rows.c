/*
 * rows.c - rows of the log as livefeed.read and livefeed.tick_wait return them, decoded into events (rows.h).
 *
 * The result is binary: integers in network order, bytea as it stands, text[] as PostgreSQL's array_send writes it.
 * It comes from our own extension, but a length is believed only after it was checked.
 */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

enum column {
	COLUMN_ID,
	COLUMN_TICK,
	COLUMN_XID,
	COLUMN_AT,
	COLUMN_FLAGS,
	COLUMN_FEED,
	COLUMN_UNIT,
	COLUMN_USERS,
	COLUMN_TO_USERS,
	COLUMN_KEY,
	COLUMN_PARENT_FEED,
	COLUMN_PARENT_KEY,
	COLUMN_FRAME,
	COLUMN_EPOCH,
	N_COLUMNS
};

/* PostgreSQL counts from 2000-01-01. */
#define POSTGRES_EPOCH_US INT64_C(946684800000000)

static uint32_t read_u32(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint64_t read_u64(const unsigned char *bytes)
{
	return (uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4);
}

struct text rows_text(const PGresult *result, int row, int column)
{
	if (PQgetisnull(result, row, column)) {
		return (struct text){NULL, 0};
	}
	return (struct text){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

int32_t rows_int4(const PGresult *result, int row, int column)
{
	struct text value = rows_text(result, row, column);
	return value.len == 4 ? (int32_t)read_u32((const unsigned char *)value.bytes) : 0;
}

int64_t rows_int8(const PGresult *result, int row, int column)
{
	struct text value = rows_text(result, row, column);
	return value.len == 8 ? (int64_t)read_u64((const unsigned char *)value.bytes) : 0;
}

bool rows_bool(const PGresult *result, int row, int column)
{
	struct text value = rows_text(result, row, column);
	return value.len == 1 && value.bytes[0] != 0;
}

static bool grow(struct text **items, size_t *size, size_t needed)
{
	if (needed <= *size) {
		return true;
	}
	struct text *bigger = realloc(*items, needed * sizeof **items);
	if (!bigger) {
		return false;
	}
	*items = bigger;
	*size = needed;
	return true;
}

bool rows_text_array(struct text value, struct text **items, size_t *size, size_t *n)
{
	*n = 0;
	if (!value.bytes) {
		return true;
	}
	const unsigned char *at = (const unsigned char *)value.bytes, *end = at + value.len;
	if (value.len < 12) {
		return false;
	}
	uint32_t dimensions = read_u32(at);
	if (dimensions == 0) {
		return true;
	}
	if (dimensions != 1 || value.len < 20) {
		return false;
	}
	uint32_t count = read_u32(at + 12);
	at += 20;
	/* Each element has at least its length. */
	if (count > (size_t)(end - at) / 4 || !grow(items, size, count)) {
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (end - at < 4) {
			return false;
		}
		uint32_t len = read_u32(at);
		at += 4;
		if (len == UINT32_MAX) {
			continue;
		}
		if (len > (size_t)(end - at)) {
			return false;
		}
		(*items)[(*n)++] = (struct text){(const char *)at, len};
		at += len;
	}
	return true;
}

void rows_scratch_free(struct rows_scratch *scratch)
{
	free(scratch->users);
	free(scratch->to_users);
	memset(scratch, 0, sizeof *scratch);
}

bool rows_mark(const PGresult *page, struct rows_mark *mark)
{
	int last = PQntuples(page) - 1;
	if (PQresultStatus(page) != PGRES_TUPLES_OK || PQnfields(page) != N_COLUMNS || last < 0) {
		return false;
	}
	mark->flags = (uint32_t)rows_int4(page, last, COLUMN_FLAGS);
	mark->id = rows_int8(page, last, COLUMN_ID);
	struct text epoch = rows_text(page, last, COLUMN_EPOCH);
	if (!(mark->flags & EVENT_MARK) || epoch.len >= sizeof mark->epoch) {
		return false;
	}
	if (epoch.len > 0) {
		memcpy(mark->epoch, epoch.bytes, epoch.len);
	}
	mark->epoch[epoch.len] = '\0';
	return true;
}

bool rows_event(const PGresult *page, int row, struct rows_scratch *scratch, struct event *event)
{
	memset(event, 0, sizeof *event);
	event->flags = (uint32_t)rows_int4(page, row, COLUMN_FLAGS);
	event->id = rows_int8(page, row, COLUMN_ID);
	event->tick = rows_int8(page, row, COLUMN_TICK);
	event->xid = (uint64_t)rows_int8(page, row, COLUMN_XID);
	event->feed = rows_text(page, row, COLUMN_FEED);
	event->unit = rows_text(page, row, COLUMN_UNIT);
	event->key = rows_text(page, row, COLUMN_KEY);
	event->parent_feed = rows_text(page, row, COLUMN_PARENT_FEED);
	event->parent_key = rows_text(page, row, COLUMN_PARENT_KEY);
	event->body = rows_text(page, row, COLUMN_FRAME);
	if (!(event->flags & (EVENT_RESYNC | EVENT_CONTROL))) {
		if (event->body.len < 2 || event->body.bytes[event->body.len - 1] != '}') {
			return false;
		}
		event->body.len--;
	}
	if (event->id <= 0 || !event->feed.bytes ||
	    __builtin_add_overflow(rows_int8(page, row, COLUMN_AT), POSTGRES_EPOCH_US, &event->at_us)) {
		return false;
	}
	size_t n_users, n_to_users;
	struct text to_users = rows_text(page, row, COLUMN_TO_USERS);
	if (!rows_text_array(rows_text(page, row, COLUMN_USERS), &scratch->users, &scratch->users_size, &n_users) ||
	    !rows_text_array(to_users, &scratch->to_users, &scratch->to_users_size, &n_to_users)) {
		return false;
	}
	event->users = n_users > 0 ? scratch->users : NULL;
	event->n_users = (uint32_t)n_users;
	/* An empty list of addressees is one; only NULL means: as users. */
	static const struct text nobody = {"", 0};
	event->to_users = !to_users.bytes ? NULL : n_to_users > 0 ? scratch->to_users : &nobody;
	event->n_to_users = (uint32_t)n_to_users;
	return true;
}
