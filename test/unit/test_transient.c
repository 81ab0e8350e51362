/*
 * test_transient.c - feeds that are not durable: what a session is told when transient events are gone, live, in replays
 * from memory and from the log, and on resuming. Does not test when that is so (the extension's regress tests).
 */
#include "hub_fixture.h"

#define LOST .flags = EVENT_CONTROL, .feed = text("transient_lost")
#define SPOT .flags = EVENT_TO_UNIT, .feed = text("spots"), .unit = text("7")
#define TOLD(channel, id)                                                                                              \
	"{\"type\":\"resync\",\"channel\":\"" channel "\",\"cursor\":\"0000aaaa-" #id "\",\"reason\":\"transient_lost\"}"

static const char *const channels[] = {"spots:unit:7", "trips:unit:7", "trips:row:5", "requests:unit:7"};

static void begin(size_t history_bytes)
{
	world_begin(history_bytes);
	world.at_once = true;
	world.rows[world.n_rows++] = (struct row){"trips", "5", ROW_FOUND, "7", NULL};
}

static void test_live(void)
{
	struct client a;
	begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	for (size_t i = 0; i < 4; i++)
		subscribe(&a, channels[i]);
	skip(&a);
	emit(.id = 101, SPOT);
	is_str(next(&a), FRAME(101, "\"spots:unit:7\""), "a transient event");
	emit(.id = 102, LOST);
	const char *first = next(&a);
	char told[2][256] = {"", ""};
	snprintf(told[0], sizeof(told[0]), "%s", first != NULL ? first : "");
	const char *second = next(&a);
	snprintf(told[1], sizeof(told[1]), "%s", second != NULL ? second : "");
	bool spots_first = strstr(told[0], "spots") != NULL;
	is_str(told[spots_first ? 0 : 1], TOLD("spots:unit:7", 102), "the feed that is not durable is told");
	is_str(told[spots_first ? 1 : 0], TOLD("trips:row:5", 102), "and rows whose children are not");
	ok(next(&a) == NULL, "nobody else");
	emit(.id = 103, SPOT);
	is_str(next(&a), FRAME(103, "\"spots:unit:7\""), "and on it goes");
	leave(&a);
	world_end();
}

/* From 101 on: in memory, or all but the last in the log. */
static void test_replay(size_t history_bytes, const char *where)
{
	struct client a, b;
	begin(history_bytes);
	emit(.id = 101, SPOT);
	emit(.id = 102, LOST);
	emit(.id = 103, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"));
	for (int64_t id = 104; id <= 110; id++)
		emit(.id = id, SPOT);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "spots:unit:7", EPOCH, 100);
	ok(strstr(next(&a), "\"recovered\":true") != NULL, "%s: it can be resumed", where);
	pump();
	is_str(next(&a), FRAME(101, "\"spots:unit:7\""), "%s: the event before", where);
	is_str(next(&a), TOLD("spots:unit:7", 102), "%s: told in its place", where);
	is_str(next(&a), FRAME(104, "\"spots:unit:7\""), "%s: those behind", where);
	is_int(skip(&a), 6, "%s: to the end", where);
	enter(&b, "43", "\"units\":[7]");
	subscribe_since(&b, "requests:unit:7", EPOCH, 100);
	skip(&b);
	pump();
	is_str(next(&b), FRAME(103, "\"requests:unit:7\""), "%s: a durable feed is not told", where);
	is_int(skip(&b), 0, "%s: anything else", where);
	leave(&a);
	leave(&b);
	world_end();
}

static void resume(const char *channel, int64_t id, const char *expected)
{
	struct client a;
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, channel, EPOCH, id);
	const char *frame = next(&a);
	ok(frame != NULL && strstr(frame, expected) != NULL, "%s from %lld: %s", channel, (long long)id, expected);
	leave(&a);
}

static void test_resume(void)
{
	begin(1);
	for (int64_t id = 101; id <= 110; id++)
		emit(.id = id, SPOT);
	world.transient_kept = 105;
	resume("requests:unit:7", 101, "\"recovered\":true");
	resume("spots:unit:7", 102, "\"recovered\":false,\"reason\":\"transient_lost\"");
	resume("trips:row:5", 103, "\"recovered\":false,\"reason\":\"transient_lost\"");
	resume("trips:unit:7", 103, "\"recovered\":true");
	resume("spots:unit:7", 105, "\"recovered\":true");
	world.transient_kept = 107; /* what was vouched for a moment ago still is */
	resume("spots:unit:7", 106, "\"recovered\":true");
	set_clock(VOUCHED_MS);
	resume("spots:unit:7", 106, "\"recovered\":false,\"reason\":\"transient_lost\"");
	world_end();
}

int main(void)
{
	test_live();
	test_replay(1 << 20, "memory");
	test_replay(1, "log");
	test_resume();
	return tap_done();
}
