/*
 * session.c - one client's life.
 *
 *   1. session_open: GREETING. It may come with a token from the handshake, else the first message must bring
 *      one within idle_auth_ms.
 *   2. A good token: `welcome`, OPEN, and the subscriptions of the path it came by. A later one that names the same user
 *      replaces the first; what it no longer covers ends (recheck.c).
 *   3. Messages are read one by one; a bad one is answered `error`, too many of them close 4400. While a token cannot be
 *      judged yet (admission.c), those behind it are held, and then handled in order: a client may send all it wants at once.
 *   4. Whatever ends it calls session_shut: CLOSING. From here on nothing is appended to the outbox; what is in it goes out,
 *      then the transport sends the close code.
 *   5. session_gone: the connection is no more. CLOSED: everything it holds is let go, and the struct itself is freed at
 *      one point of the loop, hub_sweep.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

#define RATE_UNIT 1000 /* a message, in units of rate_credit */

static void set_state(struct session *session, enum session_state state)
{
	static const bool legal[4][4] = {
		[SESSION_GREETING] = {[SESSION_OPEN] = true, [SESSION_CLOSING] = true, [SESSION_CLOSED] = true},
		[SESSION_OPEN] = {[SESSION_CLOSING] = true, [SESSION_CLOSED] = true},
		[SESSION_CLOSING] = {[SESSION_CLOSED] = true},
	};
	assert(legal[session->state][state]);
	(void)legal;
	session->state = (uint8_t)state;
	if (state == SESSION_OPEN)
		presence_note(session);
	else
		presence_end(session);
}

void session_shut(struct session *session, enum close_code code, const char *reason)
{
	if (session->state >= SESSION_CLOSING)
		return;
	set_state(session, SESSION_CLOSING);
	session->close_code = (uint16_t)code;
	session->close_reason = reason;
	session_log_shut(session);
	outbox_wake(session);
}

void session_error(struct session *session, const char *ref, const char *code, const char *text, const char *channel)
{
	session_reply(session, message_error(ref, code, text, channel));
}

/* What of the text a close frame has room for: whole characters of valid UTF-8. */
static size_t reason_len(struct text reason)
{
	size_t len = 0;
	while (len < reason.len) {
		size_t n = utf8_sequence(reason.bytes + len, reason.len - len);
		if (n == 0 || len + n > DISCONNECT_REASON_MAX_BYTES)
			break;
		len += n;
	}
	return len;
}

void session_disconnect(struct session *session, struct text reason)
{
	if (session->state >= SESSION_CLOSING)
		return;
	if (reason.len > 0)
		session->close_text = strndup(reason.bytes, reason_len(reason));
	session_shut(session, CLOSE_DISCONNECTED, session->close_text != NULL ? session->close_text : "disconnected");
}

static void path_free(struct session_path *path)
{
	if (path == NULL)
		return;
	free(path->path);
	free(path->since);
	free(path);
}

static struct session_path *path_copy(const struct session_origin *origin)
{
	struct session_path *path = calloc(1, sizeof(*path));
	if (path == NULL)
		return NULL;
	path->path = strdup(origin->path);
	path->since = origin->since != NULL ? strdup(origin->since) : NULL;
	path->snapshot = origin->snapshot;
	if (path->path == NULL || (origin->since != NULL && path->since == NULL)) {
		path_free(path);
		return NULL;
	}
	return path;
}

static int64_t rate_burst(const struct session_limits *limits)
{
	return (limits->rate_per_s + limits->max_subscriptions) * RATE_UNIT;
}

struct session *session_open(struct hub *hub, const struct session_transport *transport, void *connection,
                             const struct session_origin *origin)
{
	if (hub->draining)
		return NULL;
	struct session *session = calloc(1, sizeof(*session));
	if (session == NULL)
		return NULL;
	if (origin != NULL && origin->path != NULL) {
		session->path = path_copy(origin);
		if (session->path == NULL) {
			free(session);
			return NULL;
		}
	}
	session->hub = hub;
	session->transport = transport;
	session->connection = connection;
	session->state = SESSION_GREETING;
	session->opened_ms = hub->now_ms;
	session->opened_s = hub->wall_s;
	session->rate_at_ms = hub->now_ms;
	session->rate_credit = rate_burst(&hub->limits);
	session->passed_id = -1;
	session->next = hub->sessions;
	if (hub->sessions != NULL)
		hub->sessions->prev = session;
	hub->sessions = session;
	hub->n_sessions++;
	enum metric_transport kind = metrics_transport(transport->name);
	metrics.sessions[kind]++;
	metrics.sessions_opened[kind]++;
	session->address = origin != NULL && origin->address != NULL ? strdup(origin->address) : NULL;
	session_log_opened(session);
	return session;
}

