/*
 * head.h - the head of an HTTP request, request line and headers, judged as a whole before libwebsockets gets it: strictly, because
 * what two parsers read differently is how requests are smuggled. Plain C.
 */
#ifndef LIVEFEED_HEAD_H
#define LIVEFEED_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* Headers and query arguments together; libwebsockets keeps one place less than 95 for them, and hangs up beyond. */
#define HEAD_FIELDS_MAX 90

struct head {
	struct text path; /* as it was sent, percent-encoded, without query; in the bytes that were judged */
	bool upgrade; /* to a WebSocket */
	uint64_t body; /* its Content-Length */
};

struct head_fault {
	int status;
	const char *code, *message; /* as http_error wants them */
};

/* Bytes of a head as they come, from `from` on (what is before it was looked at): can they still become one? */
bool head_look(const char *bytes, size_t len, size_t from, struct head_fault *fault);
/* Where the head ends, behind its empty line; 0: it is not all there. from: as above. */
size_t head_end(const char *bytes, size_t len, size_t from);
/*
 * A whole head. What libwebsockets is to get of it is left in place, *len bytes: a target in absolute form ("GET http://host/path") is
 * made a plain one, and headers that nobody here reads are gone (head.c has a list of those that stay: add to it what a new endpoint
 * reads).
 */
bool head_judge(char *bytes, size_t *len, uint64_t max_body, struct head *head, struct head_fault *fault);
/* A path as sent to its one canonical spelling: %XX in upper case, unreserved characters plain, an encoded slash still encoded. */
bool head_canonical_path(struct text path, char *to, size_t size);

#endif
