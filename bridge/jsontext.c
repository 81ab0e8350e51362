/*
 * jsontext.c - the strict JSON check, by recursive descent over the bytes, and the writing of JSON.
 *
 * Names of an object are collected while it is read and compared at its end: pairwise where they are few, by
 * sorting where they are many, so that a hostile message costs n log n. Names of inner objects lie above those of
 * outer ones on one stack. Escaped names are compared as what they mean ("\u0061" is "a").
 */
#include "jsontext.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to here names are compared pairwise, and none is allocated. */
#define NAMES_FEW 16
#define NAMES_ON_STACK 48

struct name {
	uint64_t hash;
	const char *bytes; /* in the text, or decoded in scan.decoded */
	size_t len;
};

struct scan {
	const char *text;
	size_t len, at;
	unsigned depth;
	struct json_wanted *wanted;
	size_t n_wanted;

	struct name few[NAMES_ON_STACK];
	struct name *names; /* few, or malloc'ed */
	size_t n_names, names_capacity;

	char *decoded; /* names that are written with escapes; as long as the text, so never full */
	size_t decoded_len;

	const char *fault;
};

static bool scan_value(struct scan *scan);

static bool scan_fail(struct scan *scan, const char *what)
{
	if (scan->fault == NULL)
		scan->fault = what;
	return false;
}

static bool at_end(const struct scan *scan)
{
	return scan->at >= scan->len;
}

static unsigned char peek(const struct scan *scan)
{
	return at_end(scan) ? 0 : (unsigned char)scan->text[scan->at];
}

static void skip_space(struct scan *scan)
{
	while (!at_end(scan)) {
		char c = scan->text[scan->at];

		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return;
		scan->at++;
	}
}

static bool fail_here(struct scan *scan)
{
	return scan_fail(scan, at_end(scan) ? "it ends too early" : "unexpected byte");
}

size_t utf8_sequence(const char *bytes, size_t len)
{
	const unsigned char *b = (const unsigned char *)bytes;
	size_t want;
	unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */

	if (len == 0)
		return 0;
	if (b[0] < 0x80)
		return 1;
	if (b[0] < 0xC2)
		return 0;
	if (b[0] < 0xE0)
		want = 2;
	else if (b[0] < 0xF0)
		want = 3;
	else if (b[0] < 0xF5)
		want = 4;
	else
		return 0;
	if (b[0] == 0xE0)
		low = 0xA0; /* overlong below */
	else if (b[0] == 0xED)
		high = 0x9F; /* surrogates above */
	else if (b[0] == 0xF0)
		low = 0x90;
	else if (b[0] == 0xF4)
		high = 0x8F;
	if (len < want || b[1] < low || b[1] > high)
		return 0;
	for (size_t i = 2; i < want; i++)
		if ((b[i] & 0xC0) != 0x80)
			return 0;
	return want;
}

bool utf8_is_valid(const char *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t n = utf8_sequence(bytes + at, len - at);

		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

/* The four hex digits of \uXXXX; -1: they are not. Moves on. */
static long scan_hex4(struct scan *scan)
{
	long unit = 0;

	for (int i = 0; i < 4; i++, scan->at++) {
		unsigned char c = peek(scan);

		unit <<= 4;
		if (c >= '0' && c <= '9')
			unit |= c - '0';
		else if (c >= 'a' && c <= 'f')
			unit |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			unit |= c - 'A' + 10;
		else
			return -1;
	}
	return unit;
}

static size_t put_utf8(char *to, unsigned long code)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xC0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (char)(0xE0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 0x3F));
		to[2] = (char)(0x80 | (code & 0x3F));
		return 3;
	}
	to[0] = (char)(0xF0 | code >> 18);
	to[1] = (char)(0x80 | (code >> 12 & 0x3F));
	to[2] = (char)(0x80 | (code >> 6 & 0x3F));
	to[3] = (char)(0x80 | (code & 0x3F));
	return 4;
}

/* After a backslash: checks the escape, gives the code point it stands for. */
static bool scan_escape(struct scan *scan, unsigned long *code)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	unsigned char c = peek(scan);
	const char *letter = c != 0 ? strchr(letters, c) : NULL;
	long unit, low;

	if (letter != NULL) {
		scan->at++;
		*code = (unsigned char)meanings[letter - letters];
		return true;
	}
	if (c != 'u')
		return at_end(scan) ? fail_here(scan) : scan_fail(scan, "no such escape");
	scan->at++;
	unit = scan_hex4(scan);
	if (unit < 0)
		return at_end(scan) ? fail_here(scan) : scan_fail(scan, "\\u needs four hex digits");
	if (unit == 0)
		return scan_fail(scan, "\\u0000 is not allowed");
	if (unit >= 0xDC00 && unit <= 0xDFFF)
		return scan_fail(scan, "surrogate without its pair");
	*code = (unsigned long)unit;
	if (unit < 0xD800 || unit > 0xDBFF)
		return true;
	if (scan->len - scan->at < 2 || memcmp(scan->text + scan->at, "\\u", 2) != 0)
		return scan_fail(scan, "surrogate without its pair");
	scan->at += 2;
	low = scan_hex4(scan);
	if (low < 0xDC00 || low > 0xDFFF)
		return scan_fail(scan, "surrogate without its pair");
	*code = 0x10000 + (((unsigned long)unit - 0xD800) << 10) + ((unsigned long)low - 0xDC00);
	return true;
}

