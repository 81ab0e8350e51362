/*
 * test_event.c - event.c: a copy stands on its own. Does not test running out of memory.
 */
#include "event.h"

#include <stdlib.h>

#include "tap.h"

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static void test_copy(void)
{
	char feed[] = "orders", unit[] = "7", body[] = "{\"type\":\"order.updated\"";
	struct text users[2] = {text("42"), text("43")};
	struct event from = {.flags = EVENT_TO_UNIT | EVENT_TO_USERS,
	                     .id = 5,
	                     .feed = text(feed),
	                     .unit = text(unit),
	                     .key = {"", 0},
	                     .body = text(body),
	                     .users = users,
	                     .n_users = 2};
	struct event *event = event_new(&from);
	memset(feed, 'x', sizeof(feed) - 1);
	memset(unit, 'x', sizeof(unit) - 1);
	memset(body, 'x', sizeof(body) - 1);
	users[1] = text("99");

	is_int(event->id, 5, "plain members are copied");
	is_mem(event->feed.bytes, event->feed.len, "orders", 6, "feed is its own");
	is_mem(event->unit.bytes, event->unit.len, "7", 1, "unit is its own");
	is_mem(event->body.bytes, event->body.len, "{\"type\":\"order.updated\"", 23, "body is its own");
	ok(event->key.bytes != NULL && event->key.len == 0, "an empty key stays empty, not NULL");
	ok(event->parent_feed.bytes == NULL, "NULL stays NULL");
	is_mem(event->users[1].bytes, event->users[1].len, "43", 2, "users are its own");
	ok(event->to_users == NULL && event->n_to_users == 0, "no to_users stay none");
	ok(event->size >= sizeof(struct event) + 2 * sizeof(struct text) + 6 + 1 + 23 + 4, "the size counts all");

	is_int(event_ref(event)->refs, 2, "a second reference");
	event_unref(event);
	is_int(event->refs, 1, "one left");
	event_unref(event);
}

static void test_empty_to_users(void)
{
	struct text none[1] = {{NULL, 0}};
	struct event from = {.feed = text("orders"), .to_users = none, .n_to_users = 0};
	struct event *event = event_new(&from);
	ok(event->to_users != NULL && event->n_to_users == 0, "an empty to_users is not `as users`");
	event_unref(event);
	event_unref(NULL);
}

int main(void)
{
	test_copy();
	test_empty_to_users();
	return tap_done();
}
