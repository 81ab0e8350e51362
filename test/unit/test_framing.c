/*
 * test_framing.c - the frames of a client's bytes: what may be handed on, and where a rule is broken; each stream split at every position.
 */
#include "framing.h"

#include <stdlib.h>

#include "tap.h"

#define M "\1\2\3\4" /* a mask */
#define MAX 1000 /* max_message */

struct stream {
	const char *name;
	const char *bytes;
	size_t len;
	size_t good; /* when it comes at once */
	size_t read;
	int code;
	bool closed;
	uint32_t charged;
};

#define STREAM(name, bytes, good, read, code, closed, charged)                                                         \
	{                                                                                                                  \
		name, bytes, sizeof(bytes) - 1, good, read, code, closed, charged                                              \
	}

static const struct stream streams[] = {
	STREAM("two messages", "\x81\x82" M "xy\x81\x80" M, 14, 14, 0, false, 0),
	STREAM("binary, continued, with a ping between", "\x02\x81" M "x\x89\x80" M "\x80\x81" M "y", 20, 20, 0, false, 2),
	STREAM("a close, and what follows it", "\x88\x82" M "xy\x81\x82" M "xy", 8, 8, 0, true, 1),
	STREAM("an empty close", "\x88\x80" M "\x81", 6, 6, 0, true, 1),
	STREAM("pings and pongs", "\x89\x80" M "\x8a\x81" M "x\x89\x80" M, 19, 19, 0, false, 3),
	STREAM("unmasked", "\x81\x82" M "xy\x81\x02xy", 8, 10, 1002, false, 0),
	STREAM("unmasked close", "\x88\x00", 0, 2, 1002, false, 0),
	STREAM("RSV1, as with compression", "\xc1\x82" M "xy", 0, 1, 1002, false, 0),
	STREAM("RSV2", "\xa1\x82" M "xy", 0, 1, 1002, false, 0),
	STREAM("RSV3", "\x91\x82" M "xy", 0, 1, 1002, false, 0),
	STREAM("opcode 3", "\x83\x80" M, 0, 1, 1002, false, 0),
	STREAM("opcode 7", "\x87\x80" M, 0, 1, 1002, false, 0),
	STREAM("opcode 11", "\x8b\x80" M, 0, 1, 1002, false, 0),
	STREAM("opcode 15", "\x8f\x80" M, 0, 1, 1002, false, 0),
	STREAM("a continuation of nothing", "\x81\x81" M "x\x80\x81" M "y", 7, 8, 1002, false, 0),
	STREAM("a message within a message", "\x01\x81" M "x\x81\x81" M "y", 7, 8, 1002, false, 1),
	STREAM("a ping in fragments", "\x09\x80" M, 0, 1, 1002, false, 0),
	STREAM("a close in fragments", "\x08\x80" M, 0, 1, 1002, false, 0),
	STREAM("a ping of 126 bytes", "\x89\xfe\0\x7e" M, 0, 2, 1002, false, 0),
	STREAM("half a close code", "\x88\x81" M "x", 0, 2, 1002, false, 0),
	STREAM("a length of 2^63", "\x81\xff\x80\0\0\0\0\0\0\0" M, 0, 10, 1002, false, 0),
	STREAM("a length of 2^64 - 1", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" M, 0, 10, 1002, false, 0),
	STREAM("a length of 2^63 - 1", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M, 0, 10, 1009, false, 0),
	STREAM("16 bits for 125", "\x81\xfe\0\x7d" M, 0, 4, 1002, false, 0),
	STREAM("64 bits for 65535", "\x81\xff\0\0\0\0\0\0\xff\xff" M, 0, 10, 1002, false, 0),
	STREAM("a message of 1001", "\x81\xfe\x03\xe9" M, 0, 4, 1009, false, 0),
	STREAM("a message of 2^32", "\x81\xff\0\0\0\1\0\0\0\0" M, 0, 10, 1009, false, 0),
	STREAM("1001 in two fragments", "\x01\x81" M "x\x80\xfe\x03\xe8" M, 7, 11, 1009, false, 1),
	STREAM("empty fragments", "\x01\x80" M "\0\x80" M "\0\x80" M "\x80\x80" M, 24, 24, 0, false, 3),
};

struct result {
	size_t good, read;
	int code;
};

/* In chunks of size bytes, the first of them first long. */
static struct result follow(struct framing *framing, const struct stream *stream, size_t first, size_t size)
{
	struct result result = {0, 0, 0};
	size_t at = 0, len = first;
	while (at < stream->len && result.code == 0 && !framing->closed) {
		size_t good;
		const char *reason;
		len = len < stream->len - at ? len : stream->len - at;
		/* A copy of just these bytes, so that a sanitizer sees what is read beyond. */
		uint8_t *chunk = malloc(len ? len : 1);
		memcpy(chunk, stream->bytes + at, len);
		size_t read = framing_follow(framing, MAX, chunk, len, &good, &result.code, &reason);
		free(chunk);
		if ((result.code != 0) != (reason != NULL) || good > read || read > len ||
		    (read < len && result.code == 0 && !framing->closed)) {
			result.code = -1;
		}
		result.good += good;
		at += read;
		len = size;
	}
	result.read = at;
	return result;
}

static void test_streams(void)
{
	for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
		const struct stream *stream = &streams[i];
		struct framing framing = {0};
		struct result result = follow(&framing, stream, stream->len, stream->len);
		ok(result.code == stream->code && result.read == stream->read && result.good == stream->good &&
		       framing.closed == stream->closed && framing.charged == stream->charged,
		   "%s: code %d, %zu read, %zu good, charged %u", stream->name, result.code, result.read, result.good,
		   framing.charged);
		bool same = true;
		for (size_t first = 0; first <= stream->len; first++) {
			for (size_t size = 1; size <= stream->len; size++) {
				struct framing split = {0};
				struct result other = follow(&split, stream, first, size);
				/* Of a frame that breaks a rule, what came before one could know may have gone on. */
				same = same && other.code == stream->code && other.read == stream->read && other.good >= stream->good &&
				       other.good <= other.read &&
				       (stream->code == 0 ? other.good == stream->good : other.good < other.read) &&
				       split.closed == stream->closed && split.charged == stream->charged;
			}
		}
		ok(same, "%s: however it is split", stream->name);
	}
}

