/*
 * deliver.c - one event to all who may have it. The fast path.
 *
 *   1. The event's channels that anybody subscribes to, in the fixed order unit, users, row, feed, parent's row: the order in which
 *      a frame names them.
 *   2. One such channel: the frame is made once, and every live subscription's session gets a reference.
 *   3. Several: channel by channel, each session that may receive moves from its set of channels to the set with this one more. Sets
 *      are nodes of a tree; since channels come in one order, a node needs to know only its child of the channel at hand. Then each
 *      session gets its set's frame, made once.
 *
 * Rights. A unit's or user's channel of a watched table is kept true by judging it again when token or definitions change; for row
 * and whole-feed channels and declared feeds each session is asked for each event. Who holds a row channel and may not see this
 * event of the row has lost the row: `unsubscribed`, and none of the event. A subscription in replay is sent nothing here (the
 * history has the event), but it, too, ends with the row. What is of a row's children does not say whose the row is: so where a resync
 * stands for events that nobody saw, those who follow a row are asked for again before they are sent any more (recheck.c).
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

#define PREFETCH_AHEAD 4

/* Room for one more item of a scratch array. */
static bool reserve(void **array, size_t *max, size_t n, size_t item_size)
{
	if (n < *max)
		return true;
	size_t larger = *max == 0 ? 16 : *max * 2;
	void *grown = realloc(*array, larger * item_size);
	if (grown == NULL)
		return false;
	*array = grown;
	*max = larger;
	return true;
}

static void shut_channel(struct channel *channel)
{
	for (uint32_t i = 0; i < channel->n; i++)
		session_shut(channel->subscriptions[i]->session, CLOSE_INTERNAL, "out of memory");
}

/* ---- 1. the event's channels */

static size_t add_match(struct hub *hub, size_t n, struct text feed, enum scope scope, struct text value, bool check,
                        bool own)
{
	struct channel *channel = route_find(hub->route, feed, scope, value);
	if (channel == NULL || channel->mark == hub->serial)
		return n;
	channel->mark = hub->serial; /* a user named twice, or a row that is its own parent */
	if (!reserve((void **)&hub->matches, &hub->max_matches, n, sizeof(*hub->matches))) {
		shut_channel(channel);
		return n;
	}
	hub->matches[n] = (struct match){channel, check, own && scope == SCOPE_ROW};
	return n + 1;
}

static size_t find_matches(struct hub *hub, const struct event *event, const struct feed *feed)
{
	const struct text none = {NULL, 0};
	size_t n = 0;
	hub->serial++;
	if (feed != NULL) {
		if ((event->flags & EVENT_TO_UNIT) && event->unit.bytes != NULL)
			n = add_match(hub, n, event->feed, SCOPE_UNIT, event->unit, feed->declared, true);
		if (event->flags & EVENT_TO_USERS) {
			const struct text *users = event->to_users != NULL ? event->to_users : event->users;
			uint32_t n_users = event->to_users != NULL ? event->n_to_users : event->n_users;
			for (uint32_t i = 0; users != NULL && i < n_users; i++)
				n = add_match(hub, n, event->feed, SCOPE_USER, users[i], feed->declared, true);
		}
		if ((event->flags & EVENT_TO_ROW) && event->key.bytes != NULL)
			n = add_match(hub, n, event->feed, SCOPE_ROW, event->key, true, true);
		if (event->flags & EVENT_TO_FEED)
			n = add_match(hub, n, event->feed, SCOPE_FEED, none, true, true);
	}
	/* A child's event: seen by whoever holds the parent's row channel. */
	if (event->parent_feed.bytes != NULL && event->parent_key.bytes != NULL)
		n = add_match(hub, n, event->parent_feed, SCOPE_ROW, event->parent_key, false, false);
	return n;
}

bool feed_is_lossy(const struct feed *feed, enum scope scope)
{
	return feed != NULL && (!feed->durable || (scope == SCOPE_ROW && feed->transient_children));
}

static bool in_users(const struct text *users, uint32_t n, struct text user)
{
	for (uint32_t i = 0; users != NULL && i < n; i++)
		if (text_equal(users[i], user))
			return true;
	return false;
}

bool event_matches(const struct event *event, const struct channel *channel, bool *by_parent)
{
	*by_parent = false;
	if (text_equal(event->feed, channel->feed)) {
		switch (channel->scope) {
		case SCOPE_UNIT:
			if ((event->flags & EVENT_TO_UNIT) && text_equal(event->unit, channel->value))
				return true;
			break;
		case SCOPE_USER:
			if ((event->flags & EVENT_TO_USERS) &&
			    (event->to_users != NULL ? in_users(event->to_users, event->n_to_users, channel->value)
			                             : in_users(event->users, event->n_users, channel->value)))
				return true;
			break;
		case SCOPE_ROW:
			if ((event->flags & EVENT_TO_ROW) && text_equal(event->key, channel->value))
				return true;
			break;
		case SCOPE_FEED:
			if (event->flags & EVENT_TO_FEED)
				return true;
			break;
		}
	}
	*by_parent = channel->scope == SCOPE_ROW && text_equal(event->parent_feed, channel->feed) &&
	             text_equal(event->parent_key, channel->value);
	return *by_parent;
}

