/*
 * log.c - lines for the operator on stderr: one an entry, as text or JSON.
 *
 * What is logged may hold bytes that a client or a database sent. So control bytes (C1 too: they move terminals), other
 * line separators and marks that turn the direction of text are escaped, what is no UTF-8 is replaced, and the length is
 * bounded: nobody can forge a line or hide one. What clients can make happen as often as they like is bounded in lines a
 * second, too, and the rest is counted: nobody can bury the others' lines, or fill the disk.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "metrics.h"
#include "visible.h"

#define LOG_MESSAGE_MAX_BYTES 4096
#define LOG_VALUE_MAX_BYTES 512
#define LOG_NAME_MAX_BYTES 32
#define LOG_FIELDS_MAX 8
/* Escaping makes at most six bytes of one. */
#define LOG_LINE_MAX_BYTES                                                                                             \
	(6 * (LOG_MESSAGE_MAX_BYTES + LOG_FIELDS_MAX * (LOG_VALUE_MAX_BYTES + LOG_NAME_MAX_BYTES)) + 256)

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static enum log_level log_threshold = LOG_LEVEL_INFO;
static bool log_json;

bool log_configure(const char *level, const char *format)
{
	bool json = strcmp(format, "json") == 0;

	if (!json && strcmp(format, "text") != 0)
		return false;
	for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
		if (strcmp(level, level_names[i]) == 0) {
			log_threshold = (enum log_level)i;
			log_json = json;
			return true;
		}
	}
	return false;
}

bool log_enabled(enum log_level level)
{
	return level <= log_threshold;
}

/* At most max bytes of text, cut between two characters; what was cut shows. */
static size_t put(char *line, const char *text, size_t len, size_t max, bool quoted)
{
	bool cut = len > max;
	size_t to;

	if (cut) {
		len = max;
		/* Not through a character: at most three bytes of one that goes on behind the cut are left out. */
		for (int i = 0; i < 3 && len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80; i++)
			len--;
	}
	to = visible_escape(line, text, len, quoted);
	if (cut) {
		memcpy(line + to, "...", 3);
		to += 3;
	}
	return to;
}

/* JSON: ,"name":"value"; text: name="value" with a space before. */
static size_t put_field(char *line, const struct log_field *field)
{
	size_t at = (size_t)sprintf(line, log_json ? ",\"%.*s\":\"" : " %.*s=\"", LOG_NAME_MAX_BYTES - 8, field->name);

	at += put(line + at, field->value, strlen(field->value), LOG_VALUE_MAX_BYTES, true);
	line[at++] = '"';
	return at;
}

static size_t begin_line(char *line, size_t size, enum log_level level)
{
	struct timeval now;
	struct tm utc;
	char at[32];

	gettimeofday(&now, NULL);
	gmtime_r(&now.tv_sec, &utc);
	strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &utc);
	if (log_json)
		return (size_t)snprintf(line, size, "{\"at\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"", at,
		                        (int)(now.tv_usec / 1000), level_names[level]);
	return (size_t)snprintf(line, size, "%s.%03dZ %-5s ", at, (int)(now.tv_usec / 1000), level_names[level]);
}

static void log_message(enum log_level level, const struct log_field *fields, const char *format, va_list arguments)
{
	static char message[LOG_MESSAGE_MAX_BYTES + 1], line[LOG_LINE_MAX_BYTES];
	int wanted = vsnprintf(message, sizeof message, format, arguments);
	size_t at;

	if (wanted < 0)
		return;
	at = begin_line(line, sizeof line, level);
	/* One byte more than is shown tells that there was more. */
	at += put(line + at, message, strlen(message), LOG_MESSAGE_MAX_BYTES - 1, log_json);
	if (log_json)
		line[at++] = '"';
	for (int i = 0; fields && fields[i].name && i < LOG_FIELDS_MAX; i++)
		if (fields[i].value)
			at += put_field(line + at, &fields[i]);
	if (log_json)
		line[at++] = '}';
	line[at++] = '\n';
	/* One write a line: lines of several processes on one stderr do not mix. A log that cannot be written is nobody's business. */
	if (write(STDERR_FILENO, line, at) < 0)
		return;
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list arguments;

	if (!log_enabled(level))
		return;
	va_start(arguments, format);
	log_message(level, NULL, format, arguments);
	va_end(arguments);
}

void log_with(enum log_level level, const struct log_field *fields, const char *format, ...)
{
	va_list arguments;

	if (!log_enabled(level))
		return;
	va_start(arguments, format);
	log_message(level, fields, format, arguments);
	va_end(arguments);
}

/* ---- lines of which there may be many */

static const char *const topic_names[LOG_TOPICS] = {
	[LOG_TOPIC_COMMAND] = "commands that failed", [LOG_TOPIC_TOKEN] = "tokens refused",
	[LOG_TOPIC_REQUEST] = "requests refused",     [LOG_TOPIC_SESSION] = "sessions closed",
	[LOG_TOPIC_QUERY] = "queries failed",
};

static struct {
	time_t second;
	uint64_t lines, dropped;
} topics[LOG_TOPICS];

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

static void turn_second(enum log_topic topic, time_t now)
{
	uint64_t dropped = topics[topic].dropped;

	if (topics[topic].second == now)
		return;
	topics[topic].second = now;
	topics[topic].lines = topics[topic].dropped = 0;
	if (dropped > 0)
		log_info("%s: %llu more that are not listed", topic_names[topic], (unsigned long long)dropped);
}

void log_tell_dropped(void)
{
	time_t now = now_s();

	for (int i = 0; i < LOG_TOPICS; i++)
		if (topics[i].dropped > 0)
			turn_second((enum log_topic)i, now);
}

void log_bounded(enum log_topic topic, const struct log_field *fields, const char *format, ...)
{
	va_list arguments;

	if (!log_enabled(LOG_LEVEL_INFO))
		return;
	turn_second(topic, now_s());
	if (topics[topic].lines >= LOG_TOPIC_LINES_PER_S && !log_enabled(LOG_LEVEL_DEBUG)) {
		topics[topic].dropped++;
		metrics.log_lines_dropped++;
		return;
	}
	topics[topic].lines++;
	va_start(arguments, format);
	log_message(LOG_LEVEL_INFO, fields, format, arguments);
	va_end(arguments);
}
