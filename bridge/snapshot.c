/*
 * snapshot.c - what a channel holds now, for subscriptions that begin with it.
 *
 * A subscription that wants a snapshot is in the route from `subscribed` on, with a replay that stands still where it
 * began, so that nothing is lost meanwhile. Its steps are states of the replay (replay.c moves them):
 *   1. SNAPSHOT  it waits to be asked for: while too many are in flight, the same channel's is (it began before this
 *      subscription did, and whoever subscribes again wants what is there now), or its session has enough to take.
 *   2. SNAPPING  it is being asked for. Everybody who waits for the channel by then shares the answer: a thousand who subscribe
 *      at once cost two queries, one for the first and one for all others.
 *   3. READY     the replay has the answer, sends it as soon as there is room (of a row: behind what came of its children until
 *      then), and goes on from the id that it names. What the
 *      snapshot saw beyond that (seen.h) stays with the subscription, which is not sent those events.
 * When it cannot be had, the subscription is told so, and goes on from where it stood: its stream is whole without it.
 *
 * Rights. What the token decides is judged when it changes, like that of any subscription; and while rights are asked for again
 * nothing is taken: an answer that comes then is asked for anew. A row's right is the row's to give: as the same statement
 * saw it that read the rows, so nobody is sent a row that had left him by then.
 *
 * Memory. Small ones count in the outboxes. Those that are larger than an outbox may be are held in a list until all have taken
 * them, and while that is full no more are asked for; sessions that take none of theirs are closed (outbox_check).
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

static const char *const scope_names[] = {
	[SCOPE_FEED] = "all", [SCOPE_UNIT] = "unit", [SCOPE_USER] = "user", [SCOPE_ROW] = "row"};

/* ---- what is shared */

static void snapshot_unref(struct snapshot *snapshot)
{
	if (snapshot == NULL || --snapshot->refs > 0)
		return;
	frame_unref(snapshot->frame);
	seen_unref(snapshot->seen);
	free(snapshot);
}

void snapshot_let_go(struct replay *replay)
{
	struct session *session = replay->subscription->session;
	if (replay->snapshot == NULL)
		return;
	subscription_forget_seen(replay->subscription);
	snapshot_unref(replay->snapshot);
	replay->snapshot = NULL;
	session->n_unsent--;
	session->hub->snapshots_due = true;
}

/* A snapshot of a row holds nothing of the row's children. */
static bool is_of_snapshot(const struct subscription *subscription, const struct event *event)
{
	const struct channel *channel = subscription->channel;
	return channel->scope != SCOPE_ROW ||
	       (text_equal(event->feed, channel->feed) &&
	        ((event->flags & (EVENT_CONTROL | EVENT_RESYNC)) || text_equal(event->key, channel->value)));
}

bool subscription_has_seen(struct subscription *subscription, const struct event *event)
{
	if (!seen_is_past(subscription->seen, event->tick))
		return is_of_snapshot(subscription, event) && seen_holds(subscription->seen, event->tick, event->xid);
	subscription_forget_seen(subscription);
	return false;
}

void subscription_forget_seen(struct subscription *subscription)
{
	seen_unref(subscription->seen);
	subscription->seen = NULL;
}

/* ---- large ones */

static void held_sweep(struct hub *hub)
{
	size_t kept = 0;
	for (size_t i = 0; i < hub->n_held; i++) {
		struct frame *frame = hub->held_frames[i];
		if (frame->refs > 1) {
			hub->held_frames[kept++] = frame;
		} else {
			hub->held_frames_bytes -= frame->len;
			frame_unref(frame);
		}
	}
	hub->n_held = kept;
}

static void hold_frame(struct hub *hub, struct frame *frame)
{
	if (frame->len <= (uint64_t)hub->limits.max_queue_bytes || hub->n_held == SNAPSHOTS_HELD_MAX)
		return;
	hub->held_frames[hub->n_held++] = frame_ref(frame);
	hub->held_frames_bytes += frame->len;
}

