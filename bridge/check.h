/*
 * check.h - --check: would this configuration serve? Prints what it finds.
 */
#ifndef LIVEFEED_CHECK_H
#define LIVEFEED_CHECK_H

#include "config.h"

/* The configuration and its keys are good already. Looks at the database; returns the exit code. */
int check_run(const struct config *config);

#endif
