/*
 * replay.c - what a subscription missed, sent at its client's pace.
 *
 * A replay is a position and a state (session_internal.h). Each pump gives those that can go on a slice of work:
 *   - what lies below the history comes from pages of the log (page.c), the rest from memory;
 *   - when the outbox is half full it is BLOCKED, until the client has taken most of it: a replay never fills the bound by itself;
 *   - a position that the history has let go of meanwhile goes on from the log;
 *   - one that begins with a snapshot stands still until that is here (snapshot.c), and sends it first;
 *   - at the end of the history the subscription is live, in the same turn of the loop, so that no event falls between;
 *   - of a merged session it stands at each event, and at the end, until the others are as far (merge.c);
 *   - of a row, it may have to look ahead for whose the row was, before it goes on (past.c).
 * Work is counted in rough nanoseconds: a pump is short however much there is to do.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

#define SLICE_COST_NS 100000
#define SCAN_COST_NS 2 /* one event of a page passed over */
#define SEEK_COST_NS 100 /* finding the place again */
#define EVENT_COST_NS 300 /* one looked at or sent; and its bytes: */
#define BYTES_PER_NS 4

static void list_remove(struct replay_list *list, struct replay *replay)
{
	if (replay->prev != NULL)
		replay->prev->next = replay->next;
	else
		list->first = replay->next;
	if (replay->next != NULL)
		replay->next->prev = replay->prev;
	else
		list->last = replay->prev;
	list->n--;
}

static void list_append(struct replay_list *list, struct replay *replay)
{
	replay->prev = list->last;
	replay->next = NULL;
	if (list->last != NULL)
		list->last->next = replay;
	else
		list->first = replay;
	list->last = replay;
	list->n++;
}

static void drop_found(struct replay *replay)
{
	if (replay->found != NULL)
		event_unref(replay->found);
	replay->found = NULL;
}

void replay_move(struct hub *hub, struct replay *replay, enum replay_state state)
{
	struct session *session = replay->subscription->session;
	if (state == REPLAY_READY && replay->wants_snapshot)
		state = replay->snapping != NULL ? REPLAY_SNAPPING : REPLAY_SNAPSHOT;
	if (session->doubted)
		state = REPLAY_DOUBTED; /* whatever it could go on with */
	if (replay->state == REPLAY_BLOCKED)
		session->n_blocked--;
	if (state == REPLAY_BLOCKED)
		session->n_blocked++;
	if (state == REPLAY_LOG)
		hub->pages_due = true;
	if (state == REPLAY_SNAPSHOT)
		hub->snapshots_due = true;
	if (state != REPLAY_MERGING)
		drop_found(replay);
	list_remove(&hub->replays[replay->state], replay);
	replay->state = (uint8_t)state;
	list_append(&hub->replays[state], replay);
}

static void drop_page(struct hub *hub, struct replay *replay)
{
	if (replay->page != NULL)
		page_unref(hub, replay->page);
	replay->page = NULL;
	replay->page_index = 0;
}

/* Rights may have changed. A look that is under way has read on: the replay itself reads its pages again. */
static void forget_past(struct hub *hub, struct replay *replay)
{
	if (replay->past == PAST_LOOKING)
		drop_page(hub, replay);
	replay->past = PAST_UNKNOWN;
}

bool replay_start(struct subscription *subscription, int64_t after, bool elder)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	if (replay == NULL)
		return false;
	replay->subscription = subscription;
	replay->after = after;
	replay->elder = elder;
	replay->state = subscription->session->doubted ? REPLAY_DOUBTED : REPLAY_READY;
	list_append(&subscription->session->hub->replays[replay->state], replay);
	subscription->replay = replay;
	metrics.replays++;
	return true;
}

bool replay_hold(struct subscription *subscription)
{
	struct hub *hub = subscription->session->hub;
	if (subscription->replay == NULL && !replay_start(subscription, history_head(hub->history), false))
		return false;
	struct replay *replay = subscription->replay;
	forget_past(hub, replay);
	/* One that is being asked for is judged by what is right when the answer comes. */
	if (replay->state != REPLAY_CHECKING)
		replay_move(hub, replay, REPLAY_HELD);
	return !subscription_is_merged(subscription) || merge_hold(subscription->session);
}

