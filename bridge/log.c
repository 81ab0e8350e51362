/*
 * log.c - lines for the operator on stderr: one an entry, as text or JSON.
 *
 * What is logged may hold bytes that a client or a database sent. So control bytes (C1 too: they move terminals) are
 * escaped, what is no UTF-8 is replaced, and the length is bounded: nobody can forge a line or hide one.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "jsontext.h"

#define LOG_MESSAGE_MAX_BYTES 4096
/* Escaping makes at most six bytes of one. */
#define LOG_LINE_MAX_BYTES (6 * LOG_MESSAGE_MAX_BYTES + 128)

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

/* Appends message to line, fit for one line of the format; returns how many bytes that took. */
static size_t escape(char *line, const char *message, size_t len)
{
	size_t to = 0;

	for (size_t at = 0; at < len;) {
		const unsigned char *c = (const unsigned char *)message + at;
		size_t n = utf8_sequence(message + at, len - at);

		if (n == 0) { /* U+FFFD stands for a byte that is no UTF-8 */
			memcpy(line + to, "\xEF\xBF\xBD", 3);
			to += 3;
			at++;
			continue;
		}
		if (n == 1 && (*c < 0x20 || *c == 0x7F)) {
			if (*c == '\n' || *c == '\t')
				to += (size_t)sprintf(line + to, "\\%c", *c == '\n' ? 'n' : 't');
			else
				to += (size_t)sprintf(line + to, "\\u%04x", *c);
		} else if (n == 2 && c[0] == 0xC2 && c[1] < 0xA0) {
			to += (size_t)sprintf(line + to, "\\u%04x", c[1]);
		} else if (log_json && (*c == '"' || *c == '\\')) {
			line[to++] = '\\';
			line[to++] = (char)*c;
		} else {
			memcpy(line + to, c, n);
			to += n;
		}
		at += n;
	}
	return to;
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

void log_line(enum log_level level, const char *format, ...)
{
	static char message[LOG_MESSAGE_MAX_BYTES], line[LOG_LINE_MAX_BYTES];
	va_list arguments;
	int wanted;
	size_t len, at;

	if (!log_enabled(level))
		return;
	va_start(arguments, format);
	wanted = vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	if (wanted < 0)
		return;
	len = (size_t)wanted;
	if (len >= sizeof message)
		len = sizeof message - 1; /* half a character at the cut becomes U+FFFD */

	at = begin_line(line, sizeof line, level);
	at += escape(line + at, message, len);
	if ((size_t)wanted >= sizeof message) {
		memcpy(line + at, "...", 3);
		at += 3;
	}
	if (log_json) {
		memcpy(line + at, "\"}", 2);
		at += 2;
	}
	line[at++] = '\n';
	/* One write a line: lines of several processes on one stderr do not mix. A log that cannot be written is nobody's business. */
	if (write(STDERR_FILENO, line, at) < 0)
		return;
}
