/*
 * test_past.c - past.c: children's events in replays of a row's channel are those of the time in which the row was this session's,
 * from memory, from the log, merged, and where that cannot be told. Does not test the row's own events (test_replay.c).
 */
#include "hub_fixture.h"

#define KEY .feed = text("orders"), .key = text("5")
#define STAYS .flags = EVENT_UPDATED | USUAL_FLAGS, KEY
#define OUT(of) .flags = EVENT_DELETED | EVENT_TO_UNIT, KEY, .unit = text(of)
#define MOVED(to) .flags = EVENT_UPDATED | EVENT_TO_USERS | EVENT_TO_ROW | EVENT_TO_FEED, KEY, .unit = text(to)
#define CHILD                                                                                                          \
	.flags = EVENT_CREATED | USUAL_FLAGS, .feed = text("comments"), .unit = text("1"), .parent_feed = text("orders"),  \
	.parent_key = text("5")
#define FILLER .flags = EVENT_TO_UNIT, .feed = text("orders"), .unit = text("1")

static const struct session_transport merged_transport = {.name = "note", .wake = note_wake, .merged = true};

/* memory: everything is in the history; else nearly all is in the log alone, in pages of a few events. */
static void begin(bool memory)
{
	world_begin(memory ? 1 << 20 : 2000);
	world.page_rows = memory ? 100 : 3;
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
}

/* What is behind it, so that it is in the log alone if the history is small. */
static void fill(int64_t from)
{
	for (int64_t id = from; id < from + 20; id++)
		emit(.id = id, .xid = 1000 + (uint64_t)id, FILLER);
}

/* The frames of a client as text: ids of events, R for a resync. */
static const char *told(struct client *client)
{
	static char all[512];
	size_t n = 0;
	const char *frame;
	all[0] = '\0';
	while ((frame = next(client)) != NULL && n < sizeof(all) - 32) {
		const char *id = strstr(frame, ",\"id\":");
		if (strstr(frame, "\"type\":\"resync\"") != NULL)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "R ");
		else if (id != NULL)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%lld ", atoll(id + strlen(",\"id\":")));
	}
	return all;
}

/* What a session with these claims is told of the row's channel since that id; then it is live. */
static void resumes(bool merged, const char *claims, int64_t since, const char *expected, const char *what)
{
	static struct client a;
	if (merged) {
		memset(&a, 0, offsetof(struct client, text));
		a.session = session_open(world.hub, &merged_transport, &a, NULL);
		authenticate(&a, "42", claims);
		skip(&a);
	} else {
		enter(&a, "42", claims);
	}
	subscribe_since(&a, "orders:row:5", EPOCH, since);
	pump();
	is_str(told(&a), expected, "%s%s", what, merged ? ", merged" : "");
	ok(a.session->subscriptions != NULL && a.session->subscriptions->replay == NULL, "and is live");
	leave(&a);
}

static void both(const char *claims, int64_t since, const char *expected, const char *what)
{
	resumes(false, claims, since, expected, what);
	resumes(true, claims, since, expected, what);
}

static void test_unmoved(bool memory)
{
	begin(memory);
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, STAYS, .unit = text("7"));
	emit(.id = 103, .xid = 3, CHILD);
	fill(104);
	both("\"units\":[7]", 100, "101 102 103 ", "a row that never moved: all");
	both("\"units\":[7]", 102, "103 ", "nor was written: all");
	world_end();
}

static void test_moved(bool memory)
{
	begin(memory);
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, OUT("9"));
	emit(.id = 103, .xid = 2, FILLER); /* of another row, moved by the same statement */
	emit(.id = 104, .xid = 2, FILLER);
	emit(.id = 105, .xid = 2, FILLER);
	emit(.id = 106, .xid = 2, MOVED("7"));
	emit(.id = 107, .xid = 3, CHILD);
	fill(108);
	both("\"units\":[7]", 100, "106 107 ", "who got the row lately: nothing from before");
	both("\"units\":[7,9]", 100, "101 106 107 ", "who had it in both units: all");
	both("\"units\":[1],\"roles\":[\"admin\"]", 100, "101 106 107 ", "who sees every row: all");
	both("\"units\":[7]", 106, "107 ", "from behind the move");
	world_end();
}

