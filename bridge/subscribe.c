/*
 * subscribe.c - from a `subscribe` to a subscription, and back.
 *
 * A subscribe is an attempt that walks these steps; each may have to ask the database, and goes on with the answer:
 *   1. judge: the channel's grammar, its feed (unknown: definitions are read again, once, for all who wait for that; see
 *      admission.c), the principal's right (while that is in doubt, the attempt is parked);
 *   2. cursor: can `since` be resumed? From memory we know; else the database says;
 *   3. row: a row channel's row, who may see it. Last, so that the right is as fresh as it can be; events
 *      of that row that come while we wait and say otherwise make us ask again;
 *   4. establish: `subscribed`, and the stream from there, or from the snapshot that is asked for now (snapshot.c).
 * Rights are judged anew after each wait: token and definitions may have changed.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

static void attempt_cursor(struct request *attempt);
static void attempt_row(struct request *attempt);

/* ---- the end of an attempt */

static void attempt_end(struct request *attempt)
{
	struct session *session = attempt->session;
	row_wait_end(attempt);
	struct request **link = &session->attempts;
	while (*link != attempt)
		link = &(*link)->next;
	*link = attempt->next;
	session->n_attempts--;
	merge_kick(session);
	struct deferred *deferred = attempt->deferred_first;
	attempt->deferred_first = NULL;
	if (deferred != NULL)
		deferred_run(session, attempt->channel, deferred);
	request_free(attempt);
}

/* Refused. lost: whoever has no right to it does not keep what it had, either. */
static void attempt_refuse(struct request *attempt, const char *code, const char *text, bool lost)
{
	struct session *session = attempt->session;
	struct subscription *former = lost ? subscription_find(session, attempt->channel) : NULL;
	if (former != NULL)
		subscription_end_told(former, "forbidden");
	session_error(session, attempt->ref, code, text, attempt->channel);
	attempt_end(attempt);
}

static void refuse_unknown(struct request *attempt)
{
	attempt_refuse(attempt, "unknown_channel", "there is no such channel", true);
}

static void refuse_forbidden(struct request *attempt, const char *why)
{
	attempt_refuse(attempt, "forbidden", why != NULL ? why : "this channel is not yours", true);
}

static void refuse_unavailable(struct request *attempt)
{
	attempt_refuse(attempt, "unavailable", "the database cannot be asked at present", false);
}

/* ---- 1. judge */

/* Whether the attempt's channel may be had (a row's: as far as can be told without the row). False: it was refused or waits. */
static bool judge(struct request *attempt, struct channel_name *name, const struct feed **feed)
{
	struct hub *hub = attempt->hub;
	if (attempt->session->doubted || !hub->authority_known) {
		attempt->wait = ATTEMPT_PARKED;
		return false;
	}
	if (!channel_parse(attempt->channel, strlen(attempt->channel), name)) {
		refuse_unknown(attempt);
		return false;
	}
	*feed = catalog_rules(hub->catalog, name->feed);
	if (*feed == NULL && !attempt->reloaded) {
		attempt->wait = ATTEMPT_FEED;
		attempt->feed_next = hub->feed_waiters;
		hub->feed_waiters = attempt;
		admission_pump(hub);
		return false;
	}
	if (*feed == NULL || !rules_have(*feed, name)) {
		refuse_unknown(attempt);
		return false;
	}
	if ((*feed)->query != NULL)
		attempt->has_since = attempt->snapshot = false; /* they mean nothing there */
	const char *why = NULL;
	enum verdict verdict = access_may_subscribe(hub->access, attempt->session->principal, *feed, name, &why);
	if (verdict == ACCESS_FORBIDDEN)
		refuse_forbidden(attempt, why);
	else if (verdict == ACCESS_UNKNOWN)
		refuse_unknown(attempt);
	return verdict == ACCESS_GRANTED || verdict == ACCESS_ASK_ROW;
}

void attempt_judge(struct request *attempt)
{
	struct channel_name name;
	attempt->wait = ATTEMPT_ASKED;
	const struct feed *feed;
	if (judge(attempt, &name, &feed)) {
		attempt->transient = feed_is_lossy(feed, name.scope);
		attempt_cursor(attempt);
	}
}

