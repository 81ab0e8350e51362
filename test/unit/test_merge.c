/*
 * test_merge.c - merge.c: replays of several channels as one stream, in one order, and the cursor that covers all of them at each
 * frame. The last test lets sessions of several channels break off anywhere and come back with the last cursor they had, at random.
 * Does not test how transports write cursors (test/e2e/sse.test.mjs, poll.test.mjs).
 */
#include "snapshot_fixture.h"

static const struct session_transport merged_transport = {.name = "note", .wake = note_wake, .merged = true};

static void enter_merged(struct client *client, const char *claims)
{
	memset(client, 0, offsetof(struct client, text));
	client->session = session_open(world.hub, &merged_transport, client, NULL);
	authenticate(client, "42", claims);
	skip(client);
}

/* The next frame's event id (0: control, -1: none), and whether its channels are these. *covered: the cursor with it. */
static int64_t take(struct client *client, const char *channels, int64_t *covered)
{
	struct frame *frame;
	if (session_output(client->session, &frame, 1) == 0)
		return -1;
	char named[256];
	snprintf(named, sizeof(named), "\"channels\":[%s]}", channels != NULL ? channels : "");
	int64_t id = frame->id;
	const char *at = memmem(frame_text(frame), frame->len, named, strlen(named));
	if (channels != NULL && at == NULL)
		fail("event %lld: channels are not %s", (long long)id, named);
	*covered = session_covered(client->session, 1);
	session_sent(client->session, 1);
	return id;
}

static void takes(struct client *client, int64_t id, const char *channels, const char *what)
{
	int64_t covered;
	is_int(take(client, channels, &covered), id, "%s", what);
	is_int(covered, id, "covered up to there");
}

#define NOTICE .flags = EVENT_TO_USERS, .feed = text("notices"), .users = users, .n_users = 1
#define ORDER                                                                                                          \
	.flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5"), .users = users, .n_users = 1
#define ORDER_CHANNELS "\"orders:unit:7\",\"orders:user:42\",\"orders:row:5\""

static void begin_merged(void)
{
	begin();
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", "42"};
}

static void test_order(void)
{
	struct client a;
	struct text users[] = {text("42")};
	int64_t covered;
	begin_merged();
	emit(.id = 101, UNIT7);
	emit(.id = 102, NOTICE);
	emit(.id = 103, ORDER);
	emit(.id = 104, UNIT7);
	emit(.id = 105, .flags = EVENT_RESYNC, .feed = text("orders"), .body = text("folded"));
	emit(.id = 106, NOTICE);
	enter_merged(&a, "\"units\":[7]");
	subscribe_since(&a, "orders:row:5", EPOCH, 100);
	subscribe_since(&a, "notices:user:42", EPOCH, 102);
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	subscribe_since(&a, "orders:unit:7", EPOCH, 101);
	subscribe_since(&a, "orders:user:42", EPOCH, 101);
	is_int(session_covered(a.session, 99), 100, "covered: the least of all");
	emit(.id = 107, UNIT7);
	is_int(take(&a, NULL, &covered), 0, "subscribed");
	is_int(covered, 100, "what covered it before, and not more");
	is_int(skip(&a), 4, "to five channels; what comes live waits");
	pump();
	takes(&a, 101, "\"requests:unit:7\"", "one");
	takes(&a, 103, ORDER_CHANNELS, "one frame for three channels, named in the order of live ones");
	takes(&a, 104, "\"requests:unit:7\"", "one");
	for (int i = 0; i < 3; i++) {
		is_int(take(&a, NULL, &covered), 0, "a resync for each channel in its place");
		is_int(covered, 104, "it is not covered before all have been sent");
	}
	takes(&a, 106, "\"notices:user:42\"", "one");
	takes(&a, 107, "\"requests:unit:7\"", "what came meanwhile");
	is_int(take(&a, NULL, &covered), -1, "and no more");
	is_int((int64_t)metrics.replays, 0, "all are live");
	emit(.id = 108, ORDER);
	emit(.id = 109, UNIT7);
	takes(&a, 108, ORDER_CHANNELS, "live");
	takes(&a, 109, "\"requests:unit:7\"", "live");
	char cursor[CURSOR_MAX_BYTES];
	hub_advance(world.hub, 120);
	ok(session_cursor(a.session, 0, cursor), "quiet feeds: the cursor goes on");
	is_str(cursor, EPOCH "-120", "to the head");
	world_end();
}

