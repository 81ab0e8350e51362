/*
 * page.c - pages of the log for replays that begin below the history.
 *
 * After a restart of the bridge every session comes back with a cursor of its own, most of them near each other. So a page is not
 * one session's: whoever waits for the same feed at a position inside it gets it too. At most PAGES_IN_FLIGHT_MAX are read at
 * a time, one at most on behalf of any session; waiters are served in the order they came. When the database cannot be asked they wait and
 * it is tried again.
 *
 * Ten thousand sessions that reconnect do not come in the same millisecond: pages are kept for PAGES_CACHED_MS for those who come next, up
 * to PAGES_CACHED_MAX_BYTES. (What a page holds does not change: it is of ticks that are made.) Likewise the cursors: ids and epochs
 * have one order, and no epoch comes back; so once the database says that a cursor of the present epoch can be resumed, all later ones can. That is
 * asked anew after VOUCHED_MS, because old events are pruned; a page that turns out to be pruned is told, as ever.
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
	free(page->feed);
	free(page->filters);
	free(page);
}

/* Of updates that the page itself replaces, replays send the last. */
static void page_thin(const struct hub *hub, struct page *page)
{
	struct latest_map *latest = NULL;
	for (size_t i = 0; i < page->n; i++) {
		if (!feed_is_latest_only(hub, page->events[i]))
			continue;
		if (latest == NULL && (latest = latest_map_new()) == NULL)
			return;
		latest_note(latest, page->events[i]);
	}
	latest_map_free(latest);
}

static struct page *page_new(struct hub *hub, const struct request *request, int64_t up_to, const char *epoch,
                             struct event *const *events, size_t n)
{
	struct page *page = calloc(1, sizeof(*page) + n * sizeof(struct event *));
	if (page == NULL)
		return NULL;
	page->feed = strdup(request->channel);
	page->filters = malloc((n + 1) * sizeof(*page->filters));
	if (page->feed == NULL || page->filters == NULL) {
		free(page->feed);
		free(page->filters);
		free(page);
		return NULL;
	}
	page->refs = 1;
	page->after = request->after;
	page->up_to = up_to;
	page->read_ms = hub->now_ms;
	snprintf(page->epoch, sizeof(page->epoch), "%s", epoch);
	page->n = n;
	page->bytes = sizeof(*page);
	for (size_t i = 0; i < n; i++)
		page->events[i] = event_ref(events[i]);
	page_thin(hub, page);
	for (size_t i = 0; i < n; i++) {
		page->filters[i] = history_filter(events[i]);
		page->bytes += events[i]->size + sizeof(struct event *) + sizeof(*page->filters);
	}
	hub->page_bytes += page->bytes;
	return page;
}

/* ---- what was read a moment ago */

/* Cuts the list off behind the pages that may stay. */
static void forget_from(struct hub *hub, struct page **link)
{
	struct page *page = *link;
	*link = NULL;
	while (page != NULL) {
		struct page *next = page->next;
		page->next = NULL;
		hub->n_cached--;
		hub->cached_bytes -= page->bytes;
		page_unref(hub, page);
		page = next;
	}
}

void page_forget(struct hub *hub, bool all)
{
	struct page **link = &hub->cached;
	while (*link != NULL && !all && hub->now_ms - (*link)->read_ms < PAGES_CACHED_MS)
		link = &(*link)->next;
	forget_from(hub, link);
	if (all)
		hub->vouched[0].set = hub->vouched[1].set = false;
}

/* The newest stays, whatever its size: it is in use anyway. */
static void page_keep(struct hub *hub, struct page *page)
{
	page->refs++;
	page->next = hub->cached;
	hub->cached = page;
	hub->n_cached++;
	hub->cached_bytes += page->bytes;
	size_t n = 0, bytes = 0;
	struct page **link = &hub->cached;
	while (*link != NULL && (n == 0 || (n < PAGES_CACHED_MAX && bytes + (*link)->bytes <= PAGES_CACHED_MAX_BYTES))) {
		n++;
		bytes += (*link)->bytes;
		link = &(*link)->next;
	}
	forget_from(hub, link);
}

struct page *page_find(const struct hub *hub, struct text feed, int64_t after)
{
	struct page *best = NULL;
	for (struct page *page = hub->cached; page != NULL; page = page->next)
		if (after >= page->after && after < page->up_to && (best == NULL || page->up_to > best->up_to) &&
		    text_equal(feed, text_of(page->feed)))
			best = page;
	return best;
}

bool cursor_is_vouched(const struct hub *hub, const struct cursor *cursor, bool transient)
{
	const struct vouched *vouched = &hub->vouched[transient];
	return vouched->set && vouched->restarts == hub->restarts && hub->now_ms - vouched->at_ms < VOUCHED_MS &&
	       cursor->id >= vouched->id && cursor->id <= history_head(hub->history) &&
	       strcmp(cursor->epoch, history_epoch(hub->history)) == 0;
}

void cursor_vouch(struct hub *hub, const struct cursor *cursor, bool transient)
{
	if (strcmp(cursor->epoch, history_epoch(hub->history)) == 0 && !cursor_is_vouched(hub, cursor, transient))
		hub->vouched[transient] = (struct vouched){cursor->id, hub->now_ms, hub->restarts, true};
}

/* ---- asking */

static bool is_feed(const struct replay *replay, const char *feed)
{
	return text_equal(replay->subscription->channel->feed, text_of(feed));
}

/* True: a page under way may hold what this one needs; if it does not, the next is its own. */
static bool is_coming(const struct hub *hub, const struct replay *replay)
{
	for (size_t i = 0; i < PAGES_IN_FLIGHT_MAX; i++) {
		const struct request *request = hub->pages[i];
		if (request != NULL && request->restarts == hub->restarts && request->after <= replay_reads_after(replay) &&
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
	request->after = replay_reads_after(replay);
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
		if (replay_reads_after(replay) <= after && is_feed(replay, feed))
			replay_lose(replay, reason);
	}
}

static void hand_out(struct hub *hub, const struct request *request, struct page *page)
{
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_LOG].first; replay != NULL; replay = next) {
		next = replay->next;
		int64_t at = replay_reads_after(replay);
		if (at < page->after || at >= page->up_to || !is_feed(replay, request->channel))
			continue;
		if (replay_take_page(hub, replay, page))
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
		struct page *page = page_new(hub, request, up_to, epoch, events, n);
		if (page != NULL) {
			page_keep(hub, page);
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
