/*
 * value_touch.c - which values an event touches (value.h).
 *
 * Those of the scope that the event is in or leaves: the values of its unit, of its users, of its row or its parent's.
 * A table that has no such scope touches all values of a query that reads it, and so do a resync, and an event of a
 * declared feed that is for nobody in particular. To touch a value too often costs a run, nothing else.
 *
 * An event of the row whose rule decides over a value's subscribers may take their right away, as for row channels.
 */
#include "session_internal.h"

static void touch_all(struct value_query *query, int64_t id)
{
	query->touched = true; /* once for all events of a turn: values_pump */
	if (id > query->touched_id)
		query->touched_id = id;
}

static void touch_one(struct hub *hub, struct value_query *query, struct text of, int64_t id)
{
	struct channel *channel = route_find(hub->route, text_of(query->query->name), query->query->scope, of);
	if (channel != NULL && channel->result != NULL)
		value_touch(channel->result, id);
}

/* Of nobody in particular, where the feed says so event by event. */
static bool is_for_all(const struct event *event, const struct feed *feed)
{
	return (feed == NULL || feed->declared) && event->unit.bytes == NULL && event->n_users == 0 &&
	       event->n_to_users == 0;
}

static void touch_unit(struct hub *hub, struct value_query *query, const struct event *event, const struct feed *feed)
{
	if (event->unit.bytes != NULL)
		touch_one(hub, query, event->unit, event->id);
	else if (is_for_all(event, feed) || (feed != NULL && !feed->declared && !feed->has_unit))
		touch_all(query, event->id);
}

static void touch_users(struct hub *hub, struct value_query *query, const struct event *event, const struct feed *feed)
{
	for (uint32_t i = 0; event->users != NULL && i < event->n_users; i++)
		touch_one(hub, query, event->users[i], event->id);
	for (uint32_t i = 0; event->to_users != NULL && i < event->n_to_users; i++)
		touch_one(hub, query, event->to_users[i], event->id);
	if (is_for_all(event, feed) || (feed != NULL && !feed->declared && !feed->has_users))
		touch_all(query, event->id);
}

static void end_rights(struct hub *hub, struct value_query *query, const struct event *event, const struct feed *feed)
{
	struct channel *channel = route_find(hub->route, text_of(query->query->name), SCOPE_ROW, event->key);
	if (channel == NULL || !(event->flags & EVENT_TO_ROW))
		return;
	/* From the last to the first, as a subscription that ends moves the last one into its place. */
	for (uint32_t n = channel->n; n-- > 0;) {
		struct subscription *subscription = channel->subscriptions[n];
		if (subscription->session->doubted ||
		    (feed != NULL && access_may_receive(hub->access, subscription->session->principal, feed, SCOPE_ROW, event)))
			continue;
		subscription_end_told(subscription, "forbidden"); /* the last one frees the channel, and ends the loop */
	}
}

/* Events of the rows were folded: any of them may be another's now. */
static void doubt_rights(struct value_query *query)
{
	for (struct value *value = query->values; value != NULL; value = value->next)
		for (uint32_t i = 0; i < value->channel->n; i++)
			subscription_recheck_row(value->channel->subscriptions[i]);
}

static void touch_row(struct hub *hub, struct value_query *query, const struct event *event)
{
	struct text access_feed = text_of(query->query->access_feed);
	bool own = text_equal(event->feed, access_feed), by_parent = text_equal(event->parent_feed, access_feed);
	if (own && event->key.bytes != NULL)
		touch_one(hub, query, event->key, event->id);
	if (by_parent && event->parent_key.bytes != NULL)
		touch_one(hub, query, event->parent_key, event->id);
	if (!own && !by_parent)
		touch_all(query, event->id);
}

static void touch(struct hub *hub, struct value_query *query, const struct event *event, const struct feed *feed)
{
	if (event->flags & EVENT_RESYNC) {
		touch_all(query, event->id);
		return;
	}
	switch (query->query->scope) {
	case SCOPE_FEED:
		touch_all(query, event->id);
		break;
	case SCOPE_UNIT:
		touch_unit(hub, query, event, feed);
		break;
	case SCOPE_USER:
		touch_users(hub, query, event, feed);
		break;
	case SCOPE_ROW:
		touch_row(hub, query, event);
		break;
	}
}

void values_event(struct hub *hub, const struct event *event)
{
	if (hub->values.queries == NULL || (event->flags & EVENT_CONTROL))
		return;
	uint64_t hash = query_feed_hash(event->feed);
	const struct feed *feed = catalog_feed(hub->catalog, event->feed);
	struct value_query *next;
	for (struct value_query *query = hub->values.queries; query != NULL; query = next) {
		next = query->next; /* it goes with its last subscription */
		if (query_reads(query->query, event->feed, hash))
			touch(hub, query, event, feed);
		if (query->query->scope != SCOPE_ROW || !text_equal(event->feed, text_of(query->query->access_feed)))
			continue;
		if (event->flags & EVENT_RESYNC)
			doubt_rights(query);
		else if (event->key.bytes != NULL)
			end_rights(hub, query, event, feed);
	}
}
