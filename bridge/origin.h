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

/* Longest Origin header that is looked at; a longer one is refused. */
#define ORIGIN_MAX_BYTES 500

/*
 * allowed empty: the page must come from the host that it calls (host: the Host header, or what a trusted proxy says that
 * was). Otherwise its origin must be in the list, or the list hold *. origin NULL or "": no browser, and allowed. What is
 * neither null nor SCHEME://HOST[:PORT] (a list, as a doubled header gives one; a user, a path) is never allowed.
 */
bool origin_is_allowed(const struct list *allowed, const char *origin, const char *host);
/* Of X-Forwarded-Host, the value that the proxy next to us added: the last. Points into it. */
const char *origin_forwarded_host(const char *forwarded_host);

bool origin_is_trusted(const struct list *trusted, const char *peer);
/* An address of this machine's own loopback network. */
bool origin_is_loopback(const char *address);
/* A Host header that names localhost or a loopback address. */
bool origin_host_is_local(const char *host);

/*
 * The address of the client: peer's own, unless peer is a trusted proxy. Then X-Forwarded-For is read from its end,
 * and the first address that is no trusted proxy counts; what stands before it was written by anybody.
 */
void origin_client_address(const struct list *trusted, const char *peer, const char *forwarded_for, char *to,
                           size_t size);

#endif
