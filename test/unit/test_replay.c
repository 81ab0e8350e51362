/*
 * test_replay.c - replay.c and page.c: what was missed, from memory and from the log, at the client's pace, and how it becomes
 * live without a gap or a repeat. The last test lets many sessions break off and come back at random. Does not test
 * what the database answers (see the e2e and fault tests).
 */
#include "hub_fixture.h"

#define UNIT7 .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7")

/* The id of the next frame: of an event, 0 of a control message, -1 none. */
static int64_t next_id(struct client *client)
{
	struct frame *frame;
	if (session_output(client->session, &frame, 1) == 0)
		return -1;
	int64_t id = frame->id;
	session_sent(client->session, 1);
	return id;
}

/* Takes frames as far as they go on from id in ones; returns the last id. */
static int64_t take_on(struct client *client, int64_t id)
{
	struct frame *frame;
	while (session_output(client->session, &frame, 1) == 1 && frame->id == id + 1) {
		id++;
		session_sent(client->session, 1);
	}
	return id;
}

static int64_t pong_id(struct client *client)
{
	send_text(client, "{\"type\":\"ping\"}");
	const char *pong = next(client), *cursor = pong != NULL ? strstr(pong, EPOCH "-") : NULL;
	return cursor != NULL ? atoll(cursor + strlen(EPOCH "-")) : -1;
}

static void emit_to(int64_t last)
{
	for (int64_t id = log_head() + 1; id <= last; id++)
		emit(.id = id, UNIT7);
}

static void test_memory(void)
{
	struct client a;
	struct text users[] = {text("43")};
	world_begin(1 << 20);
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	emit_to(110);
	emit(.id = 111, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"));
	emit(.id = 112, .flags = EVENT_RESYNC, .feed = text("requests"), .body = text("folded"));
	emit(.id = 113, .flags = EVENT_CONTROL, .feed = text("definitions"));
	emit(.id = 114, UNIT7);
	emit(.id = 115, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	emit(.id = 116, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("9"), .key = text("5"), .users = users,
	     .n_users = 1);
	emit(.id = 117, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("7"), .key = text("5"));
	emit(.id = 118, .flags = EVENT_TO_UNIT, .feed = text("comments"), .unit = text("1"), .parent_feed = text("orders"),
	     .parent_key = text("5"));
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 105);
	is_int(next_id(&a), 0, "subscribed first");
	is_int(next_id(&a), -1, "nothing before the next turn");
	is_int(pong_id(&a), 105, "pong covers what was sent");
	emit(.id = 119, UNIT7);
	is_int(next_id(&a), -1, "what comes live waits for its turn");
	pump();
	is_int(take_on(&a, 105), 110, "the events after the cursor");
	is_str(next(&a),
	       "{\"type\":\"resync\",\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-112\",\"reason\":\"folded\"}",
	       "a resync in its place");
	is_str(next(&a), FRAME(114, "\"requests:unit:7\""), "then more");
	is_int(next_id(&a), 119, "then what came meanwhile, once");
	is_int(next_id(&a), -1, "and no more");
	is_int(pong_id(&a), 119, "pong covers all");
	emit(.id = 120, UNIT7);
	is_int(next_id(&a), 120, "live");

	subscribe_since(&a, "orders:row:5", EPOCH, 110);
	pump();
	is_int(next_id(&a), 0, "a row");
	is_int(next_id(&a), 117, "its events, but those of when it was others'");
	is_int(next_id(&a), 118, "and of its children");
	is_int(next_id(&a), -1, "no more");
	subscribe_since(&a, "requests:unit:7", EPOCH, 118);
	pump();
	is_int(next_id(&a), 0, "subscribed again");
	is_int(next_id(&a), 119, "from where it asked");
	is_int(next_id(&a), 120, "to the end");
	world_end();
}

static void test_resync_meanwhile(void)
{
	struct client a;
	world_begin(1 << 20);
	emit_to(101);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	skip(&a);
	emit(.id = 102, .flags = EVENT_RESYNC, .feed = text("requests"), .body = text("folded"));
	is_int(next_id(&a), -1, "a resync that comes live waits for the replay, too");
	pump();
	is_int(next_id(&a), 101, "first what was missed");
	ok(strstr(next(&a), "resync") != NULL, "then the resync");
	is_int(next_id(&a), -1, "once");
	world_end();
}

static void test_pace(void)
{
	struct client a;
	world_begin(16 << 20);
	world.limits.max_queue_bytes = 4000;
	hub_set_limits(world.hub, &world.limits);
	emit_to(1100);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	is_int(next_id(&a), 0, "subscribed");
	pump();
	ok(a.session->queued_bytes > 1000 && a.session->queued_bytes <= 2000, "stops at half of the bound");
	ok(!hub_pump(world.hub), "and waits for the client, not for the loop");
	emit_to(1110);
	pump();
	is_int(close_code(&a), 0, "never too slow by itself");
	int64_t last = 100, id, turns = 0;
	while (last < 1110 && turns++ < 10000) {
		while ((id = next_id(&a)) != -1) {
			if (id != 0 && id != last + 1)
				fail("id %lld after %lld", (long long)id, (long long)last);
			if (id != 0)
				last = id;
		}
		pump();
	}
	is_int(last, 1110, "all came, in order, once");
	ok(a.session->subscriptions->replay == NULL, "and it is live");

	char big[3000];
	memset(big, ' ', sizeof(big));
	big[0] = '{';
	for (id = 1111; id < 1115; id++)
		emit(.id = id, UNIT7, .body = {big, sizeof(big)});
	set_clock(1000);
	hub_check_deadlines(world.hub);
	is_int(close_code(&a), 4408, "live, four frames are too many for the bound");
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 1110);
	for (last = 1110; last < 1114; last = id) {
		pump();
		id = next_id(&a);
		if (id == 0)
			id = last;
		else if (!ok(id == last + 1, "one frame larger than half of the bound at a time"))
			break;
	}
	is_int(close_code(&a), 0, "who was too slow gets all in the end");
	world_end();
}