struct path_channels {
	char **items;
	size_t n, capacity;
	bool failed;
};

static void collect_channel(struct text channel, void *arg)
{
	struct path_channels *channels = arg;
	if (channels->failed)
		return;
	if (channels->n == channels->capacity) {
		size_t capacity = channels->capacity * 2 + 4;
		char **items = realloc(channels->items, capacity * sizeof(*items));
		if (items == NULL) {
			channels->failed = true;
			return;
		}
		channels->items = items;
		channels->capacity = capacity;
	}
	char *copy = strndup(channel.bytes, channel.len);
	if (copy == NULL)
		channels->failed = true;
	else
		channels->items[channels->n++] = copy;
}

/* The channels are collected first: a subscribe may lead to new definitions, under which the catalog's paths are gone. */
static void subscribe_path(struct session *session)
{
	struct session_path *path = session->path;
	if (path == NULL)
		return;
	session->path = NULL;
	struct path_channels channels = {0};
	bool found =
		catalog_match_path(session->hub->catalog, text_of(path->path), session->principal, collect_channel, &channels);
	if (channels.failed)
		session_shut(session, CLOSE_INTERNAL, "out of memory");
	else if (!found)
		session_error(session, NULL, "unknown_channel", "this path is not exposed", NULL);
	for (size_t i = 0; i < channels.n; i++) {
		if (session->state == SESSION_OPEN)
			session_subscribe(session, NULL, channels.items[i], path->since, path->snapshot);
		free(channels.items[i]);
	}
	free(channels.items);
	path_free(path);
}

void session_welcome(struct session *session, const char *ref)
{
	struct hub *hub = session->hub;
	session_reply(session, message_welcome(ref, session->principal->user, history_epoch(hub->history),
	                                       history_head(hub->history), session->token->exp_s,
	                                       (int)(hub->limits.heartbeat_ms / 1000)));
}

/* OPEN, unless the user has too many sessions. */
void session_admit(struct session *session, const char *ref)
{
	struct hub *hub = session->hub;
	uint32_t n = user_counts_add(hub->users, session->principal->user);
	if (n == 0) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	session->counted = true;
	if (hub->limits.max_sessions_per_user > 0 && n > (uint64_t)hub->limits.max_sessions_per_user) {
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS_PER_USER]++;
		session_error(session, NULL, "rate_limited", "this user has too many connections", NULL);
		session_shut(session, CLOSE_LIMIT, "too many connections of this user");
		return;
	}
	if (session->transport->rated &&
	    !user_rates_take(hub->rates, session->principal->user, hub->now_ms, hub->limits.rate_per_s,
	                     hub->limits.rate_per_s + hub->limits.max_subscriptions)) {
		metrics.limits[METRIC_LIMIT_RATE]++;
		session_error(session, NULL, "rate_limited", "too many requests a second", NULL);
		session_shut(session, CLOSE_LIMIT, "too many requests");
		return;
	}
	set_state(session, SESSION_OPEN);
	session_welcome(session, ref);
	subscribe_path(session);
}

void session_authenticate(struct session *session, const char *token, size_t len)
{
	if (session->state == SESSION_GREETING && session->token_waits == NULL)
		session_judge_token(session, token, len, NULL);
}

static void count_bad(struct session *session, enum close_code code, const char *reason)
{
	metrics.messages_bad++;
	if (session->bad_messages < UINT16_MAX)
		session->bad_messages++;
	if (session->bad_messages <= session->hub->limits.max_bad_messages)
		return;
	metrics.limits[METRIC_LIMIT_MAX_BAD_MESSAGES] += code == CLOSE_BAD_MESSAGES;
	session_shut(session, code, reason);
}

