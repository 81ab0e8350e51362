/*
 * hub_fixture.h - a hub for tests: with real rights, definitions and messages; with a transport that only takes notes, and
 * a database that is a few arrays and answers at once, or when the test says so.
 */
#ifndef LIVEFEED_HUB_FIXTURE_H
#define LIVEFEED_HUB_FIXTURE_H

#include <stdlib.h>
#include <time.h>

#include "metrics.h"
#include "session_internal.h"
#include "tap.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "token_maker.h"
#pragma GCC diagnostic pop

#define EPOCH "0000aaaa"
#define HEAD 100
#define WALL_S 1700000000
#define SECRET "the-database's-own-key-of-32-bytes"
#define LOG_MAX 20000
#define ASK_MAX 4096
#define MANY_IDS 4096

struct client {
	struct session *session;
	int wakes;
	char text[70000];
};

/* ---- the database */

enum ask_kind { ASK_ROW, ASK_CURSOR, ASK_PAGE, ASK_DEFINITIONS, ASK_AUTHORIZER, ASK_SNAPSHOT, ASK_VALUE, ASK_CALL };

struct ask {
	enum ask_kind kind;
	struct request *request; /* NULL: answered */
	char feed[64], key[64], epoch[32], claims[512]; /* feed: of a snapshot; else the query or command */
	char scope[8], args[512], role[64]; /* of a snapshot; of a call, whose idempotency key is key */
	bool no_key, transient;
	int64_t id;
};

struct row {
	const char *feed, *key;
	enum row_status status;
	const char *unit, *user;
};

static struct {
	struct access *access;
	struct catalog *catalog;
	struct history *history;
	struct hub *hub;
	struct session_limits limits;
	int64_t now_ms;
	bool at_once; /* the database answers inside the call */
	struct ask asks[ASK_MAX];
	size_t n_asks, first_ask;
	struct row rows[16];
	size_t n_rows;
	struct event *log[LOG_MAX];
	size_t n_log;
	int64_t kept, transient_kept;
	char epoch[32];
	size_t page_rows;
	bool down;
	void (*define)(void); /* what a reload of the definitions brings */
	size_t pages_read;
	const char *(*authorizer)(const char *claims); /* NULL: refused; "" fails */
	size_t authorizer_calls;
	/* What each is answered with; NULL: unavailable. */
	void (*snapshot)(const struct ask *ask, struct snapshot_answer *answer);
	void (*value)(const struct ask *ask, struct value_answer *answer);
	void (*call)(const struct ask *ask, struct call_answer *answer);
} world;

static struct text text(const char *string)
{
	return (struct text){string, string != NULL ? strlen(string) : 0};
}

static void answer_row(const struct ask *ask)
{
	for (size_t i = 0; i < world.n_rows; i++) {
		const struct row *row = &world.rows[i];
		if (strcmp(row->feed, ask->feed) != 0 || strcmp(row->key, ask->key) != 0)
			continue;
		struct text user = text(row->user);
		struct row_access found = {text(row->unit), &user, row->user != NULL};
		hub_answer_row(world.hub, ask->request, row->status, row->status == ROW_FOUND ? &found : NULL);
		return;
	}
	hub_answer_row(world.hub, ask->request, ROW_ABSENT, NULL);
}

static int64_t log_head(void)
{
	int64_t head = history_head(world.history);
	if (world.n_log > 0 && world.log[world.n_log - 1]->id > head)
		head = world.log[world.n_log - 1]->id;
	return head;
}

static void answer_cursor(const struct ask *ask)
{
	enum cursor_status status = CURSOR_OK;
	if (strcmp(ask->epoch, world.epoch) != 0 || ask->id > log_head())
		status = CURSOR_EPOCH;
	else if (ask->id < world.kept)
		status = CURSOR_PRUNED;
	else if (ask->transient && ask->id < world.transient_kept)
		status = CURSOR_TRANSIENT_LOST;
	hub_answer_cursor(world.hub, ask->request, status, log_head());
}

