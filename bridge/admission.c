/*
 * admission.c - from a token to rights.
 *
 *   1. verify (access.c). A token of a key that we do not know waits until the keys were read again.
 *   2. revoked? (revoke.c) Before that is known for this stream, tokens wait.
 *   3. rights: the token's own; where it has no units and there is an authorizer, those that it gives (authority.c).
 *   4. settle: a session that has none yet is let in; one that is open goes on with these, and loses what they do not cover.
 *
 * Whoever waits has a REQUEST_TOKEN, and its further messages are held (session.c). Reading definitions anew, for keys or
 * for feeds that we do not know, happens for all who wait together, and not more often than KEYS_ASK_EVERY_MS and
 * FEEDS_ASK_EVERY_MS: made-up names cost us little. Nobody is refused by definitions that were asked for before he came.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

void session_refuse_token(struct session *session, const char *ref, const char *reason)
{
	metrics.auth_failures[metrics_auth(reason)]++;
	session_log_refused(session, reason);
	session_error(session, ref, "bad_token", reason, NULL);
	session_shut(session, CLOSE_TOKEN, reason);
}

void session_token_unavailable(struct session *session, const char *ref)
{
	session_error(session, ref, "unavailable", "the database cannot be asked at present", NULL);
	if (session->state == SESSION_GREETING)
		session_shut(session, CLOSE_TRY_LATER, "try again later");
}

/* ---- 2. revoked? */

const char *token_refusal(const struct hub *hub, const struct principal *token, const struct principal *rights,
                          enum revocation *revocation)
{
	bool authorized = !token->has_units_claim && hub->authorizer != NULL;
	*revocation = revoke_find(hub->revoked, token->user, token->sid, token->iat_s, authorized);
	if (*revocation == REVOCATION_NONE && rights != NULL && strcmp(rights->user, token->user) != 0)
		*revocation = revoke_find(hub->revoked, rights->user, token->sid, token->iat_s, authorized);
	if (*revocation == REVOCATION_DISCONNECT)
		return "token is revoked: its user was disconnected";
	if (*revocation == REVOCATION_REAUTHORIZE)
		return "token is revoked: its user's rights have changed";
	if (token->sid != NULL && token->iat_s >= 0 && hub->token_max_age_s > 0 &&
	    hub->wall_s - token->iat_s > hub->token_max_age_s)
		return "token may be revoked: it has a sid and is older than livefeed.token_max_age";
	return NULL;
}

int64_t token_expiry_s(const struct hub *hub, const struct principal *token)
{
	int64_t expiry_s = access_expiry_s(hub->access, token);
	if (token->sid != NULL && token->iat_s >= 0 && hub->token_max_age_s > 0 &&
	    token->iat_s + hub->token_max_age_s < expiry_s)
		expiry_s = token->iat_s + hub->token_max_age_s + 1;
	return expiry_s;
}

/* ---- waiting */

struct request *token_wait(struct session *session, const char *ref)
{
	struct request *request = request_new(session->hub, REQUEST_TOKEN, session);
	if (request == NULL)
		return NULL;
	request->since_ms = session->hub->now_ms;
	if (!text_duplicate(&request->ref, ref)) {
		request_free(request);
		return NULL;
	}
	session->token_waits = request;
	return request;
}

void token_wait_end(struct session *session)
{
	if (session->token_waits != NULL)
		session->token_waits->session = NULL;
	session->token_waits = NULL;
}

/* In one of the hub's lists, as it came. False: out of memory. */
static bool wait_with(struct session *session, const char *token, size_t len, const char *ref, struct request **list)
{
	char *copy = strndup(token, len);
	struct request *request = copy != NULL ? token_wait(session, ref) : NULL;
	if (request == NULL) {
		free(copy);
		return false;
	}
	request->token = copy;
	request->next = *list;
	*list = request;
	return true;
}

/* ---- 3. rights */