static void test_waits(void)
{
	struct client a;
	struct text users[] = {text("42")};
	int64_t covered;
	begin_merged();
	emit(.id = 101, NOTICE);
	emit(.id = 102, UNIT7);
	enter_merged(&a, "\"units\":[7]");
	world.at_once = false;
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	subscribe_since(&a, "orders:row:5", EPOCH, 100);
	subscribe(&a, "notices:user:42");
	pump();
	emit(.id = 103, NOTICE);
	emit(.id = 104, ORDER);
	pump();
	is_int(skip(&a), 2, "while the right to a row is asked for, no event of the others");
	is_int(session_covered(a.session, 0), -1, "and no cursor covers them");
	answer_all();
	is_int(skip(&a), 1, "subscribed");
	is_int(session_covered(a.session, 0), 100, "covered: since");
	pump();
	takes(&a, 102, "\"requests:unit:7\"", "one");
	takes(&a, 103, "\"notices:user:42\"", "who began at the head goes on from there");
	takes(&a, 104, "\"orders:row:5\"", "the row");

	subscribe_since(&a, "orders:row:5", EPOCH, 103);
	emit(.id = 105, NOTICE);
	pump();
	is_int(skip(&a), 0, "a later subscribe with a cursor holds live ones");
	send_text(&a, "{\"type\":\"unsubscribe\",\"channel\":\"notices:user:42\"}");
	subscribe(&a, "notices:user:42");
	world.rows[0].status = ROW_ABSENT;
	answer_all();
	is_int(skip(&a), 4, "refused: unsubscribed and an error; another came and went");
	emit(.id = 106, NOTICE);
	pump();
	takes(&a, 106, "\"notices:user:42\"", "then all go on");
	is_int(take(&a, NULL, &covered), -1, "no more");
	is_int((int64_t)metrics.replays, 0, "live");

	world.rows[0].status = ROW_FOUND;
	world.at_once = true;
	subscribe_since(&a, "orders:row:5", EPOCH, 103);
	is_int(skip(&a), 1, "an older cursor later");
	is_int(session_covered(a.session, 0), 103, "goes back");
	pump();
	emit(.id = 107, NOTICE);
	pump();
	takes(&a, 104, "\"orders:row:5\"", "what it missed");
	takes(&a, 107, "\"notices:user:42\"", "then all");
	world_end();
}

static void test_snapshots(void)
{
	struct client a;
	struct text users[] = {text("42")};
	int64_t covered;
	begin_merged();
	enter_merged(&a, "\"units\":[7]");
	world.at_once = false;
	says.tick = 9;
	says.row = ROW_FOUND;
	says.unit = "7";
	subscribe_snapshot(&a, "requests:unit:7");
	subscribe_snapshot(&a, "orders:row:5");
	subscribe(&a, "notices:user:42");
	is_int(skip(&a), 2, "two subscribed, one under way");
	pump();
	emit(.id = 101, NOTICE, .tick = 10, .xid = 901);
	pump();
	is_int(session_covered(a.session, 0), -1, "no cursor before the snapshots");
	answer_next();
	answer_next();
	pump();
	is_int(skip(&a), 2, "one snapshot, the other subscribed; no event");
	is_int(session_covered(a.session, 0), -1, "and still no cursor");
	emit(.id = 102, NOTICE, .tick = 10, .xid = 901);
	answer_all();
	pump();
	is_int(take(&a, NULL, &covered), 0, "the other");
	is_int(covered, 100, "now a cursor covers all: that of the one who waited");
	pump();
	takes(&a, 101, "\"notices:user:42\"", "then what waited");
	takes(&a, 102, "\"notices:user:42\"", "in order");
	is_int(take(&a, NULL, &covered), -1, "once");
	is_int((int64_t)metrics.replays, 0, "live");

	says.status = ANSWER_FAILED;
	subscribe_snapshot(&a, "requests:unit:7");
	emit(.id = 103, UNIT7, .tick = 10, .xid = 901);
	pump();
	answer_all();
	pump();
	is_int(take(&a, NULL, &covered), 0, "subscribed again");
	is_int(take(&a, NULL, &covered), 0, "an error instead of a snapshot");
	takes(&a, 103, "\"requests:unit:7\"", "and on without it");
	world_end();
}

