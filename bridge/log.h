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
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
