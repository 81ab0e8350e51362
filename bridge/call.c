/*
 * call.c - commands: from a `call` to its `result`.
 *
 * The calls of a session are done one after another, in the order in which they came: who drags a card twice has it where he let go
 * of it last. Each walks these steps:
 *
 *   WAITING   for its turn
 *   PARKED    while the session's rights are in doubt
 *   UNKNOWN   nothing of that name is known: definitions are read again, once, for all who wait for that (admission.c)
 *   ASKED     livefeed.call runs: one statement, one transaction
 *   DUE       it will be asked again: a deadlock or a serialization failure undid it, or the connection was lost and the
 *             call has an idempotency key, so that it cannot happen twice
 *   HELD      it is done; its result waits until the stream has shown what it did, HOLD_MAX_MS at most: so the result's
 *             cursor covers its events, which have been sent by then. The next call of the session is begun meanwhile; its result
 *             comes no sooner, unless it has nothing to wait for.
 *
 * A transaction's events have its xid and stand in one tick; they have all been shown once a whole page of the log was given that has
 * them (hub_whole). The stream may be ahead of the answer: the last transactions that it showed are remembered.
 *
 * What the database says reaches the client for SQLSTATE P0001 (RAISE) and class LF (livefeed's own) only.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "session_internal.h"

#define HOLD_MAX_MS 2000
#define TRIES_MAX 4 /* the first, and three more */
#define RETRY_FIRST_MS                                                                                                 \
	10 /* a deadlock's or a serialization failure's; doubled each time, and up to as much again by chance */
#define LOST_RETRY_MS 500 /* after a lost connection */
#define CALLS_MAX 100 /* of one session */
#define CALLS_ALL_MAX_BYTES (64u << 20) /* names, args and keys of all calls */
#define RESULT_MAX_BYTES (8u << 20)
#define NAME_MAX_BYTES 63
#define NO_COMMAND "LF002" /* what livefeed.call says of a name that it does not know */

enum call_state { CALL_WAITING, CALL_PARKED, CALL_UNKNOWN, CALL_ASKED, CALL_DUE, CALL_HELD };

struct call {
	struct call *next; /* of its session, in order */
	struct call *list_next; /* of those DUE or HELD, in the hub */
	struct request *request; /* UNKNOWN and ASKED */
	struct session *session; /* NULL: gone */
	char *ref, *name, *args, *key;
	char *data; /* HELD */
	size_t bytes;
	uint64_t xid; /* HELD */
	int64_t id; /* the last of its events that the stream showed; 0: none yet */
	int64_t since_ms, at_ms; /* at: of those DUE and HELD, when that ends */
	uint8_t state, tries;
	bool sent; /* at least once, and nobody knows what became of it */
	bool reloaded;
};

void call_free(struct hub *hub, struct call *call)
{
	if (call == NULL)
		return;
	hub->calls_bytes -= call->bytes;
	free(call->ref);
	free(call->name);
	free(call->args);
	free(call->key);
	free(call->data);
	free(call);
}

/* ---- lists */

static void list_add(struct call **list, struct call *call)
{
	call->list_next = *list;
	*list = call;
}

/* Of those HELD: what was done first is told first. */
static void list_append(struct call **list, struct call *call)
{
	while (*list != NULL)
		list = &(*list)->list_next;
	call->list_next = NULL;
	*list = call;
}

static void list_remove(struct call **list, const struct call *call)
{
	while (*list != call)
		list = &(*list)->list_next;
	*list = call->list_next;
}

/* The first of the session's calls is over, or goes on by itself (HELD). */
static void leave_session(struct call *call)
{
	struct session *session = call->session;
	struct call **link = &session->calls;
	while (*link != call)
		link = &(*link)->next;
	*link = call->next;
	session->n_calls--;
	call->next = NULL;
}

/* ---- the end of a call */

static void done(struct call *call, enum metric_command outcome)
{
	metrics.commands[outcome]++;
	metrics_observe(&metrics.command_durations, (call->session->hub->now_ms - call->since_ms) * 1000);
}

static void run_next(struct session *session);

