/*
 * test_rows.c - pages of the log as libpq hands them over, binary. The results are made with libpq itself. Not here:
 * what the extension really sends (end-to-end tests).
 */
#include "rows.h"
#include "tap.h"

#include <stdlib.h>

static PGresult *new_page(void)
{
	static char names[14][2];
	PGresAttDesc columns[14];
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	memset(columns, 0, sizeof columns);
	for (int i = 0; i < 14; i++) {
		names[i][0] = (char)('a' + i);
		columns[i].name = names[i];
		columns[i].format = 1;
	}
	PQsetResultAttrs(result, 14, columns);
	return result;
}

static void set(PGresult *result, int row, int column, const void *bytes, size_t len)
{
	PQsetvalue(result, row, column, bytes ? (char *)bytes : NULL, bytes ? (int)len : -1);
}

static void set_number(PGresult *result, int row, int column, uint64_t value, int bytes)
{
	char raw[8];
	for (int i = 0; i < bytes; i++) {
		raw[i] = (char)(value >> (8 * (bytes - 1 - i)));
	}
	set(result, row, column, raw, (size_t)bytes);
}

#define SET_TEXT(result, row, column, literal) set(result, row, column, literal, sizeof literal - 1)

static const char two_users[] = "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\3\0\0\0\1\0\0\0\2"
								"42\xff\xff\xff\xff\0\0\0\1"
								"7";
static const char no_users[] = "\0\0\0\0\0\0\0\0\0\0\0\x19";

static void set_event(PGresult *page, int row)
{
	set_number(page, row, 0, 1042, 8);
	set_number(page, row, 1, 9, 8);
	set_number(page, row, 2, 777, 8);
	set_number(page, row, 3, 1000000, 8);
	set_number(page, row, 4, EVENT_TO_UNIT | EVENT_UPDATED, 4);
	SET_TEXT(page, row, 5, "requests");
	SET_TEXT(page, row, 6, "7");
	set(page, row, 7, two_users, sizeof two_users - 1);
	set(page, row, 8, NULL, 0);
	SET_TEXT(page, row, 9, "1");
	set(page, row, 10, NULL, 0);
	set(page, row, 11, NULL, 0);
	SET_TEXT(page, row, 12, "{\"type\":\"x\"}");
	set(page, row, 13, NULL, 0);
}

static void set_mark(PGresult *page, int row, uint32_t flags)
{
	for (int i = 0; i < 14; i++) {
		set(page, row, i, NULL, 0);
	}
	set_number(page, row, 0, 1043, 8);
	set_number(page, row, 4, EVENT_MARK | flags, 4);
	SET_TEXT(page, row, 13, "6f3a91c2");
}

static void test_page(void)
{
	struct rows_scratch scratch = {0};
	struct rows_mark mark;
	struct event event;
	PGresult *page = new_page();
	set_event(page, 0);
	set_mark(page, 1, EVENT_PRUNED);

	ok(rows_mark(page, &mark), "a page has a mark");
	is_int(mark.id, 1043, "its id");
	is_int(mark.flags, EVENT_MARK | EVENT_PRUNED, "its flags");
	is_str(mark.epoch, "6f3a91c2", "its epoch");

	ok(rows_event(page, 0, &scratch, &event), "an event");
	is_int(event.id, 1042, "id");
	is_int(event.tick, 9, "tick");
	is_int((int64_t)event.xid, 777, "xid");
	is_int(event.at_us, INT64_C(946684801000000), "its time counts from 1970");
	is_int(event.flags, EVENT_TO_UNIT | EVENT_UPDATED, "flags");
	is_mem(event.feed.bytes, event.feed.len, "requests", 8, "feed");
	is_mem(event.unit.bytes, event.unit.len, "7", 1, "unit");
	is_mem(event.key.bytes, event.key.len, "1", 1, "key");
	ok(event.parent_feed.bytes == NULL, "NULL stays NULL");
	is_mem(event.body.bytes, event.body.len, "{\"type\":\"x\"", 11, "the body has lost its brace");
	is_int(event.n_users, 2, "users without NULL");
	is_mem(event.users[0].bytes, event.users[0].len, "42", 2, "the first");
	is_mem(event.users[1].bytes, event.users[1].len, "7", 1, "the second");
	ok(event.to_users == NULL, "no list of addressees: as users");

	set(page, 0, 8, no_users, sizeof no_users - 1);
	ok(rows_event(page, 0, &scratch, &event) && event.to_users != NULL && event.n_to_users == 0,
	   "an empty list of addressees is not no list");
	rows_scratch_free(&scratch);
	PQclear(page);
}

static void test_malformed(void)
{
	struct rows_scratch scratch = {0};
	struct rows_mark mark;
	struct event event;
	PGresult *page = new_page();
	ok(!rows_mark(page, &mark), "a page without rows");
	set_event(page, 0);
	ok(!rows_mark(page, &mark), "a page without mark");
	set_number(page, 0, 0, 0, 8);
	ok(!rows_event(page, 0, &scratch, &event), "an event without id");
	set_number(page, 0, 0, 5, 8);
	set_number(page, 0, 3, INT64_MAX, 8);
	ok(!rows_event(page, 0, &scratch, &event), "an event of a time that cannot be counted from 1970");
	set_number(page, 0, 3, 1000000, 8);
	SET_TEXT(page, 0, 12, "{\"type\":\"x\"");
	ok(!rows_event(page, 0, &scratch, &event), "a body without its end");
	set_number(page, 0, 4, EVENT_RESYNC, 4);
	SET_TEXT(page, 0, 12, "folded");
	ok(rows_event(page, 0, &scratch, &event), "of a resync, the body is its reason");
	is_mem(event.body.bytes, event.body.len, "folded", 6, "as it stands");
	for (size_t len = 1; len < sizeof two_users - 1; len++) {
		struct text *items = NULL;
		size_t size = 0, n = 0;
		char *cut = malloc(len); /* of its own, so that a sanitizer sees who reads on */
		memcpy(cut, two_users, len);
		if (rows_text_array((struct text){cut, len}, &items, &size, &n)) {
			fail("an array cut at %zu bytes", len);
		}
		free(items);
		free(cut);
	}
	static const char many[] = "\0\0\0\1\0\0\0\0\0\0\0\x19\x7f\xff\xff\xff\0\0\0\1";
	struct text *items = NULL;
	size_t size = 0, n = 0;
	ok(!rows_text_array((struct text){many, sizeof many - 1}, &items, &size, &n), "an array that claims two milliards");
	free(items);
	rows_scratch_free(&scratch);
	PQclear(page);
}

int main(void)
{
	test_page();
	test_malformed();
	return tap_done();
}
