/*
 * outbox.c - the frames that wait for one session: a ring of references,
 * bounded in bytes.
 *
 * What a live event does at the bound depends on the client. One that reads, and was only overtaken by a burst (a
 * transaction of ten thousand rows), lags: from that event on it is sent what the history has, at its own pace, as in a
 * replay. One whose socket has taken nothing for STALLED_MAX_MS does not read: it is closed with 4408, and what it
 * missed it gets when it resumes. Either way nothing is appended after a gap. In a replay, which fills only half of the
 * bound, it has REPLAY_STALLED_MAX_MS: a slow line takes long to take anything from a full socket. So has one that is to take
 * a frame larger than the bound: such are few (snapshot.c).
 *
 * Answers and status have a small reserve above the bound, so that who lags may still ping.
 *
 * A frame that a newer one has replaced (latest.h) is not sent: it is taken out when it would be its turn, when so many may be
 * stale that looking through them pays, and when there is no room for another.
 *
 * An empty outbox takes one frame of any size, so that no client can be caught between 4408 and resume.
 */
#include <stdlib.h>

#include "metrics.h"
#include "session_internal.h"

#define OUTBOX_FIRST_SLOTS 4

void outbox_wake(struct session *session)
{
	if (session->woken)
		return;
	session->woken = true;
	session->transport->wake(session, session->connection);
}

static bool outbox_grow(struct session *session)
{
	uint32_t capacity = session->capacity == 0 ? OUTBOX_FIRST_SLOTS : session->capacity * 2;
	if (capacity < session->capacity)
		return false;
	struct frame **ring = malloc(capacity * sizeof(struct frame *));
	if (ring == NULL)
		return false;
	for (uint32_t i = 0; i < session->n_frames; i++)
		ring[i] = session->ring[(session->first + i) & (session->capacity - 1)];
	free(session->ring);
	session->ring = ring;
	session->capacity = capacity;
	session->first = 0;
	return true;
}

/* What the first frame, which may be of any size, has beyond the bound is not counted: else no answer could follow it. */
static bool has_room(const struct session *session, const struct frame *frame, uint64_t reserve)
{
	uint64_t max = (uint64_t)session->hub->limits.max_queue_bytes, waiting = session->queued_bytes;
	if (session->n_frames == 0)
		return true;
	uint64_t first = session->ring[session->first]->len;
	if (first > max)
		waiting -= first - max;
	return waiting + frame->len <= max + reserve;
}

/* Its last reference here is the caller's. */
static void uncount(struct session *session, const struct frame *frame)
{
	session->queued_bytes -= frame->len;
	session->hub->queued_bytes -= frame->len;
	if (frame->latest != NULL)
		session->n_latest--;
}

/* Takes out what is stale. */
static void thin(struct session *session)
{
	uint32_t mask = session->capacity - 1, kept = 0;
	if (session->n_latest == 0)
		return;
	for (uint32_t i = 0; i < session->n_frames; i++) {
		struct frame *frame = session->ring[(session->first + i) & mask];
		if (frame_is_stale(frame)) {
			uncount(session, frame);
			frame_unref(frame);
		} else {
			session->ring[(session->first + kept++) & mask] = frame;
		}
	}
	session->n_frames = kept;
	session->thin_at = session->n_latest * 2 > OUTBOX_THIN_FRAMES ? session->n_latest * 2 : OUTBOX_THIN_FRAMES;
}

bool outbox_has_room(const struct session *session, const struct frame *frame)
{
	return session->state >= SESSION_CLOSING || session->n_frames == 0 ||
	       session->queued_bytes + frame->len <= (uint64_t)session->hub->limits.max_queue_bytes / 2;
}

static void shut_slow(struct session *session)
{
	metrics.limits[METRIC_LIMIT_MAX_QUEUE]++;
	session_shut(session, CLOSE_TOO_SLOW, "too slow");
}

void session_send(struct session *session, struct frame *frame)
{
	if (session->state >= SESSION_CLOSING)
		return;
	if (frame == NULL) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	if (!has_room(session, frame, CONTROL_RESERVE_BYTES)) {
		shut_slow(session);
		return;
	}
	bool was_empty = session->n_frames == 0;
	if (frame->latest != NULL && session->n_latest >= session->thin_at)
		thin(session);
	if (session->n_frames == session->capacity && !outbox_grow(session)) {
		session_shut(session, CLOSE_INTERNAL, "out of memory");
		return;
	}
	session->ring[(session->first + session->n_frames) & (session->capacity - 1)] = frame_ref(frame);
	session->n_frames++;
	session->queued_bytes += frame->len;
	session->hub->queued_bytes += frame->len;
	session->n_latest += frame->latest != NULL;
	session->used = true;
	if (was_empty)
		session->progress_ms = session->hub->now_ms;
	if (was_empty || session->listening) {
		session->listening = false;
		outbox_wake(session);
	}
}