bool replay_lag(struct session *session, int64_t after)
{
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		if (s->replay != NULL)
			continue;
		if (!replay_start(s, after, false))
			return false;
		s->replay->past = PAST_OURS; /* it was live */
		replay_move(session->hub, s->replay, REPLAY_BLOCKED);
	}
	return true;
}

void replay_release(struct replay *replay)
{
	replay_move(replay->subscription->session->hub, replay, REPLAY_READY);
}

bool replay_doubt(struct subscription *subscription)
{
	struct hub *hub = subscription->session->hub;
	if (subscription->replay == NULL && !replay_start(subscription, history_head(hub->history), false))
		return false;
	struct replay *replay = subscription->replay;
	if (replay->recheck != NULL) {
		replay->recheck->replay = NULL; /* its answer would be older than the doubt */
		replay->recheck = NULL;
	}
	forget_past(hub, replay);
	replay_move(hub, replay, REPLAY_DOUBTED);
	return true;
}

void replay_undoubt(struct session *session)
{
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (s->replay != NULL && s->replay->state == REPLAY_DOUBTED)
			replay_move(session->hub, s->replay, REPLAY_READY);
}

void replay_drop(struct subscription *subscription)
{
	struct replay *replay = subscription->replay;
	if (replay == NULL)
		return;
	struct hub *hub = subscription->session->hub;
	if (replay->state == REPLAY_BLOCKED)
		subscription->session->n_blocked--;
	list_remove(&hub->replays[replay->state], replay);
	if (replay->recheck != NULL)
		replay->recheck->replay = NULL;
	drop_found(replay);
	drop_page(hub, replay);
	snapshot_let_go(replay);
	subscription->replay = NULL;
	metrics.replays--;
	free(replay);
}

void replay_unblock(struct session *session)
{
	struct hub *hub = session->hub;
	if (session->queued_bytes > (uint64_t)hub->limits.max_queue_bytes / 4)
		return;
	for (struct subscription *s = session->subscriptions; s != NULL && session->n_blocked > 0; s = s->next)
		if (s->replay != NULL && s->replay->state == REPLAY_BLOCKED)
			replay_move(hub, s->replay, REPLAY_READY);
}

void replay_advance(struct hub *hub)
{
	int64_t head = history_head(hub->history);
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_AHEAD].first; replay != NULL; replay = next) {
		next = replay->next;
		if ((replay->snapshot != NULL ? replay->snapshot->after : replay->after) <= head)
			replay_move(hub, replay, REPLAY_READY);
	}
}

/* Its place is head, of the history that there is now. */
static void place_at(struct replay *replay, int64_t head)
{
	drop_page(replay->subscription->session->hub, replay);
	replay->past = PAST_UNKNOWN;
	replay->after = head;
	replay->elder = false;
}

static void reset(struct replay *replay, int64_t head)
{
	place_at(replay, head);
	replay_move(replay->subscription->session->hub, replay, REPLAY_READY);
}

void replay_restart(struct replay *replay, int64_t head)
{
	if (replay->snapshot != NULL) {
		snapshot_let_go(replay);
		replay->wants_snapshot = true;
	}
	/* Where its right is still in question, it stands until that is answered. */
	if (replay->state == REPLAY_HELD || replay->state == REPLAY_CHECKING || replay->state == REPLAY_DOUBTED)
		place_at(replay, head);
	else
		reset(replay, head);
}

void replay_lose(struct replay *replay, const char *reason)
{
	struct subscription *subscription = replay->subscription;
	const struct history *history = subscription->session->hub->history;
	metrics.resumes[METRIC_RESUME_RESYNC]++;
	session_reply(subscription->session,
	              resync_frame(subscription->channel, history_epoch(history), history_head(history), reason));
	if (subscription_is_merged(subscription) || replay->snapshot != NULL)
		reset(replay, history_head(history)); /* others wait for it; or its snapshot is still to be sent */
	else
		replay_drop(subscription);
}

