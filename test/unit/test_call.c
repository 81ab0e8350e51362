/*
 * test_call.c - commands: who may, in which order, results that wait for their events, retries, and what errors become.
 */
#include "hub_fixture.h"

#define CURSOR(id) "\"cursor\":\"" EPOCH "-" #id "\""

static void do_plain(const struct ask *ask, struct call_answer *answer)
{
	(void)ask;
	answer->data = text("{\"done\":true}");
}

static void do_write(const struct ask *ask, struct call_answer *answer)
{
	do_plain(ask, answer);
	answer->wrote = answer->events = true;
	answer->xid = (uint64_t)atoi(ask->args + strlen("{\"x\":"));
}

static struct call_answer failure; /* of the next calls, while failures > 0 */
static int failures;

static void do_fail(const struct ask *ask, struct call_answer *answer)
{
	if (failures-- > 0)
		*answer = failure;
	else
		do_plain(ask, answer);
}

static void fail_with(int n, const char *sqlstate, const char *message)
{
	failures = n;
	failure = (struct call_answer){.status = ANSWER_FAILED, .sent = true, .error.message = text(message)};
	snprintf(failure.error.sqlstate, sizeof(failure.error.sqlstate), "%s", sqlstate);
	world.call = do_fail;
}

static void lose(int n, bool sent)
{
	failures = n;
	failure = (struct call_answer){.status = ANSWER_UNAVAILABLE, .sent = sent};
	world.call = do_fail;
}

static void call(struct client *client, int ref, const char *name, const char *rest)
{
	char message[512];
	snprintf(message, sizeof(message), "{\"type\":\"call\",\"ref\":%d,\"name\":\"%s\"%s}", ref, name, rest);
	send_text(client, message);
}

/* Is that in the next frame, which may come by and by? */
static bool hears(struct client *client, const char *part)
{
	const char *frame = next(client);
	for (int i = 0; i < 3 && frame == NULL; i++) {
		set_clock(1000);
		pump();
		frame = next(client);
	}
	return frame != NULL && strstr(frame, part) != NULL;
}

static void test_result(void)
{
	struct client c;
	world_begin(1 << 20);
	world.call = do_plain;
	enter(&c, "42", "\"units\":{\"7\":[\"approver\",\"x\\\"y\"],\"9\":[]},\"roles\":[\"admin\"],\"more\":{\"a\":1}");
	world.at_once = false;
	call(&c, 1, "move_card", ",\"args\":{\"id\": 12345678901234567890}");
	const struct ask *ask = &world.asks[world.first_ask % ASK_MAX];
	is_str(ask->feed, "move_card", "the database is asked for the command");
	is_str(ask->args, "{\"id\": 12345678901234567890}", "with the args as they were written");
	ok(strstr(ask->claims,
	          "{\"user\":\"42\",\"units\":{\"7\":[\"approver\",\"x\\\"y\"],\"9\":[]},\"roles\":[\"admin\"],"
	          "\"claims\":{\"sub\":\"42\"") == ask->claims,
	   "by whom: user, units with the roles held there, roles, and the token's payload");
	ok(strstr(ask->claims, "\"more\":{\"a\":1}") != NULL, "all of it");
	ok(ask->no_key && ask->role[0] == '\0', "without a key or a role of the database");
	ok(next(&c) == NULL, "no result before the answer");
	answer_all();
	is_str(next(&c), "{\"type\":\"result\",\"ref\":1,\"data\":{\"done\":true}," CURSOR(100) "}",
	       "a command without events is answered at once, with the head");
	world.at_once = true;
	call(&c, 2, "move_card", "");
	ok(hears(&c, "\"ref\":2"), "args may be left out");
	send_text(&c, "{\"type\":\"call\",\"name\":\"move_card\"}");
	ok(strncmp(next(&c), "{\"type\":\"result\",\"data\"", 23) == 0, "and ref");
	ok(metrics.commands[METRIC_COMMAND_OK] == 3, "they are counted");
	leave(&c);
	world_end();
}