static void test_slices(void)
{
	enum { EVENTS = 18000 };
	struct client a, b;
	world_begin(64 << 20);
	world.limits.max_queue_bytes = 64 << 20;
	hub_set_limits(world.hub, &world.limits);
	emit_to(100 + EVENTS);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[8]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	subscribe_since(&b, "requests:unit:8", EPOCH, 100);
	skip(&a);
	ok(hub_pump(world.hub), "a long replay is cut");
	int64_t first = take_on(&a, 100);
	ok(first > 100 && first < 100 + EVENTS / 2, "into slices (%lld of %d events)", (long long)first - 100, EVENTS);
	is_int(b.session->subscriptions->replay == NULL, 1, "and others get theirs between them");
	is_int(pong_id(&a), first, "pong is bounded by it");
	ok(pump() > 3, "it takes some turns");
	is_int(take_on(&a, first), 100 + EVENTS, "all come");
	world_end();
}

static void test_log(void)
{
	struct client a;
	world_begin(20000); /* some dozens of events */
	emit_to(1000);
	ok(history_floor(world.history) > 800, "most events are in the log alone");
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 150);
	is_int(next_id(&a), 0, "subscribed");
	pump();
	is_int(take_on(&a, 150), 1000, "from the log, then memory");
	ok(world.pages_read >= 6 && world.pages_read <= 9, "by pages (%zu)", world.pages_read);
	emit_to(1001);
	is_int(next_id(&a), 1001, "then live");
	page_forget(world.hub, true);
	is_int(world.hub->page_bytes, 0, "no page is kept but for who comes next");
	is_int(metrics.resumes[METRIC_RESUME_LOG], 1, "counted as from the log");

	subscribe_since(&a, "requests:unit:7", EPOCH, 150);
	skip(&a);
	world.kept = 400;
	hub_pump(world.hub);
	is_str(next(&a),
	       "{\"type\":\"resync\",\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-1001\",\"reason\":\"pruned\"}",
	       "pruned under its feet: told");
	emit_to(1002);
	is_int(next_id(&a), 1002, "and live");
	world_end();
}

static void test_log_away(void)
{
	struct client a;
	world_begin(20000);
	emit_to(1000);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 500);
	skip(&a);
	world.down = true;
	pump();
	size_t asked_for = world.n_asks;
	for (int i = 0; i < 100; i++)
		hub_pump(world.hub);
	is_int(world.n_asks, asked_for, "the database is away: it waits");
	is_int(close_code(&a), 0, "and stays");
	world.down = false;
	set_clock(RETRY_MS);
	pump();
	is_int(take_on(&a, 500), 1000, "and goes on when it is back");

	subscribe_since(&a, "requests:unit:7", EPOCH, 500);
	skip(&a);
	snprintf(world.epoch, sizeof(world.epoch), "0000bbbb");
	page_forget(world.hub, true);
	pump();
	ok(strstr(next(&a), "\"type\":\"resync\"") != NULL, "a page of another epoch is none of its own: told");
	is_int(next_id(&a), -1, "and nothing of it is sent");
	world_end();
}

