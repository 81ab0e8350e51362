/*
 * test_session.c - session.c, outbox.c and hub.c: a session's life from greeting to close, its bounds, and the outbox. Does
 * not test what is subscribed (test_subscribe.c) nor what is sent (test_deliver.c, test_replay.c).
 */
#include "hub_fixture.h"

static const char welcome_42[] =
	"{\"type\":\"welcome\",\"protocol\":1,\"user\":\"42\",\"epoch\":\"0000aaaa\",\"cursor\":\"0000aaaa-100\","
	"\"expires_at\":\"2023-11-14T23:13:20Z\",\"heartbeat\":25}";

static void say_auth(struct client *client, const char *user, const char *claims)
{
	char message[1024], *token = token_for(user, claims);
	snprintf(message, sizeof(message), "{\"type\":\"auth\",\"token\":\"%s\"}", token);
	free(token);
	send_text(client, message);
}

static void test_greeting(void)
{
	struct client a, b, c, d;
	const char *reason;
	world_begin(1 << 20);

	join(&a);
	is_int(hub_sessions(world.hub), 1, "a session");
	authenticate(&a, "42", "");
	is_int(a.wakes, 1, "the transport is woken");
	is_str(next(&a), welcome_42, "welcome to a token of the handshake");
	ok(next(&a) == NULL, "and nothing else");

	join(&b);
	say_auth(&b, "42", "");
	is_str(next(&b), welcome_42, "welcome to a first message");

	join(&c);
	send_text(&c, "{\"type\":\"ping\",\"ref\":7}");
	is_str(next(&c),
	       "{\"type\":\"error\",\"ref\":7,\"code\":\"bad_token\",\"message\":\"the first message must be auth\"}",
	       "anything else is answered error");
	is_int(session_closing(c.session, &reason), 4401, "and closes 4401");
	is_str(reason, "the first message must be auth", "with a reason");
	say_auth(&c, "42", "");
	ok(next(&c) == NULL, "too late for a token");

	join(&d);
	session_authenticate(d.session, "no.to.ken", 9);
	ok(strstr(next(&d), "\"code\":\"bad_token\"") != NULL, "a bad token is told");
	is_int(close_code(&d), 4401, "and closes 4401");
	is_int(metrics.auth_failures[METRIC_AUTH_MISSING], 1, "the first is counted");
	is_int(metrics.auth_failures[METRIC_AUTH_MALFORMED], 1, "and so is the second");
	is_int(d.wakes, 1, "woken once for both");

	leave(&a);
	is_int(hub_sessions(world.hub), 3, "one has gone");
	world_end();
}

static void test_before_the_database(void)
{
	struct client a;
	world_begin(1 << 20);
	world.hub->begun = false;
	join(&a);
	authenticate(&a, "42", "");
	is_str(next(&a),
	       "{\"type\":\"error\",\"code\":\"unavailable\",\"message\":\"the database has not been reached yet\"}",
	       "no token is refused before its keys can be known");
	is_int(close_code(&a), 1013, "try again later");
	world_end();
}

static void test_refresh(void)
{
	struct client a, b;
	world_begin(1 << 20);
	enter(&a, "42", "");
	set_clock(1000);
	say_auth(&a, "42", "\"units\":[7]");
	is_str(next(&a), welcome_42, "a fresh token is welcome");
	subscribe(&a, "requests:unit:7");
	ok(strstr(next(&a), "subscribed") != NULL, "and counts from now on");
	say_auth(&a, "43", "");
	ok(strstr(next(&a), "token names another user") != NULL, "of the same user only");
	is_int(close_code(&a), 4401, "another one closes");

	enter(&b, "42", "");
	send_text(&b, "{\"type\":\"auth\",\"token\":\"x\",\"ref\":3}");
	ok(strstr(next(&b), "\"ref\":3,\"code\":\"bad_token\"") != NULL, "a bad one is told");
	is_int(close_code(&b), 4401, "and closes: get another, then resume");
	world_end();
}

/* A token under a key of the database that this bridge has not heard of yet. */
static void learn_key(void)
{
	struct access_own_key keys[] = {{{"k", 1}, {SECRET, sizeof(SECRET) - 1}}, {{"n", 1}, {SECRET, sizeof(SECRET) - 1}}};
	if (!access_set_own_keys(world.access, keys, 2))
		abort();
}