/* ---- who may have it */

static void end_lost(struct subscription *subscription)
{
	subscription_end_told(subscription, "forbidden");
}

/*
 * May this subscription's session have the event by this channel now? Ends a row channel whose row it may not see; callers walk a
 * channel from its last slot to the first, so that what moves into the free slot was seen already.
 */
static bool receives(struct hub *hub, const struct match *match, struct subscription *subscription,
                     const struct feed *feed, const struct event *event)
{
	const struct replay *replay = subscription->replay;
	if (replay != NULL && (!match->row || replay->after >= event->id || subscription->session->doubted))
		return false;
	if (match->check &&
	    !access_may_receive(hub->access, subscription->session->principal, feed, match->channel->scope, event)) {
		if (match->row)
			end_lost(subscription);
		return false;
	}
	return replay == NULL && (subscription->seen == NULL || !subscription_has_seen(subscription, event));
}

/* ---- 2. one channel */

static void deliver_one(struct hub *hub, const struct match *match, const struct feed *feed, const struct event *event)
{
	struct channel *channel = match->channel;
	struct frame *frame = NULL;
	for (uint32_t i = channel->n; i-- > 0;) {
		struct subscription *subscription = channel->subscriptions[i];
		if (i >= PREFETCH_AHEAD * 2) {
			__builtin_prefetch(channel->subscriptions[i - PREFETCH_AHEAD * 2]);
			__builtin_prefetch(&channel->subscriptions[i - PREFETCH_AHEAD]->session->ring);
		}
		if ((subscription->replay != NULL || subscription->seen != NULL || match->check) &&
		    !receives(hub, match, subscription, feed, event))
			continue; /* the channel may be gone now, but only if this was its last */
		if (frame == NULL)
			frame = frame_of_event(event, &channel->name, 1);
		session_send_event(subscription->session, frame, event->id);
	}
	frame_unref(frame);
}

/* ---- 3. several channels */

/* The node of the set `parent` and this match; 0: out of memory. Node 0 is the empty set. */
static uint32_t node_child(struct hub *hub, size_t *n_nodes, uint32_t parent, uint32_t match)
{
	struct node *node = &hub->nodes[parent];
	if (node->child_match == match + 1)
		return node->child;
	if (!reserve((void **)&hub->nodes, &hub->max_nodes, *n_nodes, sizeof(*hub->nodes)))
		return 0;
	uint32_t child = (uint32_t)(*n_nodes)++;
	hub->nodes[child] = (struct node){.parent = parent, .match = match};
	hub->nodes[parent].child = child;
	hub->nodes[parent].child_match = match + 1;
	return child;
}

/* Adds the match to the sets of the sessions that receive by it; returns how many sessions there are now. */
static size_t gather(struct hub *hub, uint32_t match, size_t *n_nodes, size_t n_touched, const struct feed *feed,
                     const struct event *event)
{
	const struct match *of = &hub->matches[match];
	struct channel *channel = of->channel;
	for (uint32_t i = channel->n; i-- > 0;) {
		struct subscription *subscription = channel->subscriptions[i];
		struct session *session = subscription->session;
		if ((subscription->replay != NULL || subscription->seen != NULL || of->check) &&
		    !receives(hub, of, subscription, feed, event))
			continue;
		if (session->mark != hub->serial) {
			if (!reserve((void **)&hub->touched, &hub->max_touched, n_touched, sizeof(struct session *))) {
				session_shut(session, CLOSE_INTERNAL, "out of memory");
				continue;
			}
			hub->touched[n_touched++] = session;
			session->mark = hub->serial;
			session->node = 0;
		}
		uint32_t node = node_child(hub, n_nodes, session->node, match);
		if (node == 0)
			session_shut(session, CLOSE_INTERNAL, "out of memory");
		else
			session->node = node;
	}
	return n_touched;
}

static struct frame *node_frame(struct hub *hub, uint32_t node, const struct event *event)
{
	size_t n = 0;
	for (uint32_t at = node; at != 0; at = hub->nodes[at].parent)
		n++;
	size_t i = n;
	for (uint32_t at = node; at != 0; at = hub->nodes[at].parent)
		hub->names[--i] = hub->matches[hub->nodes[at].match].channel->name;
	return frame_of_event(event, hub->names, n);
}

