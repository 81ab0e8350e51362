/*
 * test_log.c - lines of the log: one an entry, whatever is in it. Reads what reached file descriptor 2.
 */
#include "log.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "jsontext.h"
#include "metrics.h"
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
	{"\xe2\x80\xa8|\xe2\x80\xa9|\xe2\x80\xae|\xe2\x80\x8b|\xe2\x81\xa6|\xef\xbb\xbf",
     "\\u2028|\\u2029|\\u202e|\\u200b|\\u2066|\\ufeff", "\\u2028|\\u2029|\\u202e|\\u200b|\\u2066|\\ufeff"},
	{"\xe2\x80\xa6\xe2\x80\x9c\xe2\x82\xac", "\xe2\x80\xa6\xe2\x80\x9c\xe2\x82\xac",
     "\xe2\x80\xa6\xe2\x80\x9c\xe2\x82\xac"},
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

static void test_fields(void)
{
	static char many[4000];
	struct json_fault fault;
	struct log_field fields[] = {
		{"address", "192.0.2.1"}, {"user", NULL}, {"path", "/a\"b\\c\n\xe2\x80\xa8\xff"}, {NULL, NULL}};

	log_configure("info", "text");
	catch_stderr();
	log_with(LOG_LEVEL_INFO, fields, "said \"%s\"", "x");
	release_stderr();
	is_str(text_line(), "info  said \"x\" address=\"192.0.2.1\" path=\"/a\\\"b\\\\c\\n\\u2028\xef\xbf\xbd\"",
	       "text, values quoted");
	log_configure("info", "json");
	catch_stderr();
	log_with(LOG_LEVEL_INFO, fields, "said \"%s\"", "x");
	log_with(LOG_LEVEL_DEBUG, fields, "not to be seen");
	release_stderr();
	ok(json_check(written, written_len, NULL, 0, &fault), "JSON with fields is JSON");
	is_str(
		strstr(written, "\"message"),
		"\"message\":\"said \\\"x\\\"\",\"address\":\"192.0.2.1\",\"path\":\"/a\\\"b\\\\c\\n\\u2028\xef\xbf\xbd\"}\n",
		"JSON, a member each");

	memset(many, 1, sizeof many - 1);
	struct log_field long_ones[] = {{"a", many}, {"b", many}, {"c", many}, {"d", many}, {"e", many},
	                                {"f", many}, {"g", many}, {"h", many}, {"i", many}, {NULL, NULL}};
	for (int i = 0; i < 2; i++) {
		log_configure("info", i == 0 ? "json" : "text");
		catch_stderr();
		log_with(LOG_LEVEL_INFO, long_ones, "%s%s", many, many);
		release_stderr();
		ok(i == 1 || json_check(written, written_len, NULL, 0, &fault), "the longest there can be is JSON");
		ok(strstr(written, i == 0 ? "...\"," : "...\" ") != NULL, "what is cut shows");
		ok(strchr(written, '\n') == written + written_len - 1, "one line");
	}
}

static int lines_with(const char *text)
{
	int n = 0;
	for (const char *at = written; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

static time_t second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

/* A thousand lines of one topic and one of another, within one second as the log counts them; those it dropped. */
static int log_many(void)
{
	for (int try = 0; try < 100; try++) {
		uint64_t before = metrics.log_lines_dropped;
		time_t began = second();
		while (second() == began)
			usleep(1000);
		began = second();
		catch_stderr();
		for (int i = 0; i < 1000; i++)
			log_bounded(LOG_TOPIC_TOKEN, NULL, "token %d", i);
		log_bounded(LOG_TOPIC_REQUEST, NULL, "another topic");
		release_stderr();
		if (second() == began)
			return (int)(metrics.log_lines_dropped - before);
	}
	return -1;
}

static void test_bounded(void)
{
	log_configure("info", "text");
	int not_logged = log_many();
	is_int(lines_with("token "), LOG_TOPIC_LINES_PER_S, "some are logged, the rest is not");
	is_int(lines_with("another topic"), 1, "another topic has a bound of its own");
	is_int(not_logged, 1000 - LOG_TOPIC_LINES_PER_S, "and counted");
	int dropped = 0;
	for (int i = 0; i < 3000 && dropped == 0; i++) {
		catch_stderr();
		usleep(10000);
		log_tell_dropped();
		release_stderr();
		dropped = lines_with("tokens refused: ");
	}
	is_int(dropped, 1, "in the next second their number is told, once");
	log_configure("debug", "text");
	catch_stderr();
	for (int i = 0; i < 100; i++)
		log_bounded(LOG_TOPIC_TOKEN, NULL, "token %d", i);
	release_stderr();
	is_int(lines_with("token "), 100, "at debug there is no bound");
	log_configure("warn", "text");
	catch_stderr();
	log_bounded(LOG_TOPIC_TOKEN, NULL, "token");
	release_stderr();
	is_int(written_len, 0, "above info there are none");
}

int main(void)
{
	test_lines();
	test_long();
	test_fields();
	test_bounded();
	test_levels();
	return tap_done();
}
