/*
 * test_subscribe.c - subscribe.c with row_wait.c, deferred.c, subscription.c, and recheck.c: who gets a channel, what the answer
 * says, what happens while the database is asked, and rights that change later. Does not test what a replay sends (test_replay.c).
 */
#include "hub_fixture.h"

#define SUBSCRIBED(channel)                                                                                            \
	"{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"" channel "\",\"cursor\":\"0000aaaa-100\"}"

static bool is_error(struct client *client, const char *code)
{
	char want[64];
	const char *got = next(client);
	snprintf(want, sizeof(want), "\"code\":\"%s\"", code);
	return got != NULL && strstr(got, "\"type\":\"error\"") != NULL && strstr(got, want) != NULL;
}

static void unsubscribe(struct client *client, const char *channel)
{
	char message[256];
	snprintf(message, sizeof(message), "{\"type\":\"unsubscribe\",\"ref\":2,\"channel\":\"%s\"}", channel);
	send_text(client, message);
}

static void row_is(const char *feed, const char *key, enum row_status status, const char *unit, const char *user)
{
	for (size_t i = 0; i < world.n_rows; i++)
		if (strcmp(world.rows[i].feed, feed) == 0 && strcmp(world.rows[i].key, key) == 0) {
			world.rows[i] = (struct row){feed, key, status, unit, user};
			return;
		}
	world.rows[world.n_rows++] = (struct row){feed, key, status, unit, user};
}

static void reauthenticate(struct client *client, const char *user, const char *claims)
{
	char message[1024], *token = token_for(user, claims);
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	free(token);
	send_text(client, message);
	ok(strstr(next(client), "welcome") != NULL, "the new token is welcome");
}

static void test_answers(void)
{
	struct client a;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	is_str(next(&a), SUBSCRIBED("requests:unit:7"), "a unit of the token");
	subscribe(&a, "notices:user:42");
	is_str(next(&a), SUBSCRIBED("notices:user:42"), "oneself");
	subscribe(&a, "requests:unit:9");
	ok(is_error(&a, "forbidden"), "another unit");
	subscribe(&a, "notices:user:43");
	ok(is_error(&a, "forbidden"), "somebody else");
	subscribe(&a, "requests");
	ok(is_error(&a, "forbidden"), "the whole feed");
	subscribe(&a, "news");
	is_str(next(&a), SUBSCRIBED("news"), "the whole feed for any user");
	static const char *const unknown[] = {"requests:unit:%37", "requests:unit:", "requests:user:42", "nothing:unit:7",
	                                      "Requests:unit:7",   "requests:*",     "notices:unit:7",   ""};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		subscribe(&a, unknown[i]);
		ok(is_error(&a, "unknown_channel"), "unknown: %s", unknown[i]);
	}
	unsubscribe(&a, "news");
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"ref\":2,\"channel\":\"news\"}", "unsubscribed");
	unsubscribe(&a, "news");
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"ref\":2,\"channel\":\"news\"}", "and again");
	is_int(metrics.subscriptions, 2, "two are left");
	leave(&a);
	is_int(metrics.subscriptions, 0, "none when it has gone");
	is_int(route_channels(world.hub->route), 0, "nor a channel");
	world_end();
}

static void test_limits(void)
{
	struct client a;
	char channel[64];
	world_begin(1 << 20);
	enter(&a, "42", "\"roles\":[\"admin\"]");
	for (int i = 0; i < 8; i++) {
		snprintf(channel, sizeof(channel), "requests:unit:%d", i);
		subscribe(&a, channel);
	}
	is_int(skip(&a), 8, "as many as it may have");
	subscribe(&a, "requests:unit:8");
	ok(is_error(&a, "too_many_subscriptions"), "not one more");
	subscribe(&a, "requests:unit:7");
	is_str(next(&a), SUBSCRIBED("requests:unit:7"), "a second for a channel it has replaces the first");
	is_int(metrics.subscriptions, 8, "and adds none");
	unsubscribe(&a, "requests:unit:7");
	skip(&a);
	world.at_once = false;
	subscribe(&a, "orders:row:1");
	subscribe(&a, "orders:row:2");
	ok(is_error(&a, "too_many_subscriptions"), "one that waits for its row counts");
	leave(&a);
	answer_all();
	world_end();
}

