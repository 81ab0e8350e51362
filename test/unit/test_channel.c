/*
 * test_channel.c - channel.c: what is a channel name and what is not, and what its value means. Does not test who may have it.
 */
#include "channel.h"

#include <stdlib.h>

#include "tap.h"

/* A copy of exactly len bytes, so that sanitizers see a read beyond them. */
static bool parse(const char *name, size_t len, struct channel_name *out, char **copy)
{
	*copy = malloc(len > 0 ? len : 1);
	memcpy(*copy, name, len);
	return channel_parse(*copy, len, out);
}

static void is_channel(const char *name, enum scope scope, const char *feed, const char *plain)
{
	struct channel_name parsed;
	char *copy, buf[CHANNEL_NAME_MAX_BYTES];
	if (ok(parse(name, strlen(name), &parsed, &copy), "%s is a channel", name)) {
		is_int(parsed.scope, scope, "%s: scope", name);
		is_mem(parsed.feed.bytes, parsed.feed.len, feed, strlen(feed), "%s: feed", name);
		if (plain != NULL) {
			size_t len = scope == SCOPE_ROW ? channel_key(parsed.value, buf) : channel_decode(parsed.value, buf);
			is_mem(buf, len, plain, strlen(plain), "%s: value", name);
		}
	}
	free(copy);
}

static void is_none(const char *name, size_t len)
{
	struct channel_name parsed;
	char *copy;
	ok(!parse(name, len, &parsed, &copy), "%s is none", name);
	free(copy);
}

