/*
 * fuzz_rows.c - pages of the log as PostgreSQL sends them, binary (rows.c), to events (event.c) and frames (frame.c).
 *
 * Input: the bytes of the columns of some rows, each with a byte before it for its length (255: NULL), the last row being the
 * mark. A row is refused, or gives an event of which a copy is the same and all texts lie within the row; whose frame,
 * if its body is JSON, is JSON, begins with that body and names its id and channels.
 */
#include "fuzz.h"

#include <inttypes.h>

#include "rows.h"

#define COLUMNS 14
#define ROWS_MAX 4

static PGresult *new_page(void)
{
	static char names[COLUMNS][2];
	PGresAttDesc columns[COLUMNS];
	PGresult *page = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	memset(columns, 0, sizeof columns);
	for (int i = 0; i < COLUMNS; i++) {
		names[i][0] = (char)('a' + i);
		columns[i].name = names[i];
		columns[i].format = 1;
	}
	MUST(PQsetResultAttrs(page, COLUMNS, columns));
	return page;
}

static bool same(struct text a, struct text b)
{
	return a.len == b.len && (a.bytes == NULL) == (b.bytes == NULL) &&
	       (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

static void check_users(const struct text *users, const struct text *copied, uint32_t n)
{
	MUST((users == NULL) == (copied == NULL));
	for (uint32_t i = 0; users != NULL && i < n; i++)
		MUST(same(users[i], copied[i]));
}

static void check_frame(struct event *event)
{
	struct text channels[] = {{"orders", 6}, event->unit.bytes != NULL ? event->unit : (struct text){"u\"\\", 3}};
	struct frame *frame = frame_of_event(event, channels, 2);
	struct text json = frame_json(frame), value;
	char *closed = malloc(event->body.len + 1), id[32];
	size_t wire_len;
	struct json_wanted taken[] = {{.name = "id"}, {.name = "channels"}};
	struct json_fault fault;

	memcpy(closed, event->body.bytes, event->body.len);
	closed[event->body.len] = '}';
	MUST(json.len > event->body.len && memcmp(json.bytes, event->body.bytes, event->body.len) == 0);
	MUST(frame_wire(frame, &wire_len) != NULL && wire_len == json.len + frame->head_len);
	if (json_check(closed, event->body.len + 1, taken, 2, &fault) && closed[0] == '{' && taken[0].value.bytes == NULL &&
	    taken[1].value.bytes == NULL && utf8_is_valid(channels[1].bytes, channels[1].len) &&
	    memchr(channels[1].bytes, '\0', channels[1].len) == NULL && event->body.len != 1 &&
	    strspn(closed + 1, " \t\r\n") < event->body.len - 1) {
		snprintf(id, sizeof id, "%" PRId64, event->id);
		value = json_member(json, "id");
		MUST(value.len == strlen(id) && memcmp(value.bytes, id, value.len) == 0);
		MUST(json_member(json, "channels").bytes != NULL);
	}
	free(closed);
	frame_unref(frame);
}

/* They lie within the column. */
static void check_within(const PGresult *page, int row, int column, const struct text *users, uint32_t n)
{
	const char *begin = PQgetvalue(page, row, column), *end = begin + PQgetlength(page, row, column);

	for (uint32_t i = 0; i < n; i++)
		MUST(users[i].bytes >= begin && users[i].len <= (size_t)(end - users[i].bytes));
}

static void check_row(const PGresult *page, int row, struct rows_scratch *scratch)
{
	struct event event, *copy;

	if (!rows_event(page, row, scratch, &event))
		return;
	MUST(event.id > 0 && event.feed.bytes != NULL);
	MUST((event.flags & (EVENT_RESYNC | EVENT_CONTROL)) ||
	     (event.body.len > 0 && event.body.bytes[event.body.len] == '}'));
	check_within(page, row, 7, event.users, event.n_users);
	check_within(page, row, 8, event.to_users, event.n_to_users);
	copy = event_new(&event);
	MUST(copy != NULL && copy->id == event.id && copy->flags == event.flags && copy->xid == event.xid);
	MUST(same(copy->feed, event.feed) && same(copy->unit, event.unit) && same(copy->key, event.key));
	MUST(same(copy->parent_feed, event.parent_feed) && same(copy->parent_key, event.parent_key));
	MUST(same(copy->body, event.body) && copy->n_users == event.n_users && copy->n_to_users == event.n_to_users);
	check_users(event.users, copy->users, event.n_users);
	check_users(event.to_users, copy->to_users, event.n_to_users);
	MUST(copy->to_users != NULL || PQgetisnull(page, row, 8));
	if (!(event.flags & (EVENT_RESYNC | EVENT_CONTROL)))
		check_frame(copy);
	event_unref(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	struct rows_scratch scratch = {0};
	struct rows_mark mark;
	PGresult *page = new_page();
	int rows = 0;

	while (input.at < input.end && rows < ROWS_MAX) {
		for (int column = 0; column < COLUMNS; column++) {
			unsigned wanted = input_byte(&input);
			size_t left = (size_t)(input.end - input.at), len = wanted < left ? wanted : left;

			MUST(PQsetvalue(page, rows, column, wanted == 255 ? NULL : (char *)(uintptr_t)input.at,
			                wanted == 255 ? -1 : (int)len));
			input.at += wanted == 255 ? 0 : len;
		}
		rows++;
	}
	if (rows_mark(page, &mark)) {
		MUST((mark.flags & EVENT_MARK) && memchr(mark.epoch, '\0', sizeof mark.epoch) != NULL);
		MUST(rows > 0);
	}
	for (int row = 0; row < rows; row++)
		check_row(page, row, &scratch);
	rows_scratch_free(&scratch);
	PQclear(page);
	return 0;
}
