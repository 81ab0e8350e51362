/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text of the database as JSON strings in UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_TEXT_H
#define LIVEFEED_TEXT_H

#include "postgres.h"

#include "lib/stringinfo.h"

/*
 * The UTF-8 of text in the database's encoding; what has none becomes U+FFFD.
 * Returns its argument where nothing is to be done, else palloc'd bytes.
 */
extern const char *text_utf8(const char *str, int len, int *utf8_len);

/* True if every character of the text has a form in UTF-8. */
extern bool text_is_sendable(const char *str, int len);

/* Appends text as a JSON string, quotes and all. */
extern void text_append_json(StringInfo buf, const char *str, int len);

/* Appends "null" for NULL, else as text_append_json(). */
extern void text_append_json_or_null(StringInfo buf, const char *str);

/* Appends text as JavaScript's encodeURIComponent() would give it. */
extern void text_append_uri(StringInfo buf, const char *str, int len);

/* Appends JSON text less the white space between its tokens. */
extern void text_append_compact_json(StringInfo buf, const char *json, int len);

/* Appends JSON that is UTF-8 in the database's encoding; characters that it lacks as \uXXXX. */
extern void text_append_from_utf8_json(StringInfo buf, const char *json, int len);

#endif							/* LIVEFEED_TEXT_H */