/* False: over the rate. */
static bool take_credit(struct session *session)
{
	const struct session_limits *limits = &session->hub->limits;
	if (limits->rate_per_s <= 0)
		return true;
	int64_t passed_ms = session->hub->now_ms - session->rate_at_ms;
	int64_t burst = rate_burst(limits);
	if (passed_ms > 0) {
		session->rate_at_ms = session->hub->now_ms;
		session->rate_credit += passed_ms > burst ? burst : passed_ms * limits->rate_per_s;
	}
	if (session->rate_credit > burst)
		session->rate_credit = burst;
	if (session->rate_credit < RATE_UNIT)
		return false;
	session->rate_credit -= RATE_UNIT;
	return true;
}

static void receive_open(struct session *session, const struct message *message)
{
	struct hub *hub = session->hub;
	switch (message->type) {
	case MESSAGE_AUTH:
		session_judge_token(session, message->token, message->token_len, message->ref);
		break;
	case MESSAGE_SUBSCRIBE:
		session_subscribe(session, message->ref, message->channel, message->since, message->snapshot);
		break;
	case MESSAGE_UNSUBSCRIBE:
		session_unsubscribe(session, message->ref, message->channel);
		break;
	case MESSAGE_CALL:
		session_call(session, message);
		break;
	case MESSAGE_PING:
		session_reply(session,
		              message_pong(message->ref, history_epoch(hub->history), session_position(session), hub->live));
		break;
	}
}

static void refuse_rate(struct session *session, const char *ref)
{
	metrics.limits[METRIC_LIMIT_RATE]++;
	session_error(session, ref, "rate_limited", "too many messages a second", NULL);
	count_bad(session, CLOSE_LIMIT, "too many messages");
}

static void handle(struct session *session, const char *text, size_t len, bool within_rate)
{
	const char *error = "message is not understood";
	char *ref = NULL;
	struct message *message = message_parse(text, len, &error, &ref);
	if (session->state == SESSION_GREETING) {
		if (message != NULL && message->type == MESSAGE_AUTH)
			session_judge_token(session, message->token, message->token_len, message->ref);
		else
			session_refuse_token(session, ref, "the first message must be auth");
	} else if (!within_rate) {
		refuse_rate(session, ref);
	} else if (message == NULL) {
		session_error(session, ref, "bad_message", error, NULL);
		count_bad(session, CLOSE_BAD_MESSAGES, "too many bad messages");
	} else {
		receive_open(session, message);
	}
	message_free(message);
	free(ref);
}

/* ---- messages behind a token that waits */

static struct held *unhold(struct session *session)
{
	struct held *held = session->held_first;
	session->held_first = held->next;
	session->held_bytes -= sizeof(*held) + held->len;
	session->hub->held_bytes -= sizeof(*held) + held->len;
	return held;
}

static void drop_held(struct session *session)
{
	while (session->held_first != NULL)
		free(unhold(session));
}

