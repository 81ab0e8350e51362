/*
 * page.c - pages of the log for replays that begin below the history.
 *
 * After a restart of the bridge every session comes back with a cursor of its own, most of them near each other. So a page is not
 * one session's: whoever waits for the same feed at a position inside it gets it too. At most PAGES_IN_FLIGHT_MAX are read at
 * a time, one at most on behalf of any session; waiters are served in the order they came. When the database cannot be asked they wait and
 * it is tried again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_internal.h"

void page_unref(struct hub *hub, struct page *page)
{
	if (--page->refs > 0)
		return;
	hub->page_bytes -= page->bytes;
	for (size_t i = 0; i < page->n; i++)
		event_unref(page->events[i]);
	free(page);
}

static struct page *page_new(struct hub *hub, int64_t after, int64_t up_to, const char *epoch,
                             struct event *const *events, size_t n)
{
	struct page *page = calloc(1, sizeof(*page) + n * sizeof(struct event *));
	if (page == NULL)
		return NULL;
	page->refs = 1;
	page->after = after;
	page->up_to = up_to;
	snprintf(page->epoch, sizeof(page->epoch), "%s", epoch);
	page->n = n;
	page->bytes = sizeof(*page);
	for (size_t i = 0; i < n; i++) {
		page->events[i] = event_ref(events[i]);
		page->bytes += events[i]->size + sizeof(struct event *);
	}
	hub->page_bytes += page->bytes;
	return page;
}

static bool is_feed(const struct replay *replay, const char *feed)
{
	return text_equal(replay->subscription->channel->feed, text_of(feed));
}

/* True: a page under way may hold what this one needs; if it does not, the next is its own. */
static bool is_coming(const struct hub *hub, const struct replay *replay)
{
	for (size_t i = 0; i < PAGES_IN_FLIGHT_MAX; i++) {
		const struct request *request = hub->pages[i];
		if (request != NULL && request->restarts == hub->restarts && request->after <= replay->after &&
		    is_feed(replay, request->channel))
			return true;
	}
	return false;
}

static bool request_page(struct hub *hub, struct replay *replay)
{
	struct session *session = replay->subscription->session;
	const struct text feed = replay->subscription->channel->feed;
	struct request *request = request_new(hub, REQUEST_PAGE, session);
	if (request == NULL)
		return false;
	request->channel = strndup(feed.bytes, feed.len);
	if (request->channel == NULL) {
		request_free(request);
		return false;
	}
	request->after = replay->after;
	size_t slot = 0;
	while (hub->pages[slot] != NULL)
		slot++;
	hub->pages[slot] = request;
	hub->n_pages++;
	session->paging = true;
	hub->backend.read_page(hub->backend.arg, request, request->after, request->channel);
	return true;
}

void page_pump(struct hub *hub)
{
	if (!hub->pages_due)
		return;
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_LOG].first; replay != NULL; replay = next) {
		if (hub->n_pages == PAGES_IN_FLIGHT_MAX || hub->now_ms < hub->page_retry_ms)
			return;
		next = replay->next;
		if (replay->subscription->session->paging || is_coming(hub, replay))
			continue;
		if (!request_page(hub, replay)) {
			hub->page_retry_ms = hub->now_ms + RETRY_MS;
			return;
		}
		/* A backend that answers at once has changed the list. */
		next = hub->replays[REPLAY_LOG].first;
	}
	hub->pages_due = false;
}

void page_forget_session(struct session *session)
{
	if (!session->paging)
		return;
	for (size_t i = 0; i < PAGES_IN_FLIGHT_MAX; i++)
		if (session->hub->pages[i] != NULL && session->hub->pages[i]->session == session)
			session->hub->pages[i]->session = NULL;
}

/* The request is over: its slot and its session are free for the next. */
static void finish(struct hub *hub, struct request *request)
{
	for (size_t i = 0; i < PAGES_IN_FLIGHT_MAX; i++)
		if (hub->pages[i] == request)
			hub->pages[i] = NULL;
	hub->n_pages--;
	hub->pages_due = true;
	if (request->session != NULL)
		request->session->paging = false;
	request_free(request);
}

/* All who wait for this feed at or below after cannot be served any more. */
static void lose_waiters(struct hub *hub, const char *feed, int64_t after, const char *reason)
{
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_LOG].first; replay != NULL; replay = next) {
		next = replay->next;
		if (replay->after <= after && is_feed(replay, feed))
			replay_lose(replay, reason);
	}
}

static void hand_out(struct hub *hub, const struct request *request, struct page *page)
{
	bool same_epoch = strcmp(page->epoch, history_epoch(hub->history)) == 0;
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_LOG].first; replay != NULL; replay = next) {
		next = replay->next;
		if (replay->after < page->after || replay->after >= page->up_to || !is_feed(replay, request->channel))
			continue;
		if (!same_epoch && !replay->elder) {
			replay_lose(replay, "epoch"); /* the log is no longer that of its cursor */
			continue;
		}
		page->refs++;
		replay->page = page;
		replay->page_index = 0;
		replay_move(hub, replay, REPLAY_READY);
	}
}

void hub_answer_page(struct hub *hub, struct request *request, enum cursor_status status, const char *epoch,
                     struct event *const *events, size_t n, int64_t up_to)
{
	if (request->restarts != hub->restarts) {
		finish(hub, request); /* of a history that is over: nobody waits for it */
		page_pump(hub);
		return;
	}
	if (status == CURSOR_OK && up_to > request->after) {
		struct page *page = page_new(hub, request->after, up_to, epoch, events, n);
		if (page != NULL) {
			hand_out(hub, request, page);
			page_unref(hub, page);
		} else {
			hub->page_retry_ms = hub->now_ms + RETRY_MS;
		}
	} else if (status == CURSOR_PRUNED) {
		lose_waiters(hub, request->channel, request->after, "pruned");
	} else if (status == CURSOR_UNAVAILABLE) {
		hub->page_retry_ms = hub->now_ms + RETRY_MS;
	} else {
		/* Another epoch, or a log that ends below what we have read from it: it is not the one we knew. */
		lose_waiters(hub, request->channel, request->after, "epoch");
	}
	finish(hub, request);
	page_pump(hub);
}
