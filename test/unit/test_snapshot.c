/*
 * test_snapshot.c - snapshot.c: what a subscription begins with, shared by those who ask at the same time; what goes wrong, and
 * who may have it. Does not test how the stream goes on from there (test_snapshot_fit.c) and what the rows are
 * (sql/snapshot.sql, test/e2e/snapshot.test.mjs).
 */
#include "snapshot_fixture.h"

/* ---- one subscription */

static void test_first(void)
{
	struct client a;
	begin();
	enter(&a, "42", "\"units\":[7],\"roles\":[\"admin\"]");
	subscribe_snapshot(&a, "requests:unit:7");
	is_str(next(&a), SUBSCRIBED("requests:unit:7"), "subscribed first");
	pump();
	is_str(next(&a), SNAPSHOT("requests:unit:7", 100), "then the snapshot");
	is_str(says.last, "requests unit 7", "asked for by feed, scope and value");
	emit(.id = 101, UNIT7, .tick = 9);
	ok(has_event(&a, 101), "then live events");
	ok(next(&a) == NULL, "and nothing else");
	is_int((int64_t)metrics.replays, 0, "it is live");
	is_int((int64_t)metrics.snapshots[METRIC_SNAPSHOT_SENT], 1, "counted");

	subscribe_snapshot(&a, "requests");
	pump();
	is_str(says.last, "requests all -", "a whole feed has no value");
	skip(&a);
	subscribe_snapshot(&a, "requests:unit:a%20b");
	pump();
	is_str(says.last, "requests unit a b", "values are plain");
	skip(&a);
	world.rows[world.n_rows++] = (struct row){"stock", "a%2C,b", ROW_FOUND, "7", NULL};
	subscribe_snapshot(&a, "stock:row:a%2C,b");
	pump();
	is_str(says.last, "stock row a%2C,b", "a composite key as events have it");
	skip(&a);

	subscribe(&a, "requests:unit:7");
	pump();
	is_int(skip(&a), 1, "without being asked for none is sent");
	subscribe_snapshot(&a, "requests:unit:7");
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	is_int(skip(&a), 3, "to ask twice at once replaces: two answers, one snapshot");
	world_end();
}

static void test_path(void)
{
	struct client a;
	struct session_origin origin = {"127.0.0.1", "/ws/requests/7/", NULL, true};
	begin();
	memset(&a, 0, offsetof(struct client, text));
	a.session = session_open(world.hub, &note_transport, &a, &origin);
	authenticate(&a, "42", "\"units\":[7]");
	pump();
	int snapshots = 0;
	for (const char *frame; (frame = next(&a)) != NULL;)
		snapshots += strstr(frame, "\"type\":\"snapshot\"") != NULL;
	is_int(snapshots, 2, "each channel of the path that was granted");
	world_end();
}

static void test_since(void)
{
	struct client a;
	begin();
	emit(.id = 101, UNIT7);
	enter(&a, "42", "\"units\":[7]");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"requests:unit:7\",\"snapshot\":true,"
	              "\"since\":\"" EPOCH "-100\"}");
	pump();
	ok(strstr(next(&a), "\"recovered\":true") != NULL && has_event(&a, 101), "recovered: what was missed");
	ok(next(&a) == NULL && says.asked == 0, "and no snapshot");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"requests:unit:7\",\"snapshot\":true,"
	              "\"since\":\"0000bbbb-100\"}");
	pump();
	ok(strstr(next(&a), "\"recovered\":false") != NULL && has_snapshot(&a), "not recovered: the snapshot");
	ok(next(&a) == NULL, "alone");
	world_end();
}

/* ---- together */