static void refuse(struct call *call, enum metric_command outcome, const char *code, const char *text)
{
	struct session *session = call->session;
	done(call, outcome);
	session_error(session, call->ref, code, text, NULL);
	leave_session(call);
	call_free(session->hub, call);
	run_next(session);
}

/* Of a call that is in no list any more. */
static void send_result(struct call *call, int64_t id)
{
	struct session *session = call->session;
	struct hub *hub = session->hub;
	done(call, METRIC_COMMAND_OK);
	session_reply(session, message_result(call->ref, call->data, history_epoch(hub->history), id));
	call_free(hub, call);
}

/* ---- 1. judge */

static bool has_role(const struct principal *principal, const char *role)
{
	for (size_t i = 0; i < principal->n_roles; i++)
		if (strcmp(principal->roles[i], role) == 0)
			return true;
	for (size_t i = 0; i < principal->n_units; i++)
		for (size_t k = 0; k < principal->units[i].n_roles; k++)
			if (strcmp(principal->units[i].roles[k], role) == 0)
				return true;
	return false;
}

static bool may_call(const struct principal *principal, const struct command *command)
{
	for (size_t i = 0; i < command->n_roles; i++)
		if (has_role(principal, command->roles[i]))
			return true;
	return command->n_roles == 0;
}

static bool is_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
	return len > 0 && len <= NAME_MAX_BYTES && name[len] == '\0';
}

static void wait_for_definitions(struct call *call)
{
	struct hub *hub = call->session->hub;
	struct request *request = request_new(hub, REQUEST_CALL, call->session);
	if (request == NULL) {
		refuse(call, METRIC_COMMAND_UNAVAILABLE, "unavailable", "out of memory");
		return;
	}
	call->state = CALL_UNKNOWN;
	call->request = request;
	request->call = call;
	request->feed_next = hub->feed_waiters;
	hub->feed_waiters = request;
	admission_pump(hub);
}

/* ---- 2. ask */

static void put_strings(struct json_out *out, char *const *strings, size_t n)
{
	json_puts(out, "[");
	for (size_t i = 0; i < n; i++) {
		json_puts(out, i > 0 ? "," : "");
		json_put_string(out, strings[i]);
	}
	json_puts(out, "]");
}

/* Who calls, for livefeed.call: {"user","units","roles","claims"}, NUL-terminated. NULL: out of memory. */
static char *claims_of(const struct session *session)
{
	const struct principal *rights = session->principal;
	struct json_out out = {0};
	json_puts(&out, "{\"user\":");
	json_put_string(&out, rights->user);
	json_puts(&out, ",\"units\":{");
	for (size_t i = 0; i < rights->n_units; i++) {
		json_puts(&out, i > 0 ? "," : "");
		json_put_string(&out, rights->units[i].unit);
		json_puts(&out, ":");
		put_strings(&out, rights->units[i].roles, rights->units[i].n_roles);
	}
	json_puts(&out, "},\"roles\":");
	put_strings(&out, rights->roles, rights->n_roles);
	json_puts(&out, ",\"claims\":");
	json_put(&out, session->token->claims.bytes, session->token->claims.len);
	json_put(&out, "}", 2); /* its NUL */
	if (out.failed) {
		free(out.bytes);
		return NULL;
	}
	return out.bytes;
}

static void ask(struct call *call, const char *role)
{
	struct session *session = call->session;
	struct hub *hub = session->hub;
	char *claims = claims_of(session);
	struct request *request = claims != NULL ? request_new(hub, REQUEST_CALL, session) : NULL;
	if (request == NULL) {
		free(claims);
		refuse(call, METRIC_COMMAND_UNAVAILABLE, "unavailable", "out of memory");
		return;
	}
	struct call_ask question = {call->name, call->args, claims, role, call->key};
	call->state = CALL_ASKED;
	call->request = request;
	call->tries++;
	request->call = call;
	hub->backend.call(hub->backend.arg, request, &question);
	free(claims);
}

