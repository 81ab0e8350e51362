/*
 * test_history.c - history.c: bounds, positions that stay valid, and a filter that misses nothing. Does not test what a replay
 * makes of it.
 */
#include "history.h"

#include "channel.h"
#include "tap.h"

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static struct event *make(int64_t id, const char *unit)
{
	struct event from = {.id = id,
	                     .flags = EVENT_TO_UNIT | EVENT_TO_FEED,
	                     .feed = text("orders"),
	                     .unit = text(unit),
	                     .body = text("{\"type\":\"order.created\"")};
	return event_new(&from);
}

static bool append(struct history *history, int64_t id, const char *unit)
{
	struct event *event = make(id, unit);
	bool appended = history_append(history, event);
	event_unref(event);
	return appended;
}

static uint64_t unit_mask(const char *unit)
{
	return history_mask(channel_hash(text("orders"), SCOPE_UNIT, text(unit)));
}

static void test_begin(void)
{
	struct history *history = history_new(1 << 20);
	is_str(history_epoch(history), "", "no epoch at first");
	history_begin(history, "0000aaaa", 100);
	is_str(history_epoch(history), "0000aaaa", "the epoch it began in");
	is_int(history_floor(history), 100, "resume from the head it began at");
	is_int(history_head(history), 100, "the head it began at");
	ok(history_at(history, history_seek(history, 100)) == NULL, "nothing there");

	append(history, 101, "7");
	append(history, 105, "8");
	is_int(history_head(history), 105, "the head is the last event");
	history_advance(history, 110);
	is_int(history_head(history), 110, "or what was read beyond it");
	history_advance(history, 90);
	is_int(history_head(history), 110, "never back");
	is_int(history_floor(history), 100, "nothing evicted");
	is_int(history_at(history, history_seek(history, 100))->id, 101, "first after 100");
	is_int(history_at(history, history_seek(history, 101))->id, 105, "first after 101");
	is_int(history_at(history, history_seek(history, 104))->id, 105, "first after 104");
	ok(history_seek(history, 105) == history_end(history), "none after 105");

	uint64_t end = history_end(history);
	history_begin(history, history_epoch(history), 200);
	is_str(history_epoch(history), "0000aaaa", "begun anew in its own epoch");
	is_int(history_floor(history), 200, "floor moves");
	is_int(history_bytes(history), 0, "nothing kept");
	ok(history_first(history) == end && history_end(history) == end, "positions go on");
	append(history, 201, "7");
	is_int(history_at(history, end)->id, 201, "and are used again");
	history_free(history);
	history_free(NULL);
}

static void test_bound(void)
{
	struct event *one = make(1, "7");
	size_t each = one->size + 64;
	event_unref(one);
	struct history *history = history_new(100 * each);
	history_begin(history, "0000aaaa", 0);
	uint64_t third = 0;
	for (int64_t id = 1; id <= 1000; id++) {
		append(history, id, "7");
		if (id == 3)
			third = history_seek(history, 2);
	}
	ok(history_bytes(history) <= 100 * each, "bytes are bounded");
	ok(history_end(history) - history_first(history) >= 90, "and used");
	is_int(history_floor(history), history_at(history, history_first(history))->id - 1,
	       "the floor is the last one evicted");
	ok(history_at(history, third) == NULL && third < history_first(history), "a position evicted is seen to be");
	is_int(history_at(history, history_seek(history, 990))->id, 991, "seek in a ring that wrapped");
	history_limit(history, 10 * each);
	ok(history_bytes(history) <= 10 * each, "a lower limit holds at once");
	history_limit(history, 1);
	is_int(history_end(history) - history_first(history), 1, "the last one stays");
	append(history, 1001, "7");
	is_int(history_at(history, history_first(history))->id, 1001, "until the next");
	is_int(history_floor(history), 1000, "which the floor knows");
	history_free(history);
}

static void test_filter(void)
{
	struct history *history = history_new(1 << 24);
	history_begin(history, "0000aaaa", 0);
	for (int64_t id = 1; id <= 10000; id++) {
		char unit[16];
		snprintf(unit, sizeof(unit), "%d", (int)(id % 100));
		append(history, id, unit);
	}
	size_t seen = 0, right = 0;
	uint64_t position = history_first(history), end = history_end(history);
	while ((position = history_next(history, position, end, unit_mask("42"))) < end) {
		const struct event *event = history_at(history, position++);
		seen++;
		right += event->unit.len == 2 && memcmp(event->unit.bytes, "42", 2) == 0;
	}
	is_int(right, 100, "all of a unit are found");
	ok(seen < 2000, "most others are not looked at (%zu of 10000 seen)", seen);
	is_int(history_next(history, 5, 8, unit_mask("nobody") | unit_mask("42")), 8, "stops at the limit");
	is_int(history_next(history, 0, UINT64_MAX, history_mask(channel_hash(text("orders"), SCOPE_FEED, text("")))), 0,
	       "the whole feed sees the first");

	struct event resync = {.id = 10001, .flags = EVENT_RESYNC, .feed = text("cards"), .body = text("folded")};
	struct event control = {.id = 10002, .flags = EVENT_CONTROL, .feed = text("keys")};
	struct text users[] = {text("a"), text("b")}, to[] = {text("c")};
	struct event users_event = {.id = 10003,
	                            .flags = EVENT_TO_USERS | EVENT_TO_ROW,
	                            .feed = text("orders"),
	                            .key = text("5"),
	                            .users = users,
	                            .n_users = 2,
	                            .to_users = to,
	                            .n_to_users = 1,
	                            .parent_feed = text("boards"),
	                            .parent_key = text("9")};
	struct event *events[] = {event_new(&resync), event_new(&control), event_new(&users_event)};
	for (int i = 0; i < 3; i++) {
		history_append(history, events[i]);
		event_unref(events[i]);
	}
	uint64_t at = history_seek(history, 10000);
	end = history_end(history);
	is_int(history_next(history, at, end, unit_mask("x")), at, "a resync passes for every channel");
	is_int(history_next(history, at + 1, at + 2, UINT64_C(1)), at + 2, "a control event for none");
	const struct {
		const char *feed;
		enum scope scope;
		const char *value;
	} goes_to[] = {{"orders", SCOPE_USER, "c"}, {"orders", SCOPE_ROW, "5"}, {"boards", SCOPE_ROW, "9"}};
	for (int i = 0; i < 3; i++)
		is_int(
			history_next(history, at + 2, end,
		                 history_mask(channel_hash(text(goes_to[i].feed), goes_to[i].scope, text(goes_to[i].value)))),
			at + 2, "users, row and parent pass (%d)", i);
	history_free(history);
}

int main(void)
{
	test_begin();
	test_bound();
	test_filter();
	return tap_done();
}