static void bring(struct client *client, const char *kid, const char *ref)
{
	char header[64], payload[128], message[1024];
	snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\"}", kid);
	snprintf(payload, sizeof(payload), "{\"sub\":\"42\",\"exp\":%d}", WALL_S + 3600);
	char *token = sign_hmac(token_body(header, strlen(header), payload, strlen(payload)), EVP_sha256(), SECRET,
	                        sizeof(SECRET) - 1);
	if (ref == NULL) {
		session_authenticate(client->session, token, strlen(token));
	} else {
		snprintf(message, sizeof(message), "{\"type\":\"auth\",\"ref\":%s,\"token\":\"%s\"}", ref, token);
		send_text(client, message);
	}
	free(token);
}

static void test_new_key(void)
{
	struct client a, b, c, d;
	world_begin(1 << 20);
	world.at_once = false;
	join(&a);
	join(&b);
	join(&c);
	bring(&a, "n", NULL);
	bring(&b, "n", "5");
	bring(&c, "n", NULL);
	ok(next(&a) == NULL && close_code(&a) == 0, "a key that is not known yet is no reason to refuse");
	pump();
	is_int(open_asks(), 1, "the keys are asked for, once for all");
	leave(&c);
	world.define = learn_key;
	answer_all();
	is_str(next(&a), welcome_42, "and then it is");
	ok(strstr(next(&b), "{\"type\":\"welcome\",\"ref\":5,") != NULL, "with the ref it came with");

	join(&c);
	bring(&c, "x", NULL);
	pump();
	is_int(open_asks(), 0, "not asked for again at once");
	set_clock(KEYS_ASK_EVERY_MS);
	pump();
	answer_all();
	ok(strstr(next(&c), "token's kid names no known key") != NULL, "a key that nobody knows is refused");
	is_int(close_code(&c), 4401, "and closes");

	set_clock(KEYS_ASK_EVERY_MS);
	join(&d);
	bring(&d, "x", NULL);
	bring(&a, "x", "6");
	bring(&a, "n", "7");
	ok(next(&a) == NULL, "of two tokens the later one waits for the earlier");
	bring(&b, "x", "8");
	pump();
	world.down = true;
	answer_all();
	ok(strstr(next(&d), "\"code\":\"unavailable\"") != NULL, "without the database nobody knows");
	is_int(close_code(&d), 1013, "try again later");
	ok(strstr(next(&b), "\"ref\":8,\"code\":\"unavailable\"") != NULL, "a session that has a token");
	is_int(close_code(&b), 0, "stays");
	ok(strstr(next(&a), "\"ref\":6,\"code\":\"unavailable\"") != NULL, "two tokens are judged in order");
	ok(strstr(next(&a), "\"ref\":7,\"protocol\"") != NULL, "the later, too");

	set_clock(KEYS_ASK_EVERY_MS);
	join(&c);
	bring(&c, "x", NULL);
	pump();
	bring(&a, "y", "9");
	world_end();
}

static void test_deadlines(void)
{
	struct client idle, brief, old;
	world_begin(1 << 20);
	world.limits.max_session_ms = 1800000;
	hub_set_limits(world.hub, &world.limits);
	join(&idle);
	enter(&brief, "42", "\"exp\":1700000011");
	set_clock(9999);
	hub_check_deadlines(world.hub);
	is_int(close_code(&idle), 0, "no token yet, and time left");
	set_clock(1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&idle), 4401, "idle_auth is over");
	ok(strstr(next(&idle), "bad_token") != NULL, "which is told");
	enter(&old, "42", "");
	is_int(close_code(&brief), 0, "the token's time is over, leeway is not");
	leave(&brief);

	set_clock(1800000 - 1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&old), 0, "max_session not reached");
	set_clock(1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&old), 4409, "max_session reached");
	world_end();
}