static void test_restart(void)
{
	struct client a;
	struct text users[] = {text("42")};
	int64_t covered;
	begin_merged();
	emit(.id = 101, UNIT7);
	enter_merged(&a, "\"units\":[7]");
	subscribe(&a, "notices:user:42");
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	skip(&a);
	pump();
	emit(.id = 102, NOTICE);
	hub_restart(world.hub, "0000bbbb", 50, "epoch");
	hub_set_authority(world.hub, text(NULL), 0, true);
	emit(.id = 51, NOTICE);
	is_int(take(&a, "\"requests:unit:7\"", &covered), 101, "an event of the former history");
	is_int(covered, -1, "has no cursor of the new one");
	is_int(take(&a, "\"notices:user:42\"", &covered), 102, "another");
	is_int(covered, -1, "likewise");
	is_int(take(&a, NULL, &covered), 0, "resync");
	is_int(take(&a, NULL, &covered), 0, "resync");
	is_int(covered, -1, "nothing before all is sent");
	takes(&a, 51, "\"notices:user:42\"", "live in the new one");

	subscribe_since(&a, "requests:unit:7", "0000bbbb", 50);
	is_int(skip(&a), 1, "a replay begins");
	hub_restart(world.hub, "0000cccc", 40, "epoch");
	hub_set_authority(world.hub, text(NULL), 0, true);
	emit(.id = 41, NOTICE);
	pump();
	is_int(skip(&a), 3, "restarted meanwhile: two resyncs, and the event once");
	is_int(session_covered(a.session, 0), 41, "covered");
	is_int((int64_t)metrics.replays, 0, "live");
	world_end();
}

static void test_lost(void)
{
	struct client a;
	struct text users[] = {text("42")};
	int64_t covered;
	begin_merged();
	for (int64_t id = 101; id <= 110; id++)
		emit(.id = id, UNIT7);
	history_begin(world.history, EPOCH, 110);
	enter_merged(&a, "\"units\":[7]");
	world.at_once = false;
	subscribe_since(&a, "requests:unit:7", EPOCH, 105);
	subscribe_since(&a, "notices:user:42", EPOCH, 110);
	answer_all();
	skip(&a);
	pump();
	emit(.id = 111, NOTICE);
	world.kept = 108;
	answer_all();
	pump();
	is_int(take(&a, NULL, &covered), 0, "pruned meanwhile: resync");
	takes(&a, 111, "\"notices:user:42\"", "and the others go on");
	emit(.id = 112, UNIT7);
	pump();
	takes(&a, 112, "\"requests:unit:7\"", "it, too");
	world_end();
}

static void test_no_subscription(void)
{
	struct client a;
	begin_merged();
	emit(.id = 101, UNIT7);
	enter_merged(&a, "\"units\":[7]");
	send_text(&a, "{\"type\":\"subscribe\",\"channel\":\"nothing\"}");
	is_int(skip(&a), 1, "no such channel");
	is_int(session_covered(a.session, 0), 101, "without a subscription: the head");
	world_end();
}

/* ---- at random */

enum { CHANNELS = 4, WALKERS = 16, STEPS = 16000 };
static const char *const channels[CHANNELS] = {"requests:unit:7", "orders:unit:7", "orders:user:42", "orders:row:5"};

struct walker {
	struct client client;
	bool here, snapshot;
	int64_t cursor; /* that it would resume with; 0: none */
	int64_t seen[CHANNELS]; /* an event's id, or what covers it */
	int64_t last; /* event of this session */
};

static unsigned random_state;
static size_t fed; /* of the log, the stream has given so many */

static unsigned dice(unsigned sides)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % sides;
}

static bool is_for(const struct event *event, int channel)
{
	struct channel_name name;
	char value[CHANNEL_NAME_MAX_BYTES];
	struct channel probe;
	bool by_parent;
	channel_parse(channels[channel], strlen(channels[channel]), &name);
	probe.feed = name.feed;
	probe.scope = name.scope;
	probe.value = (struct text){value, channel_decode(name.value, value)};
	return event_matches(event, &probe, &by_parent);
}

/* The first event after this id for the channel. */
static int64_t next_for(int channel, int64_t after)
{
	for (size_t i = 0; i < world.n_log; i++)
		if (world.log[i]->id > after && is_for(world.log[i], channel))
			return world.log[i]->id;
	return INT64_MAX;
}

static int walk_event(struct walker *walker, const char *text, int64_t id, int64_t covered)
{
	int wrong = id <= walker->last || covered < id;
	const char *names = strstr(text, "\"channels\":");
	for (int i = 0; i < CHANNELS; i++) {
		bool named = strstr(names, channels[i]) != NULL;
		if (named)
			wrong += walker->seen[i] < 0 || next_for(i, walker->seen[i]) != id;
		else
			wrong += walker->seen[i] >= 0 && next_for(i, walker->seen[i]) <= id;
		if (named)
			walker->seen[i] = id;
	}
	walker->last = id;
	return wrong;
}

