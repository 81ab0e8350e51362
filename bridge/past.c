/*
 * past.c - children's events in the replay of a row's channel: only those of the time in which the row was this session's.
 *
 * The row's own events say whose it is from there on, a child's does not. So a replay keeps in mind (past) what the last own event
 * said. Where it comes to a child's event before it has seen any, it looks ahead, for the next own event: that tells by its kind,
 * flags and the `moved_out` before it whose the row was until then. If there is none, the row did not move, and is as it was judged.
 *
 *   - A look reads on from the child's event (looked), sends nothing, and leaves the replay where it is (after); then that goes on.
 *     It reads the same pages and history as the replay; it ends at the first own event.
 *   - A resync of the row's feed stands for events that nobody saw: whose the row was before cannot be known, so children's
 *     events before it are left out, which the resync tells. Behind it nothing is known either.
 *   - Events of a declared feed do not say whose the key was before. What is left out is told by a resync of this channel.
 *   - When the rights of the session may have changed, what it has in mind counts no more.
 */
#include "session_internal.h"

#define LOOK_COST_NS 40 /* one event looked at */
#define LOOK_BACK_MAX 4096 /* events of one transaction, from a move back to its moved_out; beyond: it cannot be told */

static bool is_own(const struct event *event, const struct channel *channel)
{
	return text_equal(event->feed, channel->feed) && text_equal(event->key, channel->value);
}

/* Own events may be missing here. */
static bool is_break(const struct event *event, const struct channel *channel, const struct feed *feed)
{
	if (event->flags & EVENT_RESYNC)
		return text_equal(event->feed, channel->feed);
	return !feed->durable && event_is_transient_lost(event);
}

static bool is_told(const struct event *event, const struct channel *channel)
{
	return !(event->flags & (EVENT_RESYNC | EVENT_CONTROL)) && (event->flags & EVENT_TO_ROW) && is_own(event, channel);
}

static bool sees(const struct subscription *subscription, const struct feed *feed, struct text unit,
                 const struct text *users, uint32_t n_users)
{
	struct row_access row = {unit, users, n_users};
	return access_may_see_row(subscription->session->hub->access, subscription->session->principal, feed, &row);
}

void past_note(struct replay *replay, const struct feed *feed, const struct event *event)
{
	const struct channel *channel = replay->subscription->channel;
	if (channel->scope != SCOPE_ROW || feed == NULL)
		return;
	if (is_break(event, channel, feed))
		replay->past = PAST_UNKNOWN;
	else if (is_told(event, channel))
		replay->past =
			sees(replay->subscription, feed, event->unit, event->users, event->n_users) ? PAST_OURS : PAST_OTHERS;
}

enum concern past_concern(const struct subscription *subscription)
{
	if (subscription->by_role || subscription->replay == NULL)
		return CONCERN_EVENT;
	switch ((enum past)subscription->replay->past) {
	case PAST_OURS:
		return CONCERN_EVENT;
	case PAST_OTHERS:
		return CONCERN_NONE;
	case PAST_UNSURE:
		return CONCERN_UNSURE;
	default:
		return CONCERN_UNKNOWN;
	}
}

void past_look_from(struct replay *replay, const struct event *event)
{
	replay->past = PAST_LOOKING;
	replay->looked = event->id;
	replay->look_xid = replay->left_xid = event->xid;
	replay->left_ours = false;
}

/* ---- whose it was */

static const struct text nobody = {NULL, 0};

/* Whoever a move took the row from is told by events of their own, before it in its transaction. */
static void note_left(struct replay *replay, const struct feed *feed, const struct event *event)
{
	if (replay->left_xid != event->xid) {
		replay->left_xid = event->xid;
		replay->left_ours = false;
	}
	if ((event->flags & EVENT_DELETED) && !(event->flags & (EVENT_TO_ROW | EVENT_RESYNC | EVENT_CONTROL)) &&
	    (event->flags & (EVENT_TO_UNIT | EVENT_TO_USERS)) && is_own(event, replay->subscription->channel) &&
	    sees(replay->subscription, feed, event->unit, event->users, event->n_users))
		replay->left_ours = true;
}