bool replay_take_page(struct hub *hub, struct replay *replay, struct page *page)
{
	if (strcmp(page->epoch, history_epoch(hub->history)) != 0 && !replay->elder) {
		replay_lose(replay, "epoch"); /* the log is no longer that of its cursor */
		return false;
	}
	page->refs++;
	replay->page = page;
	replay->page_index = 0;
	return true;
}

/*
 * Half of the bound is the replay's, the other half is for what comes live meanwhile. While much waits in all outboxes together, a
 * replay gets little at a time: thousands that do not read cannot have thousands of halves. An empty outbox takes anything.
 */
bool replay_has_room(const struct session *session, size_t len)
{
	uint64_t most = (uint64_t)session->hub->limits.max_queue_bytes / 2;
	if (most > REPLAY_THIN_BYTES && session->hub->queued_bytes > REPLAYS_QUEUED_MAX_BYTES)
		most = REPLAY_THIN_BYTES;
	return session->n_frames == 0 || session->queued_bytes + len <= most;
}

enum concern replay_concern(struct hub *hub, struct subscription *subscription, const struct feed *feed,
                            const struct event *event, bool *by_parent)
{
	const struct channel *channel = subscription->channel;
	*by_parent = false;
	bool lost = event_is_transient_lost(event) && feed_is_lossy(feed, channel->scope);
	if (((event->flags & EVENT_CONTROL) && !lost) ||
	    (subscription->seen != NULL && subscription_has_seen(subscription, event)))
		return CONCERN_NONE;
	if (lost)
		return CONCERN_LOST;
	if (event->flags & EVENT_RESYNC)
		return text_equal(event->feed, channel->feed) ||
		               (channel->scope == SCOPE_ROW && text_equal(event->parent_feed, channel->feed))
		           ? CONCERN_RESYNC
		           : CONCERN_NONE;
	if (latest_is_stale(event->latest, event->id) || !event_matches(event, channel, by_parent))
		return CONCERN_NONE;
	/* As it might have been seen then; that it may be seen now, live delivery and rechecks see to. */
	if (*by_parent)
		return feed == NULL ? CONCERN_NONE : past_concern(subscription);
	if (feed == NULL || !access_may_receive(hub->access, subscription->session->principal, feed, channel->scope, event))
		return CONCERN_NONE;
	return CONCERN_EVENT;
}

void replay_send_resync(struct subscription *subscription, const struct event *event, const char *epoch)
{
	char reason[RESYNC_REASON_MAX_BYTES] = "transient_lost";
	if (event->flags & EVENT_RESYNC) {
		resync_reason(event, reason);
	} else if (!(event->flags & EVENT_CONTROL)) { /* a child's: what would tell whose the row was is not kept */
		memcpy(reason, "pruned", sizeof("pruned"));
		subscription->replay->past = PAST_OTHERS; /* once for all up to what tells */
	}
	session_reply(subscription->session, resync_frame(subscription->channel, epoch, event->id, reason));
}

enum progress {
	PROGRESS_MORE, /* this source has no more for it, or the budget is spent */
	PROGRESS_BLOCKED,
	PROGRESS_FOUND, /* stands at an event */
	PROGRESS_LOOK, /* looks ahead from here, and comes back */
	PROGRESS_SNAPSHOT, /* has come to the place of its snapshot */
	PROGRESS_LIVE
};