static void test_to_and_fro(bool memory)
{
	begin(memory);
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, OUT("7"));
	emit(.id = 103, .xid = 2, MOVED("9"));
	emit(.id = 104, .xid = 3, CHILD);
	emit(.id = 105, .xid = 4, STAYS, .unit = text("9"));
	emit(.id = 106, .xid = 5, CHILD);
	emit(.id = 107, .xid = 6, OUT("9"));
	emit(.id = 108, .xid = 6, MOVED("7"));
	emit(.id = 109, .xid = 7, CHILD);
	fill(110);
	both("\"units\":[7]", 100, "101 108 109 ", "it had it, lost it, and has it again: nothing of between");
	both("\"units\":[7]", 103, "108 109 ", "from within");
	both("\"units\":[7]", 105, "108 109 ", "from within, later");
	world_end();
}

static void test_users(bool memory)
{
	struct text olga[] = {text("42")}, ola[] = {text("43")}, pair[] = {text("42"), text("43")};
	begin(memory);
	world.rows[0] = (struct row){"orders", "5", ROW_FOUND, "9", "42"};
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, .flags = EVENT_CREATED | EVENT_TO_USERS, KEY, .unit = text("9"), .users = olga,
	     .n_users = 1);
	emit(.id = 103, .xid = 2, STAYS, .unit = text("9"), .users = pair, .n_users = 2, .to_users = ola, .n_to_users = 1);
	emit(.id = 104, .xid = 3, CHILD);
	emit(.id = 105, .xid = 4, .flags = EVENT_DELETED | EVENT_TO_USERS, KEY, .unit = text("9"), .users = ola,
	     .n_users = 1);
	emit(.id = 106, .xid = 4, STAYS, .unit = text("9"), .users = olga, .n_users = 1, .to_users = olga, .n_to_users = 1);
	emit(.id = 107, .xid = 5, CHILD);
	fill(108);
	both("\"units\":[]", 100, "103 104 106 107 ", "who became one of its users: nothing from before");
	both("\"units\":[]", 103, "104 106 107 ", "who stayed one while others went: all");
	both("\"units\":[9]", 100, "101 103 104 106 107 ", "who has it by its unit, whoever its users are: all");
	world_end();
}

static void test_left_and_back(void)
{
	struct text olga[] = {text("42")};
	begin(true);
	world.rows[0] = (struct row){"orders", "5", ROW_FOUND, "9", "42"};
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, .flags = EVENT_DELETED | EVENT_TO_USERS, KEY, .unit = text("9"), .users = olga,
	     .n_users = 1);
	emit(.id = 103, .xid = 2, .flags = EVENT_UPDATED | EVENT_TO_UNIT | EVENT_TO_ROW, KEY, .unit = text("9"));
	emit(.id = 104, .xid = 3, CHILD);
	emit(.id = 105, .xid = 4, .flags = EVENT_UPDATED | EVENT_TO_UNIT | EVENT_TO_ROW, KEY, .unit = text("9"),
	     .users = olga, .n_users = 1);
	emit(.id = 106, .xid = 5, CHILD);
	both("\"units\":[]", 100, "101 105 106 ", "one of its users, then not, then again");
	world_end();
}

