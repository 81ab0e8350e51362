/*
 * config.c - reads the settings: collects texts from flags, environment and INI file, then reads each setting from the first
 * source that has it (flag, environment, INI file, default; the table is in config_table.c).
 *
 * Each problem is one line that names setting and source and says what would be right.
 */
#include "config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_ini.h"
#include "config_table.h"
#include "config_values.h"
#include "log.h"

/* The texts of all sources before they are read; NULL: not given there. Borrowed. */
struct texts {
	const char *of[N_SOURCES][SETTINGS_MAX];
	size_t lines[SETTINGS_MAX];
	const char *file; /* the INI file's name */
};

/* Makes *error, one line whatever is in it. Always false. */
__attribute__((format(printf, 2, 3))) static bool complain(char **error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(error, format, arguments) < 0)
		*error = NULL;
	va_end(arguments);
	for (char *c = *error; c != NULL && *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7F)
			*c = '?';
	return false;
}

/* ---- from text to value */

/* What would be right, for an error line. */
static void describe_kind(const struct setting *setting, char *to, size_t size)
{
	static const char *const words[] = {
		[KIND_TEXT] = "a text",
		[KIND_DSN] = "a connection string",
		[KIND_FILE] = "a file that can be read",
		[KIND_DIRECTORY] = "a folder that can be read",
		[KIND_CLAIM] = "a claim's name, or a JSON pointer such as /app_metadata/units",
		[KIND_BASE_PATH] = "a path such as / or /live, of letters, digits and - . _ ~",
		[KIND_ADDRESS] = "ADDRESS:PORT such as 127.0.0.1:8090 or [::1]:8090, or unix:/path",
		[KIND_CHOICE] = NULL,
		[KIND_WORDS] = "words with commas between them",
		[KIND_ADDRESSES] = "ADDRESS:PORT such as 127.0.0.1:8090 or [::1]:8090, or unix:/path; several with commas",
		[KIND_NETWORKS] = "addresses, networks such as 10.0.0.0/8, or unix, with commas between them",
		[KIND_ORIGINS] = "origins such as https://example.org:8443, with commas between them, or *",
		[KIND_SECONDS] = "a time such as 500ms, 10 s, 15 min or 24h (a plain number is seconds)",
		[KIND_MILLISECONDS] = "a time such as 5 ms or 1 s (a plain number is milliseconds)",
		[KIND_SIZE] = "a size such as 64KiB or 1 MiB (a plain number is bytes)",
		[KIND_COUNT] = "a whole number",
		[KIND_RATE] = "a rate such as 50/s",
	};
	char low[32], high[32];

	if (setting->kind == KIND_CHOICE) {
		snprintf(to, size, "one of %s", setting->argument);
	} else if (!setting_is_number(setting)) {
		snprintf(to, size, "%s", words[setting->kind]);
	} else {
		setting_write_number(setting, setting->min, low, sizeof low);
		setting_write_number(setting, setting->max, high, sizeof high);
		snprintf(to, size, "%s, from %s to %s%s", words[setting->kind], low, high,
		         setting_may_be_none(setting) ? ", or none" : "");
	}
}

static bool is_choice(const char *choices, const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && *choices != '\0') {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, text, n) == 0)
			return true;
		choices += n + (choices[n] == '|');
	}
	return false;
}

static bool read_text(const struct setting *setting, char *text)
{
	struct stat entry;

	switch (setting->kind) {
	case KIND_FILE:
		return access(text, R_OK) == 0 && stat(text, &entry) == 0 && !S_ISDIR(entry.st_mode);
	case KIND_DIRECTORY:
		return access(text, R_OK | X_OK) == 0 && stat(text, &entry) == 0 && S_ISDIR(entry.st_mode);
	case KIND_CLAIM:
		return value_is_claim(text);
	case KIND_BASE_PATH:
		return value_is_base_path(text);
	case KIND_ADDRESS:
		return value_is_address(text);
	case KIND_CHOICE:
		return is_choice(setting->argument, text);
	default:
		return true;
	}
}

