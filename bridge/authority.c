/*
 * authority.c - whose rights are what, and since when no more: the authorizer's answers, and the control events disconnect
 * and reauthorize.
 *
 * An authority is what the authorizer says of one user's claims; tokens that say the same share it (access.h, claims_key):
 *
 *   DUE    somebody waits for it, and it will be asked: at most AUTHORIZES_IN_FLIGHT_MAX at a time
 *   LATER  the same, after RETRY_MS: the database did not answer
 *   ASKED  and is being asked, once for all who wait
 *   KNOWN  and answered: kept until a reauthorize of that user, another authorizer, or the beginning of a stream; at most
 *          AUTHORITIES_MAX of them and AUTHORITIES_MAX_BYTES, those longest unused go first. A refusal counts for
 *          REFUSAL_KEPT_MS only: who is refused has nothing to lose by a question.
 *
 * Those who wait are tokens that were brought (requests), and sessions that are doubted: their rights may have changed. When
 * a reauthorize comes by in the stream, each session of that user whose rights came from the authorizer is doubted on the
 * spot: its subscriptions stand still where they are (REPLAY_DOUBTED), what it asks to subscribe is parked. The question is
 * asked after the event was read, so the answer knows what the transaction of the reauthorize knew; events behind it
 * are judged by that answer, nothing is lost and nothing leaks in between. An answer to a question that was asked before an
 * event of its user is stale, and the question asked again; whose it is, only the answer tells, so the last
 * REAUTHORIZED_KEPT events are remembered.
 *
 * Sessions of tokens that carry their own rights cannot be asked about: reauthorize closes them (4401), for a fresh token.
 * disconnect closes with 4403. Neither touches a session whose token was issued later: at a bridge that lags behind,
 * the user may be back before the event is.
 *
 * Where the function raises, or returns what cannot be read, nobody is let in or kept: `unavailable` and 1013. While the
 * database is away, doubted sessions wait for it; while it is there and does not answer in time, AUTHORIZE_TRIES_MAX times.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "session_internal.h"

#define REVOKED_AGE_FIRST 4096
#define SECONDS_MAX_CHARS 20

/* ---- lists and memory */

static void list_remove(struct hub *hub, struct authority *authority)
{
	struct authority_list *list = &hub->authorities[authority->state];
	if (authority->prev != NULL)
		authority->prev->next = authority->next;
	else
		list->first = authority->next;
	if (authority->next != NULL)
		authority->next->prev = authority->prev;
	else
		list->last = authority->prev;
	list->n--;
	if (authority->state == AUTHORITY_KNOWN)
		hub->authorities_bytes -= authority->bytes;
}

static void list_append(struct hub *hub, struct authority *authority, enum authority_state state)
{
	struct authority_list *list = &hub->authorities[state];
	authority->state = (uint8_t)state;
	authority->prev = list->last;
	authority->next = NULL;
	if (list->last != NULL)
		list->last->next = authority;
	else
		list->first = authority;
	list->last = authority;
	list->n++;
	if (state == AUTHORITY_KNOWN)
		hub->authorities_bytes += authority->bytes;
}

static void move(struct hub *hub, struct authority *authority, enum authority_state state)
{
	list_remove(hub, authority);
	list_append(hub, authority, state);
}

static void authority_free(struct hub *hub, struct authority *authority)
{
	list_remove(hub, authority);
	user_index_remove(hub->authorities_by_user, &authority->by_token_user);
	user_index_remove(hub->authorities_by_user, &authority->by_user);
	if (authority->request != NULL)
		authority->request->authority = NULL;
	principal_unref(authority->token);
	principal_unref(authority->rights);
	free(authority);
}

static void evict(struct hub *hub)
{
	struct authority_list *known = &hub->authorities[AUTHORITY_KNOWN];
	while (known->first != NULL && !known->first->busy &&
	       (known->n > AUTHORITIES_MAX || hub->authorities_bytes > AUTHORITIES_MAX_BYTES))
		authority_free(hub, known->first);
}

bool authority_begin(struct hub *hub)
{
	hub->revoked = revoke_new(REVOKE_MAX_BYTES);
	hub->by_user = user_index_new();
	hub->authorities_by_user = user_index_new();
	hub->revoked_age_at = REVOKED_AGE_FIRST;
	return hub->revoked != NULL && hub->by_user != NULL && hub->authorities_by_user != NULL;
}