/* No room for what those in flight may bring. */
static bool held_is_full(const struct hub *hub)
{
	return hub->n_held + hub->n_snapshots >= SNAPSHOTS_HELD_MAX || hub->held_frames_bytes >= SNAPSHOTS_HELD_MAX_BYTES;
}

/* ---- 1. waiting */

bool snapshot_want(struct subscription *subscription)
{
	struct hub *hub = subscription->session->hub;
	if (!replay_start(subscription, history_head(hub->history), false))
		return false;
	subscription->replay->wants_snapshot = true;
	subscription->replay->wants_ms = hub->now_ms;
	replay_move(hub, subscription->replay, REPLAY_READY); /* which means to wait */
	return true;
}

static bool is_in_flight(const struct hub *hub, const struct channel *channel)
{
	for (size_t i = 0; i < SNAPSHOTS_IN_FLIGHT_MAX; i++)
		if (hub->snapshots[i] != NULL && text_equal(channel->name, text_of(hub->snapshots[i]->channel)))
			return true;
	return false;
}

static bool has_room(const struct session *session)
{
	return session->n_frames == 0 || session->queued_bytes <= (uint64_t)session->hub->limits.max_queue_bytes / 4;
}

/* Everybody who waits for it shares what is about to be asked. */
static void join(struct hub *hub, struct channel *channel, struct request *request)
{
	for (uint32_t i = 0; i < channel->n; i++) {
		struct replay *replay = channel->subscriptions[i]->replay;
		if (replay == NULL || replay->state != REPLAY_SNAPSHOT)
			continue;
		replay->snapping = request;
		replay_move(hub, replay, REPLAY_SNAPPING);
	}
}

static bool ask(struct hub *hub, struct replay *replay)
{
	struct channel *channel = replay->subscription->channel;
	char feed[CHANNEL_NAME_MAX_BYTES + 1], value[CHANNEL_NAME_MAX_BYTES + 1];
	struct request *request = request_new(hub, REQUEST_SNAPSHOT, replay->subscription->session);
	if (request == NULL)
		return false;
	request->channel = strndup(channel->name.bytes, channel->name.len);
	if (request->channel == NULL) {
		request_free(request);
		return false;
	}
	request->since_ms = hub->now_ms;
	size_t slot = 0;
	while (hub->snapshots[slot] != NULL)
		slot++;
	hub->snapshots[slot] = request;
	hub->n_snapshots++;
	request->session->n_snapping++;
	join(hub, channel, request);
	text_copy(channel->feed, feed);
	text_copy(channel->value, value);
	hub->backend.snapshot(hub->backend.arg, request, feed, scope_names[channel->scope],
	                      channel->scope == SCOPE_FEED ? NULL : value);
	return true;
}

void snapshot_pump(struct hub *hub)
{
	held_sweep(hub);
	if (!hub->snapshots_due)
		return;
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_SNAPSHOT].first; replay != NULL; replay = next) {
		if (hub->n_snapshots == SNAPSHOTS_IN_FLIGHT_MAX || hub->now_ms < hub->snapshot_retry_ms || held_is_full(hub))
			return;
		next = replay->next;
		struct session *session = replay->subscription->session;
		if (session->state != SESSION_OPEN) {
			replay_drop(replay->subscription); /* nothing is sent to it any more */
		} else if (!has_room(session)) {
			replay_move(hub, replay, REPLAY_BLOCKED);
		} else if (session->n_snapping + session->n_unsent < SNAPSHOTS_PER_SESSION_MAX &&
		           !is_in_flight(hub, replay->subscription->channel)) {
			if (!ask(hub, replay)) {
				hub->snapshot_retry_ms = hub->now_ms + RETRY_MS;
				return;
			}
			next = hub->replays[REPLAY_SNAPSHOT].first; /* those who joined have left the list */
		}
	}
	hub->snapshots_due = false;
}

