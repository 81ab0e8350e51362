/*
 * hub.c - all sessions together: their beginning and end, the clock, and what the tail tells.
 *
 * A turn of the loop: the tail hands over events (hub_event: history first, then everybody who is live), closes the page
 * (hub_advance), the transports flush who was woken, and hub_pump goes on with what is left to do in bounded steps: replays, pages,
 * rechecks, time-outs, drain. hub_sweep frees the sessions whose connections are gone.
 *
 * What it does not promise: an order among sessions.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "session_internal.h"

struct hub *hub_new(struct access *access, struct catalog *catalog, struct history *history,
                    const struct session_limits *limits, const struct session_backend *backend)
{
	struct hub *hub = calloc(1, sizeof(*hub));
	if (hub == NULL)
		return NULL;
	hub->route = route_new();
	hub->latest = latest_map_new();
	hub->users = user_counts_new();
	hub->rates = user_rates_new();
	hub->whole = true;
	if (!authority_begin(hub) || hub->latest == NULL || hub->route == NULL || hub->users == NULL ||
	    hub->rates == NULL) {
		authority_end(hub);
		latest_map_free(hub->latest);
		route_free(hub->route);
		user_counts_free(hub->users);
		user_rates_free(hub->rates);
		free(hub);
		return NULL;
	}
	hub->access = access;
	hub->catalog = catalog;
	hub->history = history;
	hub->limits = *limits;
	hub->backend = *backend;
	hub->values.at_once = backend->queries_at_once > 0 ? backend->queries_at_once : 1;
	return hub;
}

void hub_free(struct hub *hub)
{
	if (hub == NULL)
		return;
	while (hub->sessions != NULL)
		session_gone(hub->sessions);
	hub_sweep(hub);
	page_forget(hub, true);
	snapshot_forget(hub);
	authority_end(hub);
	values_end(hub);
	while (hub->requests != NULL)
		request_free(hub->requests);
	latest_map_free(hub->latest);
	route_free(hub->route);
	user_counts_free(hub->users);
	user_rates_free(hub->rates);
	free(hub->matches);
	free(hub->nodes);
	free(hub->touched);
	free(hub->names);
	free(hub);
}

void hub_set_limits(struct hub *hub, const struct session_limits *limits)
{
	hub->limits = *limits;
}

void hub_tick_clock(struct hub *hub, int64_t now_ms, int64_t wall_s)
{
	hub->now_ms = now_ms;
	hub->wall_s = wall_s;
}

size_t hub_sessions(const struct hub *hub)
{
	return hub->n_sessions;
}

/* ---- in bounded steps */

static void check_some_deadlines(struct hub *hub)
{
	for (int i = 0; i < DEADLINES_SLICE && hub->deadline_cursor != NULL; i++) {
		struct session *session = hub->deadline_cursor;
		hub->deadline_cursor = session->next;
		session_check_deadline(session);
	}
}

void hub_check_deadlines(struct hub *hub)
{
	if (hub->deadline_cursor == NULL)
		hub->deadline_cursor = hub->sessions;
	page_forget(hub, false);
	check_some_deadlines(hub);
}

/* Spread over four fifths of the time, so that the last ones' close frames get through as well. */
static void drain_some(struct hub *hub)
{
	int64_t spread_ms = hub->drain_ms * 4 / 5;
	int64_t passed_ms = hub->now_ms - hub->drain_from_ms;
	size_t due =
		passed_ms >= spread_ms ? SIZE_MAX : (size_t)((double)hub->drain_total * (double)passed_ms / (double)spread_ms);
	struct session *session = hub->sessions;
	for (; session != NULL && hub->drained < due; session = session->next) {
		if (session->state >= SESSION_CLOSING || (session->transport->once && session->n_calls + session->n_held > 0))
			continue; /* over, or about to be */
		session_shut(session, CLOSE_GOING_AWAY, "shutting down");
		hub->drained++;
	}
}

void hub_drain(struct hub *hub, int64_t drain_ms)
{
	if (hub->draining)
		return;
	hub->draining = true;
	hub->drain_from_ms = hub->now_ms;
	hub->drain_ms = drain_ms;
	hub->drain_total = hub->n_sessions;
	drain_some(hub);
}

bool hub_pump(struct hub *hub)
{
	check_some_deadlines(hub);
	if (hub->draining)
		drain_some(hub);
	admission_pump(hub);
	authority_pump(hub);
	recheck_pump(hub);
	calls_pump(hub);
	values_pump(hub);
	snapshot_pump(hub);
	presence_pump(hub);
	return replay_pump(hub) || hub->deadline_cursor != NULL;
}

