/*
 * fuzz_channel.c - the grammar of channel names (channel.c).
 *
 * Input: a byte that chooses, then a name, or a plain value. A name is taken just if decoding and encoding its value as
 * encodeURIComponent does gives the same name: so no two names are one channel. Any plain value can be written as a
 * channel, which is taken and decoded to that value.
 */
#include "fuzz.h"

#include "channel.h"

/* Decodes leniently (any case, any byte); false: a % without two hex digits. An oracle of its own. */
static bool decode(struct text text, char *to, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < text.len; i++) {
		char digits[3] = {0}, *end;

		if (text.bytes[i] != '%') {
			to[(*len)++] = text.bytes[i];
			continue;
		}
		if (text.len - i < 3)
			return false;
		memcpy(digits, text.bytes + i + 1, 2);
		to[(*len)++] = (char)strtoul(digits, &end, 16);
		if (digits[0] == ' ' || digits[0] == '+' || digits[0] == '-' || digits[0] == '\t' || end != digits + 2)
			return false;
		i += 2;
	}
	return true;
}

/* Is it what encodeURIComponent would write of a text that is not NUL anywhere? Empty is. */
static bool is_encoded(struct text part)
{
	char *plain = malloc(part.len + 1), *again = malloc(3 * part.len + 1);
	size_t len, again_len;
	bool good = decode(part, plain, &len) && memchr(plain, '\0', len) == NULL && utf8_is_valid(plain, len);

	if (good) {
		again_len = channel_encode((struct text){plain, len}, again);
		good = again_len == part.len && (again_len == 0 || memcmp(again, part.bytes, part.len) == 0);
	}
	free(plain);
	free(again);
	return good;
}

static bool is_feed(struct text name)
{
	for (size_t i = 0; i < name.len; i++)
		if (strchr(i == 0 ? "abcdefghijklmnopqrstuvwxyz" : "abcdefghijklmnopqrstuvwxyz0123456789_", name.bytes[i]) ==
		        NULL ||
		    name.bytes[i] == '\0')
			return false;
	return name.len > 0;
}

static bool should_be_taken(struct text name)
{
	const char *colon = name.len > 0 ? memchr(name.bytes, ':', name.len) : NULL;
	struct text feed = {name.bytes, colon != NULL ? (size_t)(colon - name.bytes) : name.len};
	struct text rest = {name.bytes + feed.len, name.len - feed.len};
	bool row;

	if (name.len > CHANNEL_NAME_MAX_BYTES || !is_feed(feed))
		return false;
	if (rest.len == 0)
		return true;
	row = rest.len > 5 && memcmp(rest.bytes, ":row:", 5) == 0;
	if (!row && !(rest.len > 6 && (memcmp(rest.bytes, ":unit:", 6) == 0 || memcmp(rest.bytes, ":user:", 6) == 0)))
		return false;
	rest = (struct text){rest.bytes + (row ? 5 : 6), rest.len - (row ? 5 : 6)};
	while (row) {
		const char *comma = memchr(rest.bytes, ',', rest.len);

		if (comma == NULL)
			break;
		if (!is_encoded((struct text){rest.bytes, (size_t)(comma - rest.bytes)}))
			return false;
		rest = (struct text){comma + 1, rest.len - (size_t)(comma + 1 - rest.bytes)};
	}
	return is_encoded(rest);
}

static void check_name(struct text name)
{
	struct channel_name parsed;
	bool taken = channel_parse(name.bytes, name.len, &parsed);

	MUST(taken == should_be_taken(name));
	if (!taken)
		return;
	MUST(parsed.feed.bytes == name.bytes && (parsed.scope == SCOPE_FEED) == (parsed.value.bytes == NULL));
	if (parsed.value.bytes != NULL) {
		char *key = malloc(parsed.value.len), *again = malloc(3 * parsed.value.len);
		size_t columns = channel_key_columns(parsed.value), len = channel_key(parsed.value, key);

		MUST(len > 0 && len <= parsed.value.len && columns >= 1 && (columns == 1 || parsed.scope == SCOPE_ROW));
		if (columns == 1) { /* the key of events, encoded, is the name again */
			MUST(channel_decode(parsed.value, again) == len && memcmp(again, key, len) == 0);
			MUST(channel_encode((struct text){key, len}, again) == parsed.value.len);
			MUST(memcmp(again, parsed.value.bytes, parsed.value.len) == 0);
		} else {
			MUST(len == parsed.value.len && memcmp(key, parsed.value.bytes, len) == 0);
		}
		free(key);
		free(again);
	}
}

static void check_value(struct text plain)
{
	char *name = malloc(sizeof "f:unit:" + 3 * plain.len), *decoded;
	size_t len = sizeof "f:unit:" - 1;
	struct channel_name parsed;
	bool good = plain.len > 0 && memchr(plain.bytes, '\0', plain.len) == NULL && utf8_is_valid(plain.bytes, plain.len);

	memcpy(name, "f:unit:", len);
	len += channel_encode(plain, name + len);
	good = good && len <= CHANNEL_NAME_MAX_BYTES;
	MUST(channel_parse(name, len, &parsed) == good);
	if (good) {
		decoded = malloc(parsed.value.len);
		MUST(channel_decode(parsed.value, decoded) == plain.len && memcmp(decoded, plain.bytes, plain.len) == 0);
		MUST(channel_hash(parsed.feed, SCOPE_UNIT, plain) ==
		     channel_hash((struct text){"f", 1}, SCOPE_UNIT, (struct text){decoded, plain.len}));
		free(decoded);
	}
	free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	bool name = input_byte(&input) % 4 != 0;
	struct text text = input_rest(&input);
	char *copy = input_copy(text);

	if (name)
		check_name((struct text){copy, text.len});
	else
		check_value((struct text){copy, text.len});
	free(copy);
	return 0;
}
