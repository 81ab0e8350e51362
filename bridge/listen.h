/*
 * listen.h - the sockets that clients come in by: TCP (IPv4, IPv6) and Unix.
 */
#ifndef LIVEFEED_LISTEN_H
#define LIVEFEED_LISTEN_H

#include <uv.h>

#include "config.h"

struct listeners;

/* A connection came in; the file descriptor (non-blocking) is the taker's. */
typedef void (*listen_accepted)(void *arg, int fd);

/* Listens on all of them, or NULL and *error (malloc'ed): one line that names the address. Nothing is accepted yet. */
struct listeners *listen_open(uv_loop_t *loop, const struct list *addresses, listen_accepted accepted, void *arg,
                              char **error);
/* Begins to accept. */
void listen_start(struct listeners *listeners);
/* Closes the sockets and frees all; Unix socket files are removed. */
void listen_close(struct listeners *listeners);

#endif