/* One event of the past, if it is for this subscription. MORE: it is dealt with. */
static enum progress replay_event(struct hub *hub, struct replay *replay, const struct feed *feed, struct event *event,
                                  const char *epoch, int64_t *budget_ns)
{
	struct subscription *subscription = replay->subscription;
	struct session *session = subscription->session;
	const struct channel *channel = subscription->channel;
	bool by_parent;
	*budget_ns -= EVENT_COST_NS;
	if (replay->snapshot != NULL && event->id > replay->snapshot->after)
		return PROGRESS_SNAPSHOT;
	past_note(replay, feed, event);
	enum concern concern = replay_concern(hub, subscription, feed, event, &by_parent);
	if (concern == CONCERN_UNKNOWN) {
		past_look_from(replay, event);
		return PROGRESS_LOOK;
	}
	if (concern != CONCERN_NONE && subscription_is_merged(subscription)) {
		replay->after = event->id - 1;
		replay->found = event_ref(event);
		return PROGRESS_FOUND;
	}
	if (concern == CONCERN_EVENT) {
		if (!replay_has_room(session, event->body.len + channel->name.len + FRAME_EXTRA_BYTES))
			return PROGRESS_BLOCKED;
		*budget_ns -= (int64_t)event->body.len / BYTES_PER_NS;
		session_reply(session, frame_of_event(event, &channel->name, 1));
	} else if (concern != CONCERN_NONE) {
		if (!replay_has_room(session, channel->name.len + RESYNC_REASON_MAX_BYTES + FRAME_EXTRA_BYTES))
			return PROGRESS_BLOCKED;
		replay_send_resync(subscription, event, epoch);
	}
	return PROGRESS_MORE;
}

/*
 * What is of a row's children is not in its snapshot, so it is sent from where the subscription began: before the snapshot, as its
 * id says. A merged session is sent nothing before its snapshots, but its cursor waits for what comes behind them.
 */
static bool has_children_first(const struct replay *replay)
{
	const struct subscription *subscription = replay->subscription;
	return subscription->channel->scope == SCOPE_ROW && !subscription_is_merged(subscription) &&
	       replay->after < replay->snapshot->after;
}

/* The snapshot that it begins with; the events follow from there. False: no room for it now. */
static bool send_snapshot(struct replay *replay)
{
	struct subscription *subscription = replay->subscription;
	struct snapshot *snapshot = replay->snapshot;
	if (!replay_has_room(subscription->session, snapshot->frame->len))
		return false;
	session_send(subscription->session, snapshot->frame);
	subscription->session->snapshot_queued = subscription->session->transport->merged;
	if (subscription->channel->scope != SCOPE_ROW || !subscription_is_merged(subscription))
		replay->after = snapshot->after;
	struct seen *seen = seen_ref(snapshot->seen);
	snapshot_let_go(replay);
	subscription->seen = seen;
	metrics.snapshots[METRIC_SNAPSHOT_SENT]++;
	return true;
}

static enum progress run_page(struct hub *hub, struct replay *replay, const struct feed *feed, int64_t *budget_ns)
{
	const struct page *page = replay->page;
	uint64_t mask = history_mask(replay->subscription->channel->hash);
	/* The log may be ahead of us. Whose order is that of several channels goes no further than all of them. */
	bool cut = subscription_is_merged(replay->subscription) && page->up_to > history_head(hub->history);
	int64_t up_to = cut ? history_head(hub->history) : page->up_to;
	*budget_ns -= SEEK_COST_NS;
	for (; *budget_ns > 0 && replay->page_index < page->n; replay->page_index++) {
		*budget_ns -= SCAN_COST_NS;
		if ((page->filters[replay->page_index] & mask) != mask)
			continue;
		struct event *event = page->events[replay->page_index];
		if (event->id <= replay->after)
			continue;
		if (event->id > up_to)
			break;
		enum progress progress = replay_event(hub, replay, feed, event, page->epoch, budget_ns);
		if (progress != PROGRESS_MORE)
			return progress;
		replay->after = event->id;
	}
	if (replay->page_index == page->n || page->events[replay->page_index]->id > up_to) {
		if (up_to > replay->after)
			replay->after = up_to;
		drop_page(hub, replay);
	}
	return PROGRESS_MORE;
}

static enum progress run_history(struct hub *hub, struct replay *replay, const struct feed *feed, int64_t *budget_ns)
{
	const struct history *history = hub->history;
	uint64_t mask = history_mask(replay->subscription->channel->hash);
	struct history_walk walk = history_walk(history, replay->after, mask);
	struct event *event;
	*budget_ns -= SEEK_COST_NS;
	while ((event = history_step(&walk, &replay->after, budget_ns)) != NULL) {
		enum progress progress = replay_event(hub, replay, feed, event, history_epoch(history), budget_ns);
		if (progress != PROGRESS_MORE)
			return progress;
		replay->after = event->id;
	}
	return history_walked(&walk) ? PROGRESS_LIVE : PROGRESS_MORE;
}