static void test_rights(void)
{
	struct client member, admin, nobody;
	world_begin(1 << 20);
	world.call = do_plain;
	enter(&member, "1", "\"units\":{\"7\":[\"approver\"]}");
	enter(&admin, "2", "\"units\":[7],\"roles\":[\"approver\"]");
	enter(&nobody, "3", "\"units\":{\"7\":[\"reader\"]},\"roles\":[\"admin\"]");
	call(&member, 1, "approve", "");
	ok(hears(&member, "\"type\":\"result\""), "a role held in one unit will do");
	call(&admin, 1, "approve", "");
	ok(hears(&admin, "\"type\":\"result\""), "or in all of them");
	call(&nobody, 1, "approve", "");
	ok(hears(&nobody, "\"code\":\"forbidden\""), "another role will not");
	size_t asked_before = world.n_asks;
	call(&nobody, 2, "nothing", "");
	ok(hears(&nobody, "\"code\":\"unknown_command\""), "an unknown command");
	call(&nobody, 3, "requests", "");
	ok(hears(&nobody, "\"code\":\"unknown_command\""), "a feed is no command");
	call(&nobody, 4, "No such; name", "");
	ok(hears(&nobody, "\"code\":\"unknown_command\""), "nor what is no name");
	ok(world.n_asks == asked_before, "the database runs none of them");
	leave(&member);
	leave(&admin);
	leave(&nobody);
	world_end();
}

static void test_order(void)
{
	struct client c, other;
	world_begin(1 << 20);
	world.call = do_plain;
	enter(&c, "1", "");
	enter(&other, "2", "");
	world.at_once = false;
	call(&c, 1, "move_card", "");
	call(&c, 2, "move_card", "");
	call(&c, 3, "nothing", "");
	call(&c, 4, "move_card", "");
	call(&other, 9, "move_card", "");
	ok(open_asks() == 2, "the calls of a session are done one after another, those of others beside them");
	send_text(&c, "{\"type\":\"ping\",\"ref\":5}");
	ok(hears(&c, "pong"), "meanwhile it is answered other things");
	answer_next();
	ok(hears(&c, "\"ref\":1"), "the first");
	answer_all();
	pump();
	answer_all();
	ok(hears(&c, "\"ref\":2"), "then the second");
	ok(hears(&c, "\"ref\":3,\"code\":\"unknown_command\""), "then one that is refused");
	ok(hears(&c, "\"ref\":4"), "then the last");
	ok(hears(&other, "\"ref\":9"), "and the other's");
	call(&c, 1, "move_card", "");
	call(&c, 2, "move_card", "");
	leave(&c);
	answer_all();
	ok(open_asks() == 0, "of a session that is gone, none follows");
	world.down = false;
	call(&other, 1, "move_card", "");
	leave(&other);
	world_end();
	ok(true, "and what was never answered is freed with the hub");
}