static void test_valid(void)
{
	is_channel("requests", SCOPE_FEED, "requests", NULL);
	is_channel("r2_d2", SCOPE_FEED, "r2_d2", NULL);
	is_channel("requests:unit:7", SCOPE_UNIT, "requests", "7");
	is_channel("requests:unit:A-b_c.d!e~f*g'h(i)", SCOPE_UNIT, "requests", "A-b_c.d!e~f*g'h(i)");
	is_channel("requests:unit:a%3Ab%2Fc%25", SCOPE_UNIT, "requests", "a:b/c%");
	is_channel("requests:unit:north%20wing", SCOPE_UNIT, "requests", "north wing");
	is_channel("requests:user:%C3%A9%E2%82%AC%F0%9F%98%80", SCOPE_USER, "requests", "é€😀");
	is_channel("requests:user:%ED%9F%BF%EE%80%80%F4%8F%BF%BF", SCOPE_USER, "requests",
	           "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
	is_channel("requests:unit:%01%7F", SCOPE_UNIT, "requests", "\x01\x7f");
	is_channel("orders:row:123", SCOPE_ROW, "orders", "123");
	is_channel("orders:row:a%2Cb", SCOPE_ROW, "orders", "a,b");
	is_channel("stock:row:7,A%2F1", SCOPE_ROW, "stock", "7,A%2F1");
	is_channel("stock:row:,1", SCOPE_ROW, "stock", ",1");
}

static void test_invalid(void)
{
	static const char *const none[] = {"",
	                                   ":",
	                                   ":unit:7",
	                                   "Requests",
	                                   "1a",
	                                   "_a",
	                                   "a-b",
	                                   "a b",
	                                   "requests:",
	                                   "requests::",
	                                   "requests:unit",
	                                   "requests:unit:",
	                                   "requests:user:",
	                                   "requests:row:",
	                                   "requests:Unit:7",
	                                   "requests:team:7",
	                                   "requests:unit:7:8",
	                                   "requests:unit:7 ",
	                                   "requests:unit: 7",
	                                   "requests:unit:7,8",
	                                   "requests:user:7,8",
	                                   "requests:unit:%",
	                                   "requests:unit:%2",
	                                   "requests:unit:%2f",
	                                   "requests:unit:%37",
	                                   "requests:unit:%2D",
	                                   "requests:unit:%00",
	                                   "requests:unit:%GG",
	                                   "requests:unit:%FF",
	                                   "requests:unit:%C3",
	                                   "requests:unit:%C3%28",
	                                   "requests:unit:%C0%AF",
	                                   "requests:unit:%E0%80%AF",
	                                   "requests:unit:%ED%A0%80",
	                                   "requests:unit:%F4%90%80%80",
	                                   "requests:unit:%F0%80%80%AF",
	                                   "requests:unit:%80",
	                                   "requests:unit:%E2%82",
	                                   "requests:unit:%E2%82a",
	                                   "requests:unit:a+b",
	                                   "requests:unit:a/b",
	                                   "requests:unit:\xc3\xa9",
	                                   "requests:unit:a\"b",
	                                   "requests*",
	                                   "*",
	                                   "requests:*:*",
	                                   "requests:unit:7\n",
	                                   "orders:row:1;2",
	                                   "orders:row:a b",
	                                   "orders:row:%2c"};
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		is_none(none[i], strlen(none[i]));
	is_none("requests:unit:7\0", 16);
	is_none("requests\0", 9);
	is_none("req\0uests:unit:7", 16);
}

static void test_bounds(void)
{
	char name[CHANNEL_NAME_MAX_BYTES + 2];
	memset(name, 'a', sizeof(name));
	struct channel_name parsed;
	ok(channel_parse(name, CHANNEL_NAME_MAX_BYTES, &parsed), "the longest name");
	ok(!channel_parse(name, CHANNEL_NAME_MAX_BYTES + 1, &parsed), "one byte more is none");
	is_int(channel_key_columns((struct text){"7", 1}), 1, "one column");
	is_int(channel_key_columns((struct text){"7,A%2C1,", 8}), 3, "three columns, an escaped comma is none");
}

/* Every byte string of UTF-8 comes back, under exactly one name. */
static void test_round_trip(void)
{
	char plain[128], encoded[3 * 128 + 16], decoded[3 * 128];
	size_t len = 0, wrong = 0;
	for (int c = 1; c < 128; c++)
		plain[len++] = (char)c;
	memcpy(encoded, "f:unit:", 7);
	size_t encoded_len = channel_encode((struct text){plain, len}, encoded + 7);
	struct channel_name parsed;
	ok(channel_parse(encoded, encoded_len + 7, &parsed), "what channel_encode writes is canonical");
	is_mem(decoded, channel_decode(parsed.value, decoded), plain, len, "and decodes to what it was");
	for (size_t i = 0; i < len; i++) { /* any other way to write one of the characters is refused */
		char other[16];
		int n = snprintf(other, sizeof(other), "f:unit:%%%02X", (unsigned)plain[i]);
		char direct[16] = "f:unit:";
		direct[7] = plain[i];
		if (channel_parse(other, (size_t)n, &parsed) == channel_parse(direct, 8, &parsed))
			wrong++;
	}
	is_int(wrong, 0, "each character has one spelling");
}

static void test_hash(void)
{
	struct text a = {"orders", 6}, seven = {"7", 1}, none = {NULL, 0};
	ok(channel_hash(a, SCOPE_UNIT, seven) == channel_hash((struct text){"orders!", 6}, SCOPE_UNIT, seven),
	   "equal texts, equal hashes");
	ok(channel_hash(a, SCOPE_UNIT, seven) != channel_hash(a, SCOPE_USER, seven), "scopes differ");
	ok(channel_hash(a, SCOPE_FEED, none) != channel_hash(a, SCOPE_UNIT, (struct text){"", 0}), "feed differs");
	ok(channel_hash((struct text){"ab", 2}, SCOPE_UNIT, (struct text){"c", 1}) !=
	       channel_hash((struct text){"a", 1}, SCOPE_UNIT, (struct text){"bc", 2}),
	   "the border between feed and value counts");
	size_t buckets[1024] = {0}, most = 0;
	for (int i = 0; i < 8192; i++) {
		char value[16];
		int n = snprintf(value, sizeof(value), "%d", i);
		size_t b = channel_hash(a, SCOPE_UNIT, (struct text){value, (size_t)n}) % 1024;
		if (++buckets[b] > most)
			most = buckets[b];
	}
	ok(most < 32, "numbers spread over the table (fullest of 1024 has %zu of 8192)", most);
}

int main(void)
{
	test_valid();
	test_invalid();
	test_bounds();
	test_round_trip();
	test_hash();
	return tap_done();
}
