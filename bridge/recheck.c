/*
 * recheck.c - rights that have to be judged again: the session brought another token, definitions changed, or events that may have
 * taken rows away were not seen one by one (a new history, a resync).
 *
 * What the token alone decides is judged at once. A row channel's right is the row's to give, so it is asked for again;
 * until the answer the subscription is held: it counts as a replay that stands still, nothing reaches it, and nothing is lost,
 * because it goes on from where it was held. Rechecks in flight are bounded; while the database is away they wait.
 * Whether the rules of a feed are others than when a subscription was judged is told by their fingerprint.
 */
#include <string.h>

#include "session_internal.h"

static void mix_rules(uint32_t *hash, const char *bytes)
{
	do
		*hash = (*hash ^ (unsigned char)*bytes) * 16777619u;
	while (*bytes++ != '\0');
}

uint32_t feed_rules(const struct feed *feed)
{
	uint32_t hash = 2166136261u;
	hash ^= (uint32_t)feed->declared | (uint32_t)feed->has_unit << 1 | (uint32_t)feed->has_users << 2 |
	        (uint32_t)feed->any_user << 3;
	hash *= 16777619u;
	for (size_t i = 0; i < feed->n_roles; i++)
		mix_rules(&hash, feed->roles[i]);
	return hash;
}

static void hold(struct subscription *subscription)
{
	subscription->by_role = false;
	if (!replay_hold(subscription))
		session_shut(subscription->session, CLOSE_INTERNAL, "out of memory");
}

/* The verdict of today, or ACCESS_UNKNOWN where the channel is none any more. */
static enum verdict verdict_now(const struct subscription *subscription, const struct feed **feed)
{
	const struct hub *hub = subscription->session->hub;
	const struct channel *channel = subscription->channel;
	struct channel_name name;
	*feed = catalog_rules(hub->catalog, channel->feed);
	if (*feed == NULL || !channel_parse(channel->name.bytes, channel->name.len, &name) || !rules_have(*feed, &name))
		return ACCESS_UNKNOWN;
	if (((*feed)->query != NULL) != (channel->result != NULL))
		return ACCESS_UNKNOWN; /* a feed has become a query, or the other way round */
	const char *why = NULL;
	return access_may_subscribe(hub->access, subscription->session->principal, *feed, &name, &why);
}

static void judge_again(struct subscription *subscription, bool definitions)
{
	const struct feed *feed;
	enum verdict verdict = verdict_now(subscription, &feed);
	bool changed = true;
	if (feed != NULL) {
		const struct feed *row = catalog_row_feed(subscription->session->hub->catalog, feed);
		uint32_t rules = feed_rules(row != NULL ? row : feed);
		changed = rules != subscription->rules;
		subscription->rules = rules;
	}
	switch (verdict) {
	case ACCESS_GRANTED:
		break;
	case ACCESS_ASK_ROW:
		if (access_is_firehose(subscription->session->hub->access, subscription->session->principal))
			subscription->by_role = true;
		else if (!definitions || changed || subscription->by_role)
			hold(subscription);
		break;
	case ACCESS_FORBIDDEN:
		subscription_end_told(subscription, "forbidden");
		break;
	case ACCESS_UNKNOWN:
		subscription_end_told(subscription, "unknown_channel");
		break;
	}
}

void session_recheck(struct session *session, bool definitions)
{
	struct subscription *next;
	for (struct subscription *subscription = session->subscriptions; subscription != NULL; subscription = next) {
		next = subscription->next;
		judge_again(subscription, definitions);
	}
}

void subscription_recheck_row(struct subscription *subscription)
{
	struct replay *replay = subscription->replay;
	if (subscription->channel->scope != SCOPE_ROW || subscription->by_role)
		return;
	if (replay != NULL && replay->recheck != NULL) {
		replay->recheck->replay = NULL; /* its answer may be older */
		replay->recheck = NULL;
		replay_move(subscription->session->hub, replay, REPLAY_HELD);
	}
	hold(subscription);
}

static bool ask(struct hub *hub, struct replay *replay)
{
	const struct channel *channel = replay->subscription->channel;
	struct request *request = request_new(hub, REQUEST_RECHECK, replay->subscription->session);
	if (request == NULL)
		return false;
	request->replay = replay;
	replay->recheck = request;
	replay_move(hub, replay, REPLAY_CHECKING);
	hub->n_rechecks++;
	char feed[CHANNEL_NAME_MAX_BYTES + 1], key[CHANNEL_NAME_MAX_BYTES];
	const struct query *query = catalog_query(hub->catalog, channel->feed);
	struct text of = channel->result != NULL && query != NULL ? text_of(query->access_feed) : channel->feed;
	text_copy(of, feed);
	memcpy(key, channel->value.bytes, channel->value.len);
	hub->backend.row_scope(hub->backend.arg, request, feed, key, channel->value.len);
	return true;
}

void recheck_pump(struct hub *hub)
{
	while (hub->n_rechecks < RECHECKS_IN_FLIGHT_MAX && hub->replays[REPLAY_HELD].n > 0 &&
	       hub->now_ms >= hub->recheck_retry_ms) {
		if (!ask(hub, hub->replays[REPLAY_HELD].first))
			hub->recheck_retry_ms = hub->now_ms + RETRY_MS;
	}
}

void recheck_answer(struct hub *hub, struct request *request, enum row_status status, const struct row_access *row)
{
	struct replay *replay = request->replay;
	hub->n_rechecks--;
	request_free(request);
	if (replay == NULL)
		return;
	replay->recheck = NULL;
	struct subscription *subscription = replay->subscription;
	if (status == ROW_UNAVAILABLE) {
		hub->recheck_retry_ms = hub->now_ms + RETRY_MS;
		replay_move(hub, replay, REPLAY_HELD);
		return;
	}
	const struct feed *feed;
	enum verdict verdict = verdict_now(subscription, &feed);
	if (verdict == ACCESS_UNKNOWN || status == ROW_SPELLING) {
		subscription_end_told(subscription, "unknown_channel");
		return;
	}
	subscription->by_role = access_is_firehose(hub->access, subscription->session->principal);
	const struct feed *of = catalog_row_feed(hub->catalog, feed);
	bool sees = verdict == ACCESS_ASK_ROW && status == ROW_FOUND && of != NULL &&
	            access_may_see_row(hub->access, subscription->session->principal, of, row);
	if (subscription->by_role || sees)
		replay_release(replay);
	else
		subscription_end_told(subscription, "forbidden");
}
