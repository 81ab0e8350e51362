/*
 * test_value.c - values: when a query runs, which events touch it, who is sent the result and who is not. With a backend
 * and a clock of the test's own. Does not test the statement that runs it (test/e2e/values.test.mjs).
 */
#include "hub_fixture.h"

/* What the database answers now; the id is that of the stream's head unless set. */
static struct {
	const char *data;
	enum answer_status status;
	int64_t after;
	const char *epoch;
	char name[64], value[64];
	bool all;
	int runs;
} db;

static void answer_run(const struct ask *ask, struct value_answer *answer)
{
	db.runs++;
	snprintf(db.name, sizeof(db.name), "%s", ask->feed);
	snprintf(db.value, sizeof(db.value), "%s", ask->key);
	db.all = ask->no_key;
	answer->status = db.status;
	answer->data = text(db.data);
	if (db.after != 0)
		answer->after = db.after;
	if (db.epoch != NULL)
		answer->epoch = text(db.epoch);
	snprintf(answer->error.sqlstate, sizeof(answer->error.sqlstate), "%s", "P0001");
	answer->error.message = text("a secret");
}

static struct query_template unread, counts, total, all, lazy;

static void add(struct catalog_load *load, const struct query_template *query)
{
	if (query->name.bytes != NULL && !catalog_load_query(load, query_new(query)))
		abort();
}

static void define(void)
{
	struct catalog_load *load = catalog_load_begin();
	for (size_t i = 0; i < sizeof(usual_feeds) / sizeof(usual_feeds[0]); i++)
		catalog_load_feed(load, &usual_feeds[i]);
	add(load, &unread);
	add(load, &counts);
	add(load, &total);
	add(load, &all);
	add(load, &lazy);
	catalog_load_commit(world.catalog, load);
}

static void begin(void)
{
	static struct text notices[2], requests[2], orders[2], staff[1];
	notices[0] = text("notices");
	notices[1] = text("news");
	requests[0] = text("requests");
	requests[1] = text("jobs");
	orders[0] = text("orders");
	orders[1] = text("comments");
	staff[0] = text("staff");
	unread = (struct query_template){
		.name = text("unread"), .scope = text("user"), .feeds = notices, .n_feeds = 1, .debounce_ms = 50};
	counts = (struct query_template){
		.name = text("counts"), .scope = text("unit"), .feeds = requests, .n_feeds = 2, .debounce_ms = 50};
	total = (struct query_template){.name = text("total"),
	                                .scope = text("row"),
	                                .feeds = orders,
	                                .n_feeds = 2,
	                                .access_feed = text("orders"),
	                                .debounce_ms = 50};
	all = (struct query_template){
		.name = text("everything"), .scope = text("all"), .feeds = notices, .n_feeds = 2, .roles = staff, .n_roles = 1};
	lazy = (struct query_template){.name = text("today"), .scope = text("all"), .refresh_ms = 1000};
	world_begin(1 << 20);
	memset(&db, 0, sizeof(db));
	db.data = "1";
	world.value = answer_run;
	world.at_once = false;
	define();
	hub_definitions_changed(world.hub);
	world.hub->values.at_once = 2;
}

static void later(int64_t ms)
{
	set_clock(ms);
	pump();
}

/* The run that is due is answered with this. */
static void run(const char *data)
{
	db.data = data;
	pump();
	if (!answer_next())
		tap_report(false, __FILE__, __LINE__, "a run is due for %s", data);
	pump();
}

static void watch(struct client *client, const char *channel)
{
	subscribe(client, channel);
	pump();
}

#define VALUE(channel, id, data)                                                                                       \
	"{\"type\":\"value\",\"channel\":\"" channel "\",\"cursor\":\"" EPOCH "-" #id "\",\"data\":" data "}"
#define SUBSCRIBED(channel, id)                                                                                        \
	"{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"" channel "\",\"cursor\":\"" EPOCH "-" #id "\"}"

static struct text users_5[1], users_6[1];

static void notice(int64_t id, const char *user)
{
	struct text users = text(user);
	emit(.id = id, .feed = text("notices"), .key = text("1"), .flags = USUAL_FLAGS, .users = &users, .n_users = 1);
	pump();
}

