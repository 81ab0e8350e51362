/*
 * test_config.c - settings from flags, environment and INI file; their checks; what is shown of them.
 * Not here: what the settings do. Uses files of its own in a new folder under /tmp.
 */
#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "config_ini.h"
#include "config_values.h"
#include "log.h"
#include "tap.h"

static char folder[] = "/tmp/livefeed-config-XXXXXX";
static char ini_name[64], file_name[64];

#define ARGUMENTS_MAX 16

struct loaded {
	struct config *config;
	char *error;
	enum config_command command;
	int rest, argc;
	char *argv[ARGUMENTS_MAX];
};

/* Flags in one string, cut at |; the environment likewise. */
static struct loaded load(const char *flags, const char *environment)
{
	static char flag_words[2048], environment_words[2048], program[] = "livefeed-bridge";
	struct loaded loaded = {.argc = 1};
	char *envp[ARGUMENTS_MAX] = {NULL}, *word, *rest = *flags != '\0' ? flag_words : NULL;
	size_t n = 0;

	snprintf(flag_words, sizeof flag_words, "%s", flags);
	snprintf(environment_words, sizeof environment_words, "%s", environment);
	loaded.argv[0] = program;
	while ((word = strsep(&rest, "|")) != NULL)
		loaded.argv[loaded.argc++] = word;
	rest = *environment != '\0' ? environment_words : NULL;
	while ((word = strsep(&rest, "|")) != NULL)
		envp[n++] = word;
	loaded.config = config_load(loaded.argc, loaded.argv, envp, &loaded.command, &loaded.rest, &loaded.error);
	if ((loaded.config == NULL) != (loaded.error != NULL))
		fail("neither config nor error, or both");
	return loaded;
}

static void unload(struct loaded *loaded)
{
	config_free(loaded->config);
	free(loaded->error);
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	fputs(text, file);
	fclose(file);
}

static void refuses(const char *flags, const char *environment, const char *part, const char *name)
{
	struct loaded loaded = load(flags, environment);

	ok(loaded.config == NULL && strstr(loaded.error, part) != NULL && strchr(loaded.error, '\n') == NULL, "%s: %s",
	   name, loaded.error != NULL ? loaded.error : "taken");
	unload(&loaded);
}

static void test_defaults(void)
{
	struct loaded loaded = load("", "HOME=/root|PGHOST=x");
	struct config *config = loaded.config;

	is_int(loaded.command, COMMAND_RUN, "no arguments: serve");
	ok(config->dsn == NULL && config->config_file == NULL && config->jwks == NULL && config->jwt_issuer == NULL,
	   "no texts");
	is_int(config->listen.n, 1, "one address");
	is_str(config->listen.items[0], "127.0.0.1:8090", "the default one");
	is_int(config->jwt_leeway_ms, 30000, "leeway");
	is_str(config->claim_user, "sub", "claim");
	is_str(config->firehose_roles.items[0], "admin", "firehose role");
	is_int(config->allowed_origins.n, 0, "no origins");
	is_str(config->base_path, "/", "base path");
	is_int(config->tick_interval_ms, 5, "tick interval");
	is_int(config->max_connections, 50000, "max-connections");
	is_int(config->max_connections_per_user, 100, "per user");
	is_int(config->max_connections_per_address, 1000, "per address");
	is_int(config->max_subscriptions, 100, "subscriptions");
	is_int(config->max_message_bytes, 65536, "max-message");
	is_int(config->max_header_bytes, 8192, "max-header");
	is_int(config->max_body_bytes, 65536, "max-body");
	is_int(config->max_bad_messages, 20, "max-bad-messages");
	is_int(config->handshake_timeout_ms, 10000, "handshake-timeout");
	is_int(config->max_queue_bytes, 1048576, "max-queue");
	is_int(config->rate_per_s, 50, "rate");
	is_int(config->max_session_ms, 0, "max-session: none");
	is_int(config->history_bytes, 67108864, "history");
	is_int(config->db_connections, 4, "db-connections");
	is_int(config->heartbeat_ms, 25000, "heartbeat");
	is_int(config->idle_auth_ms, 10000, "idle-auth");
	is_int(config->drain_ms, 10000, "drain");
	is_str(config->log_level, "info", "log-level");
	is_str(config->log_format, "text", "log-format");
	unload(&loaded);
}

