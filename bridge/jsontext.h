/*
 * jsontext.h - JSON as text, without a parser's tree: the strict check that runs before json-c sees a byte,
 * and the writing of what we send.
 *
 * json-c alone takes more than JSON and tells less than is there: it cuts a name at \u0000, takes single quotes,
 * NaN and comments, keeps the last of two equal names and stops at a NUL byte. What passes json_check is RFC 8259 and
 * means the same to every reader; only then is it parsed (message_tree.h).
 */
#ifndef LIVEFEED_JSONTEXT_H
#define LIVEFEED_JSONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* Objects and arrays within each other. */
#define JSON_DEPTH_MAX 32

struct json_fault {
	const char *what; /* static: what is wrong */
	size_t at; /* at which byte */
};

/* A member of the top-level object whose value is wanted as it was written. */
struct json_wanted {
	const char *name;
	struct text value; /* out: within the text checked; bytes NULL: no such member */
};

/*
 * True: text is one JSON value (RFC 8259) of valid UTF-8, nested at most JSON_DEPTH_MAX deep; no object in it has a
 * name twice, surrogates are paired, and no string or name holds a NUL (which neither C strings nor jsonb can hold).
 * Else *fault. Time is n log n at worst, whatever the input.
 */
bool json_check(const char *text, size_t len, struct json_wanted *wanted, size_t n_wanted, struct json_fault *fault)
	__attribute__((warn_unused_result));

/* Length of the UTF-8 sequence at bytes, 1 to 4; 0: not valid there (overlong, surrogate, cut off, beyond U+10FFFF). */
size_t utf8_sequence(const char *bytes, size_t len);
bool utf8_is_valid(const char *bytes, size_t len);

/* Text being written. After a failed allocation everything is ignored; look at failed once, at the end. */
struct json_out {
	char *bytes; /* malloc'ed; not NUL-terminated */
	size_t len, capacity;
	bool failed;
};

void json_put(struct json_out *out, const char *bytes, size_t len); /* as it is */
void json_puts(struct json_out *out, const char *string); /* as it is */
void json_put_int(struct json_out *out, int64_t number);
void json_put_text(struct json_out *out, struct text plain); /* as a JSON string, quotes included */
void json_put_string(struct json_out *out, const char *plain); /* the same; NULL gives null */

#endif
