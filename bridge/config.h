/*
 * config.h - every setting of the bridge, from one table: flag, environment
 * variable, INI key, default, check, and the line in --help (config.c).
 *
 * Precedence: flag, then environment, then INI file, then default.
 */
#ifndef LIVEFEED_CONFIG_H
#define LIVEFEED_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct list {
	char **items;
	size_t n;
};

/* What belongs to the subcommand tail alone, and is no setting; since is borrowed from argv, NULL: from now on. */
struct config_tail {
	const char *since;
	bool snapshot, json;
};

struct config {
	char *dsn;
	struct list listen; /* "127.0.0.1:8090", "[::1]:8090", "unix:/path", checked */
	char *config_file;
	char *jwt_secret_file, *jwt_public_key, *jwks; /* file names */
	char *jwt_issuer, *jwt_audience;
	int64_t jwt_leeway_ms;
	char *claim_user, *claim_units, *claim_roles, *claim_db_role;
	struct list allowed_origins, firehose_roles,
		trusted_proxies; /* trusted_proxies: ADDRESS, ADDRESS/BITS, or "unix": peers on unix sockets */
	char *tls_cert, *tls_key;
	char *static_dir, *base_path; /* base_path: "/" or "/x" without closing slash */
	char *metrics_listen;
	int64_t tick_interval_ms;
	int64_t max_connections, max_connections_per_user, max_connections_per_address, max_subscriptions;
	int64_t max_message_bytes, max_header_bytes, max_body_bytes, max_bad_messages;
	int64_t handshake_timeout_ms, max_queue_bytes, rate_per_s, max_session_ms; /* max_session: 0 none */
	int64_t history_bytes;
	int64_t db_connections;
	int64_t heartbeat_ms, idle_auth_ms, drain_ms;
	char *log_level, *log_format;
	struct config_tail tail;
	struct config_origin *origins; /* where each value came from; config.c's */
};

enum config_command {
	COMMAND_RUN,
	COMMAND_HELP,
	COMMAND_VERSION,
	COMMAND_PRINT_CONFIG,
	COMMAND_CHECK,
	COMMAND_DOCTOR,
	COMMAND_TAIL
};

/*
 * Reads flags, environment and the INI file into a new config. NULL: *error is one line that names the setting, its source and what would be right
 * (malloc'ed). envp as in main. tail's channels are left in argv from *rest on: they are moved behind all flags, so that
 * the same argv can be read again (reload). A LIVEFEED_ variable that is no setting is logged, not refused.
 * With COMMAND_HELP and COMMAND_VERSION nothing else was looked at: the config holds defaults.
 */
struct config *config_load(int argc, char **argv, char **envp, enum config_command *command, int *rest, char **error);
void config_free(struct config *config);
/* argv: of --help; where it names a subcommand, that one's page. */
void config_print_help(FILE *out, int argc, char *const *argv);
/* One line a setting: name = value, and where it came from; passwords in the dsn hidden. */
void config_print(const struct config *config, FILE *out);

#endif