/* A string; meaning (NULL: not wanted) becomes what it says, valid as long as scan and text. */
static bool scan_string(struct scan *scan, struct text *meaning)
{
	size_t start, decoded_start = scan->decoded_len;
	bool escaped = false;

	if (peek(scan) != '"')
		return fail_here(scan);
	start = ++scan->at;
	for (;;) {
		unsigned char c = peek(scan);
		unsigned long code;
		size_t n;

		if (at_end(scan))
			return fail_here(scan);
		if (c == '"')
			break;
		if (c < 0x20)
			return scan_fail(scan, "control byte in a string");
		if (c == '\\') {
			if (meaning != NULL && !escaped) { /* from here on, a copy */
				if (scan->decoded == NULL && (scan->decoded = malloc(scan->len)) == NULL)
					return scan_fail(scan, "out of memory");
				memcpy(scan->decoded + scan->decoded_len, scan->text + start, scan->at - start);
				scan->decoded_len += scan->at - start;
			}
			escaped = true;
			scan->at++;
			if (!scan_escape(scan, &code))
				return false;
			if (meaning != NULL)
				scan->decoded_len += put_utf8(scan->decoded + scan->decoded_len, code);
			continue;
		}
		n = c < 0x80 ? 1 : utf8_sequence(scan->text + scan->at, scan->len - scan->at);
		if (n == 0)
			return scan_fail(scan, "not valid UTF-8");
		if (meaning != NULL && escaped) {
			memcpy(scan->decoded + scan->decoded_len, scan->text + scan->at, n);
			scan->decoded_len += n;
		}
		scan->at += n;
	}
	if (meaning != NULL) {
		meaning->bytes = escaped ? scan->decoded + decoded_start : scan->text + start;
		meaning->len = escaped ? scan->decoded_len - decoded_start : scan->at - start;
	}
	scan->at++;
	return true;
}

static bool scan_digits(struct scan *scan)
{
	if (peek(scan) < '0' || peek(scan) > '9')
		return fail_here(scan);
	while (peek(scan) >= '0' && peek(scan) <= '9')
		scan->at++;
	return true;
}

static bool scan_number(struct scan *scan)
{
	if (peek(scan) == '-')
		scan->at++;
	if (peek(scan) == '0')
		scan->at++; /* nothing but a point or an exponent may follow */
	else if (!scan_digits(scan))
		return false;
	if (peek(scan) == '.') {
		scan->at++;
		if (!scan_digits(scan))
			return false;
	}
	if (peek(scan) == 'e' || peek(scan) == 'E') {
		scan->at++;
		if (peek(scan) == '+' || peek(scan) == '-')
			scan->at++;
		if (!scan_digits(scan))
			return false;
	}
	return true;
}

static bool scan_word(struct scan *scan, const char *word)
{
	for (; *word != '\0'; word++, scan->at++)
		if (peek(scan) != (unsigned char)*word)
			return fail_here(scan);
	return true;
}

static bool push_name(struct scan *scan, struct text meaning)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a: only sorts; equal hashes are compared byte by byte */

	for (size_t i = 0; i < meaning.len; i++)
		hash = (hash ^ (unsigned char)meaning.bytes[i]) * 1099511628211u;
	if (scan->n_names == scan->names_capacity) {
		size_t capacity = scan->names_capacity * 2;
		struct name *names = realloc(scan->names == scan->few ? NULL : scan->names, capacity * sizeof *names);

		if (names == NULL)
			return scan_fail(scan, "out of memory");
		if (scan->names == scan->few)
			memcpy(names, scan->few, scan->n_names * sizeof *names);
		scan->names = names;
		scan->names_capacity = capacity;
	}
	scan->names[scan->n_names++] = (struct name){hash, meaning.bytes, meaning.len};
	return true;
}

static int compare_names(const void *left, const void *right)
{
	const struct name *a = left, *b = right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return a->len == 0 ? 0 : memcmp(a->bytes, b->bytes, a->len);
}

static bool names_differ(struct name *names, size_t n)
{
	if (n <= NAMES_FEW) {
		for (size_t i = 1; i < n; i++)
			for (size_t j = 0; j < i; j++)
				if (compare_names(&names[i], &names[j]) == 0)
					return false;
		return true;
	}
	qsort(names, n, sizeof *names, compare_names);
	for (size_t i = 1; i < n; i++)
		if (compare_names(&names[i - 1], &names[i]) == 0)
			return false;
	return true;
}

/* Gives a wanted member of the top-level object its value. */
static void keep_wanted(struct scan *scan, struct text name, size_t start)
{
	for (size_t i = 0; i < scan->n_wanted; i++)
		if (strlen(scan->wanted[i].name) == name.len && memcmp(scan->wanted[i].name, name.bytes, name.len) == 0)
			scan->wanted[i].value = (struct text){scan->text + start, scan->at - start};
}

