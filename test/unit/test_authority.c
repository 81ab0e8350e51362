/*
 * test_authority.c - authority.c and admission.c: tokens whose rights the authorizer gives, the cache, sessions that are
 * doubted, revocations as control events and as loaded, messages behind a token that waits. Does not test which tokens
 * are revoked (test_revoke.c), nor SQL.
 */
#include "hub_fixture.h"

#define SUBSCRIBED(channel)                                                                                            \
	"{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"" channel "\",\"cursor\":\"0000aaaa-100\"}"
#define LOST(channel) "{\"type\":\"unsubscribed\",\"channel\":\"" channel "\",\"reason\":\"forbidden\"}"

static const char *units = "[7,9]"; /* of everybody, in what follows */
static const char *answer_text; /* instead, the whole of it */

static const char *authorizer(const char *claims)
{
	static char json[256];
	(void)claims;
	if (answer_text != NULL)
		return answer_text[0] == '-' ? NULL : answer_text;
	snprintf(json, sizeof(json), "{\"units\":%s}", units);
	return json;
}

static void begin(bool at_once)
{
	world_begin(1 << 20);
	units = "[7,9]";
	answer_text = NULL;
	world.authorizer = authorizer;
	hub_set_authority(world.hub, text("f"), 0, false);
	world.at_once = at_once;
	set_clock(10000);
}

static bool is_error(struct client *client, const char *code)
{
	char wanted[64];
	const char *frame = next(client);
	snprintf(wanted, sizeof(wanted), "\"code\":\"%s\"", code);
	return frame != NULL && strstr(frame, wanted) != NULL;
}

static bool is_welcome(struct client *client)
{
	const char *frame = next(client);
	return frame != NULL && strstr(frame, "{\"type\":\"welcome\"") == frame;
}

static void control(const char *kind, int64_t id, const char *user, const char *sid, int64_t before_s,
                    const char *reason)
{
	char seconds[24];
	struct text users = text(user);
	snprintf(seconds, sizeof(seconds), "%lld", (long long)before_s);
	struct event event = {.id = id,
	                      .flags = EVENT_CONTROL,
	                      .feed = text(kind),
	                      .users = &users,
	                      .n_users = 1,
	                      .key = text(sid),
	                      .parent_key = text(seconds),
	                      .body = text(reason)};
	hub_control(world.hub, &event);
}

static void reauthorize(int64_t id, const char *user)
{
	control("reauthorize", id, user, NULL, WALL_S, NULL);
}

static void test_asking(void)
{
	struct client a, b, c, d;
	begin(false);
	join(&a);
	join(&b);
	join(&c);
	authenticate(&a, "5", "\"iat\":1700000001,\"jti\":\"x\"");
	authenticate(&b, "5", "\"iat\":1700000002,\"jti\":\"y\",\"exp\":1700009999");
	is_int(open_asks(), 1, "one question for two tokens that say the same");
	authenticate(&c, "5", "\"iat\":1700000002,\"team\":\"x\"");
	is_int(open_asks(), 2, "another for one that says more");
	ok(strstr(world.asks[0].claims, "\"jti\":\"x\"") != NULL, "the whole payload is shown");
	ok(next(&a) == NULL && close_code(&a) == 0, "they wait");
	answer_all();
	ok(is_welcome(&a) && is_welcome(&b) && is_welcome(&c), "all are let in");
	join(&d);
	authenticate(&d, "5", "\"iat\":1700000003,\"exp\":1700000900");
	is_str(next(&d),
	       "{\"type\":\"welcome\",\"protocol\":1,\"user\":\"5\",\"epoch\":\"0000aaaa\",\"cursor\":\"0000aaaa-100\","
	       "\"expires_at\":\"2023-11-14T22:28:20Z\",\"heartbeat\":25}",
	       "a known answer is not asked for, and the end is the token's own");
	is_int(world.authorizer_calls, 2, "twice in all");
	subscribe(&a, "requests:unit:9");
	is_str(next(&a), SUBSCRIBED("requests:unit:9"), "units are the authorizer's");
	subscribe(&a, "requests:unit:8");
	ok(is_error(&a, "forbidden"), "and no others");
	leave(&d);

	join(&d);
	authenticate(&d, "6", "\"units\":[]");
	ok(is_welcome(&d), "a token with units, even none, is not asked about");
	is_int(world.authorizer_calls, 2, "indeed not");
	world_end();
}

