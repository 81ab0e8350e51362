/*
 * request.h - the text of HTTP requests, as the transports read it: lists in headers, tokens, paths, arguments. Plain C,
 * without libwebsockets, so that it can be tested and fuzzed.
 */
#ifndef LIVEFEED_REQUEST_H
#define LIVEFEED_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "event.h"

/* The next item of a list with commas, without the space around it; moves *at behind it. False: no more. */
bool request_next_item(const char **at, struct text *item);
bool request_lists(const char *list, const char *item);
/* The token among subprotocols: the first item that begins with "bearer." and goes on. bytes NULL: none. */
struct text request_subprotocol_token(const char *offered);
/* The token of an Authorization header of scheme Bearer; NULL: of another. */
const char *request_authorization_token(const char *authorization);
/* If-None-Match: is tag (with its quotes) among those, or is it *? Weak or strong is all the same here (RFC 9110). */
bool request_tag_known(const char *if_none_match, const char *tag);
/*
 * What of the path (decoded) lies below base ("/" or "/x" without closing slash), beginning with '/', into to. False: it
 * does not, it holds a NUL, or it is longer than size - 1.
 */
bool request_path_below(const char *base, struct text path, char *to, size_t size);
/* Percent-encodes all of a path but unreserved characters and the slash. False: it is longer than size - 1 then. */
bool request_encode_path(const char *path, char *to, size_t size);
/* Is argument (decoded) NAME=VALUE of that name? Then VALUE into to. False too: it holds a NUL, or is longer than size - 1. */
bool request_argument(struct text argument, const char *name, char *to, size_t size);

#endif