static void test_elder_cursor(void)
{
	struct client a;
	world_begin(20000);
	emit_to(600);
	begin_stream("0000bbbb", 600, "epoch");
	enter(&a, "42", "\"units\":[7]");
	/* The database vouches for a cursor of the epoch before, and serves the rest under the epoch of its ticks. */
	subscribe_since(&a, "requests:unit:7", EPOCH, 580);
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-580\","
	       "\"recovered\":true}",
	       "a cursor that the log can still continue");
	pump();
	is_int(take_on(&a, 580), 600, "is continued");
	emit_to(601);
	is_int(next_id(&a), 601, "to the present");
	world_end();
}

static void test_eviction(void)
{
	struct client a;
	world_begin(50000);
	world.limits.max_queue_bytes = 4000;
	hub_set_limits(world.hub, &world.limits);
	emit_to(200);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, history_floor(world.history));
	int64_t from = history_floor(world.history);
	skip(&a);
	pump();
	emit_to(2000); /* while the client takes its time */
	ok(history_floor(world.history) > a.session->subscriptions->replay->after, "its position is evicted");
	int64_t last = from;
	for (int i = 0; i < 1000 && last < 2000; i++) {
		last = take_on(&a, last);
		pump();
	}
	is_int(last, 2000, "it goes on from the log, without gap or repeat");
	is_int(close_code(&a), 0, "at its pace");
	is_int(metrics.resumes[METRIC_RESUME_MEMORY], 1, "it began in memory");
	ok(world.pages_read > 0, "and used the log");
	world_end();
}

static void test_ahead(void)
{
	struct client a, b;
	world_begin(1 << 20);
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "42", "\"units\":[7]");
	/* Another bridge has read up to 105 and its client comes here: the database has it, we do not yet. */
	for (int64_t id = 101; id <= 105; id++) {
		struct event event = {.id = id, UNIT7, .body = text("{\"n\":0")};
		struct event moved = {.id = id,
		                      .flags = EVENT_TO_ROW,
		                      .feed = text("orders"),
		                      .unit = text("9"),
		                      .key = text("5"),
		                      .body = text("{\"n\":0")};
		/* The row was another unit's for a while, before the cursor. */
		world.log[world.n_log++] = event_new(id == 102 ? &moved : &event);
	}
	subscribe_since(&a, "requests:unit:7", EPOCH, 103);
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-103\","
	       "\"recovered\":true}",
	       "a cursor above our head that the database knows");
	subscribe_since(&b, "orders:row:5", EPOCH, 103);
	skip(&b);
	pump();
	is_int(next_id(&a), -1, "waits");
	is_int(pong_id(&a), 103, "pong does not go back behind it");
	for (int i = 0; i < 5; i++) {
		hub_event(world.hub, world.log[i]);
		hub_advance(world.hub, world.log[i]->id);
		pump();
	}
	is_int(next_id(&a), 104, "nothing that it had");
	is_int(next_id(&a), 105, "and all that it had not");
	emit(.id = 106, UNIT7);
	is_int(next_id(&a), 106, "live");
	is_int(skip(&b), 0, "the other one, of a row, stays");
	ok(b.session->subscriptions != NULL && b.session->subscriptions->replay == NULL, "and is live, too");
	world_end();
}

static void test_row_lost_in_replay(void)
{
	struct client a;
	world_begin(1 << 20);
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	for (int64_t id = 101; id <= 110; id++)
		emit(.id = id, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("7"), .key = text("5"));
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "orders:row:5", EPOCH, 100);
	skip(&a);
	emit(.id = 111, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:5\",\"reason\":\"forbidden\"}",
	       "who loses the row while it is replayed is told");
	pump();
	is_int(next_id(&a), -1, "and gets none of what it missed: it may not see it now");
	world_end();
}

