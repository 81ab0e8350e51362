/*
 * merge.c - the replays of one session as one stream, for transports whose clients have one cursor for all channels
 * (struct session_transport, merged); and the cursor that covers a session.
 *
 * Invariant: of a merged session's subscriptions to feeds either all are live or all have a replay. Each replay looks for its next
 * event, and stands at that (MERGING, found) or at the end of the history (MERGING, nothing found). The event of least id is sent
 * once everybody stands at it or beyond, in one frame that names all channels it is for; those it was for look on. When all stand
 * at the end, all are live.
 *
 * Nothing is sent while a subscription that will begin with a cursor is not there yet, since its events may come before those of the
 * others, nor while a snapshot is to come or in the outbox: who breaks off then and resumes with a cursor would not be sent that.
 *
 * A value is sent as a whole, and again when one resumes: queries' channels take no part.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "session_internal.h"

bool subscription_is_merged(const struct subscription *subscription)
{
	return subscription->session->transport->merged && subscription->channel->result == NULL;
}

static bool is_waiting(const struct session *session)
{
	for (const struct request *attempt = session->attempts; attempt != NULL; attempt = attempt->next)
		if (attempt->snapshot || (attempt->has_since && attempt->refused == NULL))
			return true;
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (s->replay != NULL && (s->replay->wants_snapshot || s->replay->snapshot != NULL))
			return true;
	return false;
}

/* Behind a snapshot in the outbox, events would leave without a cursor. */
static bool is_blocked(const struct session *session)
{
	return session->snapshot_queued || is_waiting(session);
}

bool merge_hold(struct session *session)
{
	if (!session->transport->merged)
		return true;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		if (s->replay != NULL || !subscription_is_merged(s))
			continue;
		if (!replay_start(s, history_head(session->hub->history), false))
			return false;
		s->replay->past = PAST_OURS; /* it was live */
	}
	return true;
}

bool merge_join(struct subscription *subscription)
{
	struct session *session = subscription->session;
	if (!subscription_is_merged(subscription))
		return true;
	bool hold = subscription->replay != NULL || is_blocked(session);
	for (const struct subscription *s = session->subscriptions; s != NULL && !hold; s = s->next)
		hold = s->replay != NULL && subscription_is_merged(s);
	return !hold || merge_hold(session);
}

void merge_kick(struct session *session)
{
	if (!session->transport->merged)
		return;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		if (s->replay != NULL && s->replay->state == REPLAY_MERGING) {
			replay_move(session->hub, s->replay, REPLAY_READY); /* it will come to its place again, and look around */
			return;
		}
	}
}

/* ---- one step */

/* The found event of least id; NULL: nobody has found one. */
static struct event *least(const struct session *session)
{
	struct event *event = NULL;
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (s->replay != NULL && s->replay->found != NULL && (event == NULL || s->replay->found->id < event->id))
			event = s->replay->found;
	return event;
}

/* Has everybody passed all before this id, and stands? Who stands at the end of what the history was looks on. */
static bool all_stand(struct session *session, int64_t id)
{
	bool all = true;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		struct replay *replay = s->replay;
		if (replay == NULL || !subscription_is_merged(s) || replay->found != NULL || replay->after >= id)
			continue;
		all = false;
		if (replay->state == REPLAY_MERGING)
			replay_move(session->hub, replay, REPLAY_READY);
	}
	return all;
}

static void go_live(struct session *session)
{
	if (!all_stand(session, history_head(session->hub->history)))
		return;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (s->replay != NULL && subscription_is_merged(s) && s->replay->state != REPLAY_MERGING)
			return; /* at the head, but held there for another reason */
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (subscription_is_merged(s))
			replay_drop(s);
}

/* Where frames name a channel: unit, users, row, feed, parent's row. */
static int rank(const struct channel *channel, bool by_parent)
{
	static const int ranks[] = {[SCOPE_UNIT] = 0, [SCOPE_USER] = 1, [SCOPE_ROW] = 2, [SCOPE_FEED] = 3};
	return by_parent ? 4 : ranks[channel->scope];
}

struct taker {
	struct subscription *subscription;
	int rank;
	enum concern concern;
};

/* Those that stand at the event, in the order in which it names them. Returns how many. */
static size_t find_takers(struct session *session, const struct event *event, struct taker *takers)
{
	struct hub *hub = session->hub;
	size_t n = 0;
	for (struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		if (s->replay == NULL || s->replay->found == NULL || s->replay->found->id != event->id)
			continue;
		bool by_parent;
		/* Rights may have changed since it was found. */
		enum concern concern = replay_concern(hub, s, catalog_feed(hub->catalog, s->channel->feed), event, &by_parent);
		struct taker taker = {s, rank(s->channel, by_parent), concern};
		size_t at = n++;
		for (; at > 0 && takers[at - 1].rank > taker.rank; at--)
			takers[at] = takers[at - 1];
		takers[at] = taker;
	}
	return n;
}