static void test_shared(void)
{
	static struct client a, b, c;
	begin();
	enter(&a, "5", "");
	enter(&b, "5", "");
	enter(&c, "5", "");
	watch(&a, "unread:user:5");
	is_str(next(&a), SUBSCRIBED("unread:user:5", 100), "subscribed comes first");
	is_str(next(&a), NULL, "and no value before there is one");
	watch(&b, "unread:user:5");
	is_int(open_asks(), 1, "one run for both");
	run("3");
	is_str(db.name, "unread", "of the query");
	is_str(db.value, "5", "for the user");
	is_str(next(&a), VALUE("unread:user:5", 100, "3"), "the first has the value");
	next(&b);
	is_str(next(&b), VALUE("unread:user:5", 100, "3"), "and the other");
	watch(&c, "unread:user:5");
	next(&c);
	is_str(next(&c), VALUE("unread:user:5", 100, "3"), "who comes later gets it at once");
	is_int(db.runs, 1, "without another run");

	later(60);
	notice(101, "6");
	is_int(open_asks(), 0, "another user's event does not touch it");
	notice(102, "5");
	is_int(open_asks(), 1, "this user's does");
	run("3");
	is_str(next(&a), NULL, "the same result is not sent");
	later(60);
	notice(103, "5");
	run("4");
	is_str(next(&a), VALUE("unread:user:5", 103, "4"), "another is");
	is_str(next(&b), VALUE("unread:user:5", 103, "4"), "to all");
	is_int(db.runs, 3, "after one run each");
	leave(&a);
	leave(&b);
	later(60);
	notice(104, "5");
	is_int(open_asks(), 1, "while one is left it runs");
	leave(&c);
	answer_all();
	notice(105, "5");
	later(1000);
	is_int(open_asks(), 0, "an answer that nobody waits for any more, and no run without subscribers");
	is_int(world.hub->values.n_values + world.hub->values.n_running, 0, "nothing is left of it");
	ok(world.hub->values.queries == NULL && world.hub->values.kept_bytes == 0, "nor of its query");
	world_end();
}

static void test_debounce(void)
{
	static struct client a;
	begin();
	enter(&a, "5", "");
	watch(&a, "unread:user:5");
	run("0");
	later(1000);
	notice(101, "5");
	is_int(open_asks(), 1, "the first event runs it at once");
	notice(102, "5");
	run("1");
	is_int(open_asks(), 0, "what came during the run and is in its result is no reason for another");
	db.after = 102;
	notice(103, "5");
	notice(104, "5");
	is_int(open_asks(), 0, "within the debounce it waits");
	is_int(hub_wait_ms(world.hub), 50, "until that is over");
	later(49);
	is_int(open_asks(), 0, "and not a moment less");
	later(1);
	is_int(open_asks(), 1, "once for all of them");
	notice(105, "5");
	run("2"); /* as of 102 */
	later(49);
	is_int(open_asks(), 0, "an event that the run did not see ...");
	later(1);
	is_int(open_asks(), 1, "... is another run, in its time");
	db.after = 0;
	run("3");
	later(10000);
	is_int(open_asks(), 0, "then it rests");
	is_int(hub_wait_ms(world.hub), -1, "and nothing is due");
	leave(&a);
	world_end();
}

static void test_refresh(void)
{
	static struct client a;
	begin();
	enter(&a, "5", "");
	watch(&a, "today");
	run("\"mon\"");
	ok(db.all, "without a value");
	skip(&a);
	is_int(hub_wait_ms(world.hub), 1000, "due by its refresh");
	later(999);
	is_int(open_asks(), 0, "not before");
	later(1);
	run("\"tue\"");
	is_str(next(&a), VALUE("today", 100, "\"tue\""), "sent when it differs");
	later(1000);
	run("\"tue\"");
	is_str(next(&a), NULL, "and not when it does not");
	leave(&a);
	world_end();
}