static void test_refused(void)
{
	struct client a, b, c, d, e;
	const char *reason;
	begin(true);
	answer_text = "-";
	join(&a);
	authenticate(&a, "5", "");
	ok(is_error(&a, "bad_token"), "NULL is a refusal");
	is_int(session_closing(a.session, &reason), 4401, "and closes 4401");
	is_str(reason, "refused by the authorizer", "with a reason");
	join(&b);
	authenticate(&b, "5", "");
	is_int(close_code(&b), 4401, "so soon it is remembered");
	is_int(world.authorizer_calls, 1, "without a question");
	set_clock(REFUSAL_KEPT_MS);
	answer_text = NULL;
	join(&c);
	authenticate(&c, "5", "");
	ok(is_welcome(&c), "but not for long");

	answer_text = "";
	join(&d);
	authenticate(&d, "6", "");
	ok(is_error(&d, "unavailable"), "an error is no refusal");
	is_int(close_code(&d), 1013, "try again later");
	answer_text = "{\"units\":7}";
	join(&e);
	authenticate(&e, "6", "");
	ok(is_error(&e, "unavailable"), "nor is an answer that cannot be read");
	is_int(close_code(&e), 1013, "try again later");
	is_int(world.authorizer_calls, 4, "and neither is remembered");
	world_end();
}

static void test_unavailable(void)
{
	struct client a, b;
	begin(false);
	join(&a);
	authenticate(&a, "5", "");
	world.down = true;
	answer_all();
	ok(is_error(&a, "unavailable"), "the database is away");
	is_int(close_code(&a), 1013, "try again later");

	world.down = false;
	join(&b);
	authenticate(&b, "5", "");
	world.down = true;
	set_clock(TOKEN_WAIT_MAX_MS - 1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&b), 0, "who waits for an answer did bring a token in time");
	set_clock(1);
	hub_check_deadlines(world.hub);
	ok(is_error(&b, "unavailable"), "but not for ever");
	is_int(close_code(&b), 1013, "try again later");
	answer_all();
	ok(next(&b) == NULL, "an answer that comes then is for nobody");
	world_end();
}

static void test_held_messages(void)
{
	struct client a, b, c, d;
	char message[70000];
	begin(false);
	join(&a);
	authenticate(&a, "5", "");
	subscribe(&a, "requests:unit:7");
	send_text(&a, "nonsense");
	send_text(&a, "{\"type\":\"ping\",\"ref\":2}");
	ok(next(&a) == NULL && close_code(&a) == 0, "messages behind a token wait with it");
	answer_all();
	ok(is_welcome(&a), "first the token");
	is_str(next(&a), SUBSCRIBED("requests:unit:7"), "then they, in order");
	ok(is_error(&a, "bad_message"), "good and bad");
	ok(strstr(next(&a), "\"type\":\"pong\",\"ref\":2") != NULL, "to the last");

	join(&b);
	authenticate(&b, "6", "");
	subscribe(&b, "requests:unit:7");
	answer_text = "-";
	answer_all();
	ok(is_error(&b, "bad_token"), "a token that is refused");
	ok(next(&b) == NULL, "takes them along");
	is_int(close_code(&b), 4401, "as it must");

	join(&c);
	authenticate(&c, "7", "");
	memset(message, ' ', sizeof(message));
	message[sizeof(message) - 1] = '\0';
	memcpy(message, "{\"type\":\"ping\"}", 15);
	send_text(&c, message);
	is_int(close_code(&c), 0, "a large one");
	send_text(&c, message);
	is_int(close_code(&c), 4429, "two are over the bound");
	ok(is_error(&c, "rate_limited"), "and that is told");
	leave(&c);
	is_int(world.hub->held_bytes, 0, "nothing is left of them");

	world.limits.rate_per_s = 2;
	hub_set_limits(world.hub, &world.limits);
	join(&d);
	authenticate(&d, "8", "");
	for (int i = 0; i < 10; i++) /* rate + max_subscriptions */
		send_text(&d, "{\"type\":\"ping\"}");
	ok(next(&d) == NULL, "within the rate they wait");
	send_text(&d, "{\"type\":\"ping\",\"ref\":11}");
	ok(strstr(next(&d), "\"ref\":11,\"code\":\"rate_limited\"") != NULL,
	   "beyond it each is answered, by its ref: a stream counts the answers to its channels");
	leave(&d);
	world_end();
}

