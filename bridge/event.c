/*
 * event.c - makes and shares events: one allocation holds the struct, its
 * arrays and all the bytes they point to.
 */
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "latest.h"

static size_t users_size(const struct text *users, uint32_t n)
{
	size_t size = 0;
	if (users != NULL)
		for (uint32_t i = 0; i < n; i++)
			size += sizeof(struct text) + users[i].len;
	return size;
}

static char *put_text(char *to, struct text *text)
{
	if (text->bytes == NULL) {
		text->len = 0;
		return to;
	}
	if (text->len > 0)
		memcpy(to, text->bytes, text->len);
	text->bytes = to;
	return to + text->len;
}

/* Copies the n texts behind array; the array itself was placed by the caller. */
static char *put_users(char *to, struct text *array, const struct text *users, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		array[i] = users[i];
		to = put_text(to, &array[i]);
	}
	return to;
}

struct event *event_new(const struct event *template_event)
{
	const struct event *from = template_event;
	uint32_t n_users = from->users != NULL ? from->n_users : 0;
	uint32_t n_to_users = from->to_users != NULL ? from->n_to_users : 0;
	size_t size = sizeof(struct event) + users_size(from->users, n_users) + users_size(from->to_users, n_to_users) +
	              from->feed.len + from->unit.len + from->key.len + from->parent_feed.len + from->parent_key.len +
	              from->body.len;

	struct event *event = malloc(size);
	if (event == NULL)
		return NULL;
	*event = *from;
	event->refs = 1;
	event->size = size;
	event->latest = NULL;
	event->n_users = n_users;
	event->n_to_users = n_to_users;

	struct text *users = (struct text *)(event + 1);
	struct text *to_users = users + n_users;
	char *bytes = (char *)(to_users + n_to_users);
	bytes = put_users(bytes, users, from->users, n_users);
	bytes = put_users(bytes, to_users, from->to_users, n_to_users);
	event->users = from->users != NULL ? users : NULL;
	event->to_users = from->to_users != NULL ? to_users : NULL;
	bytes = put_text(bytes, &event->feed);
	bytes = put_text(bytes, &event->unit);
	bytes = put_text(bytes, &event->key);
	bytes = put_text(bytes, &event->parent_feed);
	bytes = put_text(bytes, &event->parent_key);
	put_text(bytes, &event->body);
	return event;
}

bool event_is_transient_lost(const struct event *event)
{
	static const char kind[] = "transient_lost";
	return (event->flags & EVENT_CONTROL) && event->feed.len == sizeof(kind) - 1 &&
	       memcmp(event->feed.bytes, kind, sizeof(kind) - 1) == 0;
}

struct event *event_ref(struct event *event)
{
	event->refs++;
	return event;
}

void event_unref(struct event *event)
{
	if (event == NULL || --event->refs > 0)
		return;
	latest_unref(event->latest);
	free(event);
}