static void test_hold(void)
{
	struct client c;
	world_begin(1 << 20);
	world.call = do_write;
	enter(&c, "1", "\"units\":[7]");
	subscribe(&c, "requests:unit:7");
	skip(&c);
	call(&c, 1, "move_card", ",\"args\":{\"x\":50}");
	ok(next(&c) == NULL, "a result waits for its events");
	ok(hub_wait_ms(world.hub) == 2000, "for 2 s");
	emit(.id = 101, .xid = 49, .tick = 1, .feed = {"requests", 8}, .unit = {"7", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	hub_whole(world.hub);
	ok(hears(&c, "\"id\":101") && next(&c) == NULL, "another's do not count");
	emit(.id = 102, .xid = 50, .tick = 2, .feed = {"requests", 8}, .unit = {"7", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	ok(hears(&c, "\"id\":102") && next(&c) == NULL, "nor does the first of its own");
	emit(.id = 103, .xid = 50, .tick = 2, .feed = {"requests", 8}, .unit = {"7", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	hub_whole(world.hub);
	ok(hears(&c, "\"id\":103"), "once all were shown");
	ok(strstr(next(&c), "\"ref\":1,\"data\":{\"done\":true}," CURSOR(103)) != NULL,
	   "it is sent behind them, with the last one's id");
	emit(.id = 104, .xid = 60, .tick = 3, .feed = {"requests", 8}, .unit = {"8", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	hub_whole(world.hub);
	emit(.id = 105, .xid = 61, .tick = 4, .feed = {"requests", 8}, .unit = {"8", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	hub_whole(world.hub);
	call(&c, 2, "move_card", ",\"args\":{\"x\":60}");
	ok(strstr(next(&c), "\"ref\":2,\"data\":{\"done\":true}," CURSOR(104)) != NULL,
	   "events that came before the answer count");
	call(&c, 3, "move_card", ",\"args\":{\"x\":70}");
	set_clock(1999);
	pump();
	ok(next(&c) == NULL, "while they do not come it waits");
	set_clock(1);
	pump();
	ok(strstr(next(&c), "\"ref\":3,\"data\":{\"done\":true}," CURSOR(105)) != NULL, "but not for ever");
	ok(hub_wait_ms(world.hub) == -1, "and then nothing waits");
	call(&c, 4, "move_card", ",\"args\":{\"x\":80}");
	call(&c, 5, "move_card", ",\"args\":{\"x\":81}");
	ok(metrics.commands[METRIC_COMMAND_OK] == 3, "the next call is begun meanwhile");
	leave(&c);
	emit(.id = 106, .xid = 80, .tick = 5, .feed = {"requests", 8}, .unit = {"7", 1}, .key = {"1", 1},
	     .flags = USUAL_FLAGS);
	hub_whole(world.hub);
	ok(hub_wait_ms(world.hub) == -1, "results of a session that is gone are gone, too");
	world_end();
}

static void test_errors(void)
{
	struct client c;
	world_begin(1 << 20);
	enter(&c, "1", "");
	fail_with(1, "P0001", "the crate is \"taken\"");
	call(&c, 1, "move_card", "");
	is_str(next(&c),
	       "{\"type\":\"error\",\"ref\":1,\"code\":\"command_failed\",\"message\":\"the crate is \\\"taken\\\"\"}",
	       "what the function raises is passed on");
	fail_with(1, "LF001", "livefeed says no");
	call(&c, 2, "move_card", "");
	ok(hears(&c, "\"message\":\"livefeed says no\""), "and what livefeed does");
	fail_with(1, "LF002", "command \"move_card\" does not exist");
	call(&c, 2, "move_card", "");
	is_str(next(&c),
	       "{\"type\":\"error\",\"ref\":2,\"code\":\"unknown_command\",\"message\":\"there is no such command\"}",
	       "one that was hidden a moment ago is unknown");
	static const char *const hidden[] = {"42P01", "23505", "57014", "XX000", "P0002", "22P02", ""};
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
		fail_with(1, hidden[i], "relation \"secret\" does not exist");
		call(&c, 3, "move_card", "");
		is_str(next(&c),
		       "{\"type\":\"error\",\"ref\":3,\"code\":\"command_failed\",\"message\":\"the command failed\"}",
		       "nothing else is");
	}
	ok(metrics.commands[METRIC_COMMAND_REFUSED] == 2 && metrics.commands[METRIC_COMMAND_ERROR] == 7,
	   "they are counted");
	leave(&c);
	world_end();
}

/* Lets the retries come; returns after how many ms the answer was there. */
static int64_t retried(struct client *c, const char **answer)
{
	int64_t passed = 0;
	while ((*answer = next(c)) == NULL && hub_wait_ms(world.hub) >= 0) {
		int64_t wait = hub_wait_ms(world.hub);
		passed += wait;
		set_clock(wait);
		pump();
	}
	return passed;
}

static void test_retries(void)
{
	struct client c;
	const char *answer;
	world_begin(1 << 20);
	enter(&c, "1", "");
	static const char *const passing[] = {"40001", "40P01"};
	for (size_t i = 0; i < 2; i++) {
		fail_with(3, passing[i], "deadlock detected");
		call(&c, 1, "move_card", "");
		int64_t ms = retried(&c, &answer);
		ok(answer != NULL && strstr(answer, "\"type\":\"result\"") != NULL, "it is tried again, three times");
		ok(ms >= 10 && ms <= 1000, "soon, but not at once (%lld ms)", (long long)ms);
		fail_with(4, passing[i], "deadlock detected");
		call(&c, 1, "move_card", "");
		retried(&c, &answer);
		ok(answer != NULL && strstr(answer, "\"message\":\"the command failed\"") != NULL, "and not more often");
	}
	ok(metrics.command_retries == 12, "retries are counted (%d)", (int)metrics.command_retries);
	lose(1, false);
	call(&c, 2, "move_card", "");
	ok(strstr(next(&c), "\"code\":\"unavailable\",\"message\":\"the database cannot be asked at present: the command "
	                    "was not done") != NULL,
	   "what was never sent was not done");
	lose(1, true);
	call(&c, 3, "move_card", "");
	ok(hears(&c, "may have been done, or not"), "of what was sent, nobody knows");
	lose(2, true);
	call(&c, 4, "move_card", ",\"idempotency_key\":\"k\"");
	retried(&c, &answer);
	ok(answer != NULL && strstr(answer, "\"type\":\"result\"") != NULL, "with a key it is asked again");
	lose(100, true);
	call(&c, 5, "move_card", ",\"idempotency_key\":\"k\"");
	retried(&c, &answer);
	ok(answer != NULL && strstr(answer, "may have been done, or not") != NULL, "but not for ever");
	fail_with(1, "40001", "x");
	call(&c, 6, "move_card", "");
	leave(&c);
	set_clock(10000);
	pump();
	ok(hub_wait_ms(world.hub) == -1, "a session that is gone retries nothing");
	world_end();
}

static void test_messages(void)
{
	struct client c;
	char long_key[400] = ",\"idempotency_key\":\"", *at = long_key + strlen(long_key);
	world_begin(1 << 20);
	world.call = do_plain;
	world.limits.max_bad_messages = 100;
	hub_set_limits(world.hub, &world.limits);
	enter(&c, "1", "");
	static const char *const bad[] = {",\"args\":[]",           ",\"args\":1",
	                                  ",\"args\":\"{}\"",       ",\"args\":true",
	                                  ",\"idempotency_key\":7", ",\"idempotency_key\":\"\""};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		call(&c, 1, "move_card", bad[i]);
		ok(hears(&c, "\"ref\":1,\"code\":\"bad_message\""), "bad_message: %s", bad[i]);
	}
	memset(at, 'k', 256);
	strcpy(at + 256, "\"");
	call(&c, 1, "move_card", long_key);
	ok(hears(&c, "\"code\":\"bad_message\""), "bad_message: a key of 256 bytes");
	strcpy(at + 255, "\"");
	call(&c, 1, "move_card", long_key);
	ok(hears(&c, "\"type\":\"result\""), "one of 255 is good");
	call(&c, 1, "move_card", ",\"args\":null");
	ok(hears(&c, "\"type\":\"result\""), "args null are none");
	leave(&c);
	world_end();
}

static void test_limits(void)
{
	struct client c;
	world_begin(1 << 20);
	world.call = do_plain;
	enter(&c, "1", "");
	world.at_once = false;
	for (int i = 0; i < 101; i++)
		call(&c, i, "move_card", "");
	ok(hears(&c, "\"ref\":100,\"code\":\"rate_limited\""), "at most 100 calls of a session wait");
	while (answer_next())
		;
	ok(skip(&c) == 100, "all that were taken are answered");
	leave(&c);
	world_end();
}

static struct client requests[40];
static const struct session_transport once_transport = {.name = "http", .wake = note_wake, .once = true};

/* A session for one request. */
static const char *request_once(int i, const char *user)
{
	struct client *c = &requests[i];
	memset(c, 0, offsetof(struct client, text));
	c->session = session_open(world.hub, &once_transport, c, NULL);
	authenticate(c, user, "");
	call(c, 1, "move_card", "");
	next(c); /* welcome */
	const char *answer = next(c);
	leave(c);
	return answer;
}

static void test_user_rate(void)
{
	int done = 0;
	world_begin(1 << 20);
	world.call = do_plain;
	world.limits.rate_per_s = 2;
	world.limits.max_subscriptions = 8;
	hub_set_limits(world.hub, &world.limits);
	for (int i = 0; i < 20; i++)
		done += strstr(request_once(i, "1"), "\"type\":\"result\"") != NULL;
	ok(done == 10, "the calls of one user are counted over his requests: rate and max-subscriptions at once (%d)",
	   done);
	ok(strstr(request_once(0, "1"), "\"code\":\"rate_limited\"") != NULL, "then they are refused");
	ok(metrics.limits[METRIC_LIMIT_RATE] == 11, "and that is counted");
	ok(strstr(request_once(0, "2"), "\"type\":\"result\"") != NULL, "another user is free to call");
	set_clock(1000);
	ok(strstr(request_once(0, "1"), "result") != NULL && strstr(request_once(0, "1"), "result") != NULL &&
	       strstr(request_once(0, "1"), "rate_limited") != NULL,
	   "and he again at the rate");
	world_end();
}

static void define_later(void)
{
	struct catalog_load *load = catalog_load_begin();
	catalog_load_command(load, text("later"), NULL, 0);
	catalog_load_commit(world.catalog, load);
}

static void test_unknown(void)
{
	struct client c;
	world_begin(1 << 20);
	world.call = do_plain;
	world.define = define_later;
	enter(&c, "1", "");
	world.at_once = false;
	call(&c, 1, "later", "");
	ok(open_asks() == 1 && next(&c) == NULL, "for a new name definitions are read again");
	answer_all();
	answer_all();
	ok(hears(&c, "\"type\":\"result\""), "and then it is known");
	call(&c, 2, "never", "");
	leave(&c);
	set_clock(2000);
	pump();
	answer_all();
	world_end();
	ok(true, "who left while they were read leaves nothing");
}

static void test_doubt(void)
{
	struct client c;
	world_begin(1 << 20);
	world.call = do_plain;
	enter(&c, "1", "\"units\":{\"7\":[\"approver\"]}");
	c.session->doubted = true;
	call(&c, 1, "approve", "");
	ok(next(&c) == NULL, "while rights are in doubt a call waits");
	c.session->doubted = false;
	attempts_unpark(c.session);
	ok(hears(&c, "\"type\":\"result\""), "and goes on with them");
	c.session->doubted = true;
	call(&c, 2, "approve", "");
	leave(&c);
	world_end();
}

static void test_db_role(void)
{
	struct client with, without;
	const char *error;
	world_begin(1 << 20);
	world.call = do_plain;
	struct access_settings settings = {.leeway_s = 30,
	                                   .claim_user = "sub",
	                                   .claim_units = "units",
	                                   .claim_roles = "roles",
	                                   .claim_db_role = "/db/role"};
	ok(access_configure(world.access, &settings, &error), "--claim-db-role");
	enter(&with, "1", "\"units\":[],\"db\":{\"role\":\"clerk\"}");
	enter(&without, "2", "\"units\":[],\"db\":{\"role\":7}");
	world.at_once = false;
	call(&with, 1, "move_card", "");
	is_str(world.asks[world.first_ask % ASK_MAX].role, "clerk", "the role that the token names");
	answer_all();
	ok(hears(&with, "result"), "it runs under that");
	call(&without, 1, "move_card", "");
	ok(hears(&without, "\"code\":\"forbidden\",\"message\":\"the token names no database role\""),
	   "who names none may call nothing");
	leave(&with);
	leave(&without);
	world_end();
}

int main(void)
{
	test_result();
	test_rights();
	test_order();
	test_hold();
	test_errors();
	test_retries();
	test_messages();
	test_limits();
	test_user_rate();
	test_unknown();
	test_doubt();
	test_db_role();
	return tap_done();
}
