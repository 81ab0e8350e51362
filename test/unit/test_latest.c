/*
 * test_latest.c - latest_only: what a newer update has replaced is not sent, the last one always is; other feeds, other rows and
 * the order within a channel stay as they are. In outboxes, in replays from memory and from the log. Does not test sockets
 * (test/e2e/latest_only.test.mjs).
 */
#include "latest.h"

#include "hub_fixture.h"

#define STEP .flags = EVENT_UPDATED | USUAL_FLAGS, .feed = text("progress"), .unit = text("7")
#define REQUEST .flags = EVENT_UPDATED | USUAL_FLAGS, .feed = text("requests"), .unit = text("7")

static int64_t next_id(struct client *client)
{
	struct frame *frame;
	if (session_output(client->session, &frame, 1) == 0)
		return -1;
	int64_t id = frame->id;
	session_sent(client->session, 1);
	return id;
}

static struct event *noted(struct latest_map *map, const struct event *from)
{
	struct event *event = event_new(from);
	latest_note(map, event);
	return event;
}

#define NOTED(...) noted(map, &(struct event){__VA_ARGS__})

static void test_identity(void)
{
	struct latest_map *map = latest_map_new();
	struct text users[] = {text("1"), text("2")}, other[] = {text("12")};
	struct event *a = NOTED(.id = 1, STEP, .key = text("x"), .users = users, .n_users = 2);
	struct event *others[] = {
		NOTED(.id = 2, STEP, .key = text("y"), .users = users, .n_users = 2),
		NOTED(.id = 3, STEP, .key = text("x"), .users = users, .n_users = 1),
		NOTED(.id = 4, STEP, .key = text("x"), .users = other, .n_users = 1),
		NOTED(.id = 5, STEP, .key = text("x"), .users = users, .n_users = 2, .to_users = users, .n_to_users = 2),
		NOTED(.id = 6, STEP, .key = text("x"), .users = users, .n_users = 2, .parent_feed = text("orders"),
	          .parent_key = text("x")),
		NOTED(.id = 7, .flags = EVENT_UPDATED | EVENT_TO_ROW, .feed = text("progress"), .unit = text("7"),
	          .key = text("x"), .users = users, .n_users = 2),
		NOTED(.id = 8, .flags = EVENT_DELETED | USUAL_FLAGS, .feed = text("progress"), .unit = text("7"),
	          .key = text("x"), .users = users, .n_users = 2),
		NOTED(.id = 9, STEP, .users = users, .n_users = 2),
	};
	ok(!latest_is_stale(a->latest, a->id), "events to others, of others, or that are no update, replace nothing");
	is_int((int64_t)latest_map_size(map), 7, "what can be replaced is known");
	ok(others[6]->latest == NULL && others[7]->latest == NULL, "a deletion, and what has no key, never are");
	struct event *b = NOTED(.id = 10, STEP, .key = text("x"), .users = users, .n_users = 2);
	ok(latest_is_stale(a->latest, a->id) && !latest_is_stale(b->latest, b->id), "the same again does");
	for (size_t i = 0; i < 8; i++) {
		ok(!latest_is_stale(others[i]->latest, others[i]->id), "the %zu. is not concerned", i + 1);
		event_unref(others[i]);
	}
	is_int((int64_t)latest_map_size(map), 1, "nothing is kept that nobody refers to");
	struct frame *frame = frame_of_event(a, users, 1);
	event_unref(a);
	event_unref(b);
	ok(frame_is_stale(frame), "a frame knows, when its event is gone");
	latest_map_free(map);
	ok(frame_is_stale(frame), "and the table");
	frame_unref(frame);
}

static void begin(size_t history_bytes, struct client *client)
{
	world_begin(history_bytes);
	world.at_once = true;
	world.page_rows = 100;
	enter(client, "42", "\"units\":[7]");
	subscribe(client, "progress:unit:7");
	subscribe(client, "requests:unit:7");
	skip(client);
}