/* Is there room once what is stale is out? Much of it: nobody wants to look through the whole outbox for each event. */
static bool thin_for(struct session *session, const struct frame *frame)
{
	thin(session);
	return session->queued_bytes <= (uint64_t)session->hub->limits.max_queue_bytes / 4 * 3 &&
	       has_room(session, frame, 0);
}

void session_send_event(struct session *session, struct frame *frame, int64_t id)
{
	if (session->state >= SESSION_CLOSING || frame == NULL || has_room(session, frame, 0) || thin_for(session, frame)) {
		session_send(session, frame);
		return;
	}
	session->lagging = true;
	outbox_check(session);
	if (session->state < SESSION_CLOSING && !replay_lag(session, id - 1))
		session_shut(session, CLOSE_INTERNAL, "out of memory");
}

void outbox_check(struct session *session)
{
	if (session->n_frames == 0)
		return;
	int64_t stalled_ms = session->hub->now_ms - session->progress_ms;
	bool large = session->ring[session->first]->len > (uint64_t)session->hub->limits.max_queue_bytes;
	if ((session->lagging && stalled_ms >= STALLED_MAX_MS) ||
	    ((session->n_blocked > 0 || large) && stalled_ms >= REPLAY_STALLED_MAX_MS))
		shut_slow(session);
}

void session_reply(struct session *session, struct frame *frame)
{
	session_send(session, frame);
	frame_unref(frame);
}

/* Of the first `seen` slots only these n frames are left: they stand before the rest. */
static void close_gaps(struct session *session, struct frame *const *frames, uint32_t n, uint32_t seen)
{
	session->first = (session->first + seen - n) & (session->capacity - 1);
	session->n_frames -= seen - n;
	for (uint32_t i = 0; i < n; i++)
		session->ring[(session->first + i) & (session->capacity - 1)] = frames[i];
	if (session->n_frames == 0)
		session->lagging = false;
	if (session->n_frames == 0 && session->transport->merged)
		session_passed(session);
	if (session->n_blocked > 0)
		replay_unblock(session);
}

size_t session_output(struct session *session, struct frame **frames, size_t max)
{
	session_check_expiry(session); /* what waited here is not sent after it either */
	session->woken = false;
	size_t n = 0;
	uint32_t mask = session->capacity - 1, seen = 0;
	for (; seen < session->n_frames && n < max; seen++) {
		struct frame *frame = session->ring[(session->first + seen) & mask];
		if (frame_is_stale(frame)) {
			uncount(session, frame);
			frame_unref(frame);
		} else {
			frames[n++] = frame;
		}
	}
	if (seen > n)
		close_gaps(session, frames, (uint32_t)n, seen);
	return n;
}

struct frame *session_frame(const struct session *session, size_t i)
{
	return i < session->n_frames ? session->ring[(session->first + i) & (session->capacity - 1)] : NULL;
}

void session_sent(struct session *session, size_t n)
{
	if (n > session->n_frames)
		n = session->n_frames;
	for (size_t i = 0; i < n; i++) {
		struct frame *frame = session->ring[session->first];
		session->first = (session->first + 1) & (session->capacity - 1);
		if (frame->id != 0)
			session->passed_id = frame->id;
		uncount(session, frame);
		frame_unref(frame);
	}
	session->n_frames -= (uint32_t)n;
	session->progress_ms = session->hub->now_ms;
	if (session->n_frames == 0)
		session->lagging = false;
	if (session->n_frames == 0 && session->transport->merged)
		session_passed(session);
	metrics.frames_sent += n;
	if (session->n_frames == 0 && session->capacity > OUTBOX_KEEP_SLOTS)
		outbox_clear(session); /* a burst's ring is not kept */
	if (session->n_blocked > 0)
		replay_unblock(session);
}

void session_listen(struct session *session)
{
	session->listening = true;
}

bool session_has_output(const struct session *session)
{
	return session->n_frames > 0;
}

void outbox_clear(struct session *session)
{
	for (uint32_t i = 0; i < session->n_frames; i++)
		frame_unref(session->ring[(session->first + i) & (session->capacity - 1)]);
	free(session->ring);
	session->ring = NULL;
	session->capacity = session->first = session->n_frames = session->n_latest = 0;
	session->hub->queued_bytes -= session->queued_bytes;
	session->queued_bytes = 0;
}

void outbox_trim(struct session *session)
{
	if (session->n_frames == 0 && session->ring != NULL && !session->used)
		outbox_clear(session);
	session->used = false;
}