static int64_t cursor_in(const char *text)
{
	return atoll(strstr(text, "\"cursor\":\"" EPOCH "-") + strlen("\"cursor\":\"" EPOCH "-"));
}

/* Takes one frame; returns how many things were wrong with it. */
static int walk(struct walker *walker)
{
	struct frame *frame;
	int wrong = 0;
	if (session_output(walker->client.session, &frame, 1) == 0)
		return 0;
	int64_t covered = session_covered(walker->client.session, 1), id = frame->id;
	const char *text = next(&walker->client);
	if (id != 0)
		wrong += walk_event(walker, text, id, covered);
	else if (strstr(text, "\"code\":\"unavailable\"") == NULL &&
	         (strstr(text, "\"recovered\":false") || strstr(text, "resync") || strstr(text, "error")))
		wrong++;
	else if (strstr(text, "error") == NULL)
		for (int i = 0; i < CHANNELS; i++)
			if (strstr(text, channels[i]) != NULL)
				walker->seen[i] = cursor_in(text);
	if (covered < 0)
		return wrong;
	for (int i = 0; i < CHANNELS; i++)
		wrong += walker->seen[i] >= 0 && next_for(i, walker->seen[i]) <= covered; /* covered, and never came */
	wrong += covered < walker->cursor; /* nobody subscribes later here */
	walker->cursor = covered;
	return wrong;
}

static void come(struct walker *walker)
{
	walker->here = true;
	walker->snapshot = dice(2) == 0;
	walker->last = 0;
	enter_merged(&walker->client, "\"units\":[7]");
	for (int i = 0; i < CHANNELS; i++) {
		walker->seen[i] = -1;
		if (walker->cursor > 0)
			subscribe_since(&walker->client, channels[i], EPOCH, walker->cursor);
		else if (walker->snapshot)
			subscribe_snapshot(&walker->client, channels[i]);
		else
			subscribe(&walker->client, channels[i]);
	}
}

static void add_event(void)
{
	struct text users[] = {text("42")};
	int64_t id = log_head() + 1 + dice(3);
	char body[64];
	snprintf(body, sizeof(body), "{\"n\":%lld", (long long)id);
	struct event event = {.id = id, .tick = id, .xid = 1000, .body = text(body), .feed = text("orders")};
	event.flags = USUAL_FLAGS;
	event.unit = text(dice(2) == 0 ? "7" : "8");
	event.key = text(dice(2) == 0 ? "5" : "6");
	if (dice(2) == 0) {
		event.users = users;
		event.n_users = 1;
	}
	if (dice(2) == 0) {
		event.feed = text("requests");
		event.flags = EVENT_TO_UNIT;
	}
	if (text_equal(event.key, text("5")))
		event.unit = text("7"); /* its right stays */
	world.log[world.n_log++] = event_new(&event);
}

static void feed_events(size_t n)
{
	for (; n > 0 && fed < world.n_log; n--) {
		struct event *event = world.log[fed++];
		hub_event(world.hub, event);
		hub_advance(world.hub, event->id);
	}
}

static void say_head(const struct ask *ask, struct snapshot_answer *answer)
{
	say(ask, answer);
	answer->after = history_head(world.history);
	answer->tick = answer->after;
	if (dice(4) == 0)
		answer->status = ANSWER_UNAVAILABLE;
	answer->row = ROW_FOUND;
	answer->row_access = (struct row_access){text("7"), NULL, 0};
}