static void test_cursors(void)
{
	struct client a;
	world_begin(1 << 20);
	world.kept = 50;
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 100);
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-100\","
	       "\"recovered\":true}",
	       "at the head: recovered");
	is_int(metrics.resumes[METRIC_RESUME_MEMORY], 1, "from memory");
	subscribe_since(&a, "requests:unit:7", EPOCH, 60);
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-60\","
	       "\"recovered\":true}",
	       "kept in the log: recovered from there");
	is_int(metrics.resumes[METRIC_RESUME_LOG], 1, "from the log");
	subscribe_since(&a, "requests:unit:7", EPOCH, 49);
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-100\","
	       "\"recovered\":false,\"reason\":\"pruned\"}",
	       "below what is kept: pruned");
	subscribe_since(&a, "requests:unit:7", "0000bbbb", 60);
	ok(strstr(next(&a), "\"recovered\":false,\"reason\":\"epoch\"") != NULL, "of another epoch");
	subscribe_since(&a, "requests:unit:7", EPOCH, 5000);
	ok(strstr(next(&a), "\"recovered\":false,\"reason\":\"epoch\"") != NULL, "above the database's head");
	static const char *const bad[] = {"",   "x",           "0000aaaa", "0000aaaa-", "0000aaaa--1", "0000aaaa-007",
	                                  "-5", "0000aaaa-1e3"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char message[256];
		snprintf(message, sizeof(message),
		         "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"requests:unit:7\",\"since\":\"%s\"}", bad[i]);
		send_text(&a, message);
		ok(strstr(next(&a), "\"recovered\":false,\"reason\":\"epoch\"") != NULL, "no cursor: %s", bad[i]);
	}
	is_int(metrics.resumes[METRIC_RESUME_RESYNC], 3 + 8, "refusals are counted");
	world.down = true;
	page_forget(world.hub, true); /* and what was said of this cursor a moment ago */
	subscribe_since(&a, "requests:unit:7", EPOCH, 60);
	ok(is_error(&a, "unavailable"), "nobody to ask: unavailable, not `not recovered`");
	world_end();
}

/* More of snapshots: test_snapshot.c. */
static void test_snapshot(void)
{
	struct client a;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"requests:unit:7\",\"snapshot\":true}");
	is_str(next(&a), SUBSCRIBED("requests:unit:7"), "subscribed");
	pump();
	ok(is_error(&a, "unavailable"), "and told that there is no snapshot");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"requests:unit:7\",\"snapshot\":true,"
	              "\"since\":\"0000aaaa-100\"}");
	ok(strstr(next(&a), "\"recovered\":true") != NULL, "with a good cursor it is recovered");
	pump();
	ok(next(&a) == NULL, "and no snapshot is sent");
	world_end();
}