static void test_pages_are_shared(void)
{
	enum { SESSIONS = 200 };
	static struct client clients[SESSIONS];
	int right = 0;
	world_begin(20000);
	world.page_rows = 1000;
	world.limits.max_queue_bytes = 1 << 20;
	hub_set_limits(world.hub, &world.limits);
	emit_to(900);
	for (int i = 0; i < SESSIONS; i++) {
		enter(&clients[i], "42", "\"units\":[7]");
		subscribe_since(&clients[i], "requests:unit:7", EPOCH, 500 + i % 50);
		skip(&clients[i]);
	}
	world.at_once = false;
	pump();
	is_int(open_asks(), 1, "those that a page under way may serve wait for it");
	while (answer_next())
		pump();
	for (int i = 0; i < SESSIONS; i++)
		right += take_on(&clients[i], 500 + i % 50) == 900;
	is_int(right, SESSIONS, "all are served");
	ok(world.pages_read <= 3, "by a few pages (%zu)", world.pages_read);
	world_end();
}

static void test_pages_are_bounded(void)
{
	static struct client clients[20];
	char channel[64];
	world_begin(1 << 20);
	world.at_once = false;
	world.limits.max_subscriptions = 100;
	hub_set_limits(world.hub, &world.limits);
	emit_to(200);
	begin_stream(EPOCH, 200, "requested"); /* memory begins at 200 */
	static const char *const feeds[] = {"requests", "orders", "stock", "comments"};
	for (int i = 0; i < 20; i++) {
		enter(&clients[i], "1", "\"roles\":[\"admin\"]");
		for (int k = 0; k < 4; k++) { /* going back, so that no page under way serves the next */
			snprintf(channel, sizeof(channel), "%s:unit:7", feeds[k]);
			subscribe_since(&clients[i], channel, EPOCH, 150 - i);
		}
	}
	answer_all(); /* the cursors */
	for (int i = 0; i < 20; i++)
		skip(&clients[i]);
	hub_pump(world.hub);
	is_int(open_asks(), PAGES_IN_FLIGHT_MAX, "so many pages at a time");
	for (int i = 0; i < PAGES_IN_FLIGHT_MAX; i++)
		ok(clients[i].session->paging, "each for another session (%d)", i);
	leave(&clients[0]);
	leave(&clients[1]);
	while (answer_next())
		pump();
	int right = 0;
	for (int i = 2; i < 20; i++)
		right += take_on(&clients[i], 150 - i) == 200;
	is_int(right, 18, "all come in the end, though some have gone");
	is_int(world.hub->n_pages, 0, "no page is under way");
	page_forget(world.hub, true);
	is_int(world.hub->page_bytes, 0, "or kept but for who comes next");
	world_end();
}

static void test_restart_in_replay(void)
{
	struct client a;
	world_begin(20000);
	emit_to(1000);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 500);
	skip(&a);
	world.at_once = false;
	pump();
	is_int(open_asks(), 1, "a page is asked for");
	begin_stream("0000bbbb", 2000, "epoch");
	ok(strstr(next(&a), "\"type\":\"resync\",\"channel\":\"requests:unit:7\",\"cursor\":\"0000bbbb-2000\"") != NULL,
	   "a new history: told");
	answer_all();
	pump();
	is_int(next_id(&a), -1, "the page comes too late");
	emit(.id = 2001, UNIT7);
	is_int(next_id(&a), 2001, "live in the new history");
	is_int(world.hub->n_pages, 0, "the request is over");
	world_end();
}

static void test_gone_in_replay(void)
{
	struct client a, b;
	world_begin(20000);
	emit_to(1000);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 500);
	subscribe_since(&b, "requests:unit:7", EPOCH, 500);
	answer_all();
	pump();
	leave(&a);
	session_close(b.session, CLOSE_MAX_SESSION, "time");
	skip(&b);
	answer_all();
	pump();
	is_int(skip(&b), 0, "a closing session gets no more of its replay");
	ok(b.session->subscriptions->replay == NULL, "and needs none");
	world_end();
}

/*
 * Sessions of four units with small outboxes take frames, break off, come back with the cursor of the last frame or of a pong, at
 * random, while events come in pages; the database answers late. Each must have seen every event of its units, once, in order.
 */
struct walker {
	struct client client;
	int unit;
	int64_t last; /* the last event's id, or a cursor that covers it */
	size_t seen; /* index into the log: all before it were checked */
	bool here, live;
};

static unsigned random_state;

static unsigned dice(unsigned sides)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % sides;
}

static bool is_for(const struct event *event, const struct walker *walker)
{
	return event->unit.len == 1 && event->unit.bytes[0] == '0' + walker->unit;
}