static void test_shared(void)
{
	enum { N = 1000 };
	struct client *clients = calloc(N, sizeof(*clients));
	begin();
	world.at_once = false;
	for (int i = 0; i < N; i++) {
		enter(&clients[i], "42", "\"units\":[7]");
		subscribe_snapshot(&clients[i], "requests:unit:7");
		if (i == 0)
			pump(); /* the first is in flight when the others come */
	}
	pump();
	is_int((int64_t)open_asks(), 1, "while one is in flight no other of the channel is sent");
	answer_next();
	next(&clients[0]);
	next(&clients[1]);
	pump();
	ok(has_snapshot(&clients[0]), "the first has it");
	ok(next(&clients[1]) == NULL, "those who came later are given a later one");
	is_int((int64_t)open_asks(), 1, "which is one for all");
	answer_next();
	pump();
	struct frame *frame, *shared = NULL;
	int got = 0;
	for (int i = 1; i < N; i++) {
		if (i > 1)
			next(&clients[i]);
		if (session_output(clients[i].session, &frame, 1) == 1) {
			got += shared == NULL || shared == frame;
			shared = frame;
		}
	}
	is_int(got, N - 1, "and one frame");
	is_int((int64_t)says.asked, 2, "two queries for a thousand");
	subscribe_snapshot(&clients[0], "requests:unit:7");
	pump();
	answer_all();
	is_int((int64_t)says.asked, 3, "who refetches is given a new one");
	for (int i = 0; i < N; i++)
		leave(&clients[i]);
	world_end();
	free(clients);
}

static void test_bounds(void)
{
	struct client clients[4];
	begin();
	world.at_once = false;
	for (int i = 0; i < 4; i++) {
		enter(&clients[i], "42", "\"roles\":[\"admin\"]");
		for (int unit = 0; unit < 5; unit++) {
			char channel[64];
			snprintf(channel, sizeof(channel), "requests:unit:%d", 10 * i + unit);
			subscribe_snapshot(&clients[i], channel);
		}
		pump();
		is_int((int64_t)open_asks(), i == 0 ? 2 : 4, "in flight: 2 of a session, 4 of all");
	}
	leave(&clients[1]);
	int answered = 0;
	while (answer_next()) {
		answered++;
		pump();
		if (open_asks() > SNAPSHOTS_IN_FLIGHT_MAX)
			fail("%zu in flight", open_asks());
	}
	is_int(answered, 15 + 2, "all are asked in turn; of who is gone only what was under way");
	for (int i = 0; i < 4; i++)
		if (i != 1)
			is_int(skip(&clients[i]), 10, "each has its five");

	/* At the client's pace: what does not fit waits, and no more is asked for. */
	static char rows[60001] = "[\"";
	memset(rows + 2, 'x', sizeof(rows) - 5);
	memcpy(rows + sizeof(rows) - 3, "\"]", 3);
	says.data = rows;
	says.asked = 0;
	for (int unit = 0; unit < 5; unit++) {
		char channel[64];
		snprintf(channel, sizeof(channel), "requests:unit:%d", unit);
		subscribe_snapshot(&clients[0], channel);
	}
	pump();
	answer_all();
	pump();
	answer_all();
	ok(clients[0].session->queued_bytes < (uint64_t)world.limits.max_queue_bytes, "the outbox is not overrun");
	ok(says.asked <= SNAPSHOTS_PER_SESSION_MAX, "no more is asked than can be sent (%zu)", says.asked);
	int snapshots = 0;
	for (int i = 0; i < 100 && snapshots < 5; i++) {
		for (const char *frame; (frame = next(&clients[0])) != NULL;)
			snapshots += strncmp(frame, "{\"type\":\"snapshot\"", 18) == 0;
		pump();
		answer_all();
		pump();
	}
	is_int(snapshots, 5, "whoever reads gets all");
	world_end();
}