/* An empty queue takes a message of any size. */
static void hold(struct session *session, const char *text, size_t len)
{
	struct hub *hub = session->hub;
	size_t size = sizeof(struct held) + len;
	if (session->held_bytes > 0 && session->held_bytes + size > HELD_MAX_BYTES) {
		session_error(session, NULL, "rate_limited", "too many messages wait for the token to be judged", NULL);
		session_shut(session, CLOSE_LIMIT, "too many messages before the token was judged");
		return;
	}
	struct held *held = hub->held_bytes + size <= HELD_ALL_MAX_BYTES ? malloc(size) : NULL;
	if (held == NULL) {
		session_shut(session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	held->next = NULL;
	held->len = len;
	memcpy(held->text, text, len);
	if (session->held_first != NULL)
		session->held_last->next = held;
	else
		session->held_first = held;
	session->held_last = held;
	session->held_bytes += size;
	hub->held_bytes += size;
}

void session_release_held(struct session *session)
{
	if (session->releasing)
		return; /* by whoever called us */
	session->releasing = true;
	while (session->held_first != NULL && session->token_waits == NULL && session->state < SESSION_CLOSING) {
		struct held *held = unhold(session);
		handle(session, held->text, held->len, true);
		free(held);
	}
	session->releasing = false;
	if (session->state >= SESSION_CLOSING)
		drop_held(session);
}

/* Not to be held either; its answer names it all the same. */
static void refuse_unread(struct session *session, const char *text, size_t len)
{
	const char *error;
	char *ref = NULL;
	message_free(message_parse(text, len, &error, &ref));
	refuse_rate(session, ref);
	free(ref);
}

void session_receive(struct session *session, const char *text, size_t len)
{
	if (session->state >= SESSION_CLOSING)
		return;
	metrics.messages_received++;
	bool within_rate = take_credit(session);
	if (session->token_waits == NULL)
		handle(session, text, len, within_rate);
	else if (within_rate)
		hold(session, text, len);
	else
		refuse_unread(session, text, len);
}

void session_close(struct session *session, enum close_code code, const char *reason)
{
	const char *error = NULL;
	if (session->state >= SESSION_CLOSING)
		return;
	metrics.limits[METRIC_LIMIT_MAX_MESSAGE] += code == CLOSE_TOO_LARGE;
	metrics.limits[METRIC_LIMIT_RATE] += code == CLOSE_LIMIT;
	if (code == CLOSE_NOT_TEXT)
		error = "bad_message";
	else if (code == CLOSE_TOO_LARGE)
		error = "too_large";
	else if (code == CLOSE_TOKEN)
		error = "bad_token";
	else if (code == CLOSE_LIMIT)
		error = "rate_limited";
	if (error != NULL)
		session_error(session, NULL, error, reason, NULL);
	session_shut(session, code, reason);
}

void session_check_expiry(struct session *session)
{
	if (session->state != SESSION_OPEN || session->hub->wall_s < session->expiry_s)
		return;
	outbox_clear(session);
	session_error(session, NULL, "bad_token", "token is expired", NULL);
	session_shut(session, CLOSE_TOKEN, "token is expired");
}

void session_check_deadline(struct session *session)
{
	const struct hub *hub = session->hub;
	session_check_expiry(session);
	if (session->state >= SESSION_CLOSING)
		return;
	int64_t age_ms = hub->now_ms - session->opened_ms;
	if (session->state == SESSION_GREETING && session->token_waits != NULL) {
		if (hub->now_ms - session->token_waits->since_ms >= TOKEN_WAIT_MAX_MS) {
			session_token_unavailable(session, session->token_waits->ref);
			token_wait_end(session);
		}
	} else if (session->state == SESSION_GREETING) {
		if (hub->limits.idle_auth_ms > 0 && age_ms >= hub->limits.idle_auth_ms) {
			metrics.limits[METRIC_LIMIT_IDLE_AUTH]++;
			session_refuse_token(session, NULL, "no token came in time");
		}
	} else if (hub->limits.max_session_ms > 0 && age_ms >= hub->limits.max_session_ms) {
		metrics.limits[METRIC_LIMIT_MAX_SESSION]++;
		session_shut(session, CLOSE_MAX_SESSION, "session has reached its longest time");
	} else {
		outbox_check(session);
	}
	outbox_trim(session);
}

void session_gone(struct session *session)
{
	struct hub *hub = session->hub;
	if (session->state == SESSION_CLOSED)
		return;
	set_state(session, SESSION_CLOSED);
	session_log_gone(session);
	session_forget(session);
	authority_forget_session(session);
	drop_held(session);
	outbox_clear(session);
	path_free(session->path);
	session->path = NULL;
	user_index_remove(hub->by_user, &session->by_token_user);
	user_index_remove(hub->by_user, &session->by_user);
	if (session->counted)
		user_counts_remove(hub->users, session->principal->user);
	principal_unref(session->token);
	principal_unref(session->principal);
	session->token = session->principal = NULL;
	if (hub->deadline_cursor == session)
		hub->deadline_cursor = session->next;
	if (session->prev != NULL)
		session->prev->next = session->next;
	else
		hub->sessions = session->next;
	if (session->next != NULL)
		session->next->prev = session->prev;
	session->prev = NULL;
	session->next = hub->closed;
	hub->closed = session;
	hub->n_sessions--;
	metrics.sessions[metrics_transport(session->transport->name)]--;
	metrics.sessions_closed[metrics_close(session->close_code)]++;
}

bool session_settled(const struct session *session)
{
	return session->state == SESSION_OPEN && session->attempts == NULL && session->token_waits == NULL &&
	       session->path == NULL;
}

int session_closing(const struct session *session, const char **reason)
{
	if (session->state < SESSION_CLOSING)
		return 0;
	if (reason != NULL)
		*reason = session->close_reason != NULL ? session->close_reason : "";
	return session->close_code;
}