/* The session's first call, as far as it can go now. */
static void begin(struct call *call)
{
	struct session *session = call->session;
	struct hub *hub = session->hub;
	const struct command *command = catalog_command(hub->catalog, text_of(call->name));
	if (session->doubted || !hub->authority_known) {
		call->state = CALL_PARKED;
	} else if (command == NULL && !call->reloaded && is_name(call->name)) {
		wait_for_definitions(call);
	} else if (command == NULL) {
		refuse(call, METRIC_COMMAND_UNKNOWN, "unknown_command", "there is no such command");
	} else if (!may_call(session->principal, command)) {
		refuse(call, METRIC_COMMAND_FORBIDDEN, "forbidden", "this command asks for a role that you do not have");
	} else {
		char *role = NULL;
		if (access_db_role(hub->access, session->token, &role))
			ask(call, role);
		else
			refuse(call, METRIC_COMMAND_FORBIDDEN, "forbidden", "the token names no database role");
		free(role);
	}
}

/* Not within itself: a refusal runs the next, and there may be many. */
static void run_next(struct session *session)
{
	if (session->calling)
		return;
	session->calling = true;
	while (session->calls != NULL && session->calls->state == CALL_WAITING && session->state == SESSION_OPEN)
		begin(session->calls);
	session->calling = false;
}

void calls_unpark(struct session *session)
{
	if (session->calls != NULL && session->calls->state == CALL_PARKED && session->state == SESSION_OPEN) {
		session->calls->state = CALL_WAITING;
		run_next(session);
	}
}

void call_answer_definitions(struct request *request, bool answered)
{
	struct call *call = request->call;
	struct session *session = call->session;
	call->request = NULL;
	request->call = NULL;
	if (session == NULL) {
		call_free(request->hub, call);
	} else if (!answered) {
		refuse(call, METRIC_COMMAND_UNAVAILABLE, "unavailable", "the database cannot be asked at present");
	} else {
		call->reloaded = true;
		call->state = CALL_WAITING;
		run_next(session);
	}
	request_free(request);
}

bool call_is_known(const struct request *request)
{
	return request->call->session != NULL &&
	       catalog_command(request->hub->catalog, text_of(request->call->name)) != NULL;
}

/* ---- 3. the answer */

/* Its number among what chance has to give: no two that stand in each other's way come back at the same moment. */
static int64_t by_chance(struct hub *hub, int64_t up_to_ms)
{
	hub->chance = hub->chance * 6364136223846793005u + 1442695040888963407u;
	return (int64_t)((hub->chance >> 33) % (uint64_t)(up_to_ms + 1));
}

/* Asks again in a while; false: it was asked often enough. */
static bool again(struct call *call, int64_t after_ms)
{
	struct hub *hub = call->session->hub;
	if (call->tries >= TRIES_MAX)
		return false;
	metrics.command_retries++;
	call->state = CALL_DUE;
	call->at_ms = hub->now_ms + after_ms + by_chance(hub, after_ms);
	list_add(&hub->calls_due, call);
	return true;
}

static void answer_unavailable(struct call *call, bool sent)
{
	call->sent = call->sent || sent;
	if (sent && call->key != NULL && call->session->state == SESSION_OPEN && again(call, LOST_RETRY_MS))
		return;
	refuse(call, METRIC_COMMAND_UNAVAILABLE, "unavailable",
	       call->sent ? "the database did not answer: the command may have been done, or not"
	                  : "the database cannot be asked at present: the command was not done");
}

static void log_failure(const struct call *call, const struct answer_error *error)
{
	char *message = strndup(error->message.bytes != NULL ? error->message.bytes : "", error->message.len);
	struct log_field fields[] = {{"command", call->name},
	                             {"user", call->session->principal != NULL ? call->session->principal->user : NULL},
	                             {"sqlstate", error->sqlstate},
	                             {"error", message},
	                             {NULL, NULL}};
	log_bounded(LOG_TOPIC_COMMAND, fields, "a command failed");
	free(message);
}