static bool read_list(const struct setting *setting, const char *text, struct list *list)
{
	bool (*good)(const char *) = setting->kind == KIND_ADDRESSES  ? value_is_address
	                             : setting->kind == KIND_NETWORKS ? value_is_network
	                             : setting->kind == KIND_ORIGINS  ? value_is_origin
	                                                              : NULL;

	if (!value_list(text, list))
		return false;
	for (size_t i = 0; good != NULL && i < list->n; i++)
		if (!good(list->items[i]))
			return false;
	return list->n > 0 || setting->kind != KIND_ADDRESSES;
}

static bool read_number(const struct setting *setting, const char *text, int64_t *number)
{
	bool good;

	if (setting_may_be_none(setting) && strcmp(text, "none") == 0) {
		*number = 0;
		return true;
	}
	switch (setting->kind) {
	case KIND_SECONDS:
		good = value_duration(text, 1000, number);
		break;
	case KIND_MILLISECONDS:
		good = value_duration(text, 1, number);
		break;
	case KIND_SIZE:
		good = value_size(text, number);
		break;
	case KIND_RATE:
		good = value_rate(text, number);
		break;
	default:
		good = value_count(text, number);
	}
	return good && *number >= setting->min && *number <= setting->max;
}

/* Nothing for a text, and for what has no default, means none. */
static bool read_value(struct config *config, const struct setting *setting, const char *text)
{
	char *copy;

	if (setting_is_number(setting))
		return read_number(setting, text, setting_number(config, setting));
	if (setting_is_list(setting))
		return read_list(setting, text, setting_list(config, setting));
	if (*text == '\0' && setting->standard == NULL)
		return true;
	copy = strdup(text);
	*setting_text(config, setting) = copy;
	return copy != NULL && *copy != '\0' && read_text(setting, copy);
}

static bool take_value(struct config *config, size_t index, const struct texts *texts, char **error)
{
	const struct setting *setting = &settings[index];
	struct config_origin *origin = &config->origins[index];
	char where[512], want[256];
	const char *text = setting->standard;

	for (int source = SOURCE_FLAG; source > SOURCE_DEFAULT; source--) {
		if (texts->of[source][index] == NULL)
			continue;
		text = texts->of[source][index];
		*origin = (struct config_origin){(enum source)source, texts->lines[index]};
		break;
	}
	if (text == NULL || read_value(config, setting, text))
		return true;
	setting_describe_origin(setting, origin, texts->file, where, sizeof where);
	describe_kind(setting, want, sizeof want);
	return complain(error, "%s = \"%.80s\" (%s): want %s", setting->flag, setting->kind == KIND_DSN ? "..." : text,
	                where, want);
}

/* ---- collecting */

static void take_environment(char **envp, struct texts *texts)
{
	for (; *envp != NULL; envp++) {
		const char *equals = strchr(*envp, '=');
		char name[SETTING_NAME_MAX_BYTES];
		size_t i;

		if (equals == NULL || strncmp(*envp, ENVIRONMENT_PREFIX, strlen(ENVIRONMENT_PREFIX)) != 0)
			continue;
		for (i = 0; i < n_settings; i++) {
			setting_environment_name(&settings[i], name);
			if (strlen(name) == (size_t)(equals - *envp) && memcmp(name, *envp, strlen(name)) == 0)
				break;
		}
		if (i == n_settings)
			log_warn("environment variable %.*s is no setting of the bridge (see --help)", (int)(equals - *envp),
			         *envp);
		else
			texts->of[SOURCE_ENVIRONMENT][i] = equals + 1;
	}
}

struct ini_reader {
	struct texts *texts;
	char **error;
};

