/*
 * subscription.c - subscriptions: made, found, ended.
 *
 * In: a session, a channel's name; what established it (subscribe.c) sets its rights and begins its stream. Out: its place in the
 * session's list and in the route, the count of both, and what its end says to the client. The session owns its
 * subscriptions; the end of one lets go of its replay, of what its snapshot saw, and of its channel's value with the last of them.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

struct subscription *subscription_find(const struct session *session, const char *channel)
{
	struct text name = text_of(channel);
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (text_equal(s->channel->name, name))
			return s;
	return NULL;
}

struct subscription *subscription_new(struct session *session, const char *channel, const struct channel_name *name)
{
	struct subscription *subscription = calloc(1, sizeof(*subscription));
	if (subscription == NULL)
		return NULL;
	subscription->session = session;
	subscription->channel =
		route_add(session->hub->route, channel, strlen(channel), name, subscription, &subscription->slot);
	if (subscription->channel == NULL) {
		free(subscription);
		return NULL;
	}
	subscription->next = session->subscriptions;
	session->subscriptions = subscription;
	session->n_subscriptions++;
	presence_note(session);
	metrics.subscriptions++;
	return subscription;
}

static void leave_route(struct subscription *subscription)
{
	struct hub *hub = subscription->session->hub;
	if (subscription->channel->result != NULL && subscription->channel->n == 1)
		value_leave(subscription->channel);
	struct subscription *moved = route_remove(hub->route, subscription->channel, subscription->slot);
	if (moved != NULL)
		moved->slot = subscription->slot;
	metrics.subscriptions--;
}

void subscription_end(struct subscription *subscription, struct frame *frame)
{
	struct session *session = subscription->session;
	if (frame != NULL)
		session_send(session, frame);
	replay_drop(subscription);
	subscription_forget_seen(subscription);
	leave_route(subscription);
	struct subscription **link = &session->subscriptions;
	while (*link != subscription)
		link = &(*link)->next;
	*link = subscription->next;
	session->n_subscriptions--;
	presence_note(session);
	free(subscription);
	merge_kick(session);
}

void subscription_end_told(struct subscription *subscription, const char *reason)
{
	struct session *session = subscription->session;
	char name[CHANNEL_NAME_MAX_BYTES + 1];
	text_copy(subscription->channel->name, name);
	struct frame *frame = message_unsubscribed(NULL, name, reason);
	if (frame == NULL)
		session_send(session, NULL);
	subscription_end(subscription, frame);
	frame_unref(frame);
}

void subscriptions_forget_session(struct session *session)
{
	while (session->subscriptions != NULL) {
		struct subscription *subscription = session->subscriptions;
		session->subscriptions = subscription->next;
		replay_drop(subscription);
		subscription_forget_seen(subscription);
		leave_route(subscription);
		free(subscription);
	}
	session->n_subscriptions = 0;
}
