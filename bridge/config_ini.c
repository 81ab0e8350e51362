/*
 * config_ini.c - reads the INI file. What stands in no section, or in another than [livefeed], is an error, not ignored: a
 * setting that one believes to be in force and is not is worse than a bridge that does not start.
 *
 * Values are taken as they stand, without quotes or escapes, trimmed; ; and # inside of one belong to it (passwords).
 */
#include "config_ini.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INI_MAX_BYTES (256 * 1024)
#define INI_SECTION "[livefeed]"

static char *trim(char *text)
{
	char *end;

	while (isspace((unsigned char)*text))
		text++;
	end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return text;
}

/* Always false. */
static bool refuse(char **error, const char *file, size_t line, const char *what)
{
	if (asprintf(error, "%s line %zu: %s", file, line, what) < 0)
		*error = NULL;
	return false;
}

bool ini_parse(char *text, size_t len, const char *file,
               bool (*take)(const char *name, const char *value, size_t line, void *arg), void *arg, char **error)
{
	char *end = text + len;
	bool in_section = false;

	for (size_t line = 1; text < end; line++) {
		char *newline = memchr(text, '\n', (size_t)(end - text)), *next = newline != NULL ? newline + 1 : end;
		char *name, *value;

		if (newline != NULL)
			*newline = '\0';
		if (strlen(text) != (size_t)((newline != NULL ? newline : end) - text))
			return refuse(error, file, line, "it holds a NUL byte");
		name = trim(text);
		text = next;
		if (*name == '\0' || *name == ';' || *name == '#')
			continue;
		if (*name == '[') {
			if (strcmp(name, INI_SECTION) != 0)
				return refuse(error, file, line, "the one section is " INI_SECTION);
			if (in_section)
				return refuse(error, file, line, "section " INI_SECTION " stands there twice");
			in_section = true;
			continue;
		}
		value = strchr(name, '=');
		if (value == NULL)
			return refuse(error, file, line, "want NAME = VALUE, or a comment that begins with ; or #");
		if (!in_section)
			return refuse(error, file, line, "settings stand below " INI_SECTION);
		*value++ = '\0';
		if (!take(trim(name), trim(value), line, arg))
			return false;
	}
	return true;
}

bool ini_read(struct ini_file *ini, const char *file,
              bool (*take)(const char *name, const char *value, size_t line, void *arg), void *arg, char **error)
{
	FILE *in = fopen(file, "re");
	size_t len = 0;

	ini->text = malloc(INI_MAX_BYTES + 1);
	if (in != NULL && ini->text != NULL)
		len = fread(ini->text, 1, INI_MAX_BYTES + 1, in);
	if (in == NULL || ini->text == NULL || ferror(in)) {
		if (asprintf(error, "config file %s cannot be read: %s", file, strerror(errno)) < 0)
			*error = NULL;
		if (in != NULL)
			fclose(in);
		return false;
	}
	fclose(in);
	if (len > INI_MAX_BYTES) {
		if (asprintf(error, "config file %s is longer than %d bytes", file, INI_MAX_BYTES) < 0)
			*error = NULL;
		return false;
	}
	ini->text[len] = '\0';
	return ini_parse(ini->text, len, file, take, arg, error);
}
