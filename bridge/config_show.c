/*
 * config_show.c - the settings as --help and --print-config show them.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "config_table.h"
#include "config_values.h"

#define HELP_COLUMN 38
#define HELP_WIDTH 110

/* Prints text from HELP_COLUMN on, broken at spaces; the cursor stands at column. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	while (*text != '\0') {
		size_t word = strcspn(text, " ");

		if (column > HELP_COLUMN && column + 1 + (int)word > HELP_WIDTH) {
			fputc('\n', out);
			column = 0;
		}
		if (column < HELP_COLUMN)
			column += fprintf(out, "%*s", HELP_COLUMN - column, "");
		else if (column > HELP_COLUMN)
			column += fprintf(out, " ");
		column += fprintf(out, "%.*s", (int)word, text);
		text += word + (text[word] == ' ');
	}
	fputc('\n', out);
}

void config_print_help(FILE *out)
{
	fputs(
		"livefeed-bridge " LIVEFEED_VERSION ": committed changes of a PostgreSQL database, live to browsers\n\n"
		"Usage:\n"
		"  livefeed-bridge [FLAG]...                   serve\n"
		"  livefeed-bridge [FLAG]... --check           verify config, keys, database and extension, and exit\n"
		"  livefeed-bridge [FLAG]... --print-config    show what is in force and where it came from, and exit\n"
		"  livefeed-bridge [FLAG]... doctor            a page of advice: what is wrong, what it means, what cures it\n"
		"  livefeed-bridge [FLAG]... tail CHANNEL...   print what channels bring, with the database's rights\n"
		"  livefeed-bridge --help | --version\n\n"
		"tail: frames as a client would get them, until Ctrl-C; coloured in a terminal (not with NO_COLOR), else a "
		"line\n"
		"of JSON each. No right is asked for but those of the database's role.\n"
		"  --since CURSOR or TIME      from there on: 6f3a91c2-1042, or 10min for the last ten minutes\n"
		"  --snapshot                  first what the channel holds now\n"
		"  --json                      lines of JSON in a terminal, too\n\n"
		"doctor: exit status 0 where nothing is wrong, 3 with warnings, 1 with problems.\n\n"
		"A flag counts before its environment variable, that before the INI file (--config), that before the "
		"default.\n\n"
		"Settings:\n",
		out);
	for (size_t i = 0; i < n_settings; i++) {
		char name[SETTING_NAME_MAX_BYTES], line[128];
		int column = fprintf(out, "  --%s %s ", settings[i].flag, settings[i].argument);

		if (column > HELP_COLUMN) {
			fputc('\n', out);
			column = 0;
		}
		print_wrapped(out, settings[i].help, column);
		setting_environment_name(&settings[i], name);
		snprintf(line, sizeof line, "[%s, default %s]", name,
		         settings[i].standard != NULL ? settings[i].standard : "none");
		print_wrapped(out, line, 0);
	}
	fputs("\nSIGHUP reads everything again; SIGTERM and SIGINT end it. Exit status: 0 stopped on request, 1 failed "
	      "while\n"
	      "running, 2 bad usage or config.\n",
	      out);
}

static void print_value(const struct config *config, const struct setting *setting, FILE *out)
{
	const struct list *list;
	char number[64], *hidden;

	if (setting_is_number(setting)) {
		if (setting_may_be_none(setting) && *setting_number(config, setting) == 0)
			fputs("none", out);
		else {
			setting_write_number(setting, *setting_number(config, setting), number, sizeof number);
			fputs(number, out);
		}
	} else if (setting_is_list(setting)) {
		list = setting_list(config, setting);
		for (size_t i = 0; i < list->n; i++)
			fprintf(out, "%s%s", i > 0 ? "," : "", list->items[i]);
	} else if (setting->kind == KIND_DSN && config->dsn != NULL) {
		hidden = value_hide_passwords(config->dsn);
		fputs(hidden != NULL ? hidden : "***", out);
		free(hidden);
	} else {
		fputs(*setting_text(config, setting) != NULL ? *setting_text(config, setting) : "", out);
	}
}

void config_print(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < n_settings; i++) {
		char where[512];

		fprintf(out, "%s = ", settings[i].flag);
		print_value(config, &settings[i], out);
		setting_describe_origin(&settings[i], &config->origins[i], config->config_file, where, sizeof where);
		fprintf(out, "  (%s)\n", where);
	}
}