static void test_failure(void)
{
	static struct client a, b;
	static const char failed[] = "{\"type\":\"error\",\"code\":\"query_failed\",\"message\":\"query unread failed\","
								 "\"channel\":\"unread:user:5\"}";
	begin();
	enter(&a, "5", "");
	enter(&b, "5", "");
	watch(&a, "unread:user:5");
	run("1");
	skip(&a);
	later(1000);
	notice(101, "5");
	db.status = ANSWER_FAILED;
	run(NULL);
	is_str(next(&a), failed, "the subscriber is told, without the cause");
	watch(&b, "unread:user:5");
	next(&b);
	is_str(next(&b), failed, "and whoever comes now, instead of a value that is not right any more");
	later(999);
	notice(102, "5");
	is_int(open_asks(), 0, "not tried again for a second, whatever touches it");
	later(1);
	run(NULL);
	is_str(next(&a), NULL, "told once");
	later(1999);
	is_int(open_asks(), 0, "the next time after two seconds");
	later(1);
	db.status = ANSWER_OK;
	run("1");
	is_str(next(&a), VALUE("unread:user:5", 102, "1"), "when it is over the value is sent, though it is the same");
	is_str(next(&b), VALUE("unread:user:5", 102, "1"), "to all");

	later(1000);
	notice(103, "5");
	db.status = ANSWER_UNAVAILABLE;
	run(NULL);
	is_str(next(&a), NULL, "that the database is away is no error of the query's");
	later(1000);
	db.status = ANSWER_OK;
	run("2");
	is_str(next(&a), VALUE("unread:user:5", 103, "2"), "it is asked again a little later");
	leave(&a);
	leave(&b);
	world_end();
}

static void test_order(void)
{
	static struct client a, b;
	begin();
	enter(&a, "5", "");
	watch(&a, "unread:user:5");
	run("1");
	skip(&a);
	later(1000);
	notice(101, "5");
	db.after = 105;
	run("5");
	is_str(next(&a), NULL, "what the stream has not brought yet is not sent");
	notice(104, "5");
	is_str(next(&a), NULL, "nor on the way there");
	notice(105, "6");
	is_str(next(&a), VALUE("unread:user:5", 105, "5"), "but when it is there");
	later(1000);
	is_int(open_asks(), 0, "and what came on the way was in it");

	notice(106, "5");
	db.after = 103;
	run("4");
	is_str(next(&a), NULL, "an answer of before is none");
	db.after = 0;
	later(1000);
	run("6");
	is_str(next(&a), VALUE("unread:user:5", 106, "6"), "it is asked again");

	later(1000);
	notice(107, "5");
	db.epoch = "0000ffff";
	run("7");
	is_str(next(&a), NULL, "nor is an answer of another history");
	db.epoch = NULL;
	later(1000);
	run("7");
	skip(&a);

	/* Whoever subscribes while a run is under way that cannot know of a later event gets what does. */
	enter(&b, "5", "");
	later(1000);
	notice(108, "5");
	notice(109, "5");
	watch(&b, "unread:user:5");
	next(&b);
	db.after = 108;
	run("8");
	is_str(next(&a), VALUE("unread:user:5", 108, "8"), "who was there is sent each result");
	is_str(next(&b), NULL, "who came later no older one than he may expect");
	db.after = 0;
	later(50);
	run("9");
	is_str(next(&b), VALUE("unread:user:5", 109, "9"), "but the next");
	leave(&a);
	leave(&b);
	world_end();
}