/* Takes one frame; returns how many things were wrong with it. */
static int walk(struct walker *walker)
{
	const char *frame = next(&walker->client);
	if (frame == NULL)
		return 0;
	const char *cursor = strstr(frame, "\"cursor\":\"" EPOCH "-"), *id = strstr(frame, ",\"id\":");
	if (strstr(frame, "\"type\":\"pong\"") != NULL) {
		int64_t covered = atoll(cursor + strlen("\"cursor\":\"" EPOCH "-"));
		int wrong = 0;
		for (; walker->seen < world.n_log && world.log[walker->seen]->id <= covered; walker->seen++)
			wrong += is_for(world.log[walker->seen], walker); /* covered, and never came */
		if (covered > walker->last)
			walker->last = covered;
		return wrong;
	}
	if (id == NULL) {
		walker->live = strstr(frame, "\"type\":\"subscribed\"") != NULL || walker->live;
		return strstr(frame, "\"recovered\":false") != NULL || strstr(frame, "resync") != NULL ||
		       strstr(frame, "error") != NULL;
	}
	walker->last = atoll(id + strlen(",\"id\":"));
	while (walker->seen < world.n_log && !is_for(world.log[walker->seen], walker))
		walker->seen++;
	return walker->seen == world.n_log || world.log[walker->seen++]->id != walker->last;
}

static void come(struct walker *walker)
{
	char claims[32], channel[32];
	snprintf(claims, sizeof(claims), "\"units\":[%d]", walker->unit);
	snprintf(channel, sizeof(channel), "requests:unit:%d", walker->unit);
	enter(&walker->client, "42", claims);
	subscribe_since(&walker->client, channel, EPOCH, walker->last);
	walker->here = true;
	walker->live = false;
}

static void test_at_random(unsigned seed)
{
	enum { WALKERS = 24, STEPS = 12000 };
	static struct walker walkers[WALKERS];
	int wrong = 0, late = 0;
	random_state = seed;
	world_begin(30000);
	world.limits.max_queue_bytes = 2000;
	world.page_rows = 20;
	world.at_once = false;
	hub_set_limits(world.hub, &world.limits);
	memset(walkers, 0, sizeof(walkers));
	for (int i = 0; i < WALKERS; i++) {
		walkers[i].unit = 1 + i % 4;
		walkers[i].last = HEAD;
	}
	for (int step = 0; step < STEPS; step++) {
		struct walker *walker = &walkers[dice(WALKERS)];
		switch (dice(8)) {
		case 0:
		case 1: {
			char unit[2] = {(char)('1' + dice(4)), '\0'};
			emit(.id = log_head() + 1 + dice(3), .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text(unit));
			break;
		}
		case 2:
			answer_next();
			break;
		case 3:
			hub_pump(world.hub);
			break;
		case 4:
			if (walker->here && (dice(10) == 0 || close_code(&walker->client) != 0)) {
				late += close_code(&walker->client) == 4408;
				leave(&walker->client);
				walker->here = false;
			} else if (!walker->here) {
				come(walker);
			}
			break;
		case 5:
			if (walker->here && walker->live)
				send_text(&walker->client, "{\"type\":\"ping\"}");
			break;
		default:
			for (unsigned n = dice(30); walker->here && n > 0; n--)
				wrong += walk(walker);
		}
	}
	world.at_once = true;
	world.limits.max_queue_bytes = 1 << 20;
	hub_set_limits(world.hub, &world.limits);
	for (int i = 0; i < WALKERS; i++) {
		if (walkers[i].here)
			leave(&walkers[i].client);
		come(&walkers[i]);
	}
	answer_all();
	for (int round = 0; round < 100; round++) {
		pump();
		for (int i = 0; i < WALKERS; i++)
			while (session_has_output(walkers[i].client.session))
				wrong += walk(&walkers[i]);
	}
	for (int i = 0; i < WALKERS; i++)
		for (; walkers[i].seen < world.n_log; walkers[i].seen++)
			wrong += is_for(world.log[walkers[i].seen], &walkers[i]);
	is_int(wrong, 0, "at random (%u): %zu events, %zu pages, %d too slow: nothing lost, doubled or out of order", seed,
	       world.n_log, world.pages_read, late);
	world_end();
}

int main(void)
{
	test_memory();
	test_resync_meanwhile();
	test_pace();
	test_slices();
	test_log();
	test_log_away();
	test_elder_cursor();
	test_eviction();
	test_ahead();
	test_row_lost_in_replay();
	test_pages_are_shared();
	test_pages_are_bounded();
	test_restart_in_replay();
	test_gone_in_replay();
	for (unsigned seed = 1; seed <= 5; seed++)
		test_at_random(seed);
	return tap_done();
}