bool hub_busy(const struct hub *hub)
{
	return hub->replays[REPLAY_READY].n > 0 || hub->deadline_cursor != NULL;
}

int64_t hub_wait_ms(const struct hub *hub)
{
	int64_t calls_ms = calls_due_ms(hub), values_ms = values_due_ms(hub);
	int64_t presence_ms = presence_due_ms(hub);
	int64_t at_ms = calls_ms < values_ms ? calls_ms : values_ms;
	if (presence_ms < at_ms)
		at_ms = presence_ms;
	if (at_ms == INT64_MAX)
		return -1;
	return at_ms > hub->now_ms ? at_ms - hub->now_ms : 0;
}

void hub_sweep(struct hub *hub)
{
	while (hub->closed != NULL) {
		struct session *session = hub->closed;
		hub->closed = session->next;
		free(session->close_text);
		free(session->address);
		free(session);
	}
}

/* ---- what the tail tells */

void hub_event(struct hub *hub, struct event *event)
{
	if (event->id <= history_head(hub->history))
		return; /* was given already: never twice */
	metrics.events_read++;
	metrics.tail_head = event->id;
	calls_show(hub, event);
	if (feed_is_latest_only(hub, event))
		latest_note(hub->latest, event);
	/* Without memory for it the history begins behind it: replays go on from the log. */
	if (!history_append(hub->history, event))
		history_begin(hub->history, history_epoch(hub->history), event->id);
	hub_deliver(hub, event);
	values_event(hub, event);
}

void hub_advance(struct hub *hub, int64_t head)
{
	history_advance(hub->history, head);
	metrics.tail_head = history_head(hub->history);
	if (hub->replays[REPLAY_AHEAD].n > 0)
		replay_advance(hub);
	values_advance(hub);
}

struct restart {
	struct hub *hub;
	const char *reason;
};

static void restart_channel(struct channel *channel, void *arg)
{
	const struct restart *restart = arg;
	struct hub *hub = restart->hub;
	int64_t head = history_head(hub->history);
	struct frame *frame =
		channel->result == NULL ? resync_frame(channel, history_epoch(hub->history), head, restart->reason) : NULL;
	if (channel->result != NULL)
		value_restart(channel);
	for (uint32_t i = 0; i < channel->n; i++) {
		struct subscription *subscription = channel->subscriptions[i];
		struct replay *replay = subscription->replay;
		subscription_forget_seen(subscription);
		if (replay != NULL && (replay->wants_snapshot || replay->snapshot != NULL || replay->state == REPLAY_HELD ||
		                       replay->state == REPLAY_CHECKING || replay->state == REPLAY_DOUBTED ||
		                       subscription_is_merged(subscription)))
			replay_restart(replay, head);
		else
			replay_drop(subscription);
		if (channel->result == NULL)
			session_send(subscription->session, frame);
		subscription_recheck_row(subscription);
	}
	frame_unref(frame);
}

void hub_restart(struct hub *hub, const char *epoch, int64_t head, const char *reason)
{
	history_begin(hub->history, epoch, head);
	metrics.tail_head = head;
	hub->restarts++;
	hub->authority_known = false; /* control events may have been missed */
	calls_restart(hub);
	row_wait_doubt_all(hub);
	page_forget(hub, true);
	for (struct session *session = hub->sessions; session != NULL; session = session->next)
		if (session->transport->merged)
			session_restarted(session);
	struct restart restart = {hub, reason != NULL ? reason : "epoch"};
	route_each(hub->route, (struct text){NULL, 0}, restart_channel, &restart);
}

void hub_live(struct hub *hub, bool live)
{
	if (hub->live == live)
		return;
	hub->live = live;
	bool begins = live && !hub->begun;
	if (begins)
		hub->begun = true; /* history, definitions and the database's keys are all here */
	if (live) {
		values_touch_all(hub);
		presence_renew(hub);
	} else {
		values_away(hub);
	}
	struct frame *frame = message_status(live);
	for (struct session *session = hub->sessions; session != NULL; session = session->next)
		if (session->state == SESSION_OPEN)
			session_send(session, frame);
	frame_unref(frame);
	if (begins && hub->authority_known)
		admission_begin(hub);
}

void hub_definitions_changed(struct hub *hub)
{
	for (struct session *session = hub->sessions; session != NULL; session = session->next)
		if (session->state == SESSION_OPEN && !session->doubted) /* else it is about to be judged anyway */
			session_recheck(session, true);
	values_definitions(hub);
	attempts_find_feeds(hub);
}