static void deliver_many(struct hub *hub, size_t n_matches, const struct feed *feed, const struct event *event)
{
	size_t n_nodes = 0, n_touched = 0;
	if (!reserve((void **)&hub->nodes, &hub->max_nodes, 0, sizeof(*hub->nodes)) ||
	    !reserve((void **)&hub->names, &hub->max_names, hub->max_matches - 1, sizeof(*hub->names))) {
		for (size_t i = 0; i < n_matches; i++)
			shut_channel(hub->matches[i].channel);
		return;
	}
	hub->nodes[n_nodes++] = (struct node){0};
	for (size_t i = 0; i < n_matches; i++)
		n_touched = gather(hub, (uint32_t)i, &n_nodes, n_touched, feed, event);
	for (size_t i = 0; i < n_touched; i++) {
		struct session *session = hub->touched[i];
		struct node *node = &hub->nodes[session->node];
		if (session->node == 0)
			continue;
		if (node->frame == NULL)
			node->frame = node_frame(hub, session->node, event);
		session_send_event(session, node->frame, event->id);
	}
	for (size_t i = 1; i < n_nodes; i++)
		frame_unref(hub->nodes[i].frame);
}

/* ---- resyncs */

void resync_reason(const struct event *event, char reason[RESYNC_REASON_MAX_BYTES])
{
	size_t len = event->body.len < RESYNC_REASON_MAX_BYTES ? event->body.len : RESYNC_REASON_MAX_BYTES - 1;
	if (len > 0)
		memcpy(reason, event->body.bytes, len);
	reason[len] = '\0';
}

struct frame *resync_frame(const struct channel *channel, const char *epoch, int64_t id, const char *reason)
{
	char name[CHANNEL_NAME_MAX_BYTES + 1];
	memcpy(name, channel->name.bytes, channel->name.len);
	name[channel->name.len] = '\0';
	return message_resync(name, epoch, id, reason);
}

struct resync {
	const struct hub *hub;
	const struct event *event;
	const char *reason;
	bool rows_only; /* children folded: only who holds a parent's row missed something */
};

static void resync_channel(struct channel *channel, void *arg)
{
	const struct resync *resync = arg;
	if (resync->rows_only && channel->scope != SCOPE_ROW)
		return;
	struct frame *frame = NULL;
	for (uint32_t i = 0; i < channel->n; i++) {
		struct subscription *subscription = channel->subscriptions[i];
		if (subscription->replay != NULL ||
		    (subscription->seen != NULL && subscription_has_seen(subscription, resync->event)))
			continue; /* the history has it, or the snapshot */
		if (frame == NULL)
			frame = resync_frame(channel, history_epoch(resync->hub->history), resync->event->id, resync->reason);
		session_send_event(subscription->session, frame, resync->event->id);
	}
	frame_unref(frame);
}

/* Behind all of the resync's frames: of a merged session this stops them all. */
static void recheck_channel(struct channel *channel, void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < channel->n; i++)
		subscription_recheck_row(channel->subscriptions[i]);
}

static void deliver_resync(struct hub *hub, const struct event *event)
{
	char reason[RESYNC_REASON_MAX_BYTES];
	resync_reason(event, reason);
	row_wait_doubt_all(hub);
	struct resync resync = {hub, event, reason, false};
	route_each(hub->route, event->feed, resync_channel, &resync);
	if (event->parent_feed.bytes != NULL && !text_equal(event->parent_feed, event->feed)) {
		resync.rows_only = true;
		route_each(hub->route, event->parent_feed, resync_channel, &resync);
	}
	route_each(hub->route, event->feed, recheck_channel, NULL);
}

static void lose_channel(struct channel *channel, void *arg)
{
	const struct resync *resync = arg;
	if (feed_is_lossy(catalog_feed(resync->hub->catalog, channel->feed), channel->scope))
		resync_channel(channel, arg);
}

static void recheck_lossy(struct channel *channel, void *arg)
{
	const struct resync *resync = arg;
	if (feed_is_lossy(catalog_feed(resync->hub->catalog, channel->feed), channel->scope))
		recheck_channel(channel, arg);
}

static void deliver_lost(struct hub *hub, const struct event *event)
{
	struct resync resync = {hub, event, "transient_lost", false};
	row_wait_doubt_all(hub);
	route_each(hub->route, (struct text){NULL, 0}, lose_channel, &resync);
	route_each(hub->route, (struct text){NULL, 0}, recheck_lossy, &resync);
}

/* ---- one event */

bool feed_is_latest_only(const struct hub *hub, const struct event *event)
{
	if (!(event->flags & EVENT_UPDATED))
		return false;
	const struct feed *feed = catalog_feed(hub->catalog, event->feed);
	return feed != NULL && feed->latest_only;
}

void hub_deliver(struct hub *hub, const struct event *event)
{
	if (event->flags & EVENT_CONTROL) {
		if (event_is_transient_lost(event))
			deliver_lost(hub, event);
		return;
	}
	if (event->flags & EVENT_RESYNC) {
		deliver_resync(hub, event);
		return;
	}
	if (route_channels(hub->route) == 0 && hub->requests == NULL)
		return;
	const struct feed *feed = catalog_feed(hub->catalog, event->feed);
	if ((event->flags & EVENT_TO_ROW) && event->key.bytes != NULL)
		row_wait_doubt(hub, event, feed);
	size_t n = find_matches(hub, event, feed);
	if (n > 0)
		metrics_delivered(event->at_us);
	if (n == 1)
		deliver_one(hub, &hub->matches[0], feed, event);
	else if (n > 1)
		deliver_many(hub, n, feed, event);
}