static bool take_ini(const char *name, const char *value, size_t line, void *arg)
{
	struct ini_reader *reader = arg;
	const struct setting *setting = setting_find(name, strlen(name));
	size_t index;

	if (setting == NULL || setting->offset == MEMBER(config_file)) {
		return complain(reader->error, "%s line %zu: no such setting: %.80s (--help lists them)", reader->texts->file,
		                line, name);
	}
	index = (size_t)(setting - settings);
	if (reader->texts->of[SOURCE_INI][index] != NULL)
		return complain(reader->error, "%s line %zu: %s stands in line %zu already", reader->texts->file, line, name,
		                reader->texts->lines[index]);
	reader->texts->of[SOURCE_INI][index] = value;
	reader->texts->lines[index] = line;
	return true;
}

static bool take_flag(int argc, char **argv, int *at, struct texts *texts, char **error)
{
	const char *name = argv[*at] + 2, *equals = strchr(name, '='), *value;
	size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
	const struct setting *setting = setting_find(name, len);

	if (setting == NULL)
		return complain(error, "no such flag: %.80s (--help lists them)", argv[*at]);
	if (equals != NULL)
		value = equals + 1;
	else if (*at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
		value = argv[++*at];
	else
		return complain(error, "--%s needs a value: --%s %s", setting->flag, setting->flag, setting->argument);
	if (texts->of[SOURCE_FLAG][setting - settings] != NULL)
		return complain(error, "--%s is given twice%s", setting->flag,
		                setting_is_list(setting) ? "; one flag takes several with commas" : "");
	texts->of[SOURCE_FLAG][setting - settings] = value;
	return true;
}

/* A flag of the subcommand tail; false: it is none, or *error. */
static bool take_tail_flag(int argc, char **argv, int *at, struct config_tail *tail, char **error)
{
	const char *flag = argv[*at];

	if (strcmp(flag, "--json") == 0)
		tail->json = true;
	else if (strcmp(flag, "--snapshot") == 0)
		tail->snapshot = true;
	else if (strncmp(flag, "--since=", 8) == 0)
		tail->since = flag + 8;
	else if (strcmp(flag, "--since") == 0 && *at + 1 < argc)
		tail->since = argv[++*at];
	else if (strcmp(flag, "--since") == 0)
		return complain(error, "--since needs a value: a cursor such as 6f3a91c2-1042, or a time such as 10min");
	else
		return false;
	return true;
}

static bool is_tail_used(const struct config_tail *tail)
{
	return tail->since != NULL || tail->snapshot || tail->json;
}

/* What stands behind the flags: a subcommand, or nothing. */
static bool take_command(int argc, char **argv, int at, const struct config_tail *tail, enum config_command *command,
                         int *rest, char **error)
{
	*rest = argc;
	if (at < argc && strcmp(argv[at], "--") == 0)
		at++;
	if (at < argc && strcmp(argv[at], "tail") == 0) {
		*command = COMMAND_TAIL;
		*rest = at + 1;
		if (*rest < argc && strcmp(argv[*rest], "--") == 0)
			++*rest;
		return *rest < argc || complain(error, "tail needs a channel: tail CHANNEL...");
	}
	if (is_tail_used(tail))
		return complain(error, "--since, --snapshot and --json are for: tail CHANNEL...");
	if (at < argc && strcmp(argv[at], "doctor") == 0) {
		*command = COMMAND_DOCTOR;
		at++;
	}
	return at == argc ||
	       complain(error, "unexpected argument: %.80s (want flags, and doctor or tail CHANNEL...)", argv[at]);
}

/* Reads the command line; of `tail`, moves the channels to the end. */
static bool take_arguments(int argc, char **argv, struct texts *texts, struct config_tail *tail,
                           enum config_command *command, int *rest, char **error)
{
	char **others = calloc((size_t)argc + 1, sizeof *others);
	int n_others = 0, to = 1;
	bool good = others != NULL, flags = true;

	*command = COMMAND_RUN;
	for (int at = 1; good && at < argc; at++) {
		int from = at;

		if (flags && strcmp(argv[at], "--") == 0) {
			flags = false;
			others[n_others++] = argv[at];
			continue;
		}
		if (!flags || argv[at][0] != '-') {
			others[n_others++] = argv[at];
			continue;
		}
		if (strcmp(argv[at], "--check") == 0)
			*command = COMMAND_CHECK;
		else if (strcmp(argv[at], "--print-config") == 0)
			*command = COMMAND_PRINT_CONFIG;
		else if (take_tail_flag(argc, argv, &at, tail, error))
			;
		else if (*error != NULL)
			good = false;
		else if (argv[at][1] != '-')
			good = complain(error, "no such flag: %.80s (--help lists them)", argv[at]);
		else
			good = take_flag(argc, argv, &at, texts, error);
		while (from <= at)
			argv[to++] = argv[from++];
	}
	for (int i = 0; good && i < n_others; i++)
		argv[to + i] = others[i];
	free(others);
	return good && take_command(argc, argv, to, tail, command, rest, error);
}

/* What holds between settings. */
static bool check_together(const struct config *config, char **error)
{
	if ((config->tls_cert == NULL) != (config->tls_key == NULL))
		return complain(error, "%s is set without %s: TLS needs both",
		                config->tls_cert != NULL ? "tls-cert" : "tls-key",
		                config->tls_cert != NULL ? "tls-key" : "tls-cert");
	return true;
}

/* --help and --version count wherever they stand, whatever else is wrong. */
static bool is_question(int argc, char **argv, enum config_command *command)
{
	for (int at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
			*command = COMMAND_HELP;
		else if (strcmp(argv[at], "--version") == 0)
			*command = COMMAND_VERSION;
		else
			continue;
		return true;
	}
	return false;
}

/* Fills texts. The INI file's name is itself a setting, taken first. */
static bool collect(struct config *config, int argc, char **argv, char **envp, struct texts *texts,
                    struct ini_file *ini, enum config_command *command, int *rest, char **error)
{
	struct ini_reader reader = {texts, error};

	if (!take_arguments(argc, argv, texts, &config->tail, command, rest, error))
		return false;
	take_environment(envp, texts);
	if (!take_value(config, (size_t)(setting_find("config", 6) - settings), texts, error))
		return false;
	texts->file = config->config_file;
	return texts->file == NULL || ini_read(ini, texts->file, take_ini, &reader, error);
}

static bool load(struct config *config, int argc, char **argv, char **envp, struct texts *texts, struct ini_file *ini,
                 enum config_command *command, int *rest, char **error)
{
	*rest = argc;
	if (!is_question(argc, argv, command) && !collect(config, argc, argv, envp, texts, ini, command, rest, error))
		return false;
	for (size_t i = 0; i < n_settings; i++)
		if (settings[i].offset != MEMBER(config_file) && !take_value(config, i, texts, error))
			return false;
	return check_together(config, error);
}

struct config *config_load(int argc, char **argv, char **envp, enum config_command *command, int *rest, char **error)
{
	struct config *config = calloc(1, sizeof *config);
	struct texts texts;
	struct ini_file ini = {.text = NULL};
	bool good = false;

	*error = NULL;
	memset(&texts, 0, sizeof texts);
	if (config != NULL && (config->origins = calloc(n_settings, sizeof *config->origins)) != NULL)
		good = load(config, argc, argv, envp, &texts, &ini, command, rest, error);
	free(ini.text);
	if (good)
		return config;
	config_free(config);
	if (*error == NULL)
		*error = strdup("out of memory");
	return NULL;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < n_settings; i++) {
		if (!setting_is_list(&settings[i]) && !setting_is_number(&settings[i]))
			free(*setting_text(config, &settings[i]));
		else if (setting_is_list(&settings[i]))
			value_free_list(setting_list(config, &settings[i]));
	}
	free(config->origins);
	free(config);
}