static void test_after(void)
{
	struct framing framing = {0};
	size_t good;
	int code;
	const char *reason;
	uint8_t large[2000] = "\x81\xfe\x07\xc8" M; /* 1992 bytes, with the header 2000 */
	size_t read = framing_follow(&framing, MAX, large, sizeof large, &good, &code, &reason);
	is_int(code, 1009, "too large");
	is_str(reason, "message too large", "it says so");
	framing_follow(&framing, UINT64_MAX, large + read, sizeof large - read, &good, &code, &reason);
	is_int(code, 0, "its payload can be passed over");
	framing_follow(&framing, UINT64_MAX, (const uint8_t *)"\x88\x80" M, 6, &good, &code, &reason);
	ok(framing.closed, "the close behind it is found");

	framing = (struct framing){0};
	framing_follow(&framing, MAX, (const uint8_t *)"\x83", 1, &good, &code, &reason);
	is_int(code, 1002, "broken");
	read = framing_follow(&framing, MAX, large, sizeof large, &good, &code, &reason);
	ok(read == sizeof large && good == 0 && code == 0, "behind what is broken nothing is good");

	/* Noise: never more taken than there is, never stuck. */
	srand(4711);
	bool sane = true;
	for (int round = 0; round < 20000; round++) {
		framing = (struct framing){0};
		uint8_t noise[64];
		for (size_t i = 0; i < sizeof noise; i++) {
			noise[i] = (uint8_t)(rand() >> 7);
		}
		noise[0] = (uint8_t)(0x80 | (rand() & 0x0f));
		noise[1] |= 0x80;
		for (size_t at = 0; at < sizeof noise && !framing.closed;) {
			read = framing_follow(&framing, MAX, noise + at, sizeof noise - at, &good, &code, &reason);
			sane = sane && read > 0 && read <= sizeof noise - at && good <= read;
			at += read;
		}
	}
	ok(sane, "noise");
}

int main(void)
{
	test_streams();
	test_after();
	return tap_done();
}