static void send(struct session *session, struct event *event, struct taker *takers, struct text *names)
{
	const struct hub *hub = session->hub;
	size_t n = find_takers(session, event, takers), n_names = 0, len = event->body.len + FRAME_EXTRA_BYTES;
	for (size_t i = 0; i < n; i++)
		len += takers[i].subscription->channel->name.len + RESYNC_REASON_MAX_BYTES + FRAME_EXTRA_BYTES;
	if (!replay_has_room(session, len)) {
		replay_move(session->hub, takers[0].subscription->replay, REPLAY_BLOCKED); /* on its return all go on */
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct channel *channel = takers[i].subscription->channel;
		const struct replay *replay = takers[i].subscription->replay;
		if (takers[i].concern == CONCERN_EVENT)
			names[n_names++] = channel->name;
		else if (takers[i].concern != CONCERN_NONE && takers[i].concern != CONCERN_UNKNOWN)
			replay_send_resync(takers[i].subscription, event,
			                   replay->page != NULL ? replay->page->epoch : history_epoch(hub->history));
	}
	if (n_names > 0)
		session_reply(session, frame_of_event(event, names, n_names));
	for (size_t i = 0; i < n && session->state == SESSION_OPEN; i++) {
		struct replay *replay = takers[i].subscription->replay;
		if (takers[i].concern != CONCERN_UNKNOWN)
			replay->after = event->id;
		replay_move(session->hub, replay, REPLAY_READY);
	}
}

void merge_step(struct session *session)
{
	if (session->state != SESSION_OPEN || is_blocked(session))
		return;
	struct event *event = least(session);
	if (event == NULL) {
		go_live(session);
	} else if (all_stand(session, event->id)) {
		struct taker *takers = malloc(session->n_subscriptions * sizeof(*takers));
		struct text *names = malloc(session->n_subscriptions * sizeof(*names));
		event_ref(event);
		if (takers != NULL && names != NULL)
			send(session, event, takers, names);
		else
			session_shut(session, CLOSE_INTERNAL, "out of memory");
		event_unref(event);
		free(takers);
		free(names);
	}
}

/* ---- what covers a session */

int64_t session_position(const struct session *session)
{
	int64_t head = history_head(session->hub->history);
	int64_t position = INT64_MAX;
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		int64_t sent = s->replay != NULL ? s->replay->after : head;
		if (sent < position && !(s->session->transport->merged && s->channel->result != NULL))
			position = sent;
	}
	return attempts_position(session, position == INT64_MAX ? head : position);
}

void session_restarted(struct session *session)
{
	session->passed_id = -1; /* an id of the former history */
	session->uncovered = session->n_frames > 0;
}

int64_t session_covered(const struct session *session, size_t n)
{
	if (session->state == SESSION_GREETING || !session->hub->begun || is_waiting(session))
		return -1;
	int64_t position = session_position(session);
	/* To one that ends nothing is sent of what comes then, and of what waited perhaps not all: its events alone say how far it is. */
	bool ends = session->state >= SESSION_CLOSING;
	if (n >= session->n_frames && !ends)
		return position;
	if (session->uncovered || session->snapshot_queued)
		return -1;
	int64_t passed = ends ? -1 : session->passed_id;
	for (size_t i = n < session->n_frames ? n : session->n_frames; i-- > 0;) {
		const struct frame *frame = session->ring[(session->first + i) & (session->capacity - 1)];
		if (frame->id != 0) {
			passed = frame->id;
			break;
		}
	}
	return passed < position ? passed : position;
}

void session_passed(struct session *session)
{
	session->passed_id = is_waiting(session) ? -1 : session_position(session);
	session->uncovered = false;
	if (session->snapshot_queued) {
		session->snapshot_queued = false;
		merge_kick(session);
	}
}

bool session_caught_up(const struct session *session)
{
	if (session->state != SESSION_OPEN || session->attempts != NULL || session->held_first != NULL)
		return session->state >= SESSION_CLOSING;
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next)
		if (s->replay != NULL)
			return false;
	return true;
}

bool session_cursor(const struct session *session, size_t n, char to[CURSOR_MAX_BYTES])
{
	int64_t id = session_covered(session, n);
	if (id < 0)
		return false;
	snprintf(to, CURSOR_MAX_BYTES, "%s-%" PRId64, history_epoch(session->hub->history), id);
	return true;
}