/* True: nobody waits for this answer any more, and the attempt is gone. */
static bool answer_unwanted(struct request *attempt)
{
	if (attempt->session == NULL)
		request_free(attempt);
	else if (attempt->session->state != SESSION_OPEN)
		attempt_end(attempt);
	else
		return false;
	return true;
}

void hub_answer_definitions(struct hub *hub, struct request *request, bool answered)
{
	admission_answer(hub, request, answered);
}

void attempts_answer_feeds(struct request *attempts, bool answered)
{
	while (attempts != NULL) {
		struct request *attempt = attempts;
		attempts = attempt->feed_next;
		attempt->reloaded = true;
		if (attempt->kind == REQUEST_CALL)
			call_answer_definitions(attempt, answered);
		else if (answer_unwanted(attempt))
			; /* and gone */
		else if (!answered)
			refuse_unavailable(attempt);
		else
			attempt_judge(attempt);
	}
}

static bool has_feed(const struct request *attempt)
{
	struct channel_name name;
	if (attempt->kind == REQUEST_CALL)
		return call_is_known(attempt);
	return attempt->session != NULL && channel_parse(attempt->channel, strlen(attempt->channel), &name) &&
	       catalog_rules(attempt->hub->catalog, name.feed) != NULL;
}

void attempts_find_feeds(struct hub *hub)
{
	struct request **lists[] = {&hub->feed_waiters, &hub->feeds_asked}, *found = NULL;
	for (size_t i = 0; i < 2; i++) {
		struct request **link = lists[i];
		while (*link != NULL) {
			struct request *attempt = *link;
			if (!has_feed(attempt)) {
				link = &attempt->feed_next;
				continue;
			}
			*link = attempt->feed_next;
			attempt->feed_next = found;
			found = attempt;
		}
	}
	attempts_answer_feeds(found, true);
}

/* The one that was parked first: the last in the list. */
static struct request *first_parked(const struct session *session)
{
	struct request *first = NULL;
	for (struct request *attempt = session->attempts; attempt != NULL; attempt = attempt->next)
		if (attempt->wait == ATTEMPT_PARKED)
			first = attempt;
	return first;
}

void attempts_unpark(struct session *session)
{
	struct request *attempt;
	while (session->state == SESSION_OPEN && !session->doubted && session->hub->authority_known &&
	       (attempt = first_parked(session)) != NULL)
		attempt_judge(attempt);
	if (!session->doubted && session->hub->authority_known)
		calls_unpark(session);
}

/* ---- 2. cursor */

static bool cursor_in_memory(const struct hub *hub, const struct cursor *cursor)
{
	return strcmp(cursor->epoch, history_epoch(hub->history)) == 0 && cursor->id >= history_floor(hub->history) &&
	       cursor->id <= history_head(hub->history);
}

static void attempt_cursor(struct request *attempt)
{
	struct hub *hub = attempt->hub;
	bool asked = attempt->cursor_known && attempt->restarts == hub->restarts;
	if (!attempt->has_since || attempt->refused != NULL || asked || cursor_in_memory(hub, &attempt->since) ||
	    cursor_is_vouched(hub, &attempt->since, attempt->transient)) {
		attempt->restarts = hub->restarts;
		attempt_row(attempt);
		return;
	}
	if (++attempt->cursor_asks > CURSOR_ASKS_MAX) {
		refuse_unavailable(attempt);
		return;
	}
	attempt->restarts = hub->restarts;
	hub->backend.check_cursor(hub->backend.arg, attempt, attempt->since.epoch, attempt->since.id, attempt->transient);
}

/* database_head is not looked at: the database vouches for the cursor, and the replay waits until the history is there. */
void hub_answer_cursor(struct hub *hub, struct request *request, enum cursor_status status, int64_t database_head)
{
	(void)database_head;
	if (answer_unwanted(request))
		return;
	if (status == CURSOR_UNAVAILABLE) {
		refuse_unavailable(request);
		return;
	}
	request->cursor_known = request->restarts == hub->restarts;
	if (request->cursor_known && status != CURSOR_OK)
		request->refused = status == CURSOR_PRUNED           ? "pruned"
		                   : status == CURSOR_TRANSIENT_LOST ? "transient_lost"
		                                                     : "epoch";
	else if (request->cursor_known)
		cursor_vouch(hub, &request->since, request->transient);
	attempt_judge(request);
}

