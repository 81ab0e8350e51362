/*
 * fuzz_ini.c - the INI file (config_ini.c) and the settings that are read from it (config.c, config_values.c).
 *
 * Input: an INI file. It gives a configuration, or one line that says what is wrong, as a NUL always is. A configuration that was taken can
 * be printed, and what was printed, as an INI file, gives the same configuration; numbers are within their bounds.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "config_table.h"

static struct config *load(const char *text, size_t len, char **error)
{
	int fd = memfd_create("ini", 0), rest;
	char flag[64], name[] = "livefeed-bridge", *argv[] = {name, flag, NULL}, *envp[] = {NULL};
	enum config_command command;
	struct config *config;

	MUST(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	snprintf(flag, sizeof flag, "--config=/proc/self/fd/%d", fd);
	config = config_load(2, argv, envp, &command, &rest, error);
	close(fd);
	MUST((config == NULL) == (*error != NULL));
	return config;
}

static bool is_shown_whole(const struct setting *setting)
{
	return setting->kind != KIND_DSN && strcmp(setting->flag, "config") != 0;
}

/* The settings as an INI file, from --print-config's lines without the origins. */
static char *print(const struct config *config, size_t *len)
{
	char *text = NULL, *printed = NULL;
	size_t printed_len;
	FILE *out = open_memstream(&text, len), *lines = open_memstream(&printed, &printed_len);

	config_print(config, lines);
	fclose(lines);
	fputs("[livefeed]\n", out);
	char *line = printed;
	for (size_t i = 0; i < n_settings; i++) {
		char *end = strchr(line, '\n'), *origin;

		MUST(end != NULL && strncmp(line, settings[i].flag, strlen(settings[i].flag)) == 0);
		*end = '\0';
		origin = strstr(line, "  (");
		for (char *next; origin != NULL && (next = strstr(origin + 1, "  (")) != NULL;)
			origin = next;
		MUST(origin != NULL && end[-1] == ')');
		*origin = '\0';
		if (is_shown_whole(&settings[i]))
			fprintf(out, "%s\n", line);
		line = end + 1;
	}
	MUST(*line == '\0');
	fclose(out);
	free(printed);
	return text;
}

static void check_config(const struct config *config)
{
	size_t len, again_len;
	char *text = print(config, &len), *again_text, *error;
	struct config *again;

	for (size_t i = 0; i < n_settings; i++)
		if (setting_is_number(&settings[i])) {
			int64_t number = *setting_number(config, &settings[i]);

			MUST((number >= settings[i].min && number <= settings[i].max) ||
			     (number == 0 && setting_may_be_none(&settings[i])));
		}
	again = load(text, len, &error);
	if (again == NULL)
		fprintf(stderr, "%s\n%s\n", error, text);
	MUST(again != NULL);
	again_text = print(again, &again_len);
	MUST(len == again_len && memcmp(text, again_text, len) == 0);
	config_free(again);
	free(again_text);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *error = NULL;
	struct config *config = load((const char *)data, size, &error);

	if (config == NULL) {
		MUST(*error != '\0' && strlen(error) < 600);
		for (const char *c = error; *c != '\0'; c++)
			MUST((unsigned char)*c >= 0x20 && *c != 0x7F);
	} else {
		MUST(memchr(data, '\0', size) == NULL);
		check_config(config);
	}
	config_free(config);
	free(error);
	return 0;
}
