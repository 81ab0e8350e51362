/*
 * test_log.c - lines of the log: one an entry, whatever is in it. Reads what reached file descriptor 2.
 */
#include "log.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#include "jsontext.h"
#include "tap.h"

static char written[65536];
static size_t written_len;
static int saved;
static FILE *caught;

static void catch_stderr(void)
{
	caught = tmpfile();
	saved = dup(STDERR_FILENO);
	dup2(fileno(caught), STDERR_FILENO);
}

static void release_stderr(void)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(caught);
	written_len = fread(written, 1, sizeof written - 1, caught);
	written[written_len] = '\0';
	fclose(caught);
}

/* The line without its time; NULL: not one line with a time. */
static const char *text_line(void)
{
	static const char pattern[] = "0000-00-00T00:00:00.000Z ";

	for (size_t i = 0; i < sizeof pattern - 1; i++)
		if (pattern[i] == '0' ? !isdigit((unsigned char)written[i]) : written[i] != pattern[i])
			return NULL;
	if (written_len < sizeof pattern || written[written_len - 1] != '\n' ||
	    memchr(written, '\n', written_len - 1) != NULL)
		return NULL;
	written[written_len - 1] = '\0';
	return written + sizeof pattern - 1;
}

struct line_case {
	const char *message, *text, *json;
};

static const struct line_case cases[] = {
	{"plain", "plain", "plain"},
	{"a \"quoted\" \\ word", "a \"quoted\" \\ word", "a \\\"quoted\\\" \\\\ word"},
	{"two\nlines\r\tand\x1b[31mred", "two\\nlines\\u000d\\tand\\u001b[31mred",
     "two\\nlines\\u000d\\tand\\u001b[31mred"},
	{"\x01\x1f\x7f", "\\u0001\\u001f\\u007f", "\\u0001\\u001f\\u007f"},
	{"\xc2\x9b"
     "31m \xc2\x85",
     "\\u009b31m \\u0085", "\\u009b31m \\u0085"},
	{"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
     "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
	{"\xff|\xc3|\xed\xa0\x80", "\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
     "\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
	{"", "", ""},
};

static void test_lines(void)
{
	struct json_fault fault;
	char want[256];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ok(log_configure("info", "text"), "text");
		catch_stderr();
		log_warn("%s", cases[i].message);
		release_stderr();
		snprintf(want, sizeof want, "warn  %s", cases[i].text);
		is_str(text_line(), want, "text line %zu", i);

		ok(log_configure("info", "json"), "json");
		catch_stderr();
		log_error("%s", cases[i].message);
		release_stderr();
		ok(json_check(written, written_len, NULL, 0, &fault), "JSON line %zu is JSON", i);
		snprintf(want, sizeof want, "Z\",\"level\":\"error\",\"message\":\"%s\"}\n", cases[i].json);
		is_str(strstr(written, "Z\""), want, "JSON line %zu", i);
	}
}

static void test_long(void)
{
	static char text[20000], bytes[20000];
	struct json_fault fault;
	const char *line;

	for (size_t i = 0; i < sizeof text - 2; i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	memset(bytes, 1, sizeof bytes - 1);
	log_configure("info", "text");
	catch_stderr();
	log_info("x%s", text);
	release_stderr();
	line = text_line();
	ok(line != NULL && strlen(line) < 4200 && strcmp(line + strlen(line) - 3, "...") == 0,
	   "a long line is cut, and says so");
	ok(utf8_is_valid(line, strlen(line)), "and stays UTF-8");
	log_configure("info", "json");
	catch_stderr();
	log_info("%s", bytes);
	release_stderr();
	ok(json_check(written, written_len, NULL, 0, &fault), "the longest line there can be is JSON");
}

static void test_levels(void)
{
	ok(!log_configure("loud", "text"), "no such level");
	ok(!log_configure("info", "xml"), "no such format");
	ok(!log_configure("", ""), "empty ones");
	ok(log_configure("warn", "text"), "warn");
	ok(log_enabled(LOG_LEVEL_ERROR) && log_enabled(LOG_LEVEL_WARN), "errors and warnings");
	ok(!log_enabled(LOG_LEVEL_INFO) && !log_enabled(LOG_LEVEL_DEBUG), "nothing else");
	catch_stderr();
	log_info("not to be seen");
	log_debug("nor this");
	release_stderr();
	is_int(written_len, 0, "nothing is written");
	log_configure("debug", "text");
	catch_stderr();
	log_debug("%d", 7);
	release_stderr();
	is_str(text_line(), "debug 7", "debug");
}

int main(void)
{
	test_lines();
	test_long();
	test_levels();
	return tap_done();
}