/* ---- 3. row */

static void establish(struct request *attempt, const struct channel_name *name, const struct feed *feed, bool by_role);

static void ask_row(struct request *attempt, const struct channel_name *name, const struct feed *feed)
{
	struct hub *hub = attempt->hub;
	char key[CHANNEL_NAME_MAX_BYTES];
	const char *of = catalog_row_feed(hub->catalog, feed)->name; /* it has channels, so it is there */
	size_t key_len = channel_key(name->value, key);
	attempt->row_asks++;
	row_wait_begin(attempt, channel_hash(text_of(of), SCOPE_ROW, (struct text){key, key_len}));
	hub->backend.row_scope(hub->backend.arg, attempt, of, key, key_len);
}

static void attempt_row(struct request *attempt)
{
	struct channel_name name;
	const struct feed *feed;
	if (!judge(attempt, &name, &feed))
		return;
	if (name.scope == SCOPE_ROW) /* also where every row is granted: only the database knows the key's spelling */
		ask_row(attempt, &name, feed);
	else
		establish(attempt, &name, feed, false);
}

static void attempt_row_answer(struct hub *hub, struct request *attempt, enum row_status status,
                               const struct row_access *row)
{
	row_wait_end(attempt);
	if (status == ROW_UNAVAILABLE) {
		refuse_unavailable(attempt);
		return;
	}
	struct channel_name name;
	const struct feed *feed;
	if (!judge(attempt, &name, &feed))
		return;
	if (status == ROW_SPELLING) {
		refuse_unknown(attempt);
		return;
	}
	bool by_role = access_is_firehose(hub->access, attempt->session->principal);
	if (!by_role) {
		if (status == ROW_ABSENT ||
		    !access_may_see_row(hub->access, attempt->session->principal, catalog_row_feed(hub->catalog, feed), row)) {
			refuse_forbidden(attempt, NULL);
			return;
		}
		/* The answer may be older than an event that took the row away meanwhile. */
		if (attempt->row_doubt) {
			if (attempt->row_asks < ROW_ASKS_MAX)
				ask_row(attempt, &name, feed);
			else
				refuse_forbidden(attempt, NULL);
			return;
		}
	}
	if (attempt->has_since && attempt->refused == NULL && attempt->restarts != hub->restarts)
		attempt_cursor(attempt); /* the history began anew: is the cursor still good? */
	else
		establish(attempt, &name, feed, by_role);
}

void hub_answer_row(struct hub *hub, struct request *request, enum row_status status, const struct row_access *row)
{
	if (request->kind == REQUEST_RECHECK)
		recheck_answer(hub, request, status, row);
	else if (!answer_unwanted(request))
		attempt_row_answer(hub, request, status, row);
}

/* ---- 4. establish */

static void count_resume(const struct hub *hub, const struct request *attempt)
{
	if (!attempt->has_since)
		return;
	if (attempt->refused != NULL)
		metrics.resumes[METRIC_RESUME_RESYNC]++;
	else if (attempt->since.id >= history_floor(hub->history))
		metrics.resumes[METRIC_RESUME_MEMORY]++;
	else
		metrics.resumes[METRIC_RESUME_LOG]++;
}

