/*
 * config_table.h - the settings table, as config.c (which reads them) and config_show.c (which shows them) see it.
 */
#ifndef LIVEFEED_CONFIG_TABLE_H
#define LIVEFEED_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

enum kind {
	KIND_TEXT,
	KIND_DSN,
	KIND_FILE,
	KIND_DIRECTORY,
	KIND_CLAIM,
	KIND_BASE_PATH,
	KIND_ADDRESS,
	KIND_CHOICE,
	KIND_WORDS, /* from here on lists */
	KIND_ADDRESSES,
	KIND_NETWORKS,
	KIND_ORIGINS,
	KIND_SECONDS, /* from here on numbers; a duration whose plain number counts seconds */
	KIND_MILLISECONDS,
	KIND_SIZE,
	KIND_COUNT,
	KIND_RATE,
};

struct setting {
	const char *flag;
	enum kind kind;
	size_t offset; /* in struct config */
	const char *argument; /* in --help */
	const char *standard; /* the default, as one would write it; NULL: none */
	int64_t min, max; /* of numbers; in milliseconds, bytes */
	const char *help; /* why one would set it */
};

#define MEMBER(name) offsetof(struct config, name)
#define ENVIRONMENT_PREFIX "LIVEFEED_"
#define SETTING_NAME_MAX_BYTES 64

#define SETTINGS_MAX 64
extern const struct setting settings[];
extern const size_t n_settings;

enum source { SOURCE_DEFAULT, SOURCE_INI, SOURCE_ENVIRONMENT, SOURCE_FLAG, N_SOURCES };

struct config_origin {
	enum source source;
	size_t line; /* of the INI file */
};

/* NULL: no such setting. */
const struct setting *setting_find(const char *name, size_t len);
void setting_environment_name(const struct setting *setting, char to[SETTING_NAME_MAX_BYTES]);

/* Where a config keeps a setting, by its kind. */
char **setting_text(const struct config *config, const struct setting *setting);
struct list *setting_list(const struct config *config, const struct setting *setting);
int64_t *setting_number(const struct config *config, const struct setting *setting);
bool setting_is_list(const struct setting *setting);
bool setting_is_number(const struct setting *setting);
/* 0 is written none. */
bool setting_may_be_none(const struct setting *setting);

/* A number of it as one writes it: `64 KiB`. */
void setting_write_number(const struct setting *setting, int64_t number, char *to, size_t size);
/* "flag --listen", "environment variable LIVEFEED_LISTEN", "/etc/livefeed.ini line 3", "default". */
void setting_describe_origin(const struct setting *setting, const struct config_origin *origin, const char *file,
                             char *to, size_t size);

#endif
