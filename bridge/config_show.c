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

static const char tail_page[] =
	"NAME\n"
	"  livefeed-bridge tail - what channels bring, as it comes\n\n"
	"SYNOPSIS\n"
	"  livefeed-bridge [FLAG]... tail [--since CURSOR|TIME] [--snapshot] [--json] CHANNEL...\n\n"
	"DESCRIPTION\n"
	"  Prints the frames that a client with these subscriptions would get: events, values, resyncs. It reads the\n"
	"  database itself, with the rights of the role that it connects as (livefeed.grant_bridge), and asks for no\n"
	"  token: any channel of any user. In a terminal frames are made to be read, coloured unless NO_COLOR is set;\n"
	"  in a pipe each is a line of JSON. Control bytes in data are escaped in both.\n\n"
	"  It is no bridge: it does not show in livefeed.bridges, nor ticks while one does. Who pauses it misses nothing,\n"
	"  and holds up nobody. It waits for a server that restarts.\n\n"
	"OPTIONS\n"
	"  --since CURSOR   from there on, as far as the log goes: 6f3a91c2-1042\n"
	"  --since TIME     from so long ago on: 30s, 10min, 2h\n"
	"  --snapshot       first what the channel holds now\n"
	"  --json           lines of JSON in a terminal, too\n"
	"  Flags, variables and the INI file are the bridge's own (livefeed-bridge --help): --dsn is what counts here.\n\n"
	"EXIT STATUS\n"
	"  0  Ctrl-C, SIGTERM, or nobody reads any more\n"
	"  1  no channel is left, or the database refuses\n"
	"  2  bad usage or config\n\n"
	"EXAMPLES\n"
	"  livefeed-bridge --dsn 'dbname=app user=livefeed_bridge' tail requests:unit:7 orders:row:123\n"
	"  livefeed-bridge --config /etc/livefeed-bridge.ini tail --since 10min requests | jq .action\n";

static const char doctor_page[] =
	"NAME\n"
	"  livefeed-bridge doctor - what is wrong, what it means, and what cures it\n\n"
	"SYNOPSIS\n"
	"  livefeed-bridge [FLAG]... doctor\n\n"
	"DESCRIPTION\n"
	"  Takes the bridge's own flags, variables and INI file, connects as the bridge would, and prints a page: what is\n"
	"  in order, and each finding with what it means and the command that cures it, in one line, to be copied. It\n"
	"  looks at the configuration, the way to the server (a pooler, LISTEN, the clocks), the extension's version, the\n"
	"  role's rights and connections, the key, each watch and its triggers, what is exposed, who ticks and what "
	"waits,\n"
	"  retention and what holds it back, and the queue of notifications. It changes nothing.\n\n"
	"  ok       looked at, and in order\n"
	"  note     may be meant, and does no harm by itself\n"
	"  warning  changes may come late, or not at all, or something grows\n"
	"  PROBLEM  changes do not reach those who should have them\n\n"
	"EXIT STATUS\n"
	"  0  nothing but notes\n"
	"  1  problems\n"
	"  2  bad usage or config\n"
	"  3  warnings, and no problem\n\n"
	"EXAMPLES\n"
	"  livefeed-bridge --config /etc/livefeed-bridge.ini doctor\n"
	"  LIVEFEED_DSN='dbname=app user=livefeed_bridge' livefeed-bridge doctor\n";

/* The page of the subcommand that is asked about; NULL: the general one. */
static const char *find_page(int argc, char *const *argv)
{
	for (int at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
		if (strcmp(argv[at], "tail") == 0)
			return tail_page;
		if (strcmp(argv[at], "doctor") == 0)
			return doctor_page;
	}
	return NULL;
}

void config_print_help(FILE *out, int argc, char *const *argv)
{
	const char *page = find_page(argc, argv);

	if (page != NULL) {
		fputs(page, out);
		return;
	}
	fputs(
		"livefeed-bridge " LIVEFEED_VERSION ": committed changes of a PostgreSQL database, live to browsers\n\n"
		"Usage:\n"
		"  livefeed-bridge [FLAG]...                   serve\n"
		"  livefeed-bridge [FLAG]... --check           verify config, keys, database and extension, and exit\n"
		"  livefeed-bridge [FLAG]... --print-config    show what is in force and where it came from, and exit\n"
		"  livefeed-bridge [FLAG]... doctor            a page of advice: what is wrong, what it means, what cures it\n"
		"  livefeed-bridge [FLAG]... tail CHANNEL...   print what channels bring, with the database's rights\n"
		"  livefeed-bridge [doctor | tail] --help      this page, or that of the subcommand\n"
		"  livefeed-bridge --version\n\n"
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