static void test_expiry(void)
{
	struct client a, b;
	world_begin(1 << 20);
	enter(&a, "42", "");
	enter(&b, "42", "");
	set_clock((int64_t)3629 * 1000 - 1000);
	hub_check_deadlines(world.hub);
	is_int(close_code(&a), 0, "within the leeway");
	set_clock(1000);
	hub_check_deadlines(world.hub);
	is_int(close_code(&a), 4401, "exp and leeway are over");
	ok(strstr(next(&a), "token is expired") != NULL, "which is told");
	world_end();

	/* Between two looks at the deadlines, with events that wait. */
	world_begin(1 << 20);
	enter(&a, "42", "");
	set_clock((int64_t)3629 * 1000);
	session_error(a.session, NULL, "unavailable", "stands for what waits", NULL);
	set_clock(1000);
	ok(strstr(next(&a), "token is expired") != NULL, "nothing that waited goes out after it");
	is_int(skip(&a), 0, "nor anything else");
	is_int(close_code(&a), 4401, "but the close");
	world_end();
}

static void test_many_deadlines(void)
{
	enum { SESSIONS = DEADLINES_SLICE * 2 + 100 };
	struct client *clients = calloc(SESSIONS, sizeof(*clients));
	int closed = 0;
	world_begin(1 << 20);
	for (int i = 0; i < SESSIONS; i++)
		join(&clients[i]);
	set_clock(10000);
	hub_check_deadlines(world.hub);
	for (int i = 0; i < SESSIONS; i++)
		closed += close_code(&clients[i]) != 0;
	is_int(closed, DEADLINES_SLICE, "no more than a slice at once");
	session_gone(clients[SESSIONS - DEADLINES_SLICE - 1].session); /* where the look stands */
	ok(hub_pump(world.hub), "more can be done");
	pump();
	closed = 0;
	for (int i = 0; i < SESSIONS; i++)
		if (i != SESSIONS - DEADLINES_SLICE - 1)
			closed += close_code(&clients[i]) != 0;
	is_int(closed, SESSIONS - 1, "the pump goes on to the end");
	hub_sweep(world.hub);
	world_end();
	free(clients);
}

static void test_messages(void)
{
	struct client a;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	send_text(&a, "{\"type\":\"ping\",\"ref\":\"x\"}");
	is_str(next(&a), "{\"type\":\"pong\",\"ref\":\"x\",\"cursor\":\"0000aaaa-100\",\"live\":true}", "pong");
	hub_live(world.hub, false);
	hub_live(world.hub, false);
	is_str(next(&a), "{\"type\":\"status\",\"live\":false}", "the database is lost: told once");
	send_text(&a, "{\"type\":\"ping\"}");
	is_str(next(&a), "{\"type\":\"pong\",\"cursor\":\"0000aaaa-100\",\"live\":false}", "pong without ref, not live");
	hub_live(world.hub, true);
	is_str(next(&a), "{\"type\":\"status\",\"live\":true}", "and found");

	for (int i = 0; i < 3; i++) {
		send_text(&a, i == 0 ? "nonsense" : "{\"type\":\"dance\",\"ref\":2}");
		ok(strstr(next(&a), "\"code\":\"bad_message\"") != NULL, "bad message %d", i);
		is_int(close_code(&a), 0, "the session goes on");
	}
	send_text(&a, "{}");
	is_int(close_code(&a), 4400, "one too many");
	is_int(metrics.messages_bad, 4, "all are counted");
	world_end();
}

static void test_rate(void)
{
	struct client a;
	world_begin(1 << 20);
	world.limits.rate_per_s = 2;
	hub_set_limits(world.hub, &world.limits);
	enter(&a, "42", "");
	for (int i = 0; i < 10; i++) /* rate + max_subscriptions */
		send_text(&a, "{\"type\":\"ping\"}");
	is_int(skip(&a), 10, "a burst is answered");
	send_text(&a, "{\"type\":\"ping\",\"ref\":5}");
	ok(strstr(next(&a), "\"ref\":5,\"code\":\"rate_limited\"") != NULL, "then the limit is told");
	set_clock(500);
	send_text(&a, "{\"type\":\"ping\"}");
	ok(strstr(next(&a), "pong") != NULL, "half a second later there is one more");
	set_clock(INT64_C(1000) * 3600);
	for (int i = 0; i < 12; i++)
		send_text(&a, "{\"type\":\"ping\"}");
	is_int(close_code(&a), 0, "an hour does not save up more than a burst");
	send_text(&a, "{\"type\":\"ping\"}");
	is_int(close_code(&a), 4429, "who does not stop is closed");
	world_end();
}

