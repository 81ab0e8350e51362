/*
 * test_pages.c - what sessions that come back one after another share: pages of the log that were read a moment ago, and
 * what the database said of a cursor; and what bounds it, and the replays of many who do not read. Does not test that replays
 * are complete (test_replay.c).
 */
#include "hub_fixture.h"

#define UNIT7 .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7")
#define LAST 1000

/* A history of a few dozens of the latest events, the others in the log. */
static void begin(void)
{
	world_begin(20000);
	world.limits.max_queue_bytes = 1 << 20;
	hub_set_limits(world.hub, &world.limits);
	while (log_head() < LAST)
		emit(.id = log_head() + 1, UNIT7);
}

static size_t asked_cursors;

/* Comes with that cursor and takes what it missed; how many events that was. */
static int come(struct client *client, const char *epoch, int64_t since)
{
	struct frame *frame;
	int n = 0;
	size_t before = world.n_asks;
	enter(client, "42", "\"units\":[7]");
	world.at_once = false;
	subscribe_since(client, "requests:unit:7", epoch, since);
	asked_cursors = world.n_asks - before;
	answer_all();
	world.at_once = true;
	pump();
	while (session_output(client->session, &frame, 1) == 1) {
		n += frame->id > 0;
		session_sent(client->session, 1);
	}
	return n;
}

static void test_pages_are_kept(void)
{
	struct client clients[4];
	begin();
	is_int(come(&clients[0], EPOCH, 500), LAST - 500, "the first has all it missed");
	size_t read = world.pages_read;
	ok(read > 0, "from the log");
	is_int(come(&clients[1], EPOCH, 540), LAST - 540, "one that comes later, too");
	is_int(world.pages_read, read, "from the same pages");
	is_int(come(&clients[2], EPOCH, 450), LAST - 450, "one that was away for longer");
	ok(world.pages_read <= read + 1, "asks for what it has more (%zu)", world.pages_read - read);
	ok(world.hub->cached_bytes > 0 && world.hub->cached_bytes == world.hub->page_bytes, "they are kept");
	set_clock(PAGES_CACHED_MS);
	hub_check_deadlines(world.hub);
	is_int(world.hub->page_bytes, 0, "for a while");
	is_int(world.hub->n_cached, 0, "all of them");
	read = world.pages_read;
	is_int(come(&clients[3], EPOCH, 500), LAST - 500, "who comes then");
	ok(world.pages_read > read, "asks again");
	begin_stream(EPOCH, LAST, "requested");
	is_int(world.hub->page_bytes, 0, "none is kept over a restart of the stream");
	world_end();
}

static void test_kept_pages_are_bounded(void)
{
	struct client a;
	begin();
	world.page_rows = 5;
	is_int(come(&a, EPOCH, HEAD), LAST - HEAD, "a hundred and more small pages");
	is_int(world.hub->n_cached, PAGES_CACHED_MAX, "of which so many are kept");
	ok(world.hub->cached_bytes <= PAGES_CACHED_MAX_BYTES, "and so many bytes");
	world_end();

	static char large[6 << 20];
	world_begin(1000);
	memset(large, 'x', sizeof(large) - 1);
	world.limits.max_queue_bytes = 1 << 30;
	world.page_rows = 1;
	hub_set_limits(world.hub, &world.limits);
	for (int i = 0; i < 6; i++)
		emit(.id = log_head() + 1, UNIT7, .body = text(large));
	is_int(come(&a, EPOCH, HEAD), 6, "large ones");
	ok(world.hub->n_cached > 0 && world.hub->cached_bytes <= PAGES_CACHED_MAX_BYTES, "are bounded, too (%zu)",
	   world.hub->n_cached);
	world_end();
}

