/*
 * cors.h - what browsers want to read before a page of another origin may see our answers. Plain C: header lines from an
 * Origin that is allowed.
 */
#ifndef LIVEFEED_CORS_H
#define LIVEFEED_CORS_H

#include <stddef.h>

/* Room for either, with an Origin of ORIGIN_MAX_BYTES (origin.h). */
#define CORS_MAX_BYTES 1024

/*
 * For every answer: that it depends on the Origin, and, where there is one, that its pages may read it. origin: allowed by
 * origin_is_allowed; NULL or "": none. Each line ends with CRLF.
 */
void cors_lines(const char *origin, char to[CORS_MAX_BYTES]);
/* For the answer to OPTIONS: the same, and what may be asked. */
void cors_preflight_lines(const char *origin, char to[CORS_MAX_BYTES]);

#endif