static void test_made_and_deleted(void)
{
	begin(true);
	emit(.id = 101, .xid = 1, CHILD); /* a deferred foreign key */
	emit(.id = 102, .xid = 1, .flags = EVENT_CREATED | USUAL_FLAGS, KEY, .unit = text("7"));
	emit(.id = 103, .xid = 2, CHILD);
	emit(.id = 104, .xid = 3, .flags = EVENT_DELETED | USUAL_FLAGS, KEY, .unit = text("7"));
	emit(.id = 105, .xid = 3, CHILD);
	emit(.id = 106, .xid = 4, CHILD);
	emit(.id = 107, .xid = 5, .flags = EVENT_CREATED | USUAL_FLAGS, KEY, .unit = text("7"));
	both("\"units\":[7]", 100, "101 102 103 104 105 106 107 ", "made, deleted and made again, always its own");
	emit(.id = 108, .xid = 6, .flags = EVENT_DELETED | USUAL_FLAGS, KEY, .unit = text("9"));
	emit(.id = 109, .xid = 6, CHILD);
	emit(.id = 110, .xid = 7, .flags = EVENT_CREATED | USUAL_FLAGS, KEY, .unit = text("7"));
	both("\"units\":[7]", 107, "110 ", "another's row of the same key was deleted before: none of its children");
	world_end();
}

static void test_not_told(bool memory)
{
	begin(memory);
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, .flags = EVENT_RESYNC, .feed = text("orders"), .body = text("folded"));
	emit(.id = 103, .xid = 3, CHILD);
	emit(.id = 104, .xid = 4, .flags = EVENT_RESYNC, .feed = text("comments"), .parent_feed = text("orders"),
	     .body = text("folded"));
	emit(.id = 105, .xid = 5, CHILD);
	fill(106);
	both("\"units\":[7]", 100, "R 103 R 105 ",
	     "a resync of the row's feed may stand for a move: it tells what is left out");
	world_end();
}

static void test_declared(void)
{
	static struct feed feed = {.name = (char *)"orders",
	                           .declared = true,
	                           .has_unit = true,
	                           .has_users = true,
	                           .durable = true,
	                           .n_key_columns = 1};
	begin(true);
	define_feeds("orders", &feed);
	emit(.id = 101, .xid = 1, CHILD);
	emit(.id = 102, .xid = 2, CHILD);
	emit(.id = 103, .xid = 3, STAYS, .unit = text("7"));
	emit(.id = 104, .xid = 4, CHILD);
	both("\"units\":[7]", 100, "R 103 104 ", "of a declared feed nothing says whose it was: told once");
	both("\"units\":[7]", 103, "104 ", "none is left out where nothing was published");
	world_end();
}

static void test_meanwhile(void)
{
	static struct client a;
	begin(false);
	emit(.id = 101, .xid = 1, CHILD);
	fill(102);
	emit(.id = 122, .xid = 2, OUT("9"));
	emit(.id = 123, .xid = 2, MOVED("7"));
	fill(124);
	enter(&a, "42", "\"units\":[7]");
	world.at_once = false;
	subscribe_since(&a, "orders:row:5", EPOCH, 100);
	while (open_asks() > 0 && world.pages_read < 3) {
		answer_next();
		pump();
	}
	ok(a.session->subscriptions != NULL && a.session->subscriptions->replay != NULL, "it looks through the log");
	send_text(&a, "{\"type\":\"ping\"}");
	skip(&a);
	char message[1024], *token = token_for("42", "\"units\":[7,9]");
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	free(token);
	send_text(&a, message);
	while (answer_next())
		pump();
	is_str(told(&a), "101 123 ", "a token that covers more meanwhile: judged by that");
	leave(&a);
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "orders:row:5", EPOCH, 100);
	answer_next();
	answer_next();
	leave(&a);
	while (answer_next())
		pump();
	is_int(world.hub->n_pages, 0, "gone while it looks: nothing is left");
	begin_stream("0000bbbb", 2000, "epoch");
	world_end();
}

int main(void)
{
	for (int memory = 0; memory < 2; memory++) {
		test_unmoved(memory);
		test_moved(memory);
		test_to_and_fro(memory);
		test_users(memory);
		test_not_told(memory);
	}
	test_left_and_back();
	test_made_and_deleted();
	test_declared();
	test_meanwhile();
	return tap_done();
}