static void test_precedence(void)
{
	struct loaded loaded;
	char flags[256];

	write_file(ini_name, "; a comment\n# another\n\n [livefeed] \r\nrate = 5/s\r\n  heartbeat=7\ndrain = 3 s\n"
	                     "dsn = host=db password=a;b#c\nlisten = 127.0.0.1:1 , [::1]:2,unix:/run/x.sock\n");
	snprintf(flags, sizeof flags, "--config=%s|--rate|9", ini_name);
	loaded =
		load(flags, "LIVEFEED_RATE=7/s|LIVEFEED_HEARTBEAT=11s|LIVEFEED_MAX_SESSION=30 min|LIVEFEED_TICK_INTERVAL=20");
	if (ok(loaded.config != NULL, "all sources: %s", loaded.error != NULL ? loaded.error : "good")) {
		is_int(loaded.config->rate_per_s, 9, "a flag counts before the environment and the file");
		is_int(loaded.config->heartbeat_ms, 11000, "the environment before the file");
		is_int(loaded.config->drain_ms, 3000, "the file before the default");
		is_int(loaded.config->max_session_ms, 1800000, "minutes");
		is_int(loaded.config->tick_interval_ms, 20, "a plain number of the tick interval is milliseconds");
		is_str(loaded.config->dsn, "host=db password=a;b#c", "; and # within a value belong to it");
		is_int(loaded.config->listen.n, 3, "a list is cut at its commas");
		is_str(loaded.config->listen.items[1], "[::1]:2", "and trimmed");
	}
	unload(&loaded);
	snprintf(flags, sizeof flags, "LIVEFEED_CONFIG=%s", ini_name);
	loaded = load("--base-path=/a/b/|--firehose-roles=|--dsn=", flags);
	if (ok(loaded.config != NULL, "the file's name from the environment")) {
		is_int(loaded.config->rate_per_s, 5, "its value counts");
		is_str(loaded.config->base_path, "/a/b", "a closing slash is cut off");
		is_int(loaded.config->firehose_roles.n, 0, "an empty list");
		ok(loaded.config->dsn == NULL, "an empty text is none, and stands before the file's");
	}
	unload(&loaded);
}

static const struct {
	const char *flags, *part;
} bad_flags[] = {
	{"--max-queue|1 furlong", "max-queue = \"1 furlong\" (flag --max-queue): want a size"},
	{"--max-queue=1 KB", "want a size"},
	{"--max-queue=1  KiB", "want a size"},
	{"--max-queue=-1", "want a size"},
	{"--max-queue=", "want a size"},
	{"--max-queue=99999999999999999999", "want a size"},
	{"--max-queue=9007199254740992 GiB", "want a size"},
	{"--max-queue=1 B", "from 1 KiB to 1 GiB"},
	{"--max-queue=2GiB", "from 1 KiB to 1 GiB"},
	{"--heartbeat=0", "from 1 s to 1 h"},
	{"--heartbeat=1.5", "want a time"},
	{"--heartbeat=10 sec", "want a time"},
	{"--heartbeat=1m", "want a time"},
	{"--heartbeat=none", "want a time"},
	{"--max-session=never", "or none"},
	{"--rate=0", "want a rate"},
	{"--rate=50/min", "want a rate"},
	{"--max-connections=many", "want a whole number"},
	{"--max-connections=0x10", "want a whole number"},
	{"--max-connections=10 ", "want a whole number"},
	{"--listen=", "want ADDRESS:PORT"},
	{"--listen=localhost:80", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1:", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1:65536", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1:-1", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1:80,", "want ADDRESS:PORT"},
	{"--listen=127.0.0.1:80,,127.0.0.1:81", "want ADDRESS:PORT"},
	{"--listen=256.0.0.1:80", "want ADDRESS:PORT"},
	{"--listen=::1:80", "want ADDRESS:PORT"},
	{"--listen=[::1]", "want ADDRESS:PORT"},
	{"--listen=[::1:80", "want ADDRESS:PORT"},
	{"--listen=[127.0.0.1]:80", "want ADDRESS:PORT"},
	{"--listen=unix:x", "unix:/path"},
	{"--metrics-listen=9090", "want ADDRESS:PORT"},
	{"--trusted-proxies=10.0.0.0/33", "want addresses"},
	{"--trusted-proxies=10.0.0/8", "want addresses"},
	{"--trusted-proxies=::/129", "want addresses"},
	{"--trusted-proxies=proxy.example", "want addresses"},
	{"--trusted-proxies=10.0.0.0/", "want addresses"},
	{"--allowed-origins=example.org", "want origins"},
	{"--allowed-origins=https://example.org/", "want origins"},
	{"--allowed-origins=https://Example.org", "want origins"},
	{"--allowed-origins=https://", "want origins"},
	{"--allowed-origins=://x", "want origins"},
	{"--allowed-origins=https://u@x", "want origins"},
	{"--base-path=live", "want a path"},
	{"--base-path=", "want a path"},
	{"--base-path=//x", "want a path"},
	{"--base-path=/a/../b", "want a path"},
	{"--base-path=/a?b", "want a path"},
	{"--base-path=/a%20b", "want a path"},
	{"--claim-user=", "want a claim"},
	{"--claim-units=/a/~2", "want a claim"},
	{"--log-level=loud", "want one of error|warn|info|debug"},
	{"--log-level=inf", "want one of"},
	{"--log-level=info|--log-format=", "want one of text|json"},
	{"--jwks=/nowhere/at/all", "want a file"},
	{"--jwks=/tmp", "want a file"},
	{"--static=/etc/passwd", "want a folder"},
	{"--config=/nowhere/at/all", "config = \"/nowhere/at/all\" (flag --config): want a file"},
	{"--tls-cert=/etc/passwd", "tls-cert is set without tls-key"},
	{"--tls-key=/etc/passwd", "tls-key is set without tls-cert"},
	{"--nothing", "no such flag: --nothing"},
	{"--rat=5", "no such flag: --rat"},
	{"--=5", "no such flag"},
	{"-x", "no such flag: -x"},
	{"-", "no such flag: -"},
	{"--rate", "--rate needs a value"},
	{"--rate|--drain=1", "--rate needs a value"},
	{"--rate=1|--rate=2", "--rate is given twice"},
	{"--listen=127.0.0.1:1|--listen=127.0.0.1:2", "several with commas"},
	{"serve", "unexpected argument: serve"},
	{"--|--rate=1", "unexpected argument: --rate=1"},
	{"tail", "tail needs a channel"},
};