static void test_touched(void)
{
	static struct client seven, nine, row, all_of_it;
	begin();
	users_5[0] = text("5");
	users_6[0] = text("6");
	world.rows[0] = (struct row){"orders", "1", ROW_FOUND, NULL, "5"};
	world.n_rows = 1;
	enter(&seven, "7", "\"units\":[7]");
	enter(&nine, "9", "\"units\":[9]");
	enter(&row, "5", "");
	enter(&all_of_it, "8", "\"roles\":[\"staff\"]");
	watch(&seven, "counts:unit:7");
	run("1");
	watch(&nine, "counts:unit:9");
	run("1");
	watch(&row, "total:row:1");
	answer_next(); /* the row */
	run("1");
	is_str(db.value, "1", "a row's value is run for its key");
	watch(&all_of_it, "everything");
	run("1");
	static const struct {
		const char *what;
		struct event event;
		int runs;
	} events[] = {
		{"an event of one unit", {.feed = {"requests", 8}, .unit = {"7", 1}, .flags = USUAL_FLAGS}, 1},
		{"of a unit that nobody watches", {.feed = {"requests", 8}, .unit = {"8", 1}, .flags = USUAL_FLAGS}, 0},
		{"of no unit", {.feed = {"requests", 8}, .flags = USUAL_FLAGS}, 0},
		{"moved out of a unit", {.feed = {"requests", 8}, .unit = {"9", 1}, .flags = EVENT_TO_UNIT}, 1},
		{"a resync", {.feed = {"requests", 8}, .flags = EVENT_RESYNC, .body = {"folded", 6}}, 2},
		{"a declared feed's, for one unit", {.feed = {"jobs", 4}, .unit = {"7", 1}, .flags = USUAL_FLAGS}, 1},
		{"a declared feed's, for a user",
	     {.feed = {"jobs", 4}, .users = users_5, .n_users = 1, .flags = USUAL_FLAGS},
	     0},
		{"a declared feed's, for nobody in particular", {.feed = {"jobs", 4}, .flags = USUAL_FLAGS}, 2},
		{"of a feed that none reads", {.feed = {"stock", 5}, .unit = {"7", 1}, .flags = USUAL_FLAGS}, 0},
		{"of the row",
	     {.feed = {"orders", 6}, .key = {"1", 1}, .users = users_5, .n_users = 1, .flags = USUAL_FLAGS},
	     1},
		{"of another row",
	     {.feed = {"orders", 6}, .key = {"2", 1}, .users = users_5, .n_users = 1, .flags = USUAL_FLAGS},
	     0},
		{"of a child of the row",
	     {.feed = {"comments", 8},
	      .key = {"9", 1},
	      .parent_feed = {"orders", 6},
	      .parent_key = {"1", 1},
	      .flags = USUAL_FLAGS},
	     1},
		{"of another's child",
	     {.feed = {"comments", 8},
	      .key = {"1", 1},
	      .parent_feed = {"orders", 6},
	      .parent_key = {"2", 1},
	      .flags = USUAL_FLAGS},
	     0},
		{"of a feed whose row is not its own", {.feed = {"comments", 8}, .key = {"1", 1}, .flags = USUAL_FLAGS}, 1},
		{"of a feed of all", {.feed = {"news", 4}, .key = {"1", 1}, .flags = USUAL_FLAGS}, 1},
	};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct event event = events[i].event;
		int before = db.runs;
		event.id = 101 + (int64_t)i;
		later(1000);
		emit_event(&event);
		pump();
		do
			answer_all();
		while (pump() > 1 || open_asks() > 0);
		is_int(db.runs - before, events[i].runs, "%s", events[i].what);
	}
	leave(&seven);
	leave(&nine);
	leave(&row);
	leave(&all_of_it);
	world_end();
}

static void test_rights(void)
{
	static struct client a, stranger;
	begin();
	enter(&a, "5", "\"units\":[7]");
	enter(&stranger, "6", "");
	static const char *const unknown[] = {"unread",           "unread:unit:5", "counts:user:5", "total",
	                                      "everything:row:1", "total:row:1,2", "none:user:5"};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		subscribe(&a, unknown[i]);
		answer_all();
		const char *answer = next(&a);
		ok(answer != NULL && strstr(answer, "unknown_channel") != NULL, "%s is no channel", unknown[i]);
	}
	static const char *const forbidden[] = {"unread:user:6", "counts:unit:8", "everything", "total:row:1"};
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		subscribe(&a, forbidden[i]);
		answer_all();
		const char *answer = next(&a);
		ok(answer != NULL && strstr(answer, "\"forbidden\"") != NULL, "%s is not his", forbidden[i]);
	}
	world.rows[0] = (struct row){"orders", "1", ROW_FOUND, NULL, "5"};
	world.n_rows = 1;
	watch(&a, "total:row:1");
	answer_next();
	run("1");
	skip(&a);
	users_6[0] = text("6");
	later(1000);
	emit(.id = 101, .feed = text("orders"), .key = text("1"), .flags = USUAL_FLAGS, .users = users_6, .n_users = 1);
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"total:row:1\",\"reason\":\"forbidden\"}",
	       "who loses the row loses its value with the event");
	pump();
	is_int(open_asks(), 0, "and it is not run for nobody");

	watch(&a, "counts:unit:7");
	run("1");
	skip(&a);
	char *token = token_for("5", "\"units\":[9]");
	char message[1024];
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	send_text(&a, message);
	free(token);
	ok(strstr(next(&a), "unsubscribed") != NULL || strstr(next(&a), "unsubscribed") != NULL,
	   "a unit that is lost ends its value");
	skip(&a);

	watch(&a, "unread:user:5");
	run("1");
	skip(&a);
	unread.function = text("another()");
	define();
	hub_definitions_changed(world.hub);
	later(50);
	run("2");
	is_str(next(&a), VALUE("unread:user:5", 101, "2"), "another function, another value");
	unread.name = text(NULL);
	define();
	hub_definitions_changed(world.hub);
	is_str(next(&a), "{\"type\":\"unsubscribed\",\"channel\":\"unread:user:5\",\"reason\":\"unknown_channel\"}",
	       "a query that is hidden ends");
	leave(&a);
	leave(&stranger);
	world_end();
}