void authority_end(struct hub *hub)
{
	for (size_t state = 0; state < AUTHORITY_STATES; state++)
		while (hub->authorities[state].first != NULL)
			authority_free(hub, hub->authorities[state].first);
	user_index_free(hub->authorities_by_user);
	user_index_free(hub->by_user);
	revoke_free(hub->revoked);
	free(hub->authorizer);
}

/* ---- asking */

static uint64_t user_hash(const char *user)
{
	return channel_hash(text_of(""), SCOPE_USER, text_of(user));
}

/* Did a reauthorize of that user come by since it was asked, or so many that nobody knows? */
static bool is_stale(const struct hub *hub, const struct authority *authority, const char *user)
{
	uint64_t hash = user_hash(user);
	if (hub->reauthorizes - authority->asked_at > REAUTHORIZED_KEPT)
		return true;
	for (uint64_t i = authority->asked_at; i < hub->reauthorizes; i++)
		if (hub->reauthorized[i % REAUTHORIZED_KEPT] == hash)
			return true;
	return authority->stale;
}

static struct authority *find(const struct hub *hub, const struct principal *token)
{
	struct user_link *link = user_index_first(hub->authorities_by_user, token->user);
	for (; link != NULL; link = user_index_next(link)) {
		struct authority *authority = link->owner;
		if (link == &authority->by_token_user && text_equal(authority->token->claims_key, token->claims_key))
			return authority;
	}
	return NULL;
}

/* The authority for this token, KNOWN and good, or about to be asked. NULL: out of memory. */
static struct authority *find_or_create(struct hub *hub, struct principal *token)
{
	struct authority *authority = find(hub, token);
	if (authority != NULL) {
		bool old = authority->rights == NULL && hub->now_ms - authority->known_ms >= REFUSAL_KEPT_MS;
		if (authority->state == AUTHORITY_KNOWN)
			move(hub, authority, old && !authority->busy ? AUTHORITY_DUE : AUTHORITY_KNOWN); /* used last */
		return authority;
	}
	authority = calloc(1, sizeof(*authority));
	if (authority == NULL)
		return NULL;
	authority->token = principal_ref(token);
	list_append(hub, authority, AUTHORITY_DUE);
	user_index_add(hub->authorities_by_user, &authority->by_token_user, token->user, authority);
	return authority;
}

void authority_pump(struct hub *hub)
{
	struct authority_list *due = &hub->authorities[AUTHORITY_DUE], *later = &hub->authorities[AUTHORITY_LATER];
	while (later->first != NULL && hub->now_ms >= later->first->retry_ms)
		move(hub, later->first, AUTHORITY_DUE);
	while (due->first != NULL && hub->authorities[AUTHORITY_ASKED].n < AUTHORIZES_IN_FLIGHT_MAX &&
	       hub->authorizer != NULL) {
		struct authority *authority = due->first;
		struct request *request = request_new(hub, REQUEST_AUTHORIZE, NULL);
		if (request == NULL)
			return; /* at the next turn */
		request->authority = authority;
		authority->request = request;
		authority->stale = false;
		authority->asked_at = hub->reauthorizes;
		move(hub, authority, AUTHORITY_ASKED);
		hub->backend.authorize(hub->backend.arg, request, authority->token->claims);
	}
}

/* ---- doubt */

void authority_forget_session(struct session *session)
{
	struct authority *authority = session->doubt;
	session->doubted = false;
	if (authority == NULL)
		return;
	if (session->doubt_prev != NULL)
		session->doubt_prev->doubt_next = session->doubt_next;
	else
		authority->doubted = session->doubt_next;
	if (session->doubt_next != NULL)
		session->doubt_next->doubt_prev = session->doubt_prev;
	session->doubt = NULL;
	session->doubt_prev = session->doubt_next = NULL;
}

static void settle_doubt(struct session *session, struct principal *rights)
{
	session_settle(session, principal_ref(session->token), principal_ref(rights), NULL, false);
}