/* Goes on with one replay until its slice is spent, and puts it where it belongs. */
static void run(struct hub *hub, struct replay *replay, int64_t *budget_ns)
{
	struct subscription *subscription = replay->subscription;
	const struct feed *feed = catalog_feed(hub->catalog, subscription->channel->feed);
	enum progress progress = PROGRESS_MORE;
	if (feed == NULL)
		forget_past(hub, replay);
	while (*budget_ns > 0 && progress == PROGRESS_MORE) {
		if (subscription->session->state != SESSION_OPEN) {
			replay_drop(subscription); /* nothing is sent to it any more */
			return;
		}
		bool children = replay->snapshot != NULL && has_children_first(replay);
		if (children && replay->snapshot->after > history_head(hub->history)) {
			replay_move(hub, replay, REPLAY_AHEAD);
			return;
		}
		if (replay->snapshot != NULL && !children && !send_snapshot(replay)) {
			progress = PROGRESS_BLOCKED;
		} else if (replay_reads_after(replay) >= history_floor(hub->history)) {
			drop_page(hub, replay);
			if (replay_reads_after(replay) > history_head(hub->history)) {
				replay_move(hub, replay, REPLAY_AHEAD);
				return;
			}
			if (replay->past == PAST_LOOKING)
				past_look_history(replay, feed, budget_ns);
			else
				progress = run_history(hub, replay, feed, budget_ns);
		} else if (replay->page != NULL) {
			if (replay->past != PAST_LOOKING)
				progress = run_page(hub, replay, feed, budget_ns);
			else if (past_look_page(replay, feed, history_head(hub->history), budget_ns))
				drop_page(hub, replay);
		} else {
			struct page *page = page_find(hub, subscription->channel->feed, replay_reads_after(replay));
			if (page == NULL) {
				replay_move(hub, replay, REPLAY_LOG);
				return;
			}
			if (!replay_take_page(hub, replay, page))
				return;
		}
		if (progress == PROGRESS_LOOK)
			progress = PROGRESS_MORE;
		if (replay->snapshot != NULL && (progress == PROGRESS_SNAPSHOT || progress == PROGRESS_LIVE)) {
			if (replay->after < replay->snapshot->after)
				replay->after = replay->snapshot->after;
			progress = PROGRESS_MORE;
		}
	}
	if (progress == PROGRESS_FOUND || (progress == PROGRESS_LIVE && subscription_is_merged(subscription))) {
		if (progress == PROGRESS_LIVE)
			replay->after = history_head(hub->history);
		replay_move(hub, replay, REPLAY_MERGING);
		merge_step(subscription->session);
	} else if (progress == PROGRESS_LIVE) {
		replay_drop(subscription);
	} else if (progress == PROGRESS_BLOCKED) {
		/* A slow client keeps its page only while all of them together are not too much; else it is read again. */
		if (hub->page_bytes > PAGES_KEPT_MAX_BYTES)
			drop_page(hub, replay);
		replay_move(hub, replay, REPLAY_BLOCKED);
	} else {
		replay_move(hub, replay, REPLAY_READY); /* to the end of the line */
	}
}

bool replay_pump(struct hub *hub)
{
	int64_t left_ns = PUMP_COST_MAX_NS;
	while (left_ns > 0 && hub->replays[REPLAY_READY].n > 0) {
		int64_t slice_ns = SLICE_COST_NS;
		run(hub, hub->replays[REPLAY_READY].first, &slice_ns);
		left_ns -= SLICE_COST_NS - slice_ns;
		left_ns -= SEEK_COST_NS; /* even what does nothing takes a moment */
	}
	page_pump(hub);
	return hub->replays[REPLAY_READY].n > 0;
}