static void test_rows(void)
{
	struct client a, admin;
	world_begin(1 << 20);
	row_is("orders", "1", ROW_FOUND, "7", "50");
	row_is("orders", "2", ROW_FOUND, "9", "42");
	row_is("orders", "3", ROW_FOUND, "9", "50");
	row_is("orders", "04", ROW_SPELLING, NULL, NULL);
	row_is("stock", "a,b", ROW_FOUND, "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	enter(&admin, "1", "\"roles\":[\"admin\"]");
	subscribe(&a, "orders:row:1");
	is_str(next(&a), SUBSCRIBED("orders:row:1"), "a row of my unit");
	subscribe(&a, "orders:row:2");
	is_str(next(&a), SUBSCRIBED("orders:row:2"), "a row of mine");
	subscribe(&a, "stock:row:a,b");
	is_str(next(&a), SUBSCRIBED("stock:row:a,b"), "a composite key");
	subscribe(&a, "orders:row:3");
	const char *forbidden = strdup(next(&a));
	ok(strstr(forbidden, "\"code\":\"forbidden\"") != NULL, "a row of others");
	subscribe(&a, "orders:row:5");
	const char *absent = next(&a);
	ok(strlen(absent) == strlen(forbidden) && memcmp(absent, forbidden, strlen(absent) - 4) == 0,
	   "no such row gets the same answer");
	free((void *)forbidden);
	subscribe(&a, "orders:row:04");
	ok(is_error(&a, "unknown_channel"), "another spelling");
	subscribe(&a, "orders:row:1,2");
	ok(is_error(&a, "unknown_channel"), "too many columns");
	subscribe(&a, "stock:row:a");
	ok(is_error(&a, "unknown_channel"), "too few");
	subscribe(&admin, "orders:row:3");
	is_str(next(&admin), SUBSCRIBED("orders:row:3"), "a firehose role has any row");
	subscribe(&admin, "orders:row:5");
	is_str(next(&admin), SUBSCRIBED("orders:row:5"), "also one that is not there");
	subscribe(&admin, "orders:row:04");
	ok(is_error(&admin, "unknown_channel"), "but no other spelling");
	world.down = true;
	subscribe(&a, "orders:row:6");
	ok(is_error(&a, "unavailable"), "nobody to ask");
	world_end();
}

static void add_feed(void)
{
	struct feed cards = {.name = (char *)"cards", .has_unit = true, .n_key_columns = 1};
	define_feeds(NULL, &cards);
	hub_definitions_changed(world.hub);
}

static void test_unknown_feed(void)
{
	struct client a;
	world_begin(1 << 20);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "cards:unit:7");
	ok(next(&a) == NULL, "an unknown feed: definitions are read again");
	is_int(open_asks(), 1, "once");
	world.define = add_feed;
	answer_next();
	is_str(next(&a), SUBSCRIBED("cards:unit:7"), "it has come up meanwhile");
	set_clock(FEEDS_ASK_EVERY_MS);
	subscribe(&a, "boards:unit:7");
	answer_next();
	ok(is_error(&a, "unknown_channel"), "another has not");
	is_int(open_asks(), 0, "and is not asked for twice");
	set_clock(FEEDS_ASK_EVERY_MS);
	subscribe(&a, "boards:unit:7");
	world.down = true;
	answer_next();
	ok(is_error(&a, "unavailable"), "not known, where they cannot be read");
	world_end();
}

/* Definitions are read for all who wait together, and not more often than once in FEEDS_ASK_EVERY_MS. */
static void test_unknown_feeds_of_many(void)
{
	struct client a, b, c, d;
	world_begin(1 << 20);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[7]");
	enter(&c, "44", "\"units\":[7]");
	enter(&d, "45", "\"units\":[7]");
	subscribe(&a, "boards:unit:7");
	subscribe(&b, "cards:unit:7");
	is_int(open_asks(), 1, "the first asks");
	world.define = add_feed; /* commits behind the question, for all we know */
	answer_next();
	ok(is_error(&a, "unknown_channel"), "it was not there");
	is_str(next(&b), SUBSCRIBED("cards:unit:7"), "who came while it was read and finds it is served");

	subscribe(&b, "boards:unit:7");
	subscribe(&c, "lists:unit:7");
	subscribe(&d, "lists:unit:7");
	leave(&d);
	pump();
	is_int(open_asks(), 0, "so soon nobody asks");
	ok(next(&b) == NULL && next(&c) == NULL, "nor is anybody refused by what was read before he came");
	set_clock(FEEDS_ASK_EVERY_MS);
	pump();
	pump();
	is_int(open_asks(), 1, "then one asks for all");
	subscribe(&a, "lists:unit:7");
	answer_next();
	ok(is_error(&b, "unknown_channel") && is_error(&c, "unknown_channel"), "and all are answered");
	ok(next(&a) == NULL, "but who came while it was being asked");

	struct feed lists = {.name = (char *)"lists", .has_unit = true, .n_key_columns = 1};
	define_feeds(NULL, &lists);
	hub_definitions_changed(world.hub);
	is_str(next(&a), SUBSCRIBED("lists:unit:7"), "a control event's load serves who waits");
	subscribe(&b, "boards:unit:7");
	leave(&c);
	world_end();
}

