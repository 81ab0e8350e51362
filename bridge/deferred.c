/*
 * deferred.c - messages for a channel that has an attempt to subscribe under way: they are done behind it, so that all
 * come out as if done in order.
 *
 * In: a subscribe or unsubscribe, copied. Out: the same calls of session_subscribe and session_unsubscribe that it would have
 * been, once the attempt ends; a new attempt takes over what is left behind it. They are owned by the attempt that they
 * wait behind; a session has DEFERRED_MAX of them at most, and is told `rate_limited` beyond.
 */
#include <stdlib.h>

#include "session_internal.h"

static void free_one(struct deferred *deferred)
{
	free(deferred->ref);
	free(deferred->since);
	free(deferred);
}

void deferred_free(struct deferred *deferred)
{
	while (deferred != NULL) {
		struct deferred *next = deferred->next;
		free_one(deferred);
		deferred = next;
	}
}

void deferred_add(struct request *attempt, const char *ref, const char *since, bool subscribe, bool snapshot)
{
	struct session *session = attempt->session;
	if (session->n_deferred >= DEFERRED_MAX) {
		session_error(session, ref, "rate_limited", "too many messages wait for this channel", attempt->channel);
		return;
	}
	struct deferred *deferred = calloc(1, sizeof(*deferred));
	if (deferred == NULL || !text_duplicate(&deferred->ref, ref) || !text_duplicate(&deferred->since, since)) {
		if (deferred != NULL)
			free_one(deferred);
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	deferred->subscribe = subscribe;
	deferred->snapshot = snapshot;
	if (attempt->deferred_last != NULL && attempt->deferred_first != NULL)
		attempt->deferred_last->next = deferred;
	else
		attempt->deferred_first = deferred;
	attempt->deferred_last = deferred;
	session->n_deferred++;
}

void deferred_run(struct session *session, const char *channel, struct deferred *deferred)
{
	while (deferred != NULL) {
		struct deferred *next = deferred->next;
		session->n_deferred--;
		if (session->state == SESSION_OPEN) {
			if (deferred->subscribe)
				session_subscribe(session, deferred->ref, channel, deferred->since, deferred->snapshot);
			else
				session_unsubscribe(session, deferred->ref, channel);
		}
		free_one(deferred);
		deferred = next;
	}
}