static void doubt(struct session *session)
{
	struct hub *hub = session->hub;
	if (session->doubt != NULL)
		return; /* it waits already, for an answer that is not stale */
	struct authority *authority = find_or_create(hub, session->token);
	if (authority == NULL) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	if (authority->state == AUTHORITY_KNOWN && authority->rights != NULL) {
		settle_doubt(session, authority->rights);
		return;
	}
	if (authority->state == AUTHORITY_KNOWN)
		move(hub, authority, AUTHORITY_DUE); /* an open session is not ended by a refusal of some time ago */
	session->doubted = true;
	session->doubt = authority;
	session->doubt_next = authority->doubted;
	if (authority->doubted != NULL)
		authority->doubted->doubt_prev = session;
	authority->doubted = session;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		if (!replay_doubt(s)) {
			session_shut(session, CLOSE_INTERNAL, "out of memory");
			return;
		}
	}
}

/* ---- tokens */

static const char refused_by_authorizer[] = "refused by the authorizer";

void authority_ask(struct session *session, struct principal *token, const char *ref)
{
	struct hub *hub = session->hub;
	struct authority *authority = find_or_create(hub, token);
	if (authority != NULL && authority->state == AUTHORITY_KNOWN) {
		if (authority->rights != NULL) {
			session_settle(session, token, principal_ref(authority->rights), ref, true);
			return;
		}
		principal_unref(token);
		session_refuse_token(session, ref, refused_by_authorizer);
		return;
	}
	struct request *request = authority != NULL ? token_wait(session, ref) : NULL;
	if (request == NULL) {
		principal_unref(token);
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	request->claimed = token;
	request->next = authority->waiters;
	authority->waiters = request;
	authority_pump(hub);
}

/* ---- answers */

enum outcome { OUTCOME_RIGHTS, OUTCOME_OWN, OUTCOME_REFUSED, OUTCOME_FAILED, OUTCOME_UNAVAILABLE };

/* rights: of OUTCOME_RIGHTS. */
static void tell_token(struct request *request, enum outcome outcome, struct principal *rights)
{
	struct session *session = request->session;
	struct principal *token = request->claimed;
	request->claimed = NULL;
	if (session != NULL)
		session->token_waits = NULL;
	if (session == NULL || session->state >= SESSION_CLOSING) {
		principal_unref(token);
	} else if (outcome == OUTCOME_RIGHTS || outcome == OUTCOME_OWN) {
		session_settle(session, token, principal_ref(outcome == OUTCOME_OWN ? token : rights), request->ref, true);
	} else {
		principal_unref(token);
		if (outcome == OUTCOME_REFUSED)
			session_refuse_token(session, request->ref, refused_by_authorizer);
		else
			session_token_unavailable(session, request->ref);
	}
	if (session != NULL)
		session_release_held(session);
	request_free(request);
}

static void tell_session(struct session *session, enum outcome outcome, struct principal *rights)
{
	authority_forget_session(session);
	if (session->state != SESSION_OPEN)
		return;
	if (outcome == OUTCOME_RIGHTS || outcome == OUTCOME_OWN) {
		settle_doubt(session, outcome == OUTCOME_OWN ? session->token : rights);
	} else if (outcome == OUTCOME_REFUSED) {
		session_refuse_token(session, NULL, refused_by_authorizer);
	} else {
		session_error(session, NULL, "unavailable", "the authorizer cannot be asked at present", NULL);
		session_shut(session, CLOSE_TRY_LATER, "try again later");
	}
}

/* Everybody who waits gets the outcome. doubted: those sessions as well. */
static void hand_out(struct authority *authority, enum outcome outcome, bool doubted)
{
	struct principal *rights = authority->rights;
	authority->busy = true;
	while (authority->waiters != NULL) {
		struct request *request = authority->waiters;
		authority->waiters = request->next;
		tell_token(request, outcome, rights);
	}
	while (doubted && authority->doubted != NULL)
		tell_session(authority->doubted, outcome, rights);
	authority->busy = false;
}

static void answer_rights(struct hub *hub, struct authority *authority, struct principal *rights)
{
	authority->rights = rights;
	authority->known_ms = hub->now_ms;
	authority->bytes = sizeof(*authority) + authority->token->size + (rights != NULL ? rights->size : 0);
	authority->tries = 0;
	if (rights != NULL && strcmp(rights->user, authority->token->user) != 0)
		user_index_add(hub->authorities_by_user, &authority->by_user, rights->user, authority);
	move(hub, authority, AUTHORITY_KNOWN);
	hand_out(authority, rights != NULL ? OUTCOME_RIGHTS : OUTCOME_REFUSED, true);
	evict(hub);
}

/* The outcome is not kept. */
static void answer_and_free(struct hub *hub, struct authority *authority, enum outcome outcome)
{
	hand_out(authority, outcome, true);
	authority_free(hub, authority);
}

static void ask_later(struct hub *hub, struct authority *authority)
{
	authority->retry_ms = hub->now_ms + RETRY_MS;
	move(hub, authority, AUTHORITY_LATER);
}

/* The database did not answer: who has rights waits for it. */
static void answer_unavailable(struct hub *hub, struct authority *authority)
{
	hand_out(authority, OUTCOME_UNAVAILABLE, false);
	if (hub->live)
		authority->tries++;
	if (authority->doubted == NULL || authority->tries >= AUTHORIZE_TRIES_MAX)
		answer_and_free(hub, authority, OUTCOME_UNAVAILABLE);
	else
		ask_later(hub, authority);
}

void hub_answer_authorize(struct hub *hub, struct request *request, enum authorize_status status, struct text json)
{
	struct authority *authority = request->authority;
	const char *wrong = NULL;
	request_free(request);
	if (authority == NULL)
		return;
	authority->request = NULL;
	if (hub->authorizer == NULL) {
		answer_and_free(hub, authority, OUTCOME_OWN);
	} else if (is_stale(hub, authority, authority->token->user)) {
		move(hub, authority, AUTHORITY_DUE);
	} else if (status == AUTHORIZE_UNAVAILABLE) {
		answer_unavailable(hub, authority);
	} else if (status == AUTHORIZE_FAILED) {
		answer_and_free(hub, authority, OUTCOME_FAILED);
	} else if (json.bytes == NULL) {
		answer_rights(hub, authority, NULL);
	} else {
		struct principal *rights = NULL;
		if (json.len > AUTHORITY_RESULT_MAX_BYTES)
			wrong = "it is larger than 1 MiB";
		else
			rights = access_rights(authority->token, json.bytes, json.len, &wrong);
		if (rights != NULL && is_stale(hub, authority, rights->user)) {
			principal_unref(rights);
			move(hub, authority, AUTHORITY_DUE);
		} else if (rights != NULL) {
			answer_rights(hub, authority, rights);
		} else {
			log_warn("what the authorizer returned cannot be used: %s", wrong);
			answer_and_free(hub, authority, OUTCOME_FAILED);
		}
	}
	authority_pump(hub);
}

/* ---- what changes rights */

/* What is known of this user does not count any more; what is being asked, is_stale sees to. */
static void forget_user(struct hub *hub, const char *user)
{
	struct user_link *next;
	for (struct user_link *link = user_index_first(hub->authorities_by_user, user); link != NULL; link = next) {
		struct authority *authority = link->owner;
		next = user_index_next(link);
		if (authority->state == AUTHORITY_KNOWN)
			authority_free(hub, authority);
	}
	hub->reauthorized[hub->reauthorizes++ % REAUTHORIZED_KEPT] = user_hash(user);
}

/* The same of all; without an authorizer, nobody waits for it. */
static void forget_all(struct hub *hub)
{
	static const enum authority_state waiting[] = {AUTHORITY_DUE, AUTHORITY_LATER};
	for (struct authority *a = hub->authorities[AUTHORITY_ASKED].first; a != NULL; a = a->next)
		a->stale = true;
	while (hub->authorities[AUTHORITY_KNOWN].first != NULL)
		authority_free(hub, hub->authorities[AUTHORITY_KNOWN].first);
	for (size_t i = 0; i < 2 && hub->authorizer == NULL; i++)
		while (hub->authorities[waiting[i]].first != NULL)
			answer_and_free(hub, hub->authorities[waiting[i]].first, OUTCOME_OWN);
}

/*
 * Is this open session's token still good, and if so, are its rights? ask: they may have changed. reason: of a disconnect.
 */
static void judge_again(struct session *session, bool ask, struct text reason)
{
	const struct hub *hub = session->hub;
	enum revocation revocation;
	if (session->state != SESSION_OPEN)
		return;
	const char *refusal = token_refusal(hub, session->token, session->principal, &revocation);
	if (revocation == REVOCATION_DISCONNECT)
		session_disconnect(session, reason);
	else if (refusal != NULL)
		session_refuse_token(session, NULL, refusal);
	else if (session->token->has_units_claim)
		session->expiry_s = token_expiry_s(hub, session->token);
	else if (hub->authorizer == NULL && session->principal != session->token)
		settle_doubt(session, session->token);
	else if (hub->authorizer != NULL && ask)
		doubt(session);
}

static void keep_revocation(struct hub *hub, enum revocation kind, struct text user, struct text sid, int64_t before_s)
{
	if (!revoke_add(hub->revoked, kind, user, sid, before_s))
		log_warn("more revocations than this bridge can keep: all users need tokens issued after this one's time");
	if (revoke_count(hub->revoked) < hub->revoked_age_at)
		return;
	if (hub->token_max_age_s > 0)
		revoke_age(hub->revoked, hub->wall_s - hub->token_max_age_s);
	hub->revoked_age_at = revoke_count(hub->revoked) * 2 + REVOKED_AGE_FIRST;
}

static enum revocation revocation_of(struct text kind)
{
	if (text_equal(kind, text_of("disconnect")))
		return REVOCATION_DISCONNECT;
	return text_equal(kind, text_of("reauthorize")) ? REVOCATION_REAUTHORIZE : REVOCATION_NONE;
}

void hub_take_revocation(struct hub *hub, struct text user, struct text session, struct text kind, int64_t before_s)
{
	enum revocation revocation = revocation_of(kind);
	if (revocation != REVOCATION_NONE && user.len > 0)
		keep_revocation(hub, revocation, user, session, before_s);
}

static bool parse_seconds(struct text text, int64_t *seconds)
{
	char digits[SECONDS_MAX_CHARS + 1], *end;
	if (text.len == 0 || text.len > SECONDS_MAX_CHARS)
		return false;
	memcpy(digits, text.bytes, text.len);
	digits[text.len] = '\0';
	*seconds = strtoll(digits, &end, 10);
	return *end == '\0';
}

void hub_control(struct hub *hub, const struct event *event)
{
	enum revocation kind = revocation_of(event->feed);
	int64_t before_s;
	if (kind == REVOCATION_NONE)
		return;
	if (event->n_users != 1 || event->users[0].len == 0 || !parse_seconds(event->parent_key, &before_s)) {
		log_error("control event %" PRId64 " is malformed: is the extension that of this bridge?", event->id);
		return;
	}
	char *user = strndup(event->users[0].bytes, event->users[0].len);
	if (user == NULL) {
		log_error("out of memory");
		abort(); /* who would be told that somebody is not disconnected? */
	}
	keep_revocation(hub, kind, event->users[0], event->key, before_s);
	if (kind == REVOCATION_REAUTHORIZE)
		forget_user(hub, user);
	/* Nothing of this user is KNOWN now, so nobody's rights, and with them the index, change in here. */
	for (struct user_link *link = user_index_first(hub->by_user, user); link != NULL; link = user_index_next(link))
		judge_again(link->owner, kind == REVOCATION_REAUTHORIZE, event->body);
	free(user);
	authority_pump(hub);
}

bool hub_wants_revocations(const struct hub *hub)
{
	return !hub->authority_known;
}

static void authorizer_changed(struct hub *hub, struct text authorizer)
{
	free(hub->authorizer);
	hub->authorizer = NULL;
	if (authorizer.bytes != NULL && (hub->authorizer = strndup(authorizer.bytes, authorizer.len)) == NULL) {
		log_error("out of memory");
		abort(); /* to go on without one would let everybody in */
	}
}

void hub_set_authority(struct hub *hub, struct text authorizer, int64_t token_max_age_s, bool revocations)
{
	bool changed = (authorizer.bytes == NULL) != (hub->authorizer == NULL) ||
	               (authorizer.bytes != NULL && !text_equal(authorizer, text_of(hub->authorizer)));
	bool began = revocations && !hub->authority_known;
	bool aged = token_max_age_s != hub->token_max_age_s;
	hub->token_max_age_s = token_max_age_s;
	if (changed)
		authorizer_changed(hub, authorizer);
	if (began)
		hub->authority_known = true;
	if (changed || began)
		forget_all(hub);
	if (changed || began || aged)
		for (struct session *session = hub->sessions; session != NULL; session = session->next)
			judge_again(session, changed || began, text_of("disconnected"));
	if (began) {
		admission_begin(hub);
		for (struct session *session = hub->sessions; session != NULL; session = session->next)
			attempts_unpark(session);
	}
	authority_pump(hub);
}
