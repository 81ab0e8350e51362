/*
 * config_ini.h - the INI file: `[livefeed]`, then `name = value` lines; comments are lines that begin with ; or #.
 */
#ifndef LIVEFEED_CONFIG_INI_H
#define LIVEFEED_CONFIG_INI_H

#include <stdbool.h>
#include <stddef.h>

struct ini_file {
	char *text; /* malloc'ed; names and values point into it */
};

/*
 * Calls take for each line in order; a false of it ends the reading, *error being its own. False: so, or the file is
 * not one, or not readable: *error is one line, malloc'ed. ini->text is the caller's to free in any case.
 */
bool ini_read(struct ini_file *ini, const char *file,
              bool (*take)(const char *name, const char *value, size_t line, void *arg), void *arg, char **error);

/* The same of text that is in memory already, NUL-terminated at len, and is cut up. file: for messages. */
bool ini_parse(char *text, size_t len, const char *file,
               bool (*take)(const char *name, const char *value, size_t line, void *arg), void *arg, char **error);

#endif
