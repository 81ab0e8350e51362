/*
 * fuzz_log.c - what the operator reads (log.c): any bytes make one line.
 *
 * Input: a message. Written as text and as JSON, it is one line of bounded length, of valid UTF-8, without control bytes; the JSON
 * one is an object, whose message begins as ours did.
 *
 * The log writes to descriptor 2; the linker hands us its write() (Makefile).
 */
#include "fuzz.h"

#include <unistd.h>

#include "log.h"

#define LINE_MAX_BYTES 32768

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);

static char line[LINE_MAX_BYTES];
static size_t line_len, lines;
static bool catching;

ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	if (!catching)
		return __real_write(fd, bytes, len);
	catching = false; /* of a failing check, all is heard */
	MUST(fd == STDERR_FILENO && len <= sizeof line);
	memcpy(line, bytes, len);
	line_len = len;
	lines++;
	catching = true;
	return (ssize_t)len;
}

static void write_line(const char *format, const char *text)
{
	MUST(log_configure("info", format));
	lines = 0;
	catching = true;
	log_info("said: %s", text);
	catching = false;
	MUST(lines == 1 && line_len > 1 && line[line_len - 1] == '\n');
	line_len--;
	MUST(utf8_is_valid(line, line_len));
	for (size_t i = 0; i < line_len; i++) {
		unsigned char c = (unsigned char)line[i];

		MUST(c >= 0x20 && c != 0x7F);
		MUST(c != 0xC2 || (unsigned char)line[i + 1] >= 0xA0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = input_string((struct text){(const char *)data, size});
	size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	struct text value;

	write_line("text", text);
	MUST(plain > 3000 || memmem(line, line_len, text, plain) != NULL);
	write_line("json", text);
	MUST(line[0] == '{' && line[line_len - 1] == '}' && is_json(line, line_len));
	value = json_member((struct text){line, line_len}, "message");
	MUST(value.len >= 8 && memcmp(value.bytes, "\"said: ", 7) == 0);
	MUST(plain > 3000 || memcmp(value.bytes + 7, text, plain) == 0);
	MUST(json_member_is((struct text){line, line_len}, "level", "info"));
	free(text);
	return 0;
}
