/*
 * config_values.h - the kinds of values that settings have: reading, checking and writing them. config.c has the table.
 */
#ifndef LIVEFEED_CONFIG_VALUES_H
#define LIVEFEED_CONFIG_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

/* `10 s`, `500ms`, `15 min`, `24h`, `2 d`; a plain number counts plain_ms each. */
bool value_duration(const char *text, int64_t plain_ms, int64_t *ms);
/* `64KiB`, `1 MiB`, `2GiB`, `512 B`; a plain number is bytes. */
bool value_size(const char *text, int64_t *bytes);
bool value_count(const char *text, int64_t *count);
/* `50/s`, or a plain number. */
bool value_rate(const char *text, int64_t *per_s);

/* The shortest way to write it that reads back the same. */
void value_write_duration(int64_t ms, char *to, size_t size);
void value_write_size(int64_t bytes, char *to, size_t size);

/* What stands between commas, trimmed; nothing gives an empty list. False: out of memory, or an empty item. */
bool value_list(const char *text, struct list *list);
void value_free_list(struct list *list);

/* Of one item each. */
bool value_is_address(const char *text); /* 127.0.0.1:8090, [::1]:8090, unix:/path */
bool value_is_network(const char *text); /* 10.0.0.0/8, 192.0.2.1, ::1, unix */
bool value_is_origin(const char *text); /* https://example.org:8443, or * */
bool value_is_claim(const char *text); /* a name, or a JSON pointer that begins with / */
/* "/" or "/x/y": its closing slash is cut off in place. */
bool value_is_base_path(char *text);

/* The connection string with its passwords replaced by ***, as URI and as key=value; malloc'ed, NULL: out of memory. */
char *value_hide_passwords(const char *dsn);

#endif