static void answer_failed(struct call *call, const struct answer_error *error)
{
	static const char *const passing[] = {"40001", "40P01"};
	for (size_t i = 0; i < 2; i++)
		if (strcmp(error->sqlstate, passing[i]) == 0 && call->session->state == SESSION_OPEN &&
		    again(call, (int64_t)RETRY_FIRST_MS << call->tries))
			return;
	if (strcmp(error->sqlstate, NO_COMMAND) == 0) { /* hidden a moment ago */
		refuse(call, METRIC_COMMAND_UNKNOWN, "unknown_command", "there is no such command");
		return;
	}
	bool said = strcmp(error->sqlstate, "P0001") == 0 || strncmp(error->sqlstate, "LF", 2) == 0;
	char *text = said ? strndup(error->message.bytes, error->message.len) : NULL;
	if (!said)
		log_failure(call, error);
	refuse(call, said ? METRIC_COMMAND_REFUSED : METRIC_COMMAND_ERROR, "command_failed",
	       text != NULL ? text : "the command failed");
	free(text);
}

/* Where the stream last showed that transaction, or somewhere behind; 0: it did not yet, or nobody knows. */
static int64_t shown(const struct hub *hub, uint64_t xid)
{
	uint64_t oldest = UINT64_MAX;
	for (uint64_t i = 0; i < SHOWN_KEPT && i < hub->n_shown; i++) {
		const struct shown *last = &hub->shown[(hub->n_shown - 1 - i) % SHOWN_KEPT];
		if (last->xid == xid)
			return last->id;
		oldest = last->xid < oldest ? last->xid : oldest;
	}
	/* The answer to a key that was answered long ago. */
	return hub->n_shown >= SHOWN_KEPT && xid < oldest ? history_head(hub->history) : 0;
}

static void answer_done(struct call *call, const struct call_answer *answer)
{
	struct session *session = call->session;
	struct hub *hub = session->hub;
	call->data = answer->data.len <= RESULT_MAX_BYTES ? strndup(answer->data.bytes, answer->data.len) : NULL;
	if (call->data == NULL) {
		refuse(call, METRIC_COMMAND_ERROR, "too_large", "the command was done, but its result is too large to be sent");
		return;
	}
	call->xid = answer->xid;
	call->id = answer->events ? shown(hub, answer->xid) : history_head(hub->history);
	leave_session(call);
	if (!answer->events || (call->id > 0 && hub->whole)) {
		send_result(call, call->id);
	} else {
		call->state = CALL_HELD;
		call->at_ms = hub->now_ms + HOLD_MAX_MS;
		session->n_held++;
		list_append(&hub->calls_held, call);
	}
	run_next(session);
}

void hub_answer_call(struct hub *hub, struct request *request, const struct call_answer *answer)
{
	struct call *call = request->call;
	request->call = NULL;
	request_free(request);
	call->request = NULL;
	if (call->session == NULL)
		call_free(hub, call);
	else if (answer->status == ANSWER_OK)
		answer_done(call, answer);
	else if (answer->status == ANSWER_FAILED)
		answer_failed(call, &answer->error);
	else
		answer_unavailable(call, answer->sent);
}

/* ---- 4. held until it is shown */

void calls_show(struct hub *hub, const struct event *event)
{
	struct shown *last = hub->n_shown > 0 ? &hub->shown[(hub->n_shown - 1) % SHOWN_KEPT] : NULL;
	hub->whole = false;
	if (last != NULL && last->xid == event->xid)
		last->id = event->id;
	else
		hub->shown[hub->n_shown++ % SHOWN_KEPT] = (struct shown){event->xid, event->id};
	for (struct call *call = hub->calls_held; call != NULL; call = call->list_next)
		if (call->xid == event->xid)
			call->id = event->id;
}

/* Those whose events have all been shown, or that were held for long enough. */
static void release(struct hub *hub)
{
	struct call **link = &hub->calls_held;
	while (*link != NULL) {
		struct call *call = *link;
		bool seen = call->id > 0 && hub->whole;
		if (!seen && hub->now_ms < call->at_ms) {
			link = &call->list_next;
			continue;
		}
		*link = call->list_next;
		call->session->n_held--;
		send_result(call, seen ? call->id : history_head(hub->history));
	}
}