static void establish(struct request *attempt, const struct channel_name *name, const struct feed *feed, bool by_role)
{
	struct hub *hub = attempt->hub;
	struct session *session = attempt->session;
	const char *epoch = history_epoch(hub->history);
	int64_t head = history_head(hub->history);
	bool recovered = attempt->has_since && attempt->refused == NULL;

	struct subscription *subscription = subscription_find(session, attempt->channel);
	if (subscription != NULL) {
		replay_drop(subscription); /* the new one replaces it */
		subscription_forget_seen(subscription);
	} else {
		subscription = subscription_new(session, attempt->channel, name);
	}
	if (subscription == NULL) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		attempt_end(attempt);
		return;
	}
	subscription->rules = feed_rules(catalog_row_feed(hub->catalog, feed));
	subscription->by_role = by_role;
	count_resume(hub, attempt);

	session_reply(session, recovered ? message_subscribed(attempt->ref, attempt->channel, attempt->since.epoch,
	                                                      attempt->since.id, 1, NULL)
	                                 : message_subscribed(attempt->ref, attempt->channel, epoch, head,
	                                                      attempt->has_since ? 0 : -1, attempt->refused));
	if (recovered && attempt->since.id < session->passed_id)
		session->passed_id = attempt->since.id;
	bool elder = recovered && strcmp(attempt->since.epoch, epoch) != 0;
	if ((feed->query != NULL && !value_join(subscription, catalog_query(hub->catalog, name->feed))) ||
	    (recovered && attempt->since.id != head && !replay_start(subscription, attempt->since.id, elder)) ||
	    (attempt->snapshot && !recovered && !snapshot_want(subscription)) || !merge_join(subscription))
		session_shut(session, CLOSE_INTERNAL, "out of memory");
	attempt_end(attempt);
}

/* ---- messages */

static struct request *find_attempt(const struct session *session, const char *channel)
{
	for (struct request *attempt = session->attempts; attempt != NULL; attempt = attempt->next)
		if (strcmp(attempt->channel, channel) == 0)
			return attempt;
	return NULL;
}

void session_subscribe(struct session *session, const char *ref, const char *channel, const char *since, bool snapshot)
{
	struct hub *hub = session->hub;
	struct request *former = find_attempt(session, channel);
	if (former != NULL) {
		deferred_add(former, ref, since, true, snapshot);
		return;
	}
	if (session->n_subscriptions + session->n_attempts >= (uint64_t)hub->limits.max_subscriptions &&
	    subscription_find(session, channel) == NULL) {
		metrics.limits[METRIC_LIMIT_MAX_SUBSCRIPTIONS]++;
		session_error(session, ref, "too_many_subscriptions", "this session has all it may have", channel);
		return;
	}
	struct request *attempt = request_new(hub, REQUEST_SUBSCRIBE, session);
	if (attempt == NULL) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	if (!text_duplicate(&attempt->ref, ref) || !text_duplicate(&attempt->channel, channel)) {
		request_free(attempt);
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	attempt->snapshot = snapshot;
	attempt->has_since = since != NULL;
	if (since != NULL && !cursor_parse(since, &attempt->since))
		attempt->refused = "epoch"; /* no cursor of any history */
	attempt->next = session->attempts;
	session->attempts = attempt;
	session->n_attempts++;
	if ((snapshot || since != NULL) && !merge_hold(session))
		session_shut(session, CLOSE_INTERNAL, "out of memory");
	attempt_judge(attempt);
}

void session_unsubscribe(struct session *session, const char *ref, const char *channel)
{
	struct request *attempt = find_attempt(session, channel);
	if (attempt != NULL) {
		deferred_add(attempt, ref, NULL, false, false);
		return;
	}
	struct subscription *subscription = subscription_find(session, channel);
	if (subscription != NULL)
		subscription_end(subscription, NULL);
	session_reply(session, message_unsubscribed(ref, channel, NULL));
}

int64_t attempts_position(const struct session *session, int64_t up_to)
{
	const char *epoch = history_epoch(session->hub->history);
	for (const struct request *attempt = session->attempts; attempt != NULL; attempt = attempt->next)
		if (attempt->has_since && attempt->refused == NULL && attempt->since.id < up_to &&
		    strcmp(attempt->since.epoch, epoch) == 0)
			up_to = attempt->since.id;
	return up_to;
}

void session_forget(struct session *session)
{
	token_wait_end(session);
	calls_forget_session(session);
	while (session->attempts != NULL) {
		struct request *attempt = session->attempts;
		session->attempts = attempt->next;
		row_wait_end(attempt);
		attempt->session = NULL; /* the answer frees it */
		deferred_free(attempt->deferred_first);
		attempt->deferred_first = NULL;
		if (attempt->wait == ATTEMPT_PARKED)
			request_free(attempt); /* none will come */
	}
	session->n_attempts = session->n_deferred = 0;
	subscriptions_forget_session(session);
	page_forget_session(session);
	snapshot_forget_session(session);
}