static void test_reauthorize(void)
{
	struct client a, b, c;
	begin(false);
	enter(&a, "5", "");
	enter(&b, "5", "\"iat\":1690000000");
	enter(&c, "6", "");
	answer_all();
	skip(&a), skip(&b), skip(&c);
	subscribe(&a, "requests:unit:7");
	subscribe(&a, "requests:unit:9");
	subscribe(&b, "requests:unit:9");
	subscribe(&c, "requests:unit:9");
	skip(&a), skip(&b), skip(&c);
	is_int(world.authorizer_calls, 2, "one question a user");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"), .key = text("1"));
	is_str(next(&a), FRAME(101, "\"requests:unit:9\""), "before");

	units = "[7]";
	reauthorize(102, "5");
	is_int(open_asks(), 1, "one question for both sessions");
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"), .key = text("1"));
	emit(.id = 104, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("2"));
	ok(next(&a) == NULL, "while rights are in doubt nothing goes out");
	subscribe(&a, "orders:unit:9");
	subscribe(&a, "orders:unit:7");
	pump();
	ok(next(&a) == NULL, "nor is anything granted");
	skip(&c);
	answer_all();
	pump();
	is_str(next(&a), LOST("requests:unit:9"), "the lost channel ends");
	ok(is_error(&a, "forbidden"), "what was asked meanwhile is judged by the new rights");
	ok(strstr(next(&a), "\"channel\":\"orders:unit:7\"") != NULL, "in order");
	is_str(next(&a), FRAME(104, "\"requests:unit:7\""), "and what came meanwhile follows, as far as it may");
	ok(next(&a) == NULL, "no more");
	is_str(next(&b), FRAME(101, "\"requests:unit:9\""), "the other session: what was before");
	is_str(next(&b), LOST("requests:unit:9"), "and its end");
	emit(.id = 105, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"), .key = text("1"));
	emit(.id = 106, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("2"));
	is_str(next(&a), FRAME(106, "\"requests:unit:7\""), "the kept one goes on");
	ok(next(&b) == NULL, "the lost one does not");
	is_str(next(&c), FRAME(105, "\"requests:unit:9\""), "another user is not concerned");
	is_int(close_code(&a), 0, "nobody is closed");
	world_end();
}

static void test_no_loss_and_no_leak(void)
{
	struct client a;
	begin(false);
	enter(&a, "5", "");
	answer_all();
	skip(&a);
	subscribe(&a, "requests:unit:7");
	subscribe(&a, "requests:unit:9");
	skip(&a);
	units = "[7]";
	reauthorize(101, "5");
	for (int64_t id = 102; id < 120; id++)
		emit(.id = id, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text(id % 2 == 0 ? "7" : "9"),
		     .key = text("1"));
	units = "[7,9]"; /* what the first question did not know any more, if it was asked before */
	reauthorize(120, "5");
	is_int(open_asks(), 1, "who is being asked about is not asked about twice");
	answer_all();
	is_int(world.authorizer_calls, 3, "but once more: the answer was older than the event");
	pump();
	bool seen[120] = {false};
	int n = 0, wrong = 0, id;
	for (const char *frame = next(&a); frame != NULL; frame = next(&a), n++) {
		bool known = sscanf(frame, "{\"n\":%d,", &id) == 1 && id >= 102 && id < 120 && !seen[id];
		wrong += !known;
		if (known)
			seen[id] = true;
	}
	is_int(n, 18, "all events of both units");
	is_int(wrong, 0, "each once, and nothing else");
	world_end();
}

static void test_other_names(void)
{
	struct client a, b;
	begin(false);
	answer_text = "{\"user\":\"alice\",\"units\":[7]}";
	enter(&a, "5", "");
	answer_all();
	ok(strstr(next(&a), "\"user\":\"alice\"") != NULL, "the authorizer names the user");
	subscribe(&a, "notices:user:alice");
	is_str(next(&a), SUBSCRIBED("notices:user:alice"), "whose channels these are");
	reauthorize(101, "alice");
	is_int(open_asks(), 1, "reauthorize by that name");
	reauthorize(102, "alice");
	answer_next();
	is_int(open_asks(), 1, "and once more, for the answer is older than the second");
	answer_all();
	pump();
	reauthorize(103, "5");
	is_int(open_asks(), 1, "by the token's name as well");
	answer_text = "{\"user\":\"bob\"}";
	answer_all();
	ok(is_error(&a, "bad_token"), "who is somebody else now");
	is_int(close_code(&a), 4401, "comes again");

	answer_text = "{\"user\":\"alice\"}";
	join(&b);
	authenticate(&b, "6", "\"iat\":1700000000");
	control("disconnect", 104, "alice", NULL, WALL_S + 1, NULL);
	answer_all();
	ok(is_error(&b, "bad_token"), "a disconnect by the authorizer's name counts for who is on the way");
	is_int(close_code(&b), 4401, "too");
	world_end();
}

static void test_own_rights(void)
{
	struct client old, fresh, silent;
	const char *reason;
	begin(true);
	enter(&old, "5", "\"units\":[7],\"iat\":1700000000");
	enter(&fresh, "5", "\"units\":[7],\"iat\":1700000002");
	enter(&silent, "5", "\"units\":[7]");
	control("reauthorize", 101, "5", NULL, WALL_S + 1, NULL);
	ok(is_error(&old, "bad_token"), "who carries rights that changed");
	is_int(session_closing(old.session, &reason), 4401, "needs a fresh token");
	is_str(reason, "token is revoked: its user's rights have changed", "and is told");
	is_int(close_code(&silent), 4401, "a token that does not say when it was issued counts as older");
	is_int(close_code(&fresh), 0, "one that was issued later stays");
	is_int(world.authorizer_calls, 0, "nobody is asked");
	struct client again;
	join(&again);
	authenticate(&again, "5", "\"units\":[7],\"iat\":1700000001");
	ok(is_error(&again, "bad_token"), "an old token is refused from then on");
	world_end();
}

static void test_disconnect(void)
{
	struct client a, b, c, d, e;
	const char *reason;
	begin(true);
	enter(&a, "5", "\"units\":[7],\"iat\":1700000000,\"sid\":\"phone\"");
	enter(&b, "5", "\"iat\":1700000000,\"sid\":\"desk\"");
	enter(&c, "6", "\"units\":[7],\"iat\":1700000000,\"sid\":\"phone\"");
	enter(&d, "5", "\"units\":[],\"iat\":1700000100");
	control("disconnect", 101, "5", "phone", WALL_S, "logged out");
	is_int(session_closing(a.session, &reason), 4403, "the login session");
	is_str(reason, "logged out", "with the reason");
	ok(close_code(&b) == 0 && close_code(&c) == 0 && close_code(&d) == 0, "and no other");
	join(&e);
	authenticate(&e, "5", "\"units\":[7],\"iat\":1700000000,\"sid\":\"phone\"");
	ok(is_error(&e, "bad_token"), "its token is refused");
	is_int(close_code(&e), 4401, "with 4401");

	char twice[200];
	memset(twice, 'x', sizeof(twice));
	memcpy(twice + 122, "\xc3\xa9", 2);
	twice[199] = '\0';
	control("disconnect", 102, "5", NULL, WALL_S + 5, twice);
	is_int(session_closing(b.session, &reason), 4403, "all of the user's");
	is_int(strlen(reason), 122, "a long reason is cut between characters");
	is_int(close_code(&d), 0, "but not one with a later token: it came back before the event");
	is_int(close_code(&c), 0, "nor anybody else's");
	control("disconnect", 103, "6", NULL, WALL_S, "\xff");
	is_int(session_closing(c.session, &reason), 4403, "a reason that is no text");
	is_str(reason, "", "is none");
	world_end();
}

static void test_a_stream_begins(void)
{
	struct client a, b, c, d;
	begin(true);
	enter(&a, "5", "\"units\":[7],\"iat\":1700000000");
	enter(&b, "6", "");
	subscribe(&b, "requests:unit:9");
	skip(&b);
	enter(&c, "7", "\"units\":[7],\"iat\":1700000000");
	hub_restart(world.hub, EPOCH, HEAD, "pruned");
	ok(hub_wants_revocations(world.hub), "control events may have been missed");
	skip(&a), skip(&b), skip(&c);
	join(&d);
	authenticate(&d, "5", "\"units\":[7],\"iat\":1700000000");
	subscribe(&c, "requests:unit:7");
	ok(next(&c) == NULL && next(&d) == NULL && close_code(&d) == 0,
	   "until they are here nobody is let in, nothing granted");
	units = "[7]";
	hub_take_revocation(world.hub, text("5"), text(NULL), text("disconnect"), WALL_S);
	hub_take_revocation(world.hub, text("7"), text(NULL), text("of a kind to come"), WALL_S);
	hub_set_authority(world.hub, text("f"), 0, true);
	pump();
	is_int(close_code(&a), 4403, "who was disconnected meanwhile");
	is_str(next(&b), LOST("requests:unit:9"), "whose rights changed meanwhile");
	is_str(next(&c), SUBSCRIBED("requests:unit:7"), "the others go on");
	ok(is_error(&d, "bad_token"), "and tokens are judged by it");
	ok(!hub_wants_revocations(world.hub), "once is enough");
	world_end();
}

static void test_another_authorizer(void)
{
	struct client a, b;
	begin(true);
	enter(&a, "5", "");
	subscribe(&a, "requests:unit:9");
	skip(&a);
	hub_set_authority(world.hub, text("f"), 0, false);
	is_int(world.authorizer_calls, 1, "the same one is not asked again");
	units = "[7]";
	hub_set_authority(world.hub, text("g"), 0, false);
	pump();
	is_str(next(&a), LOST("requests:unit:9"), "another one is");
	subscribe(&a, "requests:unit:7");
	skip(&a);
	world.at_once = false;
	join(&b);
	authenticate(&b, "6", "");
	hub_set_authority(world.hub, text(NULL), 0, false);
	is_str(next(&a), LOST("requests:unit:7"), "without one, a token without units has none");
	answer_all();
	ok(is_welcome(&b), "whoever was being asked about gets in as well");
	subscribe(&b, "notices:user:6");
	is_str(next(&b), SUBSCRIBED("notices:user:6"), "to what is his");
	hub_set_authority(world.hub, text("g"), 0, false);
	is_int(open_asks(), 2, "one that is new is asked about everybody");
	answer_all();
	subscribe(&b, "requests:unit:7");
	is_str(next(&b), SUBSCRIBED("requests:unit:7"), "and gives his");
	world_end();
}

static void test_while_away(void)
{
	struct client a, b;
	begin(false);
	enter(&a, "5", "");
	answer_all();
	skip(&a);
	subscribe(&a, "requests:unit:7");
	skip(&a);
	hub_live(world.hub, false);
	skip(&a);
	reauthorize(101, "5");
	world.down = true;
	for (int i = 0; i < AUTHORIZE_TRIES_MAX * 2; i++) {
		answer_all();
		set_clock(RETRY_MS);
		pump();
	}
	is_int(close_code(&a), 0, "who is open waits for the database");
	ok(next(&a) == NULL, "and gets nothing");
	world.down = false;
	hub_live(world.hub, true);
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("1"));
	answer_all();
	set_clock(RETRY_MS);
	pump();
	answer_all();
	pump();
	skip(&a);
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("1"));
	is_str(next(&a), FRAME(103, "\"requests:unit:7\""), "then it goes on");

	enter(&b, "6", "");
	answer_all();
	reauthorize(104, "6");
	skip(&b);
	world.down = true;
	for (int i = 0; i < AUTHORIZE_TRIES_MAX; i++) {
		answer_all();
		set_clock(RETRY_MS);
		pump();
	}
	is_int(close_code(&b), 1013, "an authorizer that does not answer, though the database is there, ends it");
	world.down = false;
	answer_text = "";
	reauthorize(105, "5");
	answer_all();
	ok(is_error(&a, "unavailable"), "and so does one that raises");
	is_int(close_code(&a), 1013, "try again later");
	world_end();
}