static const struct {
	const char *text, *part;
} bad_files[] = {
	{"rate = 5\n", "line 1: settings stand below [livefeed]"},
	{"[other]\n", "line 1: the one section is [livefeed]"},
	{"[livefeed]\n[livefeed]\n", "line 2: section [livefeed] stands there twice"},
	{"[livefeed\n", "line 1: the one section"},
	{"[livefeed]\nrat = 5\n", "line 2: no such setting: rat"},
	{"[livefeed]\n--rate = 5\n", "line 2: no such setting"},
	{"[livefeed]\nRATE = 5\n", "line 2: no such setting"},
	{"[livefeed]\n = 5\n", "line 2: no such setting"},
	{"[livefeed]\nconfig = /etc/passwd\n", "line 2: no such setting: config"},
	{"[livefeed]\n\nrate = 5\n;\nrate = 6\n", "line 5: rate stands in line 3 already"},
	{"[livefeed]\nrate\n", "line 2: want NAME = VALUE"},
	{"[livefeed]\nrate 5\n", "line 2: want NAME = VALUE"},
	{"[livefeed]\n\n\nrate = 5 ; a comment\n", "line 4): want a rate"},
	{"[livefeed]\nlog-level = \"info\"\n", "line 2): want one of"},
	{"[livefeed]\nheartbeat =\n", "line 2): want a time"},
};

static void test_refusals(void)
{
	char flags[256], *long_text;

	for (size_t i = 0; i < sizeof bad_flags / sizeof *bad_flags; i++)
		refuses(bad_flags[i].flags, "", bad_flags[i].part, bad_flags[i].flags);
	snprintf(flags, sizeof flags, "--config=%s", ini_name);
	for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
		write_file(ini_name, bad_files[i].text);
		refuses(flags, "", bad_files[i].part, bad_files[i].text);
	}
	refuses("", "LIVEFEED_HEARTBEAT=x", "(environment variable LIVEFEED_HEARTBEAT)", "the environment");
	refuses("--log-level=a\nb", "", "\"a?b\"", "a value with a newline stays one line");

	long_text = malloc(300000);
	memset(long_text, ';', 299999);
	long_text[299999] = '\0';
	write_file(ini_name, long_text);
	refuses(flags, "", "longer than", "a very long file");
	free(long_text);
	{
		FILE *file = fopen(ini_name, "w");

		fwrite("[livefeed]\nrate = 5\0\n", 1, 21, file);
		fclose(file);
	}
	refuses(flags, "", "line 2: it holds a NUL byte", "a NUL byte");
}