static void test_users(void)
{
	struct client a, b, c, d;
	world_begin(1 << 20);
	world.limits.max_sessions_per_user = 2;
	hub_set_limits(world.hub, &world.limits);
	enter(&a, "42", "");
	enter(&b, "42", "");
	enter(&c, "43", "");
	join(&d);
	authenticate(&d, "42", "");
	ok(strstr(next(&d), "rate_limited") != NULL, "a user's third session is refused");
	is_int(close_code(&d), 4429, "over a limit");
	leave(&d);
	leave(&a);
	enter(&d, "42", "");
	is_int(close_code(&d), 0, "when one has gone there is room");
	world_end();
}

static void test_transport_closes(void)
{
	struct client a, b;
	world_begin(1 << 20);
	enter(&a, "42", "");
	session_close(a.session, CLOSE_TOO_LARGE, "message is too large");
	is_str(next(&a), "{\"type\":\"error\",\"code\":\"too_large\",\"message\":\"message is too large\"}",
	       "the transport's reason is told");
	is_int(close_code(&a), 1009, "and closes");
	session_close(a.session, CLOSE_NOT_TEXT, "again");
	is_int(close_code(&a), 1009, "the first reason stays");
	enter(&b, "42", "");
	session_close(b.session, CLOSE_NOT_TEXT, "not text");
	ok(strstr(next(&b), "bad_message") != NULL && close_code(&b) == 1003, "binary is 1003");
	world_end();
}

