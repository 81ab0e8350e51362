/*
 * doctor.h - `livefeed-bridge doctor`: what --check and livefeed.status know, as a page of advice: each finding with
 * what it means and the command that cures it.
 */
#ifndef LIVEFEED_DOCTOR_H
#define LIVEFEED_DOCTOR_H

#include <stddef.h>

#include "config.h"

enum severity { SEVERITY_NOTE, SEVERITY_WARNING, SEVERITY_PROBLEM, SEVERITIES };

/* The exit codes: a problem keeps changes from their readers, a warning will or may do so. Notes are none. */
enum doctor_exit { DOCTOR_HEALTHY = 0, DOCTOR_PROBLEMS = 1, DOCTOR_WARNINGS = 3 };

/*
 * One question to the database (doctor_checks.c), which answers with a row for each finding: its text, the command
 * that cures it or NULL, and, where there is a third column, its severity as a number. No row: fine.
 */
struct doctor_check {
	const char *topic;
	enum severity severity; /* where the answer does not say */
	const char *fine; /* said where nothing was found; NULL: nothing is said */
	const char *means; /* what a finding means */
	const char *sql;
	enum { ASKS_NOTHING, ASKS_CONNECTIONS, ASKS_ISSUERS, ASKS_CLOCK } asks; /* what $1 is */
};
extern const struct doctor_check doctor_checks[];
extern const size_t n_doctor_checks;

/* The configuration and its keys are good already. Returns the exit code. */
int doctor_run(const struct config *config);

#endif