static void test_commands(void)
{
	static const struct {
		const char *flags;
		enum config_command command;
	} cases[] = {
		{"--help", COMMAND_HELP},
		{"-h", COMMAND_HELP},
		{"--version", COMMAND_VERSION},
		{"--nothing|--help", COMMAND_HELP},
		{"--rate=x|--version", COMMAND_VERSION},
		{"--check", COMMAND_CHECK},
		{"--check|--rate=1", COMMAND_CHECK},
		{"--rate|1|--print-config", COMMAND_PRINT_CONFIG},
		{"--", COMMAND_RUN},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct loaded loaded = load(cases[i].flags, "");

		ok(loaded.config != NULL && loaded.command == cases[i].command, "command of %s", cases[i].flags);
		is_int(loaded.rest, loaded.argc, "no rest");
		unload(&loaded);
	}
}

static void test_tail(void)
{
	static const char *const cases[] = {"tail|a:unit:1|b|--rate=5|--drain|1", "--rate|5|tail|a:unit:1|--drain=1|b",
	                                    "--rate=5|--drain=1|tail|--|a:unit:1|b",
	                                    "--drain=1|--rate=5|--|tail|a:unit:1|b"};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct loaded loaded = load(cases[i], "");
		char *envp[] = {NULL}, *error;
		enum config_command command;
		struct config *again;
		int rest;

		if (!ok(loaded.config != NULL && loaded.command == COMMAND_TAIL, "%s", cases[i]))
			continue;
		is_int(loaded.argc - loaded.rest, 2, "two channels");
		is_str(loaded.argv[loaded.rest], "a:unit:1", "the first");
		is_str(loaded.argv[loaded.rest + 1], "b", "the second");
		is_int(loaded.config->rate_per_s, 5, "and a flag");
		is_int(loaded.config->drain_ms, 1000, "and another");
		again = config_load(loaded.argc, loaded.argv, envp, &command, &rest, &error);
		ok(again != NULL && command == COMMAND_TAIL && rest == loaded.rest && again->rate_per_s == 5,
		   "the same once more, on reload");
		config_free(again);
		unload(&loaded);
	}
}

static char *printed(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (config != NULL)
		config_print(config, out);
	else
		config_print_help(out, 0, NULL);
	fclose(out);
	return text;
}

static void test_print(void)
{
	struct loaded loaded;
	char flags[256], want[256], *text;

	write_file(ini_name, "[livefeed]\n\nmax-session = 24h\n");
	write_file(file_name, "secret");
	snprintf(flags, sizeof flags, "--config=%s|--dsn=host=x password=hunter2 port=5|--jwt-secret-file=%s", ini_name,
	         file_name);
	loaded = load(flags, "LIVEFEED_LISTEN=127.0.0.1:1, [::1]:2|LIVEFEED_HISTORY=1536KiB");
	text = printed(loaded.config);
	ok(strstr(text, "dsn = host=x password=*** port=5  (flag --dsn)\n") != NULL, "the dsn without its password");
	ok(strstr(text, "hunter2") == NULL, "which is nowhere");
	ok(strstr(text, "listen = 127.0.0.1:1,[::1]:2  (environment variable LIVEFEED_LISTEN)\n") != NULL, "a list");
	ok(strstr(text, "history = 1536 KiB  (environment variable LIVEFEED_HISTORY)\n") != NULL, "a size");
	ok(strstr(text, "heartbeat = 25 s  (default)\n") != NULL, "a default");
	ok(strstr(text, "jwks =   (default)\n") != NULL, "none");
	snprintf(want, sizeof want, "max-session = 24 h  (%s line 3)\n", ini_name);
	ok(strstr(text, want) != NULL, "a line of the file");
	free(text);
	unload(&loaded);

	text = printed(NULL);
	ok(strstr(text, "  --max-connections-per-address N ") != NULL, "help: a flag");
	ok(strstr(text, "[LIVEFEED_MAX_CONNECTIONS_PER_ADDRESS, default 1000]") != NULL, "its variable and default");
	for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1)
		if (strcspn(line, "\n") > 120)
			fail("a line of the help is too long: %.*s", (int)strcspn(line, "\n"), line);
	free(text);
}