static void answer_page(const struct ask *ask)
{
	struct event *events[MANY_IDS];
	size_t n = 0;
	int64_t up_to = log_head();
	world.pages_read++;
	if (ask->id < world.kept) {
		hub_answer_page(world.hub, ask->request, CURSOR_PRUNED, world.epoch, NULL, 0, world.kept);
		return;
	}
	for (size_t i = 0; i < world.n_log; i++) {
		struct event *event = world.log[i];
		if (event->id <= ask->id ||
		    !(text_equal(event->feed, text(ask->feed)) || text_equal(event->parent_feed, text(ask->feed)) ||
		      event_is_transient_lost(event)))
			continue;
		if (n == world.page_rows) {
			up_to = events[n - 1]->id;
			break;
		}
		events[n++] = event;
	}
	hub_answer_page(world.hub, ask->request, CURSOR_OK, world.epoch, events, n, up_to);
}

static void answer_down(const struct ask *ask)
{
	switch (ask->kind) {
	case ASK_ROW:
		hub_answer_row(world.hub, ask->request, ROW_UNAVAILABLE, NULL);
		break;
	case ASK_CURSOR:
		hub_answer_cursor(world.hub, ask->request, CURSOR_UNAVAILABLE, 0);
		break;
	case ASK_PAGE:
		hub_answer_page(world.hub, ask->request, CURSOR_UNAVAILABLE, "", NULL, 0, 0);
		break;
	case ASK_DEFINITIONS:
		hub_answer_definitions(world.hub, ask->request, false);
		break;
	case ASK_AUTHORIZER:
		hub_answer_authorize(world.hub, ask->request, AUTHORIZE_UNAVAILABLE, text(NULL));
		break;
	case ASK_SNAPSHOT:
		hub_answer_snapshot(world.hub, ask->request, &(struct snapshot_answer){.status = ANSWER_UNAVAILABLE});
		break;
	case ASK_VALUE:
		hub_answer_value(world.hub, ask->request, &(struct value_answer){.status = ANSWER_UNAVAILABLE});
		break;
	case ASK_CALL:
		hub_answer_call(world.hub, ask->request, &(struct call_answer){.status = ANSWER_UNAVAILABLE});
		break;
	}
}

static void answer_authorizer(const struct ask *ask)
{
	const char *json = world.authorizer(ask->claims);
	bool failed = json != NULL && json[0] == '\0';
	hub_answer_authorize(world.hub, ask->request, failed ? AUTHORIZE_FAILED : AUTHORIZE_OK, text(failed ? NULL : json));
}

static void answer_snapshot(const struct ask *ask)
{
	struct snapshot_answer answer = {.status = ANSWER_OK, .epoch = text(world.epoch), .after = log_head()};
	world.snapshot(ask, &answer);
	hub_answer_snapshot(world.hub, ask->request, &answer);
}

static void answer_value(const struct ask *ask)
{
	struct value_answer answer = {.status = ANSWER_OK, .epoch = text(world.epoch), .after = log_head()};
	world.value(ask, &answer);
	hub_answer_value(world.hub, ask->request, &answer);
}

static void answer_call(const struct ask *ask)
{
	struct call_answer answer = {.status = ANSWER_OK, .sent = true};
	world.call(ask, &answer);
	hub_answer_call(world.hub, ask->request, &answer);
}

static bool has_answer(const struct ask *ask)
{
	return !(ask->kind == ASK_SNAPSHOT && world.snapshot == NULL) && !(ask->kind == ASK_VALUE && world.value == NULL) &&
	       !(ask->kind == ASK_CALL && world.call == NULL);
}

static void answer(const struct ask *ask)
{
	if (world.down || !has_answer(ask)) {
		answer_down(ask);
		return;
	}
	switch (ask->kind) {
	case ASK_ROW:
		answer_row(ask);
		break;
	case ASK_CURSOR:
		answer_cursor(ask);
		break;
	case ASK_PAGE:
		answer_page(ask);
		break;
	case ASK_DEFINITIONS:
		if (world.define != NULL)
			world.define();
		hub_answer_definitions(world.hub, ask->request, true);
		break;
	case ASK_AUTHORIZER:
		answer_authorizer(ask);
		break;
	case ASK_SNAPSHOT:
		answer_snapshot(ask);
		break;
	case ASK_VALUE:
		answer_value(ask);
		break;
	case ASK_CALL:
		answer_call(ask);
		break;
	}
}

/* How many questions are open. */
static size_t open_asks(void)
{
	return world.n_asks - world.first_ask;
}

