/*
 * rows.h - rows of the log as livefeed.read and livefeed.tick_wait return them (binary), decoded into events.
 * Shared by tail.c and database.c, which do the asking.
 */
#ifndef LIVEFEED_ROWS_H
#define LIVEFEED_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "event.h"

/* The columns of both functions, by name, so that a later version may add some. */
#define ROWS_COLUMNS "id, tick, xid, at, flags, feed, unit, users, to_users, key, parent_feed, parent_key, frame, epoch"

/* The last row of each page. */
struct rows_mark {
	uint32_t flags; /* EVENT_MARK, and EVENT_PRUNED, EVENT_NOT_TICKER or EVENT_MORE */
	int64_t id; /* everything up to here was returned */
	char epoch[17];
};

/* Memory for the users of one row, used again for the next; zeroed at first. */
struct rows_scratch {
	struct text *users, *to_users;
	size_t users_size, to_users_size;
};
void rows_scratch_free(struct rows_scratch *scratch);

/* Looks at the page's shape and its last row. False: not what the functions return (another version's?). */
bool rows_mark(const PGresult *page, struct rows_mark *mark);
/* Row number row, which is not the mark. The event points into the page and the scratch. False: malformed, or out of memory. */
bool rows_event(const PGresult *page, int row, struct rows_scratch *scratch, struct event *event);

/* Values of binary results. NULL gives bytes NULL, 0, or false. */
struct text rows_text(const PGresult *result, int row, int column);
int32_t rows_int4(const PGresult *result, int row, int column);
int64_t rows_int8(const PGresult *result, int row, int column);
bool rows_bool(const PGresult *result, int row, int column);
/* The elements of a text[], into *items, which grows; NULL elements are left out. False: malformed, or out of memory. */
bool rows_text_array(struct text value, struct text **items, size_t *size, size_t *n);

#endif