static void test_age(void)
{
	struct client a, b, c;
	begin(true);
	hub_set_authority(world.hub, text(NULL), 1000, false);
	enter(&a, "5", "\"units\":[],\"sid\":\"s\",\"iat\":1699999500");
	is_int(close_code(&a), 0, "a token with a sid that is not too old");
	enter(&b, "5", "\"units\":[],\"iat\":1600000000");
	is_int(close_code(&b), 0, "without one it may be of any age");
	join(&c);
	authenticate(&c, "5", "\"units\":[],\"sid\":\"s\",\"iat\":1699998000");
	ok(is_error(&c, "bad_token"), "one that is too old");
	set_clock(600 * 1000);
	hub_check_deadlines(world.hub);
	is_int(close_code(&a), 4401, "a session lasts no longer than its token would be taken");
	is_int(close_code(&b), 0, "only with a sid");
	world_end();
}

static void test_rows(void)
{
	struct client a;
	begin(true);
	world.rows[world.n_rows++] = (struct row){"requests", "3", ROW_FOUND, "9", NULL};
	world.rows[world.n_rows++] = (struct row){"requests", "4", ROW_FOUND, "7", NULL};
	enter(&a, "5", "");
	subscribe(&a, "requests:row:3");
	subscribe(&a, "requests:row:4");
	skip(&a);
	world.at_once = false;
	units = "[7]";
	reauthorize(101, "5");
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"), .key = text("3"));
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("4"));
	answer_next();
	pump();
	ok(next(&a) == NULL, "a row's right is asked for again, too");
	answer_all();
	pump();
	int events = 0, lost = 0;
	const char *frame;
	while ((frame = next(&a)) != NULL) {
		lost += strcmp(frame, LOST("requests:row:3")) == 0;
		events += strcmp(frame, FRAME(103, "\"requests:row:4\"")) == 0;
	}
	is_int(lost, 1, "one is lost");
	is_int(events, 1, "the other has its event");
	world_end();
}