static void test_order_of_one_channel(void)
{
	struct client a;
	world_begin(1 << 20);
	world.at_once = false;
	row_is("orders", "1", ROW_FOUND, "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"orders:row:1\"}");
	send_text(&a, "{\"type\":\"unsubscribe\",\"ref\":2,\"channel\":\"orders:row:1\"}");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":3,\"channel\":\"orders:row:1\",\"since\":\"0000aaaa-90\"}");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":4,\"channel\":\"orders:row:1\"}");
	send_text(&a, "{\"type\":\"subscribe\",\"ref\":5,\"channel\":\"requests:unit:7\"}");
	ok(strstr(next(&a), "\"ref\":5") != NULL, "another channel does not wait");
	is_int(open_asks(), 1, "one question at a time");
	answer_next();
	ok(strstr(next(&a), "\"type\":\"subscribed\",\"ref\":1") != NULL, "first the first");
	ok(strstr(next(&a), "\"type\":\"unsubscribed\",\"ref\":2") != NULL, "then the second");
	ok(next(&a) == NULL && open_asks() == 1, "the third asks");
	answer_next();
	answer_next();
	ok(strstr(next(&a), "\"ref\":3,\"channel\":\"orders:row:1\",\"cursor\":\"0000aaaa-90\",\"recovered\":true") != NULL,
	   "then the third");
	answer_next();
	ok(strstr(next(&a), "\"ref\":4") != NULL, "then the fourth");
	is_int(metrics.subscriptions, 2, "in the end there is one of them");
	is_int(a.session->n_deferred, 0, "nothing waits");

	subscribe(&a, "orders:row:9");
	for (int i = 0; i < DEFERRED_MAX; i++)
		unsubscribe(&a, "orders:row:9");
	ok(next(&a) == NULL, "many may wait");
	unsubscribe(&a, "orders:row:9");
	ok(is_error(&a, "rate_limited"), "not any number");
	leave(&a);
	answer_all();
	is_int(metrics.subscriptions, 0, "an answer for a session that has gone is dropped");
	ok(world.hub->requests == NULL, "with its question");
	world_end();
}

static void test_end_with_questions(void)
{
	struct client a, b;
	world_begin(1 << 20);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "42", "\"units\":[7]");
	subscribe(&a, "orders:row:1");
	subscribe(&a, "nothing:unit:1");
	subscribe_since(&a, "requests:unit:7", EPOCH, 5);
	unsubscribe(&a, "orders:row:1");
	session_close(a.session, CLOSE_MAX_SESSION, "time");
	skip(&a);
	answer_next();
	ok(next(&a) == NULL && metrics.subscriptions == 0, "a closing session gets no answer");
	subscribe(&b, "orders:row:1");
	world_end(); /* with open questions: nothing is lost (the sanitizer looks) */
	ok(true, "a hub ends with open questions");
}

