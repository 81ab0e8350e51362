/*
 * row_wait.c - attempts to subscribe that wait for the database to say who may see their row, by the hash of that row.
 *
 * The answer may be older than an event that comes meanwhile and takes the row away from who asks. In: the attempts, and
 * each event of a row. Out: row_doubt, set on those whose answer cannot be trusted; subscribe.c asks again for these.
 * Only links: the attempts stay their sessions', and whoever lets go of one that waits ends its wait first.
 */
#include "session_internal.h"

void row_wait_begin(struct request *attempt, uint64_t hash)
{
	struct request **bucket = &attempt->hub->row_waiters[hash % ROW_WAITER_BUCKETS];
	attempt->row_hash = hash;
	attempt->row_waiting = true;
	attempt->row_doubt = false;
	attempt->row_prev = NULL;
	attempt->row_next = *bucket;
	if (*bucket != NULL)
		(*bucket)->row_prev = attempt;
	*bucket = attempt;
}

void row_wait_end(struct request *attempt)
{
	if (!attempt->row_waiting)
		return;
	attempt->row_waiting = false;
	if (attempt->row_prev != NULL)
		attempt->row_prev->row_next = attempt->row_next;
	else
		attempt->hub->row_waiters[attempt->row_hash % ROW_WAITER_BUCKETS] = attempt->row_next;
	if (attempt->row_next != NULL)
		attempt->row_next->row_prev = attempt->row_prev;
}

void row_wait_doubt_all(struct hub *hub)
{
	for (size_t i = 0; i < ROW_WAITER_BUCKETS; i++)
		for (struct request *attempt = hub->row_waiters[i]; attempt != NULL; attempt = attempt->row_next)
			attempt->row_doubt = true;
}

void row_wait_doubt(struct hub *hub, const struct event *event, const struct feed *feed)
{
	uint64_t hash = channel_hash(event->feed, SCOPE_ROW, event->key);
	struct request *attempt = hub->row_waiters[hash % ROW_WAITER_BUCKETS];
	for (; attempt != NULL; attempt = attempt->row_next)
		if (attempt->row_hash == hash &&
		    (feed == NULL || !access_may_receive(hub->access, attempt->session->principal, feed, SCOPE_ROW, event)))
			attempt->row_doubt = true;
}
