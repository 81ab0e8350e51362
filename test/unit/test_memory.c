/*
 * test_memory.c - running out of memory, everywhere: the same busy minute of a hub is played again and again, each time with another
 * allocation that fails (then with all of them from one on). Nothing may crash, a session is either sent everything or closed, and
 * at the end nothing is left. Does not run under the sanitizers, whose allocator cannot be stood in for; nor does it fail
 * the libraries' own allocations.
 */
#include "hub_fixture.h"

#if defined(__SANITIZE_ADDRESS__)

int main(void)
{
	ok(true, "left to the build without sanitizers");
	return tap_done();
}

#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static volatile struct { /* the compiler takes malloc for one that touches nothing */
	bool armed;
	bool all; /* from that one on */
	long to_go; /* until it fails */
	long passed; /* while armed */
} oom;

extern const char __executable_start, etext;

/* Of our own code alone: json-c does not survive it. */
static bool refuse(const void *caller)
{
	if (!oom.armed || (const char *)caller < &__executable_start || (const char *)caller >= &etext)
		return false;
	oom.passed++;
	oom.to_go--;
	return oom.to_go == 0 || (oom.all && oom.to_go < 0);
}

void *malloc(size_t size)
{
	return refuse(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return refuse(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return refuse(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

static char *copy(const char *string, size_t len, const void *caller)
{
	char *to = refuse(caller) ? NULL : __libc_malloc(len + 1);
	if (to != NULL) {
		memcpy(to, string, len);
		to[len] = '\0';
	}
	return to;
}

char *strdup(const char *string)
{
	return copy(string, strlen(string), __builtin_return_address(0));
}

char *strndup(const char *string, size_t max)
{
	return copy(string, strnlen(string, max), __builtin_return_address(0));
}

enum { CLIENTS = 6 };

static struct client clients[CLIENTS];
static int64_t last_id[CLIENTS];
static int disorder;

static void make_event(int64_t id, const struct event *from)
{
	struct event event = *from;
	event.id = id;
	event.body = text("{\"n\":0");
	struct event *made = event_new(&event);
	if (made == NULL)
		return; /* the tail's to handle: for the hub it has not come yet */
	oom.armed = false;
	if (world.n_log < LOG_MAX)
		world.log[world.n_log++] = event_ref(made);
	oom.armed = true;
	hub_event(world.hub, made);
	hub_advance(world.hub, id);
	event_unref(made);
}

static const char unit_channel[] = "\"requests:unit:7\"";

static bool holds(const char *json, size_t len, const char *part)
{
	return memmem(json, len, part, strlen(part)) != NULL;
}

/* Events of the unit in (after, before): what a session was owed between two of its frames. */
static int owed(int64_t after, int64_t before)
{
	int n = 0;
	for (size_t i = 0; i < world.n_log; i++)
		n += world.log[i]->id > after && world.log[i]->id < before && (world.log[i]->flags & EVENT_TO_UNIT) &&
		     text_equal(world.log[i]->feed, text("requests"));
	return n;
}

/* The unit's channel: each id once, growing, none left out since `subscribed` or `resync`. */
static void take(int i)
{
	struct frame *frame;
	while (clients[i].session != NULL && session_output(clients[i].session, &frame, 1) == 1) {
		const char *json = frame_text(frame), *cursor = memmem(json, frame->len, EPOCH "-", strlen(EPOCH "-"));
		if (holds(json, frame->len, unit_channel)) {
			if (frame->id != 0) {
				disorder += frame->id <= last_id[i] || owed(last_id[i], frame->id) > 0;
				last_id[i] = frame->id;
			} else if (cursor != NULL) {
				last_id[i] = atoll(cursor + strlen(EPOCH "-"));
			}
		}
		session_sent(clients[i].session, 1);
	}
}

/* At the end whoever is open and live has everything. */
static void check_end(int i)
{
	const struct session *session = clients[i].session;
	if (session == NULL || session->state != SESSION_OPEN)
		return;
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (text_equal(s->channel->name, text("requests:unit:7")) && s->replay == NULL)
			disorder += owed(last_id[i], INT64_MAX) > 0;
}

static void open_client(int i, const char *path)
{
	struct session_origin origin = {"127.0.0.1", path, NULL, true};
	memset(&clients[i], 0, offsetof(struct client, text));
	clients[i].session = session_open(world.hub, &note_transport, &clients[i], path != NULL ? &origin : NULL);
	last_id[i] = 0;
	if (clients[i].session == NULL)
		return;
	oom.armed = false; /* the token's libraries are not ours */
	char *token = token_for("42", i == 5 ? "\"roles\":[\"admin\"]" : "\"units\":[7]");
	oom.armed = true;
	session_authenticate(clients[i].session, token, strlen(token));
	free(token);
}

static void want(int i, const char *channel, const char *since)
{
	if (clients[i].session != NULL && clients[i].session->state == SESSION_OPEN)
		session_subscribe(clients[i].session, "1", channel, since, false);
}

/* Something of everything. */
static void busy_minute(void)
{
	const struct event unit = {.flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("1")};
	const struct event row = {.flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5")};
	const struct event lost = {.flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("9"), .key = text("5")};
	const struct event resync = {.flags = EVENT_RESYNC, .feed = text("requests")};
	int64_t id = HEAD;
	for (int i = 0; i < 60; i++)
		make_event(++id, &unit);
	open_client(0, NULL);
	open_client(1, "/ws/requests/7/");
	open_client(2, NULL);
	open_client(5, NULL);
	want(0, "requests:unit:7", NULL);
	want(0, "orders:row:5", NULL);
	want(2, "requests:unit:7", EPOCH "-110"); /* from the log */
	want(2, "orders:row:5", EPOCH "-110");
	want(5, "requests", NULL);
	want(5, "requests:unit:7", NULL);
	for (int i = 0; i < 20; i++) {
		make_event(++id, i % 2 ? &unit : &row);
		hub_pump(world.hub);
		for (int k = 0; k < CLIENTS; k++)
			if (i % 5 == k % 5)
				take(k);
	}
	open_client(3, NULL);
	want(3, "orders:row:5", EPOCH "-170");
	want(3, "orders:row:5", NULL);
	if (clients[0].session != NULL && clients[0].session->state == SESSION_OPEN)
		session_recheck(clients[0].session, false);
	make_event(++id, &row);
	hub_pump(world.hub);
	make_event(++id, &lost);
	make_event(++id, &resync);
	hub_live(world.hub, false);
	open_client(4, NULL);
	want(4, "requests:unit:7", EPOCH "-120");
	hub_pump(world.hub);
	for (int k = 0; k < CLIENTS; k++)
		take(k);
	begin_stream(EPOCH, id, "requested");
	make_event(++id, &unit);
	set_clock(RETRY_MS);
	hub_pump(world.hub);
	for (int k = 0; k < CLIENTS; k++)
		take(k);
}

/* False: another allocator stands in (valgrind's). */
static bool is_ours(void)
{
	oom.passed = 0;
	oom.to_go = 0;
	oom.armed = true;
	void *volatile probe = malloc(1);
	oom.armed = false;
	free(probe);
	return oom.passed == 1;
}

/* Returns how many allocations the hub asked for. */
static long play(long fail, bool all)
{
	world_begin(12000);
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	memset(clients, 0, sizeof(clients));
	oom.all = all;
	oom.to_go = fail;
	oom.passed = 0;
	oom.armed = true;
	busy_minute();
	oom.armed = false;
	for (int i = 0; i < CLIENTS; i++) {
		if (clients[i].session == NULL)
			continue;
		take(i);
		check_end(i);
		leave(&clients[i]);
	}
	disorder += metrics.subscriptions != 0 || metrics.replays != 0 || route_channels(world.hub->route) != 0 ||
	            world.hub->page_bytes != 0;
	world_end();
	return oom.passed;
}

int main(void)
{
	long all = play(0, false);
	if (!is_ours()) {
		ok(true, "left to the run with our own allocator");
		return tap_done();
	}
	ok(all > 300, "the minute is busy (%ld allocations)", all);
	is_int(disorder, 0, "and in order");
	for (long fail = 1; fail <= all; fail++)
		play(fail, false);
	is_int(disorder, 0, "any one of them may fail");
	for (long fail = 1; fail <= all; fail += 3)
		play(fail, true);
	is_int(disorder, 0, "or all from any one on");
	return tap_done();
}

#endif
