/*
 * value.c - values: their life, their runs, and what becomes of the answers (value.h).
 *
 * One run of a value at a time, so that an older result never comes after a newer one. A result says up to where in the
 * order of events it saw (`after`), so a value is as it should be if no event beyond that touched it; and it is not
 * sent before the stream has come as far, because an event on the way may end a right to it.
 *
 * As many runs at once as the backend has connections for. Those that were slow the last time leave one of these to the
 * others. What turns out to be slow while it has them all opens one more place, for a value that was not slow the last
 * time or is of a query that nothing runs of. So a slow function delays only its own values.
 */
#include "value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "session_internal.h"

#define SLOW_MS 500
#define LOOK_MAX 1000 /* of those that wait, when one is looked for that may have the place beyond */
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS 60000
#define BEHIND_MS 100 /* until those who had no room are looked at again */
#define COMPLAIN_MS 1000 /* one line in the log for all errors of a query in that time */
#define VALUE_MAX_BYTES (4u << 20)
#define VALUES_KEPT_MAX_BYTES                                                                                          \
	(64u << 20) /* beyond it a result is forgotten once it is sent, and counts as changed next time */

/* ---- when a value is due: a heap */

static void heap_set(struct values *values, size_t i, struct value *value)
{
	values->heap[i] = value;
	value->heap_index = i + 1;
}

