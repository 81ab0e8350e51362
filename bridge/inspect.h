/*
 * inspect.h - would this database serve? One connection, the tail's own questions to it, and whether the role may do
 * what a bridge does; then a second one beside it: two that meet the same server process go through a pooler that
 * lends it out by the transaction. For --check and for doctor.
 */
#ifndef LIVEFEED_INSPECT_H
#define LIVEFEED_INSPECT_H

#include <stdbool.h>

#include "connection.h"
#include "probe.h"

#define INSPECT_QUERY_TIMEOUT_MS 15000

struct inspect;

struct inspect_events {
	/* One step, in order; the first that is not good is the last. cure: a command, or NULL. */
	void (*found)(struct inspect *inspect, bool good, const char *topic, const char *text, const char *cure);
	/* All steps were good; both connections are ready. */
	void (*whole)(struct inspect *inspect);
	/* NULL: not wanted. A notification on the first connection. */
	void (*notified)(struct inspect *inspect, int backend_pid, const char *payload);
	/* A connection was lost after whole. */
	void (*lost)(struct inspect *inspect, const char *message);
};

struct inspect { /* lives as long as the loop runs */
	const struct inspect_events *events;
	void *arg;
	uv_loop_t *loop;
	const char *dsn, *program; /* program: application_name */
	struct connection *first, *second; /* second: NULL until the rights are known to be there */
	struct probe probe;
	bool done; /* whole, or not */
};

/* Begins; events, arg, loop, dsn and program are set, the rest is zero. False: out of memory. */
bool inspect_start(struct inspect *inspect);
/* Closes both connections; the loop has to turn once more. */
void inspect_end(struct inspect *inspect);

#endif