/* Larger than an outbox may be. */
static void test_large(void)
{
	struct client clients[3];
	begin();
	world.limits.max_queue_bytes = 1000;
	hub_set_limits(world.hub, &world.limits);
	static char rows[40000] = "[\"";
	memset(rows + 2, 'x', sizeof(rows) - 5);
	memcpy(rows + sizeof(rows) - 3, "\"]", 3);
	says.data = rows;
	for (int i = 0; i < 3; i++) {
		enter(&clients[i], "42", "\"units\":[7]");
		subscribe_snapshot(&clients[i], "requests:unit:7");
	}
	skip(&clients[0]);
	pump();
	is_int((int64_t)world.hub->n_held, 1, "one frame for all, held");
	ok(has_snapshot(&clients[0]), "an empty outbox takes it");
	emit(.id = 101, UNIT7, .tick = 9);
	pump();
	is_int(close_code(&clients[1]), 0, "behind others it waits, and closes nobody");
	skip(&clients[1]);
	skip(&clients[2]);
	pump();
	ok(has_snapshot(&clients[1]) && has_snapshot(&clients[2]), "until they are taken");
	pump();
	ok(has_event(&clients[1], 101), "then the stream goes on");
	pump();
	is_int((int64_t)world.hub->n_held, 0, "and it is let go of");
	subscribe_snapshot(&clients[0], "requests:unit:7");
	skip(&clients[0]);
	pump();
	set_clock(REPLAY_STALLED_MAX_MS + 1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&clients[0]), 4408, "whoever takes none of it is too slow");
	world_end();
}

/* ---- what goes wrong */

static void test_failures(void)
{
	struct client a;
	static const struct {
		enum answer_status status;
		enum snapshot_found found;
		const char *code;
	} cases[] = {{ANSWER_FAILED, SNAPSHOT_FOUND, "query_failed"},
	             {ANSWER_UNAVAILABLE, SNAPSHOT_FOUND, "unavailable"},
	             {ANSWER_OK, SNAPSHOT_SPELLING, "unknown_channel"},
	             {ANSWER_OK, SNAPSHOT_NO_SCOPE, "unknown_channel"},
	             {ANSWER_OK, SNAPSHOT_NO_FEED, "unknown_channel"}};
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	int64_t id = HEAD;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		says.status = cases[i].status;
		says.found = cases[i].found;
		subscribe_snapshot(&a, "requests:unit:7");
		pump();
		skip(&a);
		emit(.id = ++id, UNIT7);
		answer_all();
		ok(is_error(&a, cases[i].code), "told: %s", cases[i].code);
		pump();
		ok(has_event(&a, id), "and nothing of the stream is missing");
		emit(.id = ++id, UNIT7);
		ok(has_event(&a, id), "which is live");
	}
	is_int((int64_t)metrics.snapshots[METRIC_SNAPSHOT_REFUSED], 5, "counted");
	world_end();
}

static void test_unavailable(void)
{
	struct client a;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"roles\":[\"admin\"]");
	for (int unit = 0; unit < 6; unit++) {
		char channel[64];
		snprintf(channel, sizeof(channel), "requests:unit:%d", unit);
		subscribe_snapshot(&a, channel);
	}
	pump();
	skip(&a);
	world.down = true;
	answer_next();
	int errors = 0;
	while (is_error(&a, "unavailable"))
		errors++;
	is_int(errors, 5, "those who wait are told as well, and do not wait in turn");
	answer_all();
	ok(is_error(&a, "unavailable"), "and whose is in flight by its own answer");
	is_int((int64_t)metrics.replays, 6, "they go on");
	pump();
	is_int((int64_t)metrics.replays, 0, "live");
	world_end();
}

/* The history begins anew while a snapshot is under way. */
static void test_restart(void)
{
	struct client a;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	skip(&a);
	begin_stream("0000cccc", 200, "epoch");
	ok(strstr(next(&a), "\"resync\"") != NULL, "told so");
	answer_next(); /* of the former epoch */
	pump();
	ok(next(&a) == NULL, "a snapshot of the former history is not sent");
	snprintf(world.epoch, sizeof(world.epoch), "0000cccc");
	set_clock(RETRY_MS);
	pump();
	says.after = 200;
	answer_all();
	pump();
	const char *frame = next(&a);
	ok(frame != NULL && strstr(frame, "\"cursor\":\"0000cccc-200\"") != NULL, "but one of the new");

	/* Ahead of us: the database has another history, the tail does not know yet. */
	says.epoch = "0000dddd";
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	skip(&a);
	for (int i = 0; i < SNAPSHOT_TRIES_MAX; i++) {
		answer_all();
		set_clock(RETRY_MS);
		pump();
	}
	ok(is_error(&a, "unavailable"), "if that does not end, it is unavailable");
	ok(next(&a) == NULL && open_asks() == 0, "once");
	world_end();
}