void snapshot_forget_session(struct session *session)
{
	for (size_t i = 0; session->n_snapping > 0 && i < SNAPSHOTS_IN_FLIGHT_MAX; i++) {
		struct request *request = session->hub->snapshots[i];
		if (request != NULL && request->session == session) {
			request->session = NULL;
			session->n_snapping--;
		}
	}
}

void snapshot_forget(struct hub *hub)
{
	for (size_t i = 0; i < hub->n_held; i++)
		frame_unref(hub->held_frames[i]);
	hub->n_held = 0;
	hub->held_frames_bytes = 0;
}

/* ---- it cannot be had */

/* It has what it waited for, or will not get it. */
static void settle(struct replay *replay)
{
	replay->wants_snapshot = false;
	if (replay->state == REPLAY_SNAPSHOT || replay->state == REPLAY_SNAPPING)
		replay_move(replay->subscription->session->hub, replay, REPLAY_READY);
}

static void refuse(struct replay *replay, const char *code, const char *why)
{
	struct subscription *subscription = replay->subscription;
	char name[CHANNEL_NAME_MAX_BYTES + 1];
	metrics.snapshots[METRIC_SNAPSHOT_REFUSED]++;
	text_copy(subscription->channel->name, name);
	session_error(subscription->session, NULL, code, why, name);
	settle(replay);
}

static void refuse_unavailable(struct replay *replay)
{
	refuse(replay, "unavailable", "the snapshot cannot be had at present; the stream goes on without it");
}

/* The database does not answer: nor will it those who have waited for as long. */
static void refuse_waiting(struct hub *hub, int64_t since_ms)
{
	struct replay *next;
	for (struct replay *replay = hub->replays[REPLAY_SNAPSHOT].first; replay != NULL; replay = next) {
		next = replay->next;
		if (replay->wants_ms <= since_ms)
			refuse_unavailable(replay);
	}
}

/* ---- 2. the answer */

struct taking { /* an answer, being given out */
	struct hub *hub;
	const struct snapshot_answer *answer;
	struct channel *channel;
	struct snapshot *snapshot; /* made for the first who gets it; NULL: not yet */
	struct seen *seen;
};

/* Whether this subscription may have it: anything but a row is the token's to decide, and was. False: it ended. */
static bool may_have(const struct taking *taking, struct subscription *subscription)
{
	struct hub *hub = taking->hub;
	if (taking->channel->scope != SCOPE_ROW)
		return true;
	const struct feed *feed = catalog_feed(hub->catalog, taking->channel->feed);
	const struct principal *principal = subscription->session->principal;
	if (access_is_firehose(hub->access, principal) ||
	    (feed != NULL && taking->answer->row == ROW_FOUND &&
	     access_may_see_row(hub->access, principal, feed, &taking->answer->row_access)))
		return true;
	subscription_end_told(subscription, "forbidden");
	return false;
}

static struct snapshot *make(const struct taking *taking)
{
	const struct snapshot_answer *answer = taking->answer;
	struct snapshot *snapshot = malloc(sizeof(*snapshot));
	if (snapshot == NULL)
		return NULL;
	char name[CHANNEL_NAME_MAX_BYTES + 1];
	text_copy(taking->channel->name, name);
	struct frame *frame =
		message_snapshot(name, history_epoch(taking->hub->history), answer->after, answer->key_columns,
	                     answer->n_key_columns, answer->data, answer->keys, answer->truncated);
	if (frame == NULL) {
		free(snapshot);
		return NULL;
	}
	hold_frame(taking->hub, frame);
	*snapshot = (struct snapshot){1, frame, seen_ref(taking->seen), answer->after};
	return snapshot;
}

