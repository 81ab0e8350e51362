/*
 * probe.h - is what a fresh connection leads to a database that this bridge can serve? For tail.c and for --check.
 */
#ifndef LIVEFEED_PROBE_H
#define LIVEFEED_PROBE_H

#include <stdbool.h>

#include "connection.h"

#define PROBE_WHY_MAX 512
#define PROBE_CURE_MAX 192

enum probe_outcome {
	PROBE_OK,
	PROBE_UNUSABLE, /* waiting will not help: why says what would */
	PROBE_FAILED /* an error; the next try may succeed */
};

struct probe;
typedef void (*probe_done)(struct probe *probe, enum probe_outcome outcome, void *arg);

struct probe { /* lives as long as the asking */
	probe_done done; /* not called when the connection is lost */
	void *arg;
	char why[PROBE_WHY_MAX]; /* one line, unless PROBE_OK */
	char cure[PROBE_CURE_MAX]; /* the statement that cures it; "": there is none */
	char database[64], extension[32], role[160]; /* role: as a literal */
};

void probe_start(struct probe *probe, struct connection *connection, probe_done done, void *arg);
/* What an SQL error of one of the extension's functions means, for any of them; fills why. */
enum probe_outcome probe_explain(struct probe *probe, const char *what, const PGresult *result);

#endif
