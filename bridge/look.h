/*
 * look.h - `livefeed-bridge tail CHANNEL...`: what channels bring, in a terminal or as lines of JSON.
 */
#ifndef LIVEFEED_LOOK_H
#define LIVEFEED_LOOK_H

#include <stddef.h>

#include "access.h"
#include "config.h"

/* The configuration is good already; channels: as the command line has them. Returns the exit code. */
int look_run(const struct config *config, struct access *access, char *const *channels, size_t n_channels);

#endif
