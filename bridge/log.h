/*
 * log.h - lines to stderr, text or JSON, one line an entry, control bytes escaped, never a token.
 */
#ifndef LIVEFEED_LOG_H
#define LIVEFEED_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

bool log_configure(const char *level, const char *format);
bool log_enabled(enum log_level level);
/* A sentence for the operator: what happened and, where there is something, what to do about it. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * The same with what it is about, each as a member of the JSON object or as NAME="VALUE" behind the text. The last has no
 * name; one without value is left out. Values may hold anything.
 */
struct log_field {
	const char *name, *value;
};
void log_with(enum log_level level, const struct log_field *fields, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * What a client can make happen as often as it likes, at level info: LOG_TOPIC_LINES_PER_S of each topic, of the others
 * their number alone. At level debug all are logged.
 */
#define LOG_TOPIC_LINES_PER_S 20
enum log_topic {
	LOG_TOPIC_TOKEN,
	LOG_TOPIC_REQUEST,
	LOG_TOPIC_SESSION,
	LOG_TOPIC_QUERY,
	LOG_TOPIC_COMMAND,
	LOG_TOPICS
};
void log_bounded(enum log_topic topic, const struct log_field *fields, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Once a second: how many were not logged. */
void log_tell_dropped(void);
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