static void test_row_lost_while_asked(void)
{
	struct client a;
	world_begin(1 << 20);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	row_is("orders", "1", ROW_FOUND, "7", NULL);
	subscribe(&a, "orders:row:1");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("1"));
	answer_next(); /* an answer from before that event */
	ok(next(&a) == NULL && open_asks() == 1, "an event that says otherwise: asked again");
	row_is("orders", "1", ROW_FOUND, "9", NULL);
	answer_next();
	ok(is_error(&a, "forbidden"), "and now it is gone");

	row_is("orders", "1", ROW_FOUND, "7", NULL);
	subscribe(&a, "orders:row:1");
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("2"));
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("1"));
	answer_next();
	ok(strstr(next(&a), "\"type\":\"subscribed\"") != NULL,
	   "events of other rows, or that leave it to us, do not matter");
	unsubscribe(&a, "orders:row:1");
	skip(&a);

	subscribe(&a, "orders:row:1");
	int asks = 0;
	for (int id = 104; open_asks() > 0; id++, asks++) {
		emit(.id = id, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("1"));
		answer_next();
	}
	is_int(asks, ROW_ASKS_MAX, "asked so often and no more");
	ok(is_error(&a, "forbidden"), "in doubt it is forbidden");
	world_end();
}

static void test_restart_while_asked(void)
{
	struct client a;
	world_begin(1 << 20);
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_since(&a, "requests:unit:7", EPOCH, 90);
	begin_stream("0000bbbb", 200, "epoch");
	answer_next(); /* good in the history that was */
	ok(next(&a) == NULL && open_asks() == 1, "the cursor is asked for again");
	snprintf(world.epoch, sizeof(world.epoch), "0000bbbb");
	answer_next();
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"0000bbbb-200\","
	       "\"recovered\":false,\"reason\":\"epoch\"}",
	       "and judged by the new history");

	row_is("orders", "1", ROW_FOUND, "7", NULL);
	subscribe_since(&a, "orders:row:1", "0000bbbb", 200); /* in memory: only the row is asked for */
	begin_stream("0000cccc", 300, "epoch");
	skip(&a);
	answer_next();
	is_int(open_asks(), 1, "a cursor that was good in memory is asked for, too");
	world.epoch[0] = 'x';
	answer_all();
	ok(strstr(next(&a), "\"reason\":\"epoch\"") != NULL, "and refused");
	world_end();
}

static void test_token_loses(void)
{
	struct client a;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7,9]");
	subscribe(&a, "requests:unit:7");
	subscribe(&a, "requests:unit:9");
	skip(&a);
	reauthenticate(&a, "42", "\"units\":[7]");
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"requests:unit:9\",\"reason\":\"forbidden\"}",
	       "what it no longer covers ends");
	ok(next(&a) == NULL, "the rest goes on");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"));
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"));
	is_str(next(&a), FRAME(102, "\"requests:unit:7\""), "and only that");
	ok(next(&a) == NULL, "not the other");
	world_end();
}

static void test_rows_are_held(void)
{
	struct client a;
	world_begin(1 << 20);
	row_is("orders", "1", ROW_FOUND, "7", NULL);
	row_is("orders", "2", ROW_FOUND, "9", NULL);
	enter(&a, "42", "\"units\":[7,9]");
	subscribe(&a, "orders:row:1");
	subscribe(&a, "orders:row:2");
	skip(&a);
	world.at_once = false;
	reauthenticate(&a, "42", "\"units\":[7]");
	ok(next(&a) == NULL, "rows have to be asked for");
	pump();
	is_int(open_asks(), 2, "they are");
	/* A child of each: nothing but the held right stands between them and the session. */
	emit(.id = 101, .flags = EVENT_TO_UNIT, .feed = text("comments"), .unit = text("1"), .parent_feed = text("orders"),
	     .parent_key = text("1"));
	emit(.id = 102, .flags = EVENT_TO_UNIT, .feed = text("comments"), .unit = text("1"), .parent_feed = text("orders"),
	     .parent_key = text("2"));
	ok(next(&a) == NULL, "meanwhile nothing comes");
	send_text(&a, "{\"type\":\"ping\",\"ref\":4}");
	is_str(next(&a), "{\"type\":\"pong\",\"ref\":4,\"cursor\":\"0000aaaa-100\",\"live\":true}",
	       "which pong does not hide");
	answer_all();
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:2\",\"reason\":\"forbidden\"}",
	       "the one is lost");
	pump();
	is_str(next(&a), FRAME(101, "\"orders:row:1\""), "the other goes on where it was held");
	emit(.id = 103, .flags = EVENT_TO_UNIT, .feed = text("comments"), .unit = text("1"), .parent_feed = text("orders"),
	     .parent_key = text("1"));
	is_str(next(&a), FRAME(103, "\"orders:row:1\""), "and is live");
	world_end();
}