static void test_at_random(unsigned seed)
{
	static struct walker walkers[WALKERS];
	int wrong = 0, breaks = 0, late = 0;
	random_state = seed;
	fed = 0;
	begin_merged();
	history_limit(world.history, 6000);
	world.snapshot = say_head;
	world.limits.max_queue_bytes = 2000;
	world.page_rows = 20;
	world.at_once = false;
	hub_set_limits(world.hub, &world.limits);
	memset(walkers, 0, sizeof(walkers));
	for (int step = 0; step < STEPS; step++) {
		struct walker *walker = &walkers[dice(WALKERS)];
		switch (dice(8)) {
		case 0:
			add_event();
			break;
		case 1:
			feed_events(dice(3));
			break;
		case 2:
			answer_next();
			break;
		case 3:
			hub_pump(world.hub);
			set_clock(1);
			break;
		case 4:
			if (walker->here && (dice(10) == 0 || close_code(&walker->client) != 0)) {
				late += close_code(&walker->client) == 4408;
				leave(&walker->client);
				walker->here = false;
				breaks++;
			} else if (!walker->here) {
				come(walker);
			}
			break;
		default:
			for (unsigned n = dice(30); walker->here && n > 0; n--)
				wrong += walk(walker);
		}
	}
	feed_events(SIZE_MAX);
	world.at_once = true;
	for (int round = 0; round < 1000; round++) {
		answer_all();
		pump();
		set_clock(10);
		for (int i = 0; i < WALKERS; i++) {
			if (walkers[i].here && close_code(&walkers[i].client) != 0) {
				leave(&walkers[i].client);
				walkers[i].here = false;
			}
			if (!walkers[i].here)
				come(&walkers[i]);
			while (session_has_output(walkers[i].client.session))
				wrong += walk(&walkers[i]);
		}
	}
	for (int i = 0; i < WALKERS; i++)
		for (int channel = 0; channel < CHANNELS; channel++)
			wrong += next_for(channel, walkers[i].seen[channel]) != INT64_MAX;
	is_int(wrong, 0,
	       "at random (%u): %zu events, %zu pages, %d breaks, %d too slow: nothing lost, doubled or out of order", seed,
	       world.n_log, world.pages_read, breaks, late);
	is_int((int64_t)metrics.replays, 0, "and all are live");
	world_end();
}

/* Rights to rows are asked for again then, and all wait for that: but not before each channel was told. */
static void test_resync(void)
{
	static const char *const mine[] = {"orders:row:1", "orders:unit:7", "orders:row:2", "orders:user:42",
	                                   "orders:row:3", "orders:row:4",  "orders:row:5"};
	struct client a;
	struct text users[] = {text("42")};
	begin_merged();
	for (size_t i = 0; i < 4; i++)
		world.rows[world.n_rows++] = (struct row){"orders", &"1\0002\0003\0004"[2 * i], ROW_FOUND, "7", "42"};
	enter_merged(&a, "\"units\":[7]");
	for (size_t i = 0; i < 7; i++)
		subscribe(&a, mine[i]);
	pump();
	is_int(skip(&a), 7, "seven channels of a feed");
	emit(.id = 101, .flags = EVENT_RESYNC, .feed = text("orders"), .body = text("folded"));
	emit(.id = 102, ORDER);
	pump();
	int n = 0;
	const char *frame;
	while ((frame = next(&a)) != NULL && strstr(frame, "\"type\":\"resync\"") != NULL)
		n++;
	is_int(n, 7, "a resync for each");
	ok(frame != NULL && strstr(frame, "\"id\":102,\"channels\":[" ORDER_CHANNELS "]") != NULL, "then they go on");
	ok(next(&a) == NULL && metrics.replays == 0, "live");
	is_int(session_covered(a.session, 0), 102, "and covered");
	leave(&a);
	world_end();
}

/* Who breaks off at the end resumes with the cursor that it has: what waited, or came since, was not sent. */
static void test_end(void)
{
	struct client a, b;
	int64_t covered;
	begin_merged();
	enter_merged(&a, "\"units\":[7]");
	enter_merged(&b, "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	subscribe(&b, "requests:unit:7");
	pump();
	skip(&a);
	skip(&b);
	emit(.id = 101, UNIT7);
	pump();
	session_close(a.session, CLOSE_GOING_AWAY, "shutting down");
	emit(.id = 102, UNIT7);
	pump();
	takes(&a, 101, "\"requests:unit:7\"", "what waited when it was closed");
	is_int(take(&a, NULL, &covered), -1, "and no more");
	is_int(session_covered(a.session, SIZE_MAX), -1, "what came then is not covered");
	takes(&b, 101, "\"requests:unit:7\"", "another goes on");
	set_clock((int64_t)3630 * 1000);
	is_int(take(&b, NULL, &covered), 0, "what waits goes with the token: an error");
	is_int(covered, -1, "which does not cover it");
	is_int(session_covered(b.session, SIZE_MAX), -1, "nor does what is behind it");
	leave(&a);
	leave(&b);
	world_end();
}

int main(void)
{
	test_order();
	test_waits();
	test_snapshots();
	test_restart();
	test_lost();
	test_no_subscription();
	test_resync();
	test_end();
	for (unsigned seed = 1; seed <= 5; seed++)
		test_at_random(seed);
	return tap_done();
}
