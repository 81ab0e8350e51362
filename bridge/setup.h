/*
 * setup.h - from the configuration to the parts that it configures: who may sign tokens, what a session may do.
 * At start and on each reload.
 */
#ifndef LIVEFEED_SETUP_H
#define LIVEFEED_SETUP_H

#include <stdbool.h>

#include "access.h"
#include "config.h"
#include "session.h"

/* Issuer, claims, roles and the key files, which are read here. False: *error (malloc'ed) is one line that names the setting. */
bool setup_access(struct access *access, const struct config *config, char **error);
struct session_limits setup_limits(const struct config *config);
/* Room for as many open files as connections are allowed; a line in the log where the system grants less. */
void setup_open_files(const struct config *config);

#endif
