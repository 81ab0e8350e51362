/*
 * channel.c - the grammar of channel names. Valid, and each the only name of its channel:
 *
 *   requests   requests:unit:7   requests:unit:north%20wing   notifications:user:a%3Ab
 *   orders:row:123   stock:row:7,A%2F1   (composite key)   stock:row:,1   (its first part is '')
 *
 * Not valid: Requests (case), requests: (empty scope), requests:unit: (empty value), requests:unit:a:b (bare colon),
 * requests:unit:%37 (needs no escape), requests:unit:%2f (lower-case hex), requests:unit:%00, requests:unit:%ff (no
 * UTF-8), requests:unit:7,8 (bare comma outside a row), requests:team:7 (no such scope).
 */
#include "channel.h"

#include <string.h>

/* What encodeURIComponent leaves as it is. */
static bool is_unreserved(unsigned char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c != 0 && strchr("-_.!~*'()", c) != NULL;
}

static int hex_upper(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte behind an escape at value[i], or -1: none, not canonical, or NUL. */
static int escaped_byte(struct text value, size_t i)
{
	if (i + 2 >= value.len || value.bytes[i] != '%')
		return -1;
	int high = hex_upper(value.bytes[i + 1]);
	int low = hex_upper(value.bytes[i + 2]);
	if (high < 0 || low < 0 || (high == 0 && low == 0))
		return -1;
	int byte = high * 16 + low;
	return is_unreserved((unsigned char)byte) ? -1 : byte;
}

/*
 * The escapes from value[i] on that make one character: how many, or 0 if they are not valid UTF-8. Every byte of a character
 * beyond ASCII is escaped.
 */
static size_t escaped_character(struct text value, size_t i)
{
	int first = escaped_byte(value, i);
	if (first < 0)
		return 0;
	if (first < 0x80)
		return 1;
	size_t n;
	int low = 0x80, high = 0xBF;
	if (first >= 0xC2 && first <= 0xDF)
		n = 2;
	else if (first >= 0xE0 && first <= 0xEF)
		n = 3;
	else if (first >= 0xF0 && first <= 0xF4)
		n = 4;
	else
		return 0;
	if (first == 0xE0)
		low = 0xA0; /* overlong */
	else if (first == 0xED)
		high = 0x9F; /* surrogates */
	else if (first == 0xF0)
		low = 0x90; /* overlong */
	else if (first == 0xF4)
		high = 0x8F; /* above U+10FFFF */
	for (size_t k = 1; k < n; k++) {
		int byte = escaped_byte(value, i + 3 * k);
		if (byte < low || byte > high)
			return 0;
		low = 0x80;
		high = 0xBF;
	}
	return n;
}

static bool is_canonical_value(struct text value, bool commas)
{
	if (value.len == 0)
		return false;
	for (size_t i = 0; i < value.len;) {
		unsigned char c = (unsigned char)value.bytes[i];
		if (is_unreserved(c) || (commas && c == ',')) {
			i++;
			continue;
		}
		size_t n = escaped_character(value, i);
		if (n == 0)
			return false;
		i += 3 * n;
	}
	return true;
}

bool channel_parse(const char *name, size_t len, struct channel_name *out)
{
	if (len == 0 || len > CHANNEL_NAME_MAX_BYTES)
		return false;
	size_t i = 0;
	while (i < len && name[i] != ':') {
		char c = name[i];
		bool letter = c >= 'a' && c <= 'z';
		if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '_')))
			return false;
		i++;
	}
	if (i == 0)
		return false;
	out->feed = (struct text){name, i};
	out->scope = SCOPE_FEED;
	out->value = (struct text){NULL, 0};
	if (i == len)
		return true;

	static const struct {
		const char *prefix;
		enum scope scope;
	} scopes[] = {{":unit:", SCOPE_UNIT}, {":user:", SCOPE_USER}, {":row:", SCOPE_ROW}};
	for (size_t s = 0; s < sizeof(scopes) / sizeof(scopes[0]); s++) {
		size_t prefix_len = strlen(scopes[s].prefix);
		if (len - i < prefix_len || memcmp(name + i, scopes[s].prefix, prefix_len) != 0)
			continue;
		out->scope = scopes[s].scope;
		out->value = (struct text){name + i + prefix_len, len - i - prefix_len};
		return is_canonical_value(out->value, out->scope == SCOPE_ROW);
	}
	return false;
}

size_t channel_decode(struct text value, char *buf)
{
	size_t len = 0;
	for (size_t i = 0; i < value.len; i++) {
		int byte = escaped_byte(value, i);
		if (byte >= 0) {
			buf[len++] = (char)byte;
			i += 2;
		} else {
			buf[len++] = value.bytes[i];
		}
	}
	return len;
}

size_t channel_key(struct text value, char *buf)
{
	if (value.len == 0)
		return 0;
	if (memchr(value.bytes, ',', value.len) == NULL)
		return channel_decode(value, buf);
	memcpy(buf, value.bytes, value.len);
	return value.len;
}

size_t channel_key_columns(struct text value)
{
	size_t n = 1;
	for (size_t i = 0; i < value.len; i++)
		if (value.bytes[i] == ',')
			n++;
	return n;
}

size_t channel_encode(struct text plain, char *buf)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t len = 0;
	for (size_t i = 0; i < plain.len; i++) {
		unsigned char c = (unsigned char)plain.bytes[i];
		if (is_unreserved(c)) {
			buf[len++] = (char)c;
		} else {
			buf[len++] = '%';
			buf[len++] = hex[c >> 4];
			buf[len++] = hex[c & 15];
		}
	}
	return len;
}

/* Eight bytes a step; names are short, and what stands in the table was granted to somebody, so no secret seed. */
static uint64_t mix(uint64_t hash, struct text text)
{
	const uint64_t odd = UINT64_C(0x9E3779B97F4A7C15);
	const char *at = text.bytes;
	size_t left = text.len;
	hash = (hash ^ left) * odd;
	while (left >= 8) {
		uint64_t word;
		memcpy(&word, at, 8);
		hash = (hash ^ word) * odd;
		hash ^= hash >> 29;
		at += 8;
		left -= 8;
	}
	if (left > 0) {
		uint64_t word = 0;
		memcpy(&word, at, left);
		hash = (hash ^ word) * odd;
		hash ^= hash >> 29;
	}
	return hash;
}

uint64_t channel_hash(struct text feed, enum scope scope, struct text value)
{
	uint64_t hash = mix((uint64_t)scope + 1, feed);
	if (scope != SCOPE_FEED)
		hash = mix(hash, value);
	hash *= UINT64_C(0xD6E8FEB86659FD93);
	return hash ^ hash >> 32;
}