static void test_passwords(void)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"host=x", "host=x"},
		{"password=p", "password=***"},
		{"password=p host=x", "password=*** host=x"},
		{"host=x password = p port=5", "host=x password = *** port=5"},
		{"password='a b' host=x", "password=*** host=x"},
		{"password='a\\' b' host=x", "password=*** host=x"},
		{"password=a\\ b host=x", "password=*** host=x"},
		{"password='open", "password=***"},
		{"password=", "password=***"},
		{"sslpassword=p user=password", "sslpassword=*** user=password"},
		{"host=x  user=y", "host=x  user=y"},
		{"application_name='x password=y' password=z", "application_name='x password=y' password=***"},
		{"postgresql://h/d", "postgresql://h/d"},
		{"postgresql://u@h:5/d", "postgresql://u@h:5/d"},
		{"postgresql://u:p@h:5/d", "postgresql://u:***@h:5/d"},
		{"postgres://u:p:q@h", "postgres://u:***@h"},
		{"postgresql://u:p@q@h/d", "postgresql://u:***@h/d"},
		{"postgresql://u:p/q@h/d", "postgresql://u:***@h/d"},
		{"postgresql://u:p?q@h/d", "postgresql://u:***@h/d"},
		{"postgresql://:p@h", "postgresql://:***@h"},
		{"postgresql://u:@h", "postgresql://u:***@h"},
		{"postgresql:///d?user=u&password=p&a=b", "postgresql:///d?user=u&password=***&a=b"},
		{"postgresql://h/d?sslpassword=p", "postgresql://h/d?sslpassword=***"},
		{"postgresql://u:p@h/d?password=p=q", "postgresql://u:***@h/d?password=***"},
		{"postgresql://[::1]:5/d", "postgresql://[::1]:5/d"},
		{"postgresql://", "postgresql://"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *hidden = value_hide_passwords(cases[i][0]);

		is_str(hidden, cases[i][1], "hidden: %s", cases[i][0]);
		free(hidden);
	}
}

/* What is written reads back the same. */
static void test_round_trips(void)
{
	static const int64_t numbers[] = {0,
	                                  1,
	                                  999,
	                                  1000,
	                                  1024,
	                                  1500,
	                                  60000,
	                                  3600000,
	                                  86400000,
	                                  172800000,
	                                  1 << 20,
	                                  (1 << 30) + 1,
	                                  INT64_C(1) << 40,
	                                  INT64_MAX};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		char written[64];
		int64_t back = -1;

		value_write_duration(numbers[i], written, sizeof written);
		ok(value_duration(written, 1000, &back) && back == numbers[i], "a time: %s", written);
		value_write_size(numbers[i], written, sizeof written);
		ok(value_size(written, &back) && back == numbers[i], "a size: %s", written);
	}
}

static void test_ini_mutations(void)
{
	static const char text[] = "; c\n[livefeed]\nrate = 5\n\n# x\nlisten = a=b\n";
	char *copy = malloc(sizeof text);
	size_t n = 0;

	/* Refused or taken, and nothing read beyond its end. */
	for (size_t at = 0; at < sizeof text - 1; at++) {
		for (int byte = 0; byte < 256; byte += 5, n++) {
			struct loaded loaded;
			char flags[256];

			if (byte % 45 != 0 && at % 7 != 0)
				continue;
			memcpy(copy, text, sizeof text);
			copy[at] = (char)byte;
			{
				FILE *file = fopen(ini_name, "w");

				fwrite(copy, 1, at % 2 == 0 ? sizeof text - 1 : at, file);
				fclose(file);
			}
			snprintf(flags, sizeof flags, "--config=%s", ini_name);
			loaded = load(flags, "");
			unload(&loaded);
		}
	}
	ok(true, "%zu changed files survived", n);
	free(copy);
}

int main(void)
{
	if (mkdtemp(folder) == NULL)
		return 2;
	snprintf(ini_name, sizeof ini_name, "%s/livefeed.ini", folder);
	snprintf(file_name, sizeof file_name, "%s/secret", folder);
	test_defaults();
	test_precedence();
	test_refusals();
	test_commands();
	test_tail();
	test_print();
	test_passwords();
	test_round_trips();
	test_ini_mutations();
	unlink(ini_name);
	unlink(file_name);
	rmdir(folder);
	return tap_done();
}