static void test_gone(void)
{
	struct client a, b;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	subscribe_snapshot(&b, "requests:unit:7");
	pump();
	leave(&a);
	skip(&b);
	answer_all();
	pump();
	ok(has_snapshot(&b), "who asked first is gone: the others get it");
	subscribe_snapshot(&b, "requests:unit:7");
	pump();
	skip(&b);
	send_text(&b, "{\"type\":\"unsubscribe\",\"channel\":\"requests:unit:7\"}");
	skip(&b);
	answer_all();
	pump();
	ok(next(&b) == NULL, "unsubscribed: nothing comes");
	subscribe_snapshot(&b, "requests:unit:7");
	pump();
	skip(&b);
	subscribe(&b, "requests:unit:7");
	skip(&b);
	answer_all();
	pump();
	ok(next(&b) == NULL, "replaced by one without: nothing comes");
	subscribe_snapshot(&b, "requests:unit:7");
	pump();
	leave(&b);
	answer_all();
	is_int((int64_t)world.hub->n_snapshots, 0, "all are gone: the answer is let go of");
	world_end();
}

/* ---- rights */

static void test_row(void)
{
	struct client a, admin;
	begin();
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	enter(&a, "42", "\"units\":[7]");
	enter(&admin, "1", "\"roles\":[\"admin\"]");
	says.row = ROW_FOUND;
	says.unit = "7";
	subscribe_snapshot(&a, "orders:row:5");
	pump();
	next(&a);
	is_str(next(&a), SNAPSHOT("orders:row:5", 100), "a row that is mine");

	world.at_once = false;
	says.unit = "9"; /* it left the unit before its rows were read, and the event is still to come */
	subscribe_snapshot(&a, "orders:row:5");
	answer_all();
	subscribe_snapshot(&admin, "orders:row:5");
	answer_all();
	pump();
	skip(&a);
	skip(&admin);
	answer_all();
	pump();
	ok(strstr(next(&a), "\"unsubscribed\"") != NULL, "one that is not any more: it ends");
	ok(next(&a) == NULL, "without the row");
	ok(has_snapshot(&admin), "firehose roles get it whose ever it is");

	says.unit = "7";
	subscribe_snapshot(&a, "orders:row:5");
	answer_all();
	pump();
	skip(&a);
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	answer_all();
	pump();
	ok(strstr(next(&a), "\"unsubscribed\"") != NULL && next(&a) == NULL, "an event that takes it away comes first");
	world_end();
}

static void test_rights_change(void)
{
	struct client a;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	skip(&a);
	char *token = token_for("42", "\"units\":[8]"), message[1024];
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	free(token);
	send_text(&a, message);
	answer_all();
	pump();
	bool leaked = false, ended = false;
	for (const char *frame; (frame = next(&a)) != NULL;) {
		leaked = leaked || strstr(frame, "\"snapshot\"") != NULL;
		ended = ended || strstr(frame, "\"unsubscribed\"") != NULL;
	}
	ok(ended && !leaked, "a right that is lost meanwhile");

	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "8", NULL};
	says.row = ROW_FOUND;
	says.unit = "8";
	subscribe_snapshot(&a, "orders:row:5");
	answer_all();
	pump();
	skip(&a);
	token = token_for("42", "\"units\":[8,9]");
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	free(token);
	send_text(&a, message); /* the row's right is asked for again */
	skip(&a);
	answer_next(); /* the snapshot: not now */
	ok(next(&a) == NULL, "one that is in question: nothing is sent");
	pump();
	answer_all();
	pump();
	answer_all();
	pump();
	ok(has_snapshot(&a), "until it is known; then a new one");
	world_end();
}

int main(void)
{
	test_first();
	test_path();
	test_since();
	test_shared();
	test_bounds();
	test_large();
	test_failures();
	test_unavailable();
	test_restart();
	test_gone();
	test_row();
	test_rights_change();
	return tap_done();
}