static void heap_up(struct values *values, size_t i)
{
	struct value *value = values->heap[i];
	while (i > 0 && values->heap[(i - 1) / 2]->due_ms > value->due_ms) {
		heap_set(values, i, values->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(values, i, value);
}

static void heap_down(struct values *values, size_t i)
{
	struct value *value = values->heap[i];
	for (size_t child; (child = 2 * i + 1) < values->n_heap; i = child) {
		if (child + 1 < values->n_heap && values->heap[child + 1]->due_ms < values->heap[child]->due_ms)
			child++;
		if (values->heap[child]->due_ms >= value->due_ms)
			break;
		heap_set(values, i, values->heap[child]);
	}
	heap_set(values, i, value);
}

static void heap_remove(struct values *values, struct value *value)
{
	if (value->heap_index == 0)
		return;
	size_t i = value->heap_index - 1;
	struct value *last = values->heap[--values->n_heap];
	value->heap_index = 0;
	if (last == value)
		return;
	heap_set(values, i, last);
	heap_up(values, i);
	heap_down(values, last->heap_index - 1);
}

/* There is room: made when the value was. */
static void heap_put(struct values *values, struct value *value, int64_t due_ms)
{
	heap_remove(values, value);
	if (due_ms == INT64_MAX)
		return;
	value->due_ms = due_ms;
	heap_set(values, values->n_heap++, value);
	heap_up(values, values->n_heap - 1);
}

static bool heap_room(struct values *values)
{
	if (values->n_values < values->heap_capacity)
		return true;
	size_t capacity = values->heap_capacity * 2 + 64;
	struct value **heap = realloc(values->heap, capacity * sizeof(*heap));
	if (heap == NULL)
		return false;
	values->heap = heap;
	values->heap_capacity = capacity;
	return true;
}

/* ---- lists */

static void list_append(struct value_list *list, struct value *value)
{
	value->ready_next = NULL;
	value->ready_prev = list->last;
	if (list->last != NULL)
		list->last->ready_next = value;
	else
		list->first = value;
	list->last = value;
}

static void list_remove(struct value_list *list, struct value *value)
{
	if (value->ready_prev != NULL)
		value->ready_prev->ready_next = value->ready_next;
	else
		list->first = value->ready_next;
	if (value->ready_next != NULL)
		value->ready_next->ready_prev = value->ready_prev;
	else
		list->last = value->ready_prev;
}

static struct hub *hub_of(const struct value *value)
{
	return value->channel->subscriptions[0]->session->hub;
}

/* ---- the database is away */

/* Nobody is told, for it will be back; but for those who wait for one answer and no more (GET /state). */
static void tell_away(const struct value *value)
{
	char name[CHANNEL_NAME_MAX_BYTES + 1];
	text_copy(value->channel->name, name);
	for (uint32_t i = value->channel->n; i-- > 0;) {
		const struct subscription *subscription = value->channel->subscriptions[i];
		const struct session_transport *transport = subscription->session->transport;
		if (transport->once && !transport->merged && subscription->value_serial == 0)
			session_error(subscription->session, NULL, "unavailable", "the value cannot be had at present", name);
	}
}

void values_away(struct hub *hub)
{
	for (struct value_query *query = hub->values.queries; query != NULL; query = query->next)
		for (struct value *value = query->values; value != NULL; value = value->next)
			tell_away(value);
}

/* ---- scheduling */

/* When it has to run; INT64_MAX: not until something touches it. */
static int64_t run_ms(const struct value *value, int64_t now_ms)
{
	const struct query *query = value->query->query;
	int64_t at_ms = INT64_MAX;
	if (!value->ran)
		at_ms = now_ms;
	else if (query->refresh_ms > 0)
		at_ms = value->started_ms + query->refresh_ms;
	if (value->ran && value->dirty && value->started_ms + query->debounce_ms < at_ms)
		at_ms = value->started_ms + query->debounce_ms;
	return at_ms < value->retry_ms ? value->retry_ms : at_ms;
}

/* Puts it where it belongs: among those that may run now, or where it will be looked at in time. */
static void schedule(struct hub *hub, struct value *value)
{
	struct values *values = &hub->values;
	int64_t due_ms = INT64_MAX;
	if (value->state == VALUE_RESTING) {
		due_ms = run_ms(value, hub->now_ms);
		if (due_ms <= hub->now_ms) {
			value->state = VALUE_READY;
			list_append(value->slow ? &values->ready_slow : &values->ready, value);
			due_ms = INT64_MAX;
		}
	}
	if (value->behind_ms != 0 && value->behind_ms < due_ms)
		due_ms = value->behind_ms;
	heap_put(values, value, due_ms);
}

void value_touch(struct value *value, int64_t id)
{
	struct hub *hub = hub_of(value);
	if (id > value->touched_id)
		value->touched_id = id;
	if (id == 0) {
		value->again = true;
		value->after = -1; /* what there is does not count any more */
	}
	if (value->dirty)
		return;
	value->dirty = true;
	schedule(hub, value);
}

static void touch_query(struct value_query *query, int64_t id)
{
	for (struct value *value = query->values; value != NULL; value = value->next)
		value_touch(value, id);
}

void values_touch_all(struct hub *hub)
{
	for (struct value_query *query = hub->values.queries; query != NULL; query = query->next)
		touch_query(query, 0);
}

/* ---- life */

static struct value_query *query_join(struct hub *hub, struct query *query)
{
	struct value_query *found = hub->values.queries;
	while (found != NULL && strcmp(found->query->name, query->name) != 0)
		found = found->next;
	if (found == NULL && (found = calloc(1, sizeof(*found))) != NULL) {
		found->query = query_ref(query);
		found->next = hub->values.queries;
		hub->values.queries = found;
	}
	return found;
}

static void query_leave(struct hub *hub, struct value_query *query)
{
	if (query->values != NULL)
		return;
	struct value_query **link = &hub->values.queries;
	while (*link != query)
		link = &(*link)->next;
	*link = query->next;
	query_unref(query->query);
	free(query);
}

static struct value *value_new(struct hub *hub, struct channel *channel, struct query *query)
{
	struct value *value = calloc(1, sizeof(*value));
	if (value == NULL || !heap_room(&hub->values) || (value->query = query_join(hub, query)) == NULL) {
		free(value);
		return NULL;
	}
	value->channel = channel;
	value->next = value->query->values;
	if (value->next != NULL)
		value->next->prev = value;
	value->query->values = value;
	channel->result = value;
	hub->values.n_values++;
	return value;
}

static void drop_frame(struct hub *hub, struct value *value)
{
	if (value->frame == NULL)
		return;
	hub->values.kept_bytes -= value->frame->len;
	frame_unref(value->frame);
	value->frame = NULL;
}

static void drop_ahead(struct hub *hub, struct value *value)
{
	if (value->state != VALUE_AHEAD)
		return;
	list_remove(&hub->values.ahead, value);
	frame_unref(value->ahead);
	value->ahead = NULL;
	value->state = VALUE_RESTING;
}

void value_leave(struct channel *channel)
{
	struct value *value = channel->result;
	struct hub *hub = hub_of(value);
	struct values *values = &hub->values;
	if (value->request != NULL) {
		value->request->value = NULL; /* the answer frees it */
		value->query->n_running--;
	}
	if (value->state == VALUE_READY)
		list_remove(value->slow ? &values->ready_slow : &values->ready, value);
	drop_ahead(hub, value);
	drop_frame(hub, value);
	heap_remove(values, value);
	if (value->prev != NULL)
		value->prev->next = value->next;
	else
		value->query->values = value->next;
	if (value->next != NULL)
		value->next->prev = value->prev;
	query_leave(hub, value->query);
	values->n_values--;
	channel->result = NULL;
	free(value);
}

bool value_join(struct subscription *subscription, struct query *query)
{
	struct hub *hub = subscription->session->hub;
	struct channel *channel = subscription->channel;
	subscription->value_serial = subscription->error_serial = 0;
	subscription->joined_id = history_head(hub->history);
	if (channel->result == NULL && value_new(hub, channel, query) == NULL)
		return false;
	struct value *value = channel->result;
	if (value->state == VALUE_RESTING && value->frame == NULL)
		value->dirty = true; /* it never ran, failed, or was too much to keep */
	value_send(value);
	if (!hub->live)
		tell_away(value);
	schedule(hub, value);
	return true;
}

void values_end(struct hub *hub)
{
	free(hub->values.heap); /* the values went with their channels */
	hub->values.heap = NULL;
}

void values_definitions(struct hub *hub)
{
	for (struct value_query *query = hub->values.queries; query != NULL; query = query->next) {
		struct query *now = catalog_query(hub->catalog, text_of(query->query->name));
		if (now == NULL)
			continue; /* its subscriptions end, and it with them */
		bool same = query_same(query->query, now);
		query_unref(query->query);
		query->query = query_ref(now);
		for (struct value *value = query->values; value != NULL; value = value->next) {
			if (!same)
				value_touch(value, 0);
			if (value->state == VALUE_RESTING)
				schedule(hub, value); /* debounce and refresh may be others */
		}
	}
}

void value_restart(struct channel *channel)
{
	struct value *value = channel->result;
	drop_ahead(hub_of(value), value);
	value->touched_id = 0;
	value_touch(value, 0);
	schedule(hub_of(value), value); /* touched while it was ahead, it was not due */
}

/* ---- what is sent */

static struct frame *error_frame(const struct value *value)
{
	char name[CHANNEL_NAME_MAX_BYTES + 1], message[CHANNEL_NAME_MAX_BYTES + 64];
	text_copy(value->channel->name, name);
	snprintf(message, sizeof(message), "query %s failed", value->query->query->name);
	return message_error(NULL, "query_failed", message, name);
}

/*
 * A result may be sent first to whoever subscribed after it was asked for if it has every event that touched the value
 * until then. Else that subscription waits for the next run, which is due.
 */
static bool is_fresh(const struct value *value, const struct subscription *subscription)
{
	return value->touched_id <= value->after || value->after >= subscription->joined_id;
}

/* True: this subscription has all there is to say, or is sent it now. */
static bool send_one(const struct value *value, struct subscription *subscription, struct frame *frame, bool failed)
{
	uint64_t serial = failed ? value->error_serial : value->serial;
	uint64_t *has = failed ? &subscription->error_serial : &subscription->value_serial;
	if (*has == serial || (!failed && *has == 0 && !is_fresh(value, subscription)))
		return true;
	if (subscription->replay != NULL || !outbox_has_room(subscription->session, frame))
		return false;
	*has = serial;
	session_send(subscription->session, frame);
	return true;
}

void value_send(struct value *value)
{
	struct hub *hub = hub_of(value);
	bool failed = value->error_serial != 0, all = true;
	struct frame *frame = failed ? error_frame(value) : value->frame;
	value->behind_ms = 0;
	if (frame == NULL)
		return;
	for (uint32_t i = value->channel->n; i-- > 0;)
		all = send_one(value, value->channel->subscriptions[i], frame, failed) && all;
	if (failed)
		frame_unref(frame);
	if (!all)
		value->behind_ms = hub->now_ms + BEHIND_MS;
	else if (!failed && hub->values.kept_bytes > VALUES_KEPT_MAX_BYTES)
		drop_frame(hub, value);
}

/* What a frame has behind its cursor: the same for the same result. */
static struct text frame_data(const struct frame *frame, const struct channel *channel)
{
	static const char mark[] = "\",\"data\":";
	const char *bytes = frame_text((struct frame *)frame), *end = bytes + frame->len;
	const char *at = memmem(bytes + channel->name.len, frame->len - channel->name.len, mark, sizeof(mark) - 1);
	return at != NULL ? (struct text){at, (size_t)(end - at)} : (struct text){bytes, frame->len};
}

/* Takes the reference. */
static void publish(struct hub *hub, struct value *value, struct frame *frame, int64_t after)
{
	bool same = value->frame != NULL && value->serial != 0 &&
	            text_equal(frame_data(value->frame, value->channel), frame_data(frame, value->channel));
	drop_frame(hub, value);
	value->frame = frame;
	value->after = after;
	hub->values.kept_bytes += frame->len;
	if (!same)
		value->serial = ++hub->values.serial;
	value_send(value);
}

void values_advance(struct hub *hub)
{
	int64_t head = history_head(hub->history);
	struct value *next;
	for (struct value *value = hub->values.ahead.first; value != NULL; value = next) {
		next = value->ready_next;
		if (value->ahead_after > head)
			continue;
		struct frame *frame = frame_ref(value->ahead);
		drop_ahead(hub, value);
		value->dirty = value->again || value->touched_id > value->ahead_after;
		publish(hub, value, frame, value->ahead_after);
		schedule(hub, value);
	}
}

/* ---- runs */

static void run(struct hub *hub, struct value *value)
{
	struct values *values = &hub->values;
	char plain[CHANNEL_NAME_MAX_BYTES + 1];
	list_remove(value->slow ? &values->ready_slow : &values->ready, value);
	struct request *request = request_new(hub, REQUEST_VALUE, NULL);
	if (request == NULL) {
		value->state = VALUE_RESTING;
		value->ran = value->dirty = true;
		value->retry_ms = hub->now_ms + RETRY_MS;
		schedule(hub, value);
		return;
	}
	request->value = value;
	request->value_slow = value->slow;
	value->request = request;
	value->state = VALUE_RUNNING;
	value->started_ms = hub->now_ms;
	value->ran = true;
	value->dirty = value->again = false;
	value->query->n_running++;
	values->last_started_ms = hub->now_ms;
	values->n_running++;
	values->n_running_slow += value->slow;
	struct text of = value->channel->value;
	bool all = value->channel->scope == SCOPE_FEED;
	text_copy(of, plain);
	hub->backend.run_query(hub->backend.arg, request, value->query->query->name, all ? NULL : plain);
}

/* The next that may run; slow ones leave a place to the others, and both take turns. */
static struct value *next_ready(struct values *values)
{
	size_t slow_max = values->at_once > 1 ? values->at_once - 1 : 1;
	struct value *slow = values->n_running_slow < slow_max ? values->ready_slow.first : NULL;
	struct value *next = values->ready.first;
	if (slow != NULL && (next == NULL || values->slow_next))
		next = slow;
	values->slow_next = !values->slow_next;
	return next;
}

/* When all that run are slow ones, if it is not known yet, and somebody waits for that. */
static int64_t all_slow_ms(const struct values *values)
{
	bool waiting = values->n_running == values->at_once && values->ready.first != NULL;
	return waiting ? values->last_started_ms + SLOW_MS : INT64_MAX;
}

/* One that is not to wait for slow ones. */
static struct value *next_beyond(const struct values *values)
{
	struct value *value = values->ready.first;
	for (size_t i = 0; value != NULL && i < LOOK_MAX; i++, value = value->ready_next)
		if (value->ran || value->query->n_running == 0)
			return value;
	return NULL;
}

static void run_ready(struct hub *hub)
{
	struct values *values = &hub->values;
	struct value *value;
	while (values->n_running < values->at_once && hub->live && (value = next_ready(values)) != NULL)
		run(hub, value);
	if (hub->live && all_slow_ms(values) <= hub->now_ms && (value = next_beyond(values)) != NULL)
		run(hub, value);
}

void values_pump(struct hub *hub)
{
	struct values *values = &hub->values;
	for (struct value_query *query = values->queries; query != NULL; query = query->next) {
		if (query->touched)
			touch_query(query, query->touched_id);
		query->touched = false;
	}
	while (values->n_heap > 0 && values->heap[0]->due_ms <= hub->now_ms) {
		struct value *value = values->heap[0];
		if (value->behind_ms != 0 && value->behind_ms <= hub->now_ms)
			value_send(value);
		schedule(hub, value);
	}
	run_ready(hub);
}

int64_t values_due_ms(const struct hub *hub)
{
	int64_t due_ms = hub->values.n_heap > 0 ? hub->values.heap[0]->due_ms : INT64_MAX;
	int64_t slow_ms = all_slow_ms(&hub->values);
	return slow_ms > hub->now_ms && slow_ms < due_ms ? slow_ms : due_ms;
}

/* ---- answers */

static void complain(struct hub *hub, struct value *value, const char *sqlstate, struct text message)
{
	struct value_query *query = value->query;
	if (query->complained_ms != 0 && hub->now_ms - query->complained_ms < COMPLAIN_MS) {
		query->unsaid++;
		return;
	}
	log_warn("query %s failed for %.*s (%llu more since this was last said): %.*s%s%s%s", query->query->name,
	         (int)value->channel->name.len, value->channel->name.bytes, (unsigned long long)query->unsaid,
	         (int)message.len, message.bytes, *sqlstate != '\0' ? " (SQLSTATE " : "", sqlstate,
	         *sqlstate != '\0' ? ")" : "");
	query->complained_ms = hub->now_ms;
	query->unsaid = 0;
}

/* Its subscribers are told, once until a run is good again; tried again with growing distance. */
static void fail(struct hub *hub, struct value *value, const char *sqlstate, struct text message)
{
	int64_t wait_ms = BACKOFF_MAX_MS;
	complain(hub, value, sqlstate, message);
	if (value->failures < 6)
		wait_ms = (int64_t)BACKOFF_FIRST_MS << value->failures;
	value->failures++;
	value->dirty = true;
	value->retry_ms = hub->now_ms + (wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS);
	if (value->error_serial == 0)
		value->error_serial = ++hub->values.serial;
	value_send(value);
}

/* Asked again a little later: the database is away, or the stream begins anew. */
static void retry(struct hub *hub, struct value *value)
{
	value->dirty = true;
	value->retry_ms = hub->now_ms + RETRY_MS;
}

static void take(struct hub *hub, struct value *value, const struct value_answer *answer)
{
	const char *epoch = history_epoch(hub->history);
	struct text data = answer->data.bytes != NULL ? answer->data : text_of("null");
	if (!text_equal(answer->epoch, text_of(epoch)) || answer->after < value->after) {
		retry(hub, value);
		return;
	}
	if (data.len > VALUE_MAX_BYTES) {
		fail(hub, value, "", text_of("its result is larger than 4 MiB"));
		return;
	}
	struct frame *frame = message_value(value->channel->name, epoch, answer->after, data);
	if (frame == NULL) {
		retry(hub, value);
		return;
	}
	value->failures = 0;
	value->retry_ms = 0;
	if (value->error_serial != 0)
		value->serial = 0; /* who was told of the error is told that it is over */
	value->error_serial = 0;
	if (answer->after > history_head(hub->history)) {
		value->ahead = frame;
		value->ahead_after = answer->after;
		value->state = VALUE_AHEAD;
		list_append(&hub->values.ahead, value);
		return;
	}
	value->dirty = value->again || value->touched_id > answer->after;
	publish(hub, value, frame, answer->after);
}

void hub_answer_value(struct hub *hub, struct request *request, const struct value_answer *answer)
{
	struct value *value = request->value;
	hub->values.n_running--;
	hub->values.n_running_slow -= request->value_slow;
	request_free(request);
	if (value != NULL) {
		value->request = NULL;
		value->state = VALUE_RESTING;
		value->slow = hub->now_ms - value->started_ms >= SLOW_MS;
		value->query->n_running--;
		if (answer->status == ANSWER_UNAVAILABLE) {
			retry(hub, value);
			tell_away(value);
		} else if (answer->status == ANSWER_FAILED) {
			fail(hub, value, answer->error.sqlstate, answer->error.message);
		} else {
			take(hub, value, answer);
		}
		schedule(hub, value);
	}
	run_ready(hub);
}