static bool scan_object(struct scan *scan)
{
	size_t first_name = scan->n_names;

	scan->at++;
	skip_space(scan);
	if (peek(scan) == '}') {
		scan->at++;
		return true;
	}
	for (;;) {
		struct text name;
		size_t start;

		skip_space(scan);
		if (!scan_string(scan, &name) || !push_name(scan, name))
			return false;
		skip_space(scan);
		if (peek(scan) != ':')
			return fail_here(scan);
		scan->at++;
		skip_space(scan);
		start = scan->at;
		if (!scan_value(scan))
			return false;
		if (scan->depth == 1)
			keep_wanted(scan, name, start);
		skip_space(scan);
		if (peek(scan) == '}')
			break;
		if (peek(scan) != ',')
			return fail_here(scan);
		scan->at++;
	}
	if (!names_differ(scan->names + first_name, scan->n_names - first_name))
		return scan_fail(scan, "an object has a name twice");
	scan->n_names = first_name;
	scan->at++;
	return true;
}

static bool scan_array(struct scan *scan)
{
	scan->at++;
	skip_space(scan);
	if (peek(scan) == ']') {
		scan->at++;
		return true;
	}
	for (;;) {
		skip_space(scan);
		if (!scan_value(scan))
			return false;
		skip_space(scan);
		if (peek(scan) == ']')
			break;
		if (peek(scan) != ',')
			return fail_here(scan);
		scan->at++;
	}
	scan->at++;
	return true;
}

static bool scan_value(struct scan *scan)
{
	bool good;

	switch (peek(scan)) {
	case '{':
	case '[':
		if (scan->depth == JSON_DEPTH_MAX)
			return scan_fail(scan, "nested too deep");
		scan->depth++;
		good = peek(scan) == '{' ? scan_object(scan) : scan_array(scan);
		scan->depth--;
		return good;
	case '"':
		return scan_string(scan, NULL);
	case 't':
		return scan_word(scan, "true");
	case 'f':
		return scan_word(scan, "false");
	case 'n':
		return scan_word(scan, "null");
	default:
		if (peek(scan) == '-' || (peek(scan) >= '0' && peek(scan) <= '9'))
			return scan_number(scan);
		return fail_here(scan);
	}
}

bool json_check(const char *text, size_t len, struct json_wanted *wanted, size_t n_wanted, struct json_fault *fault)
{
	struct scan scan = {.text = text, .len = len, .wanted = wanted, .n_wanted = n_wanted};
	bool good;

	scan.names = scan.few;
	scan.names_capacity = NAMES_ON_STACK;
	for (size_t i = 0; i < n_wanted; i++)
		wanted[i].value = (struct text){NULL, 0};

	skip_space(&scan);
	good = scan_value(&scan);
	if (good) {
		skip_space(&scan);
		if (!at_end(&scan))
			good = scan_fail(&scan, "bytes after the end");
	}
	*fault = (struct json_fault){scan.fault, scan.at};
	if (scan.names != scan.few)
		free(scan.names);
	free(scan.decoded);
	return good;
}

/* ---- writing */

static bool json_room(struct json_out *out, size_t more)
{
	size_t capacity = out->capacity == 0 ? 256 : out->capacity;
	char *bytes;

	if (out->failed)
		return false;
	if (out->capacity - out->len >= more)
		return true;
	while (capacity - out->len < more)
		capacity *= 2;
	bytes = realloc(out->bytes, capacity);
	if (bytes == NULL) {
		out->failed = true;
		return false;
	}
	out->bytes = bytes;
	out->capacity = capacity;
	return true;
}

void json_put(struct json_out *out, const char *bytes, size_t len)
{
	if (len == 0 || !json_room(out, len))
		return;
	memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
}

void json_puts(struct json_out *out, const char *string)
{
	json_put(out, string, strlen(string));
}

void json_put_int(struct json_out *out, int64_t number)
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%" PRId64, number);

	json_put(out, digits, (size_t)len);
}

void json_put_text(struct json_out *out, struct text plain)
{
	size_t start = 0;

	json_put(out, "\"", 1);
	for (size_t i = 0; i < plain.len; i++) {
		unsigned char c = (unsigned char)plain.bytes[i];
		char escape[8];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		json_put(out, plain.bytes + start, i - start);
		start = i + 1;
		if (c == '"' || c == '\\')
			json_put(out, (char[]){'\\', (char)c}, 2);
		else if (c == '\n')
			json_put(out, "\\n", 2);
		else if (c == '\t')
			json_put(out, "\\t", 2);
		else {
			snprintf(escape, sizeof escape, "\\u%04x", c);
			json_puts(out, escape);
		}
	}
	if (start < plain.len)
		json_put(out, plain.bytes + start, plain.len - start);
	json_put(out, "\"", 1);
}

void json_put_string(struct json_out *out, const char *plain)
{
	if (plain == NULL)
		json_put(out, "null", 4);
	else
		json_put_text(out, (struct text){plain, strlen(plain)});
}