/* Asked for again in a moment, unless it was too often. */
static void ask_again(struct hub *hub, struct replay *replay)
{
	hub->snapshot_retry_ms = hub->now_ms + RETRY_MS;
	if (++replay->snapshot_tries >= SNAPSHOT_TRIES_MAX)
		refuse_unavailable(replay);
	else
		replay_move(hub, replay, REPLAY_READY); /* which means to wait */
}

static void take(struct taking *taking, struct subscription *subscription)
{
	const struct snapshot_answer *answer = taking->answer;
	struct replay *replay = subscription->replay;
	if (answer->status == ANSWER_UNAVAILABLE) {
		refuse_unavailable(replay);
	} else if (answer->status == ANSWER_FAILED) {
		refuse(replay, "query_failed", "the snapshot could not be made; the stream goes on without it");
	} else if (answer->found != SNAPSHOT_FOUND) {
		refuse(replay, "unknown_channel", "there is no snapshot of this channel");
	} else if (taking->seen == NULL || answer->after < replay->after) {
		ask_again(taking->hub, replay);
	} else if (may_have(taking, subscription)) {
		if (taking->snapshot == NULL)
			taking->snapshot = make(taking);
		if (taking->snapshot == NULL) {
			session_shut(subscription->session, CLOSE_INTERNAL, "out of memory");
			return;
		}
		taking->snapshot->refs++;
		replay->snapshot = taking->snapshot;
		subscription_forget_seen(subscription);
		subscription->seen = seen_ref(taking->snapshot->seen);
		subscription->session->n_unsent++;
		settle(replay);
	}
}

/* From the last slot to the first: into the place of one that ends comes one that was seen already. */
static void give_out(struct taking *taking, const struct request *request)
{
	for (uint32_t i = taking->channel->n; i-- > 0;) {
		struct subscription *subscription = taking->channel->subscriptions[i];
		struct replay *replay = subscription->replay;
		if (replay == NULL || replay->snapping != request)
			continue;
		replay->snapping = NULL;
		if (replay->state == REPLAY_SNAPPING)
			take(taking, subscription); /* the channel is gone now, if this was its last and ended */
	}
}

static struct channel *channel_of(const struct hub *hub, const struct request *request)
{
	struct channel_name name;
	char value[CHANNEL_NAME_MAX_BYTES];
	if (!channel_parse(request->channel, strlen(request->channel), &name))
		return NULL;
	size_t len = name.scope == SCOPE_FEED  ? 0
	             : name.scope == SCOPE_ROW ? channel_key(name.value, value)
	                                       : channel_decode(name.value, value);
	return route_find(hub->route, name.feed, name.scope,
	                  name.scope == SCOPE_FEED ? (struct text){NULL, 0} : (struct text){value, len});
}

static void finish(struct hub *hub, struct request *request)
{
	for (size_t i = 0; i < SNAPSHOTS_IN_FLIGHT_MAX; i++)
		if (hub->snapshots[i] == request)
			hub->snapshots[i] = NULL;
	hub->n_snapshots--;
	hub->snapshots_due = true;
	if (request->session != NULL)
		request->session->n_snapping--;
	request_free(request);
}

void hub_answer_snapshot(struct hub *hub, struct request *request, const struct snapshot_answer *answer)
{
	struct taking taking = {.hub = hub, .answer = answer, .channel = channel_of(hub, request)};
	/* One of another history than ours is stale: that this one is over, the tail is about to hear. */
	if (answer->status == ANSWER_OK && answer->found == SNAPSHOT_FOUND &&
	    text_equal(answer->epoch, text_of(history_epoch(hub->history))))
		taking.seen = seen_new(answer->seen, answer->tick);
	if (taking.channel != NULL)
		give_out(&taking, request);
	if (answer->status == ANSWER_UNAVAILABLE)
		refuse_waiting(hub, request->since_ms);
	snapshot_unref(taking.snapshot);
	seen_unref(taking.seen);
	finish(hub, request);
	snapshot_pump(hub);
}
