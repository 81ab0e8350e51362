/*
 * event_names.h - under which names Socket.IO clients get events and values (livefeed.socketio_event): a list by source and action.
 */
#ifndef LIVEFEED_EVENT_NAMES_H
#define LIVEFEED_EVENT_NAMES_H

#include <stdbool.h>

#include "event.h"

struct event_name {
	char *source; /* a feed or a query */
	char *action; /* as JSON has it, without quotes; "": all that have no name of their own */
	char *event; /* as JSON has it, without quotes */
};

struct event_names {
	struct event_name *items;
	size_t n, capacity;
};

/* Copies what it is given, plain text; action of no bytes: all. False: out of memory. */
bool event_names_add(struct event_names *names, struct text source, struct text action, struct text event);
/* action: as JSON has it. bytes NULL: it has no other name. */
struct text event_names_find(const struct event_names *names, struct text source, struct text action);
void event_names_free(struct event_names *names);

#endif