static void judge(struct session *session, const char *token, size_t len, const char *ref, bool may_wait)
{
	struct hub *hub = session->hub;
	if (!hub->begun && !session->transport->patient) {
		/* The database's own keys are not known yet: a refusal would send the client for a token that is no better. */
		session_error(session, ref, "unavailable", "the database has not been reached yet", NULL);
		session_shut(session, CLOSE_TRY_LATER, "try again later");
		return;
	}
	if (!hub->begun || !hub->authority_known) {
		if (!wait_with(session, token, len, ref, &hub->tokens_early))
			session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	const char *reason = "token is refused";
	enum revocation revocation;
	struct principal *claimed = access_verify(hub->access, token, len, hub->wall_s, &reason);
	if (claimed == NULL) {
		if (!may_wait || !access_lacks_key(hub->access, token, len) ||
		    !wait_with(session, token, len, ref, &hub->tokens))
			session_refuse_token(session, ref, reason);
		return;
	}
	reason = token_refusal(hub, claimed, NULL, &revocation);
	if (reason != NULL) {
		principal_unref(claimed);
		session_refuse_token(session, ref, reason);
	} else if (claimed->has_units_claim || hub->authorizer == NULL) {
		session_settle(session, claimed, principal_ref(claimed), ref, true);
	} else {
		authority_ask(session, claimed, ref);
	}
}

void session_judge_token(struct session *session, const char *token, size_t len, const char *ref)
{
	judge(session, token, len, ref, true);
}

/* Each of the list is judged; unanswered: told that it cannot be. */
static void judge_all(struct request *waiting, bool answered, bool may_wait)
{
	while (waiting != NULL) {
		struct request *request = waiting;
		struct session *session = request->session;
		waiting = request->next;
		if (session != NULL) {
			session->token_waits = NULL;
			if (session->state >= SESSION_CLOSING)
				; /* over */
			else if (answered)
				judge(session, request->token, strlen(request->token), request->ref, may_wait);
			else
				session_token_unavailable(session, request->ref);
			session_release_held(session);
		}
		request_free(request);
	}
}

void admission_begin(struct hub *hub)
{
	struct request *early = hub->tokens_early;
	hub->tokens_early = NULL;
	judge_all(early, true, true);
}

/* ---- 4. settle */

static void take(struct session *session, struct principal *token, struct principal *rights)
{
	struct hub *hub = session->hub;
	user_index_remove(hub->by_user, &session->by_token_user);
	user_index_remove(hub->by_user, &session->by_user);
	principal_unref(session->token);
	principal_unref(session->principal);
	session->token = token;
	session->principal = rights;
	session->expiry_s = token_expiry_s(hub, token);
	presence_note(session);
	user_index_add(hub->by_user, &session->by_token_user, token->user, session);
	if (strcmp(rights->user, token->user) != 0)
		user_index_add(hub->by_user, &session->by_user, rights->user, session);
}

void session_settle(struct session *session, struct principal *token, struct principal *rights, const char *ref,
                    bool welcome)
{
	enum revocation revocation;
	/* Once more: it may have waited, and its rights may be another user's. */
	const char *reason = token_refusal(session->hub, token, rights, &revocation);
	if (reason == NULL && session->hub->wall_s >= token_expiry_s(session->hub, token))
		reason = "token is expired";
	if (reason == NULL && session->state == SESSION_OPEN && strcmp(rights->user, session->principal->user) != 0)
		reason = "token names another user";
	if (reason != NULL || session->state >= SESSION_CLOSING) {
		principal_unref(token);
		principal_unref(rights);
		if (session->state < SESSION_CLOSING)
			session_refuse_token(session, ref, reason);
		return;
	}
	take(session, token, rights);
	if (session->state == SESSION_GREETING) {
		session_admit(session, ref);
		return;
	}
	if (welcome)
		session_welcome(session, ref);
	authority_forget_session(session); /* whatever was asked: these rights are younger */
	session_recheck(session, false);
	replay_undoubt(session);
	attempts_unpark(session);
}

void session_let_operator_in(struct session *session)
{
	struct principal *whoever = access_operator();
	if (whoever == NULL)
		session_shut(session, CLOSE_INTERNAL, "out of memory");
	else
		session_settle(session, whoever, principal_ref(whoever), NULL, true);
}

/* ---- keys and feeds that we do not know */

static bool is_due(const struct hub *hub, int64_t asked_ms, int64_t every_ms)
{
	return asked_ms == 0 || hub->now_ms - asked_ms >= every_ms;
}

void admission_pump(struct hub *hub)
{
	bool keys = hub->tokens != NULL && is_due(hub, hub->keys_asked_ms, KEYS_ASK_EVERY_MS);
	bool feeds = hub->feed_waiters != NULL && is_due(hub, hub->feeds_asked_ms, FEEDS_ASK_EVERY_MS);
	if (hub->reload != NULL || !(keys || feeds))
		return;
	struct request *request = request_new(hub, REQUEST_RELOAD, NULL);
	if (request == NULL)
		return; /* later */
	hub->reload = request;
	if (hub->tokens != NULL)
		hub->keys_asked_ms = hub->now_ms;
	if (hub->feed_waiters != NULL)
		hub->feeds_asked_ms = hub->now_ms;
	hub->tokens_asked = hub->tokens;
	hub->tokens = NULL;
	hub->feeds_asked = hub->feed_waiters;
	hub->feed_waiters = NULL;
	hub->backend.reload_definitions(hub->backend.arg, request);
}

void admission_answer(struct hub *hub, struct request *reload, bool answered)
{
	struct request *tokens = hub->tokens_asked, *attempts = hub->feeds_asked;
	hub->tokens_asked = hub->feeds_asked = NULL;
	hub->reload = NULL;
	request_free(reload);
	judge_all(tokens, answered, false);
	attempts_answer_feeds(attempts, answered);
}
