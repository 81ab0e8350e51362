/*
 * presence.h - who is online: what the database is told of the sessions (livefeed.report_sessions). See presence.c.
 */
#ifndef LIVEFEED_PRESENCE_H
#define LIVEFEED_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;
struct session;

#define PRESENCE_GONE_MAX 4096 /* beyond it all sessions are told anew, which says of the others that they are gone */

struct presence { /* the hub's */
	struct session *first, *last; /* of whom there is something to tell */
	uint64_t gone[PRESENCE_GONE_MAX]; /* numbers of sessions that were told of, and ended */
	size_t n_gone;
	size_t n_told, expected; /* that are told of; ... once the report under way was taken */
	uint64_t numbers; /* the last that was given to a session */
	int64_t round, due_ms, look_ms;
	bool anew; /* all sessions are to be told, in a round of their own ... */
	bool opening; /* ... of which there is a rest */
	bool asked; /* a report is under way */
	char complained[6]; /* why the last was refused: told once */
};

/* It opened, or its user, units or channels changed. */
void presence_note(struct session *session);
/* It ends. */
void presence_end(struct session *session);
/* The database is back: nobody knows what it knows. */
void presence_renew(struct hub *hub);
void presence_pump(struct hub *hub);
/* When it has something to do, if nothing happens before; INT64_MAX: nothing. */
int64_t presence_due_ms(const struct hub *hub);

#endif
