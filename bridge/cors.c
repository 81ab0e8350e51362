/*
 * cors.c - CORS header lines (cors.h).
 *
 * The Origin itself is named, never *, and Vary says that it is: so a shared cache does not hand one page's answer to
 * another's. Never Access-Control-Allow-Credentials: tokens are sent by the page, and cookies are not read at all.
 */
#include "cors.h"

#include <stdio.h>

#include "origin.h"

/* How long a browser may remember the answer to a preflight: a change of --allowed-origins takes that long to reach it. */
#define PREFLIGHT_MAX_AGE_S 600

void cors_lines(const char *origin, char to[CORS_MAX_BYTES])
{
	if (!origin || !*origin) {
		snprintf(to, CORS_MAX_BYTES, "Vary: Origin\r\n");
		return;
	}
	snprintf(to, CORS_MAX_BYTES,
	         "Vary: Origin\r\nAccess-Control-Allow-Origin: %.*s\r\nAccess-Control-Expose-Headers: Retry-After\r\n",
	         ORIGIN_MAX_BYTES, origin);
}

void cors_preflight_lines(const char *origin, char to[CORS_MAX_BYTES])
{
	if (!origin || !*origin) {
		snprintf(to, CORS_MAX_BYTES, "Vary: Origin\r\n");
		return;
	}
	snprintf(to, CORS_MAX_BYTES,
	         "Vary: Origin\r\nAccess-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Methods: GET, POST\r\n"
	         "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, Last-Event-ID\r\n"
	         "Access-Control-Max-Age: %d\r\n",
	         ORIGIN_MAX_BYTES, origin, PREFLIGHT_MAX_AGE_S);
}