static void test_outbox(void)
{
	struct client a;
	begin(1 << 20, &a);
	emit(.id = 101, REQUEST, .key = text("1"));
	for (int64_t id = 102; id <= 104; id++)
		emit(.id = id, STEP, .key = text("job"));
	emit(.id = 105, REQUEST, .key = text("1"));
	emit(.id = 106, STEP, .key = text("other"));
	emit(.id = 107, STEP, .key = text("job"));
	emit(.id = 108, REQUEST, .key = text("1"));
	const int64_t expected[] = {101, 105, 106, 107, 108, -1};
	for (size_t i = 0; i < 6; i++)
		is_int(next_id(&a), expected[i], "the newest of each, the others all, in their order");
	emit(.id = 109, STEP, .key = text("job"));
	is_int(next_id(&a), 109, "one by one for who keeps up");
	emit(.id = 110, STEP, .key = text("job"));
	emit(.id = 111, .flags = EVENT_DELETED | USUAL_FLAGS, .feed = text("progress"), .unit = text("7"),
	     .key = text("job"));
	emit(.id = 112, .flags = EVENT_CREATED | USUAL_FLAGS, .feed = text("progress"), .unit = text("7"),
	     .key = text("job"));
	is_int(next_id(&a), 110, "what was not replaced by an update stays");
	is_int(next_id(&a), 111, "a deletion");
	is_int(next_id(&a), 112, "a new row");
	leave(&a);
	world_end();
}

/* Nobody reads; far more than the outbox would hold. */
static void test_bound(void)
{
	struct client a, b;
	begin(1 << 20, &a);
	enter(&b, "43", "\"units\":[7]");
	subscribe(&b, "progress:row:9"); /* no such row: refused */
	subscribe(&b, "progress:unit:7");
	skip(&b);
	size_t most = 0;
	for (int64_t id = 101; id <= 20100; id++) {
		char key[8];
		snprintf(key, sizeof(key), "%lld", (long long)(id % 10));
		emit(.id = id, STEP, .key = text(key));
		if (a.session->n_frames > most)
			most = a.session->n_frames;
		if (id % 500 == 0)
			set_clock(STALLED_MAX_MS);
		if (id % 10000 == 0)
			emit(.id = ++id, REQUEST, .key = text("r"));
	}
	ok(most <= 2 * OUTBOX_THIN_FRAMES, "few frames wait (%zu), whatever comes", most);
	is_int(close_code(&a), 0, "who does not read stays");
	is_int(a.session->subscriptions->replay != NULL, 0, "and does not even lag");
	int64_t last = 0, n = 0, id;
	bool ascending = true;
	while ((id = next_id(&a)) > 0) {
		ascending = ascending && id > last;
		last = id;
		n++;
	}
	is_int(n, 12, "the newest of ten, and what another feed had");
	ok(ascending && last == 20100, "in order, to the last");
	is_int(skip(&b), 10, "another session alike");
	leave(&a);
	leave(&b);
	is_int((int64_t)world.hub->queued_bytes, 0, "nothing is left");
	world_end();
}

/* Frames that nothing replaces fill the outbox: then it lags, and the last value comes with the rest. */
static void test_lag(void)
{
	struct client a;
	char body[1024];
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"n\":\"", 6);
	body[sizeof(body) - 1] = '"';
	begin(1 << 24, &a);
	int64_t requests = 0, got = 0, last_step = 0, id;
	for (id = 101; id <= 600; id++) {
		if (id % 2 == 0)
			emit(.id = id, STEP, .key = text("job"), .body = {body, sizeof(body)});
		else
			emit(.id = id, REQUEST, .key = text("r"), .body = {body, sizeof(body)});
		requests += id % 2;
	}
	ok(a.session->lagging, "it lags");
	while (close_code(&a) == 0 && (id = next_id(&a)) > 0) {
		if (id % 2 == 0)
			last_step = id;
		else
			got++;
		pump();
	}
	is_int(close_code(&a), 0, "it stays");
	is_int(got, requests, "every event of the other feed");
	is_int(last_step, 600, "and the last of this");
	emit(.id = 601, STEP, .key = text("job"));
	is_int(next_id(&a), 601, "and live it is");
	leave(&a);
	world_end();
}

