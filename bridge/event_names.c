/*
 * event_names.c - see event_names.h. There are few: they are looked through in order. Kept as JSON has them, since they are
 * compared with, and written into, JSON that is never taken apart.
 */
#include "event_names.h"

#include <stdlib.h>

#include "jsontext.h"
#include "text.h"

/* As JSON, without the quotes; NULL: out of memory. */
static char *escaped(struct text plain)
{
	struct json_out out = {0};
	json_put_text(&out, plain);
	char *text = out.failed || out.len < 2 ? NULL : strndup(out.bytes + 1, out.len - 2);
	free(out.bytes);
	return text;
}

static void clear(struct event_name *name)
{
	free(name->source);
	free(name->action);
	free(name->event);
}

bool event_names_add(struct event_names *names, struct text source, struct text action, struct text event)
{
	if (names->n == names->capacity) {
		size_t capacity = names->capacity > 0 ? names->capacity * 2 : 16;
		struct event_name *items = realloc(names->items, capacity * sizeof(*items));
		if (items == NULL)
			return false;
		names->items = items;
		names->capacity = capacity;
	}
	struct event_name name = {escaped(source), action.len > 0 ? escaped(action) : strdup(""), escaped(event)};
	if (name.source == NULL || name.action == NULL || name.event == NULL) {
		clear(&name);
		return false;
	}
	names->items[names->n++] = name;
	return true;
}

struct text event_names_find(const struct event_names *names, struct text source, struct text action)
{
	struct text found = {NULL, 0};
	for (size_t i = 0; i < names->n; i++) {
		const struct event_name *name = &names->items[i];
		if (!text_equal(text_of(name->source), source))
			continue;
		if (text_equal(text_of(name->action), action))
			return text_of(name->event);
		if (name->action[0] == '\0')
			found = text_of(name->event);
	}
	return found;
}

void event_names_free(struct event_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		clear(&names->items[i]);
	free(names->items);
	*names = (struct event_names){0};
}