/* Whose was it until this event, the first that tells? cut: not all that is before it in its transaction was looked at. */
static enum past before(const struct replay *replay, const struct feed *feed, const struct event *event, bool cut)
{
	const struct subscription *subscription = replay->subscription;
	bool unit_stays = event->flags & EVENT_TO_UNIT;
	bool users_stay = (event->flags & EVENT_TO_USERS) && event->to_users == NULL;
	if (feed->declared)
		return PAST_UNSURE;
	if (event->flags & EVENT_CREATED) /* it was not there; what is of its own transaction came with it */
		return event->xid == replay->look_xid && sees(subscription, feed, event->unit, event->users, event->n_users)
		           ? PAST_OURS
		           : PAST_OTHERS;
	if (unit_stays && sees(subscription, feed, event->unit, NULL, 0))
		return PAST_OURS;
	if (users_stay && sees(subscription, feed, nobody, event->users, event->n_users))
		return PAST_OURS;
	if ((event->flags & EVENT_TO_USERS) && event->to_users != NULL &&
	    sees(subscription, feed, nobody, event->to_users, event->n_to_users))
		return PAST_OURS;
	if (unit_stays && users_stay)
		return PAST_OTHERS;
	if (replay->left_xid == event->xid && replay->left_ours)
		return PAST_OURS;
	return cut ? PAST_UNSURE : PAST_OTHERS;
}

/* ---- looking ahead */

bool past_look_page(struct replay *replay, const struct feed *feed, int64_t head, int64_t *budget_ns)
{
	const struct page *page = replay->page;
	const struct channel *channel = replay->subscription->channel;
	for (; *budget_ns > 0 && replay->page_index < page->n; replay->page_index++) {
		const struct event *event = page->events[replay->page_index];
		*budget_ns -= LOOK_COST_NS;
		note_left(replay, feed, event);
		if (event->id <= replay->looked)
			continue;
		if (is_break(event, channel, feed))
			replay->past = PAST_OTHERS; /* and told by it */
		else if (is_told(event, channel))
			replay->past = (uint8_t)before(replay, feed, event, event->xid == replay->look_xid);
		if (replay->past != PAST_LOOKING)
			return true;
		replay->looked = event->id < head ? event->id : head;
	}
	if (replay->page_index < page->n)
		return false;
	replay->looked = page->up_to < head ? page->up_to : head;
	return true;
}

/* The history's events of that transaction, from before this position back. False: not all are there. */
static bool look_back(struct replay *replay, const struct history *history, const struct feed *feed, uint64_t position,
                      uint64_t xid, int64_t *budget_ns)
{
	for (int n = 0; n < LOOK_BACK_MAX && position > history_first(history); n++, position--) {
		const struct event *event = history_at(history, position - 1);
		if (event->xid != xid)
			return true;
		*budget_ns -= LOOK_COST_NS;
		note_left(replay, feed, event);
		if (replay->left_ours)
			return true;
	}
	return false;
}

void past_look_history(struct replay *replay, const struct feed *feed, int64_t *budget_ns)
{
	const struct history *history = replay->subscription->session->hub->history;
	const struct channel *channel = replay->subscription->channel;
	struct history_walk walk = history_walk(history, replay->looked, history_mask(channel->hash));
	const struct event *event;
	while ((event = history_step(&walk, &replay->looked, budget_ns)) != NULL) {
		*budget_ns -= LOOK_COST_NS;
		if (is_break(event, channel, feed)) {
			replay->past = PAST_OTHERS;
			return;
		}
		if (is_told(event, channel)) {
			bool whole = look_back(replay, history, feed, walk.position - 1, event->xid, budget_ns);
			replay->past = (uint8_t)before(replay, feed, event, !whole);
			return;
		}
		replay->looked = event->id;
	}
	if (!history_walked(&walk))
		return;
	replay->past = PAST_OURS; /* it has not moved: whose it is was judged */
}