static void test_restart(void)
{
	static struct client a, b;
	begin();
	world.rows[0] = (struct row){"orders", "1", ROW_FOUND, NULL, "5"};
	world.n_rows = 1;
	enter(&a, "5", "");
	enter(&b, "5", "");
	watch(&a, "unread:user:5");
	run("1");
	watch(&b, "total:row:1");
	answer_next();
	run("1");
	skip(&a);
	skip(&b);
	world.rows[0].user = "6";
	later(1000);
	snprintf(world.epoch, sizeof(world.epoch), "%s", "0000bbbb");
	begin_stream("0000bbbb", 50, "epoch");
	is_str(next(&a), NULL, "no resync for a value");
	pump();
	is_int(open_asks(), 3, "both are run again, and the row asked for");
	db.data = "9";
	answer_all();
	pump();
	answer_all();
	is_str(next(&a), "{\"type\":\"value\",\"channel\":\"unread:user:5\",\"cursor\":\"0000bbbb-50\",\"data\":9}",
	       "sent with the new history's cursor");
	is_str(next(&b), "{\"type\":\"unsubscribed\",\"channel\":\"total:row:1\",\"reason\":\"forbidden\"}",
	       "but not to whoever lost the row meanwhile");

	later(1000);
	hub_live(world.hub, false);
	later(1000);
	is_int(open_asks(), 0, "nothing is run while the database is away");
	hub_live(world.hub, true);
	skip(&a);
	run("2");
	is_str(next(&a), "{\"type\":\"value\",\"channel\":\"unread:user:5\",\"cursor\":\"0000bbbb-50\",\"data\":2}",
	       "what changed meanwhile is there when it is back");
	leave(&a);
	leave(&b);
	world_end();
}

/* Answers the open question of that value and leaves the others. */
static void answer_value_of(const char *value, const char *data)
{
	db.data = data;
	for (size_t n = open_asks(); n > 0; n--) {
		struct ask ask = world.asks[world.first_ask++ % ASK_MAX];
		if (strcmp(ask.key, value) == 0)
			answer(&ask);
		else
			world.asks[world.n_asks++ % ASK_MAX] = ask;
	}
}

static void test_slow(void)
{
	static struct client a;
	begin();
	enter(&a, "7", "\"units\":[1,2,3]");
	watch(&a, "counts:unit:1");
	watch(&a, "counts:unit:2");
	watch(&a, "counts:unit:3");
	is_int(open_asks(), 2, "no more runs at once than there are connections for");
	answer_value_of("1", "1");
	is_int(open_asks(), 2, "the next takes the place");
	later(2000); /* 2 and 3 are slow */
	answer_value_of("2", "1");
	answer_value_of("3", "1");
	skip(&a);
	for (int id = 101; id < 104; id++) {
		char unit[2] = {(char)('3' - (id - 101)), '\0'};
		emit(.id = id, .feed = text("requests"), .unit = text(unit), .flags = USUAL_FLAGS);
	}
	pump();
	is_int(open_asks(), 2, "one of the slow ones and the other");
	answer_value_of("1", "2");
	is_str(next(&a), VALUE("counts:unit:1", 103, "2"), "which does not wait for them");
	is_int(open_asks(), 1, "the other slow one waits for the first");
	answer_next();
	is_int(open_asks(), 1, "and has its turn");
	answer_all();
	leave(&a);
	world_end();
}