static void test_cursors(void)
{
	struct client clients[8];
	begin();
	come(&clients[0], EPOCH, 500);
	is_int(asked_cursors, 1, "the first cursor is asked for");
	come(&clients[1], EPOCH, 500);
	is_int(asked_cursors, 0, "the same is not again");
	come(&clients[2], EPOCH, 700);
	is_int(asked_cursors, 0, "nor a later one");
	come(&clients[3], EPOCH, 499);
	is_int(asked_cursors, 1, "an earlier one is");
	is_int(come(&clients[4], "0000bbbb", 700), 0, "one of another epoch is asked for");
	is_int(asked_cursors, 1, "... and refused");
	come(&clients[5], EPOCH, LAST + 1);
	is_int(asked_cursors, 1, "one above what was read is asked for");
	set_clock(VOUCHED_MS);
	world.kept = 600;
	is_int(come(&clients[6], EPOCH, 500), 0, "after a while it is asked anew: pruned");
	is_int(asked_cursors, 1, "... by a question");
	begin_stream(EPOCH, LAST, "requested");
	come(&clients[7], EPOCH, 700);
	is_int(asked_cursors, 1, "and after a restart of the stream");
	world_end();
}

/* Pruned between the question and the page: told, never silence. */
static void test_pruned_meanwhile(void)
{
	struct client a, b;
	struct frame *frame;
	begin();
	come(&a, EPOCH, 500);
	page_forget(world.hub, false);
	set_clock(VOUCHED_MS / 2);
	world.kept = 600;
	world.hub->vouched[0].at_ms = world.now_ms; /* vouched for, but no page is left */
	while (world.hub->cached != NULL) {
		set_clock(PAGES_CACHED_MS);
		world.hub->vouched[0].at_ms = world.now_ms;
		page_forget(world.hub, false);
	}
	enter(&b, "42", "\"units\":[7]");
	subscribe_since(&b, "requests:unit:7", EPOCH, 500);
	pump();
	is_int(session_output(b.session, &frame, 1), 1, "subscribed");
	session_sent(b.session, 1);
	ok(strstr(next(&b), "\"reason\":\"pruned\"") != NULL, "then told that it was pruned");
	world_end();
}

/* Many who ask for much and take nothing. */
static void test_replays_are_bounded(void)
{
	enum { SESSIONS = 400, EVENTS = 60 };
	static struct client clients[SESSIONS];
	static char body[20000];
	struct frame *frame;
	world_begin(16 << 20);
	memset(body, 'x', sizeof(body) - 1);
	world.limits.max_queue_bytes = 1 << 20;
	hub_set_limits(world.hub, &world.limits);
	for (int i = 0; i < EVENTS; i++)
		emit(.id = log_head() + 1, UNIT7, .body = text(body));
	for (int i = 0; i < SESSIONS; i++) {
		enter(&clients[i], "42", "\"units\":[7]");
		subscribe_since(&clients[i], "requests:unit:7", EPOCH, HEAD);
	}
	pump();
	ok(world.hub->queued_bytes > REPLAYS_QUEUED_MAX_BYTES, "much waits");
	ok(world.hub->queued_bytes <
	       REPLAYS_QUEUED_MAX_BYTES + (1 << 20) + SESSIONS * 2 * (REPLAY_THIN_BYTES + sizeof(body)),
	   "but not all that could (%llu)", (unsigned long long)world.hub->queued_bytes);
	int got[SESSIONS] = {0}, whole = 0;
	for (int turn = 0; turn < 2 * EVENTS; turn++) { /* those who read come to their end all the same */
		for (int i = 0; i < SESSIONS; i += 2)
			while (session_output(clients[i].session, &frame, 1) == 1) {
				got[i] += frame->id > 0;
				session_sent(clients[i].session, 1);
			}
		pump();
	}
	for (int i = 0; i < SESSIONS; i += 2)
		whole += got[i] == EVENTS;
	is_int(whole, SESSIONS / 2, "who reads has all");
	for (int i = 0; i < SESSIONS; i++)
		leave(&clients[i]);
	is_int((long long)world.hub->queued_bytes, 0, "the count comes out even");
	world_end();
}

int main(void)
{
	test_pages_are_kept();
	test_kept_pages_are_bounded();
	test_cursors();
	test_pruned_meanwhile();
	test_replays_are_bounded();
	return tap_done();
}