static void test_replay(size_t history_bytes, const char *where)
{
	struct client a;
	begin(history_bytes, &a);
	for (int64_t id = 101; id <= 150; id++)
		emit(.id = id, STEP, .key = text(id % 2 == 0 ? "even" : "odd"));
	emit(.id = 151, REQUEST, .key = text("r"));
	skip(&a);
	subscribe_since(&a, "progress:unit:7", EPOCH, 110);
	skip(&a);
	pump();
	is_int(next_id(&a), 149, "%s: a resume brings the newest", where);
	is_int(next_id(&a), 150, "%s: of each", where);
	is_int(next_id(&a), -1, "%s: and no more", where);
	leave(&a);
	world_end();
}

/* Moved between units: each side's last value stays. */
static void test_moved(void)
{
	struct client a;
	begin(1 << 20, &a);
	emit(.id = 101, STEP, .key = text("job"));
	emit(.id = 102, .flags = EVENT_DELETED | EVENT_TO_UNIT, .feed = text("progress"), .unit = text("7"),
	     .key = text("job"));
	emit(.id = 103, .flags = EVENT_UPDATED | EVENT_TO_ROW | EVENT_TO_FEED, .feed = text("progress"), .unit = text("8"),
	     .key = text("job"));
	emit(.id = 104, .flags = EVENT_UPDATED | USUAL_FLAGS, .feed = text("progress"), .unit = text("8"),
	     .key = text("job"));
	is_int(next_id(&a), 101, "what the others got later replaces nothing here");
	is_int(next_id(&a), 102, "it left");
	is_int(next_id(&a), -1, "that is all");
	leave(&a);
	world_end();
}

/* Who reads at random, comes and goes: the last value of each row arrives, and ids grow. */
static void test_at_random(unsigned seed)
{
	struct client a;
	int64_t last[8] = {0}, seen[8] = {0}, requests = 0, got = 0, newest = 0;
	bool ascending = true;
	srand(seed);
	begin(seed % 2 == 0 ? 1 << 20 : 5000, &a);
	for (int64_t id = 101; id <= 5000; id++) {
		int row = rand() % 8;
		char key[8];
		snprintf(key, sizeof(key), "%d", row);
		if (rand() % 5 == 0) {
			emit(.id = id, REQUEST, .key = text(key));
			requests++;
		} else {
			emit(.id = id, STEP, .key = text(key));
			last[row] = id;
		}
		for (int n = rand() % 3 == 0 ? rand() % 200 : 0; n > 0; n--) {
			struct frame *frames[3];
			size_t max = (size_t)(rand() % 4), taken = session_output(a.session, frames, max);
			for (size_t i = 0; i < taken; i++) {
				ascending = ascending && frames[i]->id > newest;
				newest = frames[i]->id;
				if (memmem(frame_text(frames[i]), frames[i]->len, "requests:unit", strlen("requests:unit")) != NULL)
					got++;
				else
					for (int k = 0; k < 8; k++)
						seen[k] = last[k] == newest ? newest : seen[k];
			}
			session_sent(a.session, taken);
			if (rand() % 4 == 0)
				pump();
		}
	}
	int64_t id;
	do {
		pump();
		while ((id = next_id(&a)) > 0) {
			ascending = ascending && id > newest;
			newest = id;
			bool step = false;
			for (int k = 0; k < 8; k++)
				if (last[k] == id) {
					seen[k] = id;
					step = true;
				}
			got += !step;
		}
	} while (session_has_output(a.session));
	bool all = true;
	for (int k = 0; k < 8; k++)
		all = all && seen[k] == last[k];
	ok(all, "seed %u: the last of each row", seed);
	ok(ascending, "seed %u: ids grow", seed);
	ok(got >= requests, "seed %u: all of the other feed (%lld)", seed, (long long)requests);
	leave(&a);
	world_end();
}

int main(void)
{
	test_identity();
	test_outbox();
	test_bound();
	test_lag();
	test_replay(1 << 20, "memory");
	test_replay(1, "log");
	test_moved();
	for (unsigned seed = 1; seed <= 6; seed++)
		test_at_random(seed);
	return tap_done();
}