/* Answers the oldest question; false: none is open. */
static bool answer_next(void)
{
	if (open_asks() == 0)
		return false;
	struct ask ask = world.asks[world.first_ask++ % ASK_MAX];
	answer(&ask);
	return true;
}

TAP_UNUSED static void answer_all(void)
{
	while (answer_next())
		;
}

static void asked(struct ask ask)
{
	if (world.at_once) {
		answer(&ask);
		return;
	}
	if (open_asks() == ASK_MAX)
		abort();
	world.asks[world.n_asks++ % ASK_MAX] = ask;
}

static void ask_row_scope(void *arg, struct request *request, const char *feed, const char *key, size_t key_len)
{
	(void)arg;
	struct ask ask = {.kind = ASK_ROW, .request = request};
	snprintf(ask.feed, sizeof(ask.feed), "%s", feed);
	snprintf(ask.key, sizeof(ask.key), "%.*s", (int)key_len, key);
	asked(ask);
}

static void ask_check_cursor(void *arg, struct request *request, const char *epoch, int64_t id, bool transient)
{
	(void)arg;
	struct ask ask = {.kind = ASK_CURSOR, .request = request, .id = id, .transient = transient};
	snprintf(ask.epoch, sizeof(ask.epoch), "%s", epoch);
	asked(ask);
}

static void ask_read_page(void *arg, struct request *request, int64_t after_id, const char *feed)
{
	(void)arg;
	struct ask ask = {.kind = ASK_PAGE, .request = request, .id = after_id};
	snprintf(ask.feed, sizeof(ask.feed), "%s", feed);
	asked(ask);
}

static void ask_reload_definitions(void *arg, struct request *request)
{
	(void)arg;
	asked((struct ask){.kind = ASK_DEFINITIONS, .request = request});
}

static void ask_authorize(void *arg, struct request *request, struct text claims)
{
	(void)arg;
	struct ask ask = {.kind = ASK_AUTHORIZER, .request = request};
	snprintf(ask.claims, sizeof(ask.claims), "%.*s", (int)claims.len, claims.bytes);
	world.authorizer_calls++;
	asked(ask);
}

static void ask_snapshot(void *arg, struct request *request, const char *feed, const char *scope, const char *value)
{
	(void)arg;
	struct ask ask = {.kind = ASK_SNAPSHOT, .request = request, .no_key = value == NULL};
	snprintf(ask.feed, sizeof(ask.feed), "%s", feed);
	snprintf(ask.scope, sizeof(ask.scope), "%s", scope);
	snprintf(ask.key, sizeof(ask.key), "%s", value != NULL ? value : "");
	asked(ask);
}

static void ask_value(void *arg, struct request *request, const char *name, const char *value)
{
	(void)arg;
	struct ask ask = {.kind = ASK_VALUE, .request = request, .no_key = value == NULL};
	snprintf(ask.feed, sizeof(ask.feed), "%s", name);
	snprintf(ask.key, sizeof(ask.key), "%s", value != NULL ? value : "");
	asked(ask);
}

static void ask_call(void *arg, struct request *request, const struct call_ask *call)
{
	(void)arg;
	struct ask ask = {.kind = ASK_CALL, .request = request, .no_key = call->key == NULL};
	snprintf(ask.feed, sizeof(ask.feed), "%s", call->name);
	snprintf(ask.key, sizeof(ask.key), "%s", call->key != NULL ? call->key : "");
	snprintf(ask.args, sizeof(ask.args), "%s", call->args);
	snprintf(ask.claims, sizeof(ask.claims), "%s", call->claims);
	snprintf(ask.role, sizeof(ask.role), "%s", call->role != NULL ? call->role : "");
	asked(ask);
}

/* ---- definitions */

static char *roles_of_staff[] = {(char *)"staff"};

