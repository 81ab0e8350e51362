/*
 * text.h - small helpers for struct text (event.h) and strings, inline.
 */
#ifndef LIVEFEED_TEXT_H
#define LIVEFEED_TEXT_H

#include <stdbool.h>
#include <string.h>

#include "event.h"

static inline struct text text_of(const char *string)
{
	return (struct text){string, string == NULL ? 0 : strlen(string)};
}

/* NULL equals nothing, not even NULL: nobody's unit is nobody's. */
static inline bool text_equal(struct text a, struct text b)
{
	return a.len == b.len && a.bytes != NULL && b.bytes != NULL && memcmp(a.bytes, b.bytes, a.len) == 0;
}

/* NULL stays NULL. False: out of memory. */
static inline bool text_duplicate(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

/* Into to, which has room for it, with a NUL behind it. */
static inline void text_copy(struct text text, char *to)
{
	if (text.len > 0)
		memcpy(to, text.bytes, text.len);
	to[text.len] = '\0';
}

#endif