static void test_auth_while_open(void)
{
	struct client a;
	char message[1024], *token;
	begin(false);
	enter(&a, "5", "");
	answer_all();
	skip(&a);
	subscribe(&a, "requests:unit:9");
	skip(&a);
	units = "[7]";
	token = token_for("5", "\"v\":2");
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"ref\":3,\"token\":\"%s\"}", token);
	free(token);
	send_text(&a, message);
	subscribe(&a, "requests:unit:9");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("9"), .key = text("1"));
	is_str(next(&a), FRAME(101, "\"requests:unit:9\""), "until it is judged, the former one counts");
	answer_all();
	ok(strstr(next(&a), "{\"type\":\"welcome\",\"ref\":3") != NULL, "a new token is welcome");
	is_str(next(&a), LOST("requests:unit:9"), "what it does not cover ends");
	ok(is_error(&a, "forbidden"), "and what was sent behind it is judged by it");
	world_end();
}

static void test_bound(void)
{
	static struct client clients[8];
	char user[16];
	begin(true);
	for (int i = 0; i < AUTHORITIES_MAX + 100; i++) {
		snprintf(user, sizeof(user), "u%d", i);
		enter(&clients[0], user, "");
		leave(&clients[0]);
	}
	is_int(world.hub->authorities[AUTHORITY_KNOWN].n, AUTHORITIES_MAX, "so many answers are kept");
	size_t calls = world.authorizer_calls;
	enter(&clients[0], user, "");
	is_int(world.authorizer_calls, calls, "the latest");
	enter(&clients[1], "u0", "");
	is_int(world.authorizer_calls, calls + 1, "not the first");
	world_end();
}

int main(void)
{
	test_asking();
	test_refused();
	test_unavailable();
	test_held_messages();
	test_reauthorize();
	test_no_loss_and_no_leak();
	test_other_names();
	test_own_rights();
	test_disconnect();
	test_a_stream_begins();
	test_another_authorizer();
	test_while_away();
	test_age();
	test_rows();
	test_auth_while_open();
	test_bound();
	return tap_done();
}