static struct feed usual_feeds[] = {
	{.name = (char *)"requests", .has_unit = true, .durable = true, .n_key_columns = 1},
	{.name = (char *)"orders", .has_unit = true, .has_users = true, .durable = true, .n_key_columns = 1},
	{.name = (char *)"stock", .has_unit = true, .durable = true, .n_key_columns = 2},
	{.name = (char *)"notices", .has_users = true, .durable = true, .n_key_columns = 1},
	{.name = (char *)"news", .durable = true, .n_key_columns = 1, .any_user = true},
	{.name = (char *)"comments", .has_unit = true, .durable = true, .n_key_columns = 1},
	{.name = (char *)"jobs",
     .declared = true,
     .has_unit = true,
     .has_users = true,
     .durable = true,
     .n_key_columns = 1,
     .roles = roles_of_staff,
     .n_roles = 1},
	{.name = (char *)"spots", .has_unit = true, .n_key_columns = 1},
	{.name = (char *)"trips", .has_unit = true, .durable = true, .transient_children = true, .n_key_columns = 1},
	{.name = (char *)"progress",
     .has_unit = true,
     .has_users = true,
     .durable = true,
     .latest_only = true,
     .n_key_columns = 1},
};

/* The usual feeds, but for the one of this name (NULL: all), and another instead of it (NULL: none). */
static void define_feeds(const char *without, const struct feed *instead)
{
	struct catalog_load *load = catalog_load_begin();
	for (size_t i = 0; i < sizeof(usual_feeds) / sizeof(usual_feeds[0]); i++)
		if (without == NULL || strcmp(usual_feeds[i].name, without) != 0)
			catalog_load_feed(load, &usual_feeds[i]);
	if (instead != NULL)
		catalog_load_feed(load, instead);
	struct text approver = text("approver");
	catalog_load_command(load, text("move_card"), NULL, 0);
	catalog_load_command(load, text("approve"), &approver, 1);
	struct text channels[] = {text("requests:unit:{1}"), text("notices:user:{user}"), text("requests:unit:9")};
	catalog_load_path(load, text("/ws/requests/{1}/"), channels, 3);
	catalog_load_commit(world.catalog, load);
}

/* ---- the world */

static void set_clock(int64_t passed_ms)
{
	world.now_ms += passed_ms;
	hub_tick_clock(world.hub, world.now_ms, WALL_S + world.now_ms / 1000);
}

/* A stream begins, and nobody is revoked. */
static void begin_stream(const char *epoch, int64_t head, const char *reason)
{
	hub_restart(world.hub, epoch, head, reason);
	hub_set_authority(world.hub, text(NULL), 0, true);
}

TAP_UNUSED static void world_begin(size_t history_bytes)
{
	memset(&world, 0, sizeof(world));
	memset(&metrics, 0, sizeof(metrics));
	const char *error = NULL;
	const char *firehose[] = {"admin"};
	struct access_settings settings = {.leeway_s = 30,
	                                   .claim_user = "sub",
	                                   .claim_units = "units",
	                                   .claim_roles = "roles",
	                                   .firehose_roles = firehose,
	                                   .n_firehose_roles = 1};
	struct access_own_key key = {{"k", 1}, {SECRET, sizeof(SECRET) - 1}};
	world.access = access_new();
	if (!access_configure(world.access, &settings, &error) || !access_set_own_keys(world.access, &key, 1))
		abort();
	world.catalog = catalog_new();
	define_feeds(NULL, NULL);
	world.history = history_new(history_bytes);
	world.limits = (struct session_limits){.max_subscriptions = 8,
	                                       .max_bad_messages = 3,
	                                       .max_queue_bytes = 100000,
	                                       .max_message_bytes = 65536,
	                                       .idle_auth_ms = 10000,
	                                       .heartbeat_ms = 25000};
	world.page_rows = 100;
	world.at_once = true;
	snprintf(world.epoch, sizeof(world.epoch), "%s", EPOCH);
	struct session_backend backend = {.row_scope = ask_row_scope,
	                                  .check_cursor = ask_check_cursor,
	                                  .read_page = ask_read_page,
	                                  .reload_definitions = ask_reload_definitions,
	                                  .authorize = ask_authorize,
	                                  .snapshot = ask_snapshot,
	                                  .run_query = ask_value,
	                                  .call = ask_call};
	world.hub = hub_new(world.access, world.catalog, world.history, &world.limits, &backend);
	set_clock(1000);
	begin_stream(EPOCH, HEAD, NULL);
	hub_live(world.hub, true);
}

TAP_UNUSED static void world_end(void)
{
	hub_free(world.hub);
	history_free(world.history);
	catalog_free(world.catalog);
	access_free(world.access);
	for (size_t i = 0; i < world.n_log; i++)
		event_unref(world.log[i]);
}