static void big_event(int64_t id, size_t len)
{
	char *body = malloc(len);
	memset(body, 'a', len);
	memcpy(body, "{\"a\":\"", 6);
	body[len - 1] = '"';
	emit(.id = id, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"), .body = {body, len});
	free(body);
}

static void test_outbox(void)
{
	struct client a;
	struct frame *frames[8];
	world_begin(16 << 20);
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	skip(&a);
	a.wakes = 0;

	big_event(101, 500000);
	is_int(close_code(&a), 0, "an empty outbox takes one frame of any size");
	is_int(a.wakes, 1, "woken");
	is_int(session_output(a.session, frames, 8), 1, "it is there");
	is_int(session_output(a.session, frames, 8), 1, "and stays until it is sent");
	session_sent(a.session, 1);
	ok(!session_has_output(a.session) && a.session->queued_bytes == 0, "then it is gone");
	big_event(102, 500000);
	send_text(&a, "{\"type\":\"ping\"}");
	is_int(close_code(&a), 0, "an answer may stand behind it");
	is_int(session_output(a.session, frames, 8), 2, "and does");
	session_sent(a.session, 2);
	a.wakes = 1;

	for (int i = 0; i < 9; i++)
		big_event(103 + i, 10000);
	is_int(a.wakes, 2, "woken once for nine");
	is_int(session_output(a.session, frames, 8), 8, "no more than asked for");
	ok(frames[0]->id == 103 && frames[7]->id == 110, "in order");
	set_clock(499);
	big_event(112, 10000);
	is_int(close_code(&a), 0, "the bound is reached by one who may yet read: it lags");
	ok(a.session->subscriptions->replay != NULL, "and goes on by a replay");
	set_clock(1);
	hub_check_deadlines(world.hub);
	is_int(close_code(&a), 4408, "who takes nothing for half a second is closed");
	is_int(a.wakes, 3, "woken to close");
	is_int(metrics.limits[METRIC_LIMIT_MAX_QUEUE], 1, "and counted");
	big_event(113, 10);
	is_int(skip(&a), 9, "what was queued goes out, nothing after the gap");
	is_int(metrics.frames_sent, 5 + 9, "frames are counted when they are sent");
	world_end();
}

/* A burst of several times the bound, to one who reads: everything once, in order, without 4408. */
static void test_lag(void)
{
	struct client a;
	struct frame *frames[4];
	int64_t expected = 101, wrong = 0;
	world_begin(16 << 20);
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	skip(&a);
	for (int i = 0; i < 100; i++)
		big_event(101 + i, 10000);
	for (int turn = 0; turn < 1000 && expected <= 200; turn++) {
		size_t n = session_output(a.session, frames, 4);
		for (size_t i = 0; i < n; i++)
			wrong += frames[i]->id != expected++;
		session_sent(a.session, n);
		set_clock(400);
		hub_check_deadlines(world.hub);
		hub_pump(world.hub);
	}
	is_int(expected, 201, "all of the burst came");
	is_int(wrong, 0, "in order, once");
	is_int(close_code(&a), 0, "and nobody was closed");
	ok(a.session->subscriptions->replay == NULL && !a.session->lagging, "live again");
	world_end();
}

static void test_ring(void)
{
	struct client a;
	int64_t expected = 101, wrong = 0;
	world_begin(16 << 20);
	enter(&a, "42", "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	skip(&a);
	for (int64_t id = 101; id < 1101; id++) { /* the ring wraps and grows while it is partly sent */
		emit(.id = id, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"));
		for (int64_t k = 0; k < id % 3; k++) {
			struct frame *frame;
			if (session_output(a.session, &frame, 1) == 1) {
				wrong += frame->id != expected++;
				session_sent(a.session, 1);
			}
		}
	}
	struct frame *frame;
	while (session_output(a.session, &frame, 1) == 1) {
		wrong += frame->id != expected++;
		session_sent(a.session, 1);
	}
	is_int(expected, 1101, "all came");
	is_int(wrong, 0, "in order");
	is_int(a.session->queued_bytes, 0, "bytes are counted to naught");
	for (int64_t id = 1101; id < 1201; id++)
		emit(.id = id, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"));
	skip(&a);
	ok(a.session->ring == NULL, "a burst's ring is let go");
	emit(.id = 1201, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"));
	skip(&a);
	hub_check_deadlines(world.hub);
	ok(a.session->ring != NULL, "a small one is kept while it is used");
	hub_check_deadlines(world.hub);
	ok(a.session->ring == NULL, "and not when idle");
	world_end();
}

static void test_drain(void)
{
	enum { SESSIONS = 100 };
	static struct client clients[SESSIONS];
	int closed = 0, before;
	world_begin(1 << 20);
	for (int i = 0; i < SESSIONS; i++)
		enter(&clients[i], "42", "");
	hub_drain(world.hub, 10000);
	ok(session_open(world.hub, &note_transport, &clients[0], NULL) == NULL, "no new sessions");
	for (int i = 0; i < SESSIONS; i++)
		closed += close_code(&clients[i]) == 1001;
	is_int(closed, 0, "not all at once");
	set_clock(4000);
	pump();
	before = closed = 0;
	for (int i = 0; i < SESSIONS; i++)
		before += close_code(&clients[i]) == 1001;
	is_int(before, 50, "half of them when half of the time is gone");
	set_clock(4000);
	pump();
	for (int i = 0; i < SESSIONS; i++)
		closed += close_code(&clients[i]) == 1001;
	is_int(closed, SESSIONS, "all with time to spare");
	world_end();
}

static void test_path(void)
{
	struct client a, b;
	struct session_origin origin = {"127.0.0.1", "/ws/requests/7/", EPOCH "-100", false};
	struct session_origin lost = {"127.0.0.1", "/ws/nothing/", NULL, false};
	world_begin(1 << 20);
	memset(&a, 0, offsetof(struct client, text));
	a.session = session_open(world.hub, &note_transport, &a, &origin);
	emit(.id = 101, .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7"));
	authenticate(&a, "42", "\"units\":[7]");
	ok(strstr(next(&a), "welcome") != NULL, "welcome first");
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-100\",\"recovered\":true}",
	       "the path's first channel, from its since");
	is_str(next(&a),
	       "{\"type\":\"subscribed\",\"channel\":\"notices:user:42\",\"cursor\":\"0000aaaa-100\",\"recovered\":true}",
	       "the second");
	const char *refused = next(&a);
	ok(strstr(refused, "\"code\":\"forbidden\"") && strstr(refused, "\"channel\":\"requests:unit:9\""),
	   "the third is refused by name");
	pump();
	is_str(next(&a), FRAME(101, "\"requests:unit:7\""), "and the replay follows");

	memset(&b, 0, offsetof(struct client, text));
	b.session = session_open(world.hub, &note_transport, &b, &lost);
	authenticate(&b, "42", "");
	skip(&b);
	is_int(close_code(&b), 0, "a path that is no more is an error, not the end");
	world_end();
}

int main(void)
{
	test_greeting();
	test_before_the_database();
	test_refresh();
	test_new_key();
	test_deadlines();
	test_expiry();
	test_many_deadlines();
	test_messages();
	test_rate();
	test_users();
	test_transport_closes();
	test_outbox();
	test_lag();
	test_ring();
	test_drain();
	test_path();
	return tap_done();
}
