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

/* Of the first event behind that one which may go to a channel of this mask; 0: none. */
static int64_t first_id(const struct history *history, int64_t after, uint64_t mask)
{
	int64_t budget_ns = INT64_MAX;
	struct history_walk walk = history_walk(history, after, mask);
	const struct event *event = history_step(&walk, &after, &budget_ns);
	return event != NULL ? event->id : 0;
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
	int64_t after = 0, budget_ns = INT64_MAX;
	struct history_walk walk = history_walk(history, after, unit_mask("42"));
	const struct event *event;
	while ((event = history_step(&walk, &after, &budget_ns)) != NULL) {
		seen++;
		right += event->unit.len == 2 && memcmp(event->unit.bytes, "42", 2) == 0;
	}
	is_int(right, 100, "all of a unit are found");
	ok(seen < 2000, "most others are not looked at (%zu of 10000 seen)", seen);
	ok(history_walked(&walk), "to the end");
	is_int(after, 10000, "which is passed over");

	size_t turns = 0;
	uint64_t nobody = unit_mask("nobody") | unit_mask("42");
	for (after = 0; after < 10000 && turns <= 10000; turns++) {
		walk = history_walk(history, after, nobody);
		budget_ns = 100;
		while ((event = history_step(&walk, &after, &budget_ns)) != NULL)
			after = event->id;
	}
	is_int(after, 10000, "small budgets lead to the end, too");
	ok(turns > 100 && turns <= 10000, "each as far as it goes (%zu turns)", turns);
	budget_ns = 0;
	walk = history_walk(history, 0, unit_mask("42"));
	ok(history_step(&walk, &after, &budget_ns) == NULL && !history_walked(&walk) &&
	       walk.position == history_first(history),
	   "without a budget it stays where it is");

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
	is_int(first_id(history, 0, history_mask(channel_hash(text("orders"), SCOPE_FEED, text("")))), 1,
	       "the whole feed sees the first");
	is_int(first_id(history, 10000, unit_mask("x")), 10001, "a resync passes for every channel");
	is_int(first_id(history, 10001, unit_mask("x")), 0, "a control event for none");
	const struct {
		const char *feed;
		enum scope scope;
		const char *value;
	} goes_to[] = {{"orders", SCOPE_USER, "c"}, {"orders", SCOPE_ROW, "5"}, {"boards", SCOPE_ROW, "9"}};
	for (int i = 0; i < 3; i++)
		is_int(first_id(history, 10002,
		                history_mask(channel_hash(text(goes_to[i].feed), goes_to[i].scope, text(goes_to[i].value)))),
		       10003, "users, row and parent pass (%d)", i);
	history_free(history);
}

int main(void)
{
	test_begin();
	test_bound();
	test_filter();
	return tap_done();
}