/* Turns of the loop until there is nothing left to do; returns how many. */
TAP_UNUSED static int pump(void)
{
	int turns = 1;
	while (hub_pump(world.hub) && turns < 100000)
		turns++;
	return turns;
}

/* ---- clients */

static void note_wake(struct session *session, void *connection)
{
	(void)session;
	((struct client *)connection)->wakes++;
}

static const struct session_transport note_transport = {.name = "note", .wake = note_wake};

static char *token_for(const char *user, const char *claims)
{
	char payload[512], expiry[32] = "";
	if (strstr(claims, "\"exp\"") == NULL)
		snprintf(expiry, sizeof(expiry), ",\"exp\":%d", WALL_S + 3600);
	snprintf(payload, sizeof(payload), "{\"sub\":\"%s\"%s%s%s}", user, expiry, claims[0] != '\0' ? "," : "", claims);
	static const char header[] = "{\"alg\":\"HS256\",\"kid\":\"k\"}";
	return sign_hmac(token_body(header, strlen(header), payload, strlen(payload)), EVP_sha256(), SECRET,
	                 sizeof(SECRET) - 1);
}

static void join(struct client *client)
{
	memset(client, 0, offsetof(struct client, text));
	client->session = session_open(world.hub, &note_transport, client, NULL);
}

static void authenticate(struct client *client, const char *user, const char *claims)
{
	char *token = token_for(user, claims);
	session_authenticate(client->session, token, strlen(token));
	free(token);
}

/* The next frame of the outbox, or NULL. Valid until the next call. */
TAP_UNUSED static const char *next(struct client *client)
{
	struct frame *frame;
	if (session_output(client->session, &frame, 1) == 0)
		return NULL;
	size_t len = frame->len < sizeof(client->text) ? frame->len : sizeof(client->text) - 1;
	memcpy(client->text, frame_text(frame), len);
	client->text[len] = '\0';
	session_sent(client->session, 1);
	return client->text;
}

/* Empties the outbox; returns how many frames there were. */
TAP_UNUSED static int skip(struct client *client)
{
	int n = 0;
	while (next(client) != NULL)
		n++;
	return n;
}

/* Opens it, brings a token, takes the welcome. claims: more members of the token. */
TAP_UNUSED static void enter(struct client *client, const char *user, const char *claims)
{
	join(client);
	authenticate(client, user, claims);
	skip(client);
	client->wakes = 0;
}

TAP_UNUSED static void leave(struct client *client)
{
	session_gone(client->session);
	hub_sweep(world.hub);
	client->session = NULL;
}

static void send_text(struct client *client, const char *message)
{
	session_receive(client->session, message, strlen(message));
}

TAP_UNUSED static void subscribe(struct client *client, const char *channel)
{
	char message[256];
	snprintf(message, sizeof(message), "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"%s\"}", channel);
	send_text(client, message);
}

TAP_UNUSED static void subscribe_since(struct client *client, const char *channel, const char *epoch, int64_t id)
{
	char message[256];
	snprintf(message, sizeof(message), "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"%s\",\"since\":\"%s-%lld\"}",
	         channel, epoch, (long long)id);
	send_text(client, message);
}

TAP_UNUSED static int close_code(const struct client *client)
{
	return session_closing(client->session, NULL);
}

/* ---- events: of body {"n":ID, each also in the log */

TAP_UNUSED static void emit_event(const struct event *from)
{
	char body[64];
	struct event with_body = *from;
	if (with_body.body.bytes == NULL) {
		snprintf(body, sizeof(body), "{\"n\":%lld", (long long)from->id);
		with_body.body = text(body);
	}
	struct event *event = event_new(&with_body);
	if (world.n_log < LOG_MAX)
		world.log[world.n_log++] = event_ref(event);
	hub_event(world.hub, event);
	hub_advance(world.hub, event->id);
	event_unref(event);
}

#define emit(...) emit_event(&(struct event){__VA_ARGS__})

#define USUAL_FLAGS (EVENT_TO_UNIT | EVENT_TO_USERS | EVENT_TO_ROW | EVENT_TO_FEED)

/* What a frame of an event looks like. */
#define FRAME(id, channels) "{\"n\":" #id ",\"id\":" #id ",\"channels\":[" channels "]}"

#endif