static void test_recheck_waits_for_the_database(void)
{
	struct client a;
	world_begin(1 << 20);
	row_is("orders", "1", ROW_FOUND, "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "orders:row:1");
	skip(&a);
	world.down = true;
	reauthenticate(&a, "42", "\"units\":[7]");
	pump();
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("1"));
	pump();
	ok(next(&a) == NULL, "while the database is away it is held");
	world.down = false;
	pump();
	ok(next(&a) == NULL, "it is not asked at every turn");
	set_clock(RETRY_MS);
	pump();
	is_str(next(&a), FRAME(101, "\"orders:row:1\""), "but a second later");

	world.at_once = false;
	reauthenticate(&a, "42", "\"units\":[7]");
	pump();
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("1"));
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:1\",\"reason\":\"forbidden\"}",
	       "an event that takes the row away ends it also while it is held");
	answer_all();
	pump();
	ok(next(&a) == NULL, "the answer comes too late to matter");

	subscribe(&a, "orders:row:1");
	answer_all();
	skip(&a);
	reauthenticate(&a, "42", "\"units\":[7]");
	pump();
	begin_stream("0000bbbb", 200, "epoch");
	ok(strstr(next(&a), "resync") != NULL, "a restart is told");
	emit(.id = 201, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("1"));
	ok(next(&a) == NULL, "and does not release what is held");
	answer_all();
	pump();
	ok(next(&a) == NULL, "nor does an answer from before it");
	answer_all();
	pump();
	is_str(next(&a), FRAME(201, "\"orders:row:1\""), "the answer does");
	world_end();
}

static void test_definitions(void)
{
	struct client a, staff;
	world_begin(1 << 20);
	row_is("orders", "1", ROW_FOUND, "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	enter(&staff, "43", "\"units\":[7],\"roles\":[\"staff\"]");
	subscribe(&a, "requests:unit:7");
	subscribe(&a, "news");
	subscribe(&a, "orders:row:1");
	subscribe(&staff, "orders:row:1");
	is_int(skip(&a) + skip(&staff), 4, "subscribed");

	hub_definitions_changed(world.hub);
	ok(next(&a) == NULL && world.hub->replays[REPLAY_HELD].n == 0, "the same definitions change nothing");

	struct feed orders = {.name = (char *)"orders",
	                      .has_unit = true,
	                      .has_users = true,
	                      .n_key_columns = 1,
	                      .roles = roles_of_staff,
	                      .n_roles = 1};
	define_feeds("orders", &orders);
	hub_definitions_changed(world.hub);
	pump();
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:1\",\"reason\":\"forbidden\"}",
	       "a role is asked for that the one has not");
	ok(next(&staff) == NULL && staff.session->subscriptions != NULL, "and the other has");

	define_feeds("news", NULL);
	hub_definitions_changed(world.hub);
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"news\",\"reason\":\"unknown_channel\"}",
	       "a feed that is no more");
	ok(next(&a) == NULL, "the rest goes on");
	world_end();
}

int main(void)
{
	test_answers();
	test_limits();
	test_cursors();
	test_snapshot();
	test_rows();
	test_unknown_feed();
	test_unknown_feeds_of_many();
	test_order_of_one_channel();
	test_end_with_questions();
	test_row_lost_while_asked();
	test_restart_while_asked();
	test_token_loses();
	test_rows_are_held();
	test_recheck_waits_for_the_database();
	test_definitions();
	return tap_done();
}