void hub_whole(struct hub *hub)
{
	hub->whole = true;
	release(hub);
}

/* Transactions of another history may have the same numbers. What waits for its events gets none of that, and is sent in time. */
void calls_restart(struct hub *hub)
{
	hub->n_shown = 0;
	hub->whole = true;
	for (struct call *call = hub->calls_held; call != NULL; call = call->list_next)
		call->id = 0;
}

/* ---- messages */

/* Why this call is not taken; NULL: it is. */
static const char *refusal(struct session *session, size_t bytes)
{
	struct hub *hub = session->hub;
	const struct session_limits *limits = &hub->limits;
	if (session->n_calls >= CALLS_MAX)
		return "too many commands of this session wait";
	if (hub->calls_bytes + bytes > CALLS_ALL_MAX_BYTES)
		return "too many commands wait";
	if (session->transport->once &&
	    !user_rates_take(hub->rates, session->principal->user, hub->now_ms, limits->rate_per_s,
	                     limits->rate_per_s + limits->max_subscriptions)) {
		metrics.limits[METRIC_LIMIT_RATE]++;
		return "too many commands a second";
	}
	return NULL;
}

static struct call *call_new(struct session *session, const struct message *message, size_t bytes)
{
	struct hub *hub = session->hub;
	struct call *call = calloc(1, sizeof(*call));
	if (call == NULL)
		return NULL;
	call->bytes = bytes;
	hub->calls_bytes += bytes;
	if (!text_duplicate(&call->ref, message->ref) || !text_duplicate(&call->name, message->name) ||
	    !text_duplicate(&call->args, message->args) || !text_duplicate(&call->key, message->idempotency_key)) {
		call_free(hub, call);
		return NULL;
	}
	call->session = session;
	call->since_ms = hub->now_ms;
	return call;
}

void session_call(struct session *session, const struct message *message)
{
	const char *key = message->idempotency_key;
	size_t bytes =
		sizeof(struct call) + strlen(message->name) + strlen(message->args) + (key != NULL ? strlen(key) : 0);
	const char *why = refusal(session, bytes);
	if (why != NULL) {
		metrics.commands[METRIC_COMMAND_RATE_LIMITED]++;
		session_error(session, message->ref, "rate_limited", why, NULL);
		return;
	}
	struct call *call = call_new(session, message, bytes);
	if (call == NULL) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	struct call **link = &session->calls;
	while (*link != NULL)
		link = &(*link)->next;
	*link = call;
	session->n_calls++;
	run_next(session);
}

void calls_forget_session(struct session *session)
{
	struct hub *hub = session->hub;
	while (session->calls != NULL) {
		struct call *call = session->calls;
		leave_session(call);
		if (call->state == CALL_DUE)
			list_remove(&hub->calls_due, call);
		call->session = NULL;
		if (call->request != NULL)
			call->request->session = NULL; /* the answer frees both */
		else
			call_free(hub, call);
	}
	struct call **link = &hub->calls_held;
	while (session->n_held > 0) {
		struct call *call = *link;
		if (call->session != session) {
			link = &call->list_next;
			continue;
		}
		*link = call->list_next;
		session->n_held--;
		call_free(hub, call);
	}
}

/* ---- time */

void calls_pump(struct hub *hub)
{
	struct call **link = &hub->calls_due, *due = NULL;
	while (*link != NULL) {
		struct call *call = *link;
		if (hub->now_ms < call->at_ms) {
			link = &call->list_next;
			continue;
		}
		*link = call->list_next;
		list_add(&due, call);
		call->state = CALL_WAITING;
	}
	while (due != NULL) {
		struct session *session = due->session;
		due = due->list_next;
		run_next(session);
	}
	release(hub);
}

int64_t calls_due_ms(const struct hub *hub)
{
	int64_t at_ms = INT64_MAX;
	const struct call *lists[] = {hub->calls_due, hub->calls_held};
	for (size_t i = 0; i < 2; i++)
		for (const struct call *call = lists[i]; call != NULL; call = call->list_next)
			at_ms = call->at_ms < at_ms ? call->at_ms : at_ms;
	return at_ms;
}