/* Slow from the first: two of one query have both places. */
static void test_slow_at_first(void)
{
	static struct client a, b;
	begin();
	enter(&a, "7", "\"units\":[1,2,3]");
	enter(&b, "5", "");
	watch(&b, "unread:user:5");
	answer_next();
	watch(&a, "counts:unit:1");
	watch(&a, "counts:unit:2");
	watch(&a, "counts:unit:3");
	later(60);
	notice(101, "5");
	skip(&b);
	is_int(open_asks(), 2, "another query's value waits for them");
	is_int((int)hub_wait_ms(world.hub), 440, "but only until it is clear that they are slow");
	later(439);
	is_int(open_asks(), 2, "not before");
	later(1);
	is_int(open_asks(), 3, "then it has a place beyond theirs");
	answer_value_of("5", "2");
	is_str(next(&b), VALUE("unread:user:5", 101, "2"), "and comes");
	later(60);
	is_int(open_asks(), 2, "the third of the slow query's has no such place");
	notice(102, "5");
	later(500);
	answer_value_of("5", "3");
	is_str(next(&b), VALUE("unread:user:5", 102, "3"), "but the other has, again");
	ok(hub_wait_ms(world.hub) != 0, "and nothing is due at once");
	answer_all();
	leave(&a);
	leave(&b);
	world_end();
}

static void test_slow_client(void)
{
	static struct client a;
	static char large[40000];
	begin();
	memset(large, 'x', sizeof(large) - 1);
	large[0] = large[sizeof(large) - 2] = '"';
	world.limits.max_queue_bytes = 100000;
	enter(&a, "5", "");
	watch(&a, "unread:user:5");
	for (int64_t id = 101; id < 111; id++) {
		large[1] = (char)('a' + id - 101);
		run(large);
		later(1000);
		notice(id, "5");
	}
	large[1] = 'z';
	run(large);
	ok(a.session->queued_bytes <= 50100, "%d bytes wait, half of the bound at most", (int)a.session->queued_bytes);
	is_int(close_code(&a), 0, "and it is not closed");
	skip(&a);
	later(100);
	const char *value = next(&a);
	ok(value != NULL && strstr(value, "\"data\":\"z") != NULL, "once there is room it gets the newest");
	is_str(next(&a), NULL, "and that alone");
	leave(&a);
	world_end();
}

/* Who waits for one answer, over GET /state, is not to wait for the database to come back. */
static void test_once(void)
{
	static const struct session_transport once = {.name = "http", .wake = note_wake, .once = true};
	static struct client a, clients[3];
	begin();
	enter(&a, "5", "");
	for (int i = 0; i < 3; i++) {
		if (i == 2)
			hub_live(world.hub, false);
		clients[i].session = session_open(world.hub, &once, &clients[i], NULL);
		authenticate(&clients[i], "5", "");
		skip(&clients[i]);
		watch(&clients[i], "unread:user:5");
		watch(&a, "unread:user:5");
		skip(&a);
		if (i == 0) {
			db.status = ANSWER_UNAVAILABLE;
			answer_next();
		} else if (i == 1) {
			hub_live(world.hub, false);
			hub_live(world.hub, true);
		}
		ok(strstr(next(&clients[i]), "\"subscribed\"") != NULL, "a session for one answer");
		const char *frame = next(&clients[i]);
		ok(frame != NULL && strstr(frame, "\"code\":\"unavailable\"") != NULL, "is told that there is none: %s",
		   i == 0   ? "the run had no answer"
		   : i == 1 ? "the database went away before it was run"
		            : "the database is away");
		ok(next(&a) == NULL || strstr(a.text, "\"status\"") != NULL, "others wait");
		leave(&clients[i]);
	}
	leave(&a);
	world_end();
}

int main(void)
{
	test_shared();
	test_debounce();
	test_refresh();
	test_failure();
	test_order();
	test_touched();
	test_rights();
	test_restart();
	test_once();
	test_slow();
	test_slow_at_first();
	test_slow_client();
	return tap_done();
}
