/*
 * origin.h - may a page of this Origin talk to us? And who is the peer, behind the proxies that we trust?
 */
#ifndef LIVEFEED_ORIGIN_H
#define LIVEFEED_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

/* Longest text of an address, an IPv6 one with a scope included. */
#define ADDRESS_MAX_BYTES 64

/*
 * allowed empty: the page must come from the host that it calls (host: the Host header). Otherwise its origin must be
 * in the list, or the list hold *. origin NULL or "": no browser, and allowed.
 */
bool origin_is_allowed(const struct list *allowed, const char *origin, const char *host);

/*
 * The address of the client: peer's own, unless peer is a trusted proxy. Then X-Forwarded-For is read from its end,
 * and the first address that is no trusted proxy counts; what stands before it was written by anybody.
 */
void origin_client_address(const struct list *trusted, const char *peer, const char *forwarded_for, char *to,
                           size_t size);

#endif
