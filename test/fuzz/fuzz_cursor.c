/*
 * fuzz_cursor.c - cursors (cursor_parse of message_out.c).
 *
 * Input: a text. It is taken just if the cursor that was read, written again, is the same text: of each cursor there is one
 * spelling.
 */
#include "fuzz.h"

#include <inttypes.h>

#include "message.h"

#define ID_MAX INT64_C(9007199254740991)

/* By another way than cursor_parse: numbers through libc, the form by printing. */
static bool should_be_taken(const char *text)
{
	char printed[64];
	size_t len = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz");
	long long id;

	if (len == 0 || len > 16 || text[len] != '-' || strlen(text) > 40)
		return false;
	id = strtoll(text + len + 1, NULL, 10);
	snprintf(printed, sizeof printed, "%.*s-%lld", (int)len, text, id);
	return strcmp(printed, text) == 0 && id >= 0 && id <= ID_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = input_string((struct text){(const char *)data, size}), printed[64];
	struct cursor cursor;
	bool taken;

	memset(&cursor, 0xEE, sizeof cursor);
	taken = cursor_parse(text, &cursor);
	MUST(taken == should_be_taken(text));
	if (taken) {
		MUST(memchr(cursor.epoch, '\0', sizeof cursor.epoch) != NULL && cursor.id >= 0 && cursor.id <= ID_MAX);
		snprintf(printed, sizeof printed, "%s-%" PRId64, cursor.epoch, cursor.id);
		MUST(strcmp(printed, text) == 0);
	}
	free(text);
	return 0;
}
