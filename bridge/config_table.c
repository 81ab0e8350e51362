/*
 * config_table.c - the settings table: one row a setting. The flag, the environment variable (LIVEFEED_ and the flag in
 * capitals), the key in the INI file, the default, the check, the line in --help and in --print-config all come from its row.
 */
#include "config_table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "config_values.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)

const struct setting settings[] = {
	{"dsn", KIND_DSN, MEMBER(dsn), "DSN", NULL, 0, 0,
     "the database, as libpq's connection string or URI; without it libpq's own variables (PGHOST, ...) count"},
	{"listen", KIND_ADDRESSES, MEMBER(listen), "ADDRESS,...", "127.0.0.1:8090", 0, 0,
     "where clients connect: 127.0.0.1:8090, [::1]:8090 or unix:/path"},
	{"config", KIND_FILE, MEMBER(config_file), "FILE", NULL, 0, 0,
     "an INI file with these settings in section [livefeed], named as the flags are"},
	{"jwt-secret-file", KIND_FILE, MEMBER(jwt_secret_file), "FILE", NULL, 0, 0,
     "secret of another issuer's HS256, HS384 and HS512 tokens: the file's bytes without one newline at the end"},
	{"jwt-public-key", KIND_FILE, MEMBER(jwt_public_key), "FILE", NULL, 0, 0,
     "another issuer's public key, PEM: RSA (RS256), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA)"},
	{"jwks", KIND_FILE, MEMBER(jwks), "FILE", NULL, 0, 0, "another issuer's keys as a JSON web key set"},
	{"jwt-issuer", KIND_TEXT, MEMBER(jwt_issuer), "TEXT", NULL, 0, 0,
     "what iss must say, in tokens not signed by the database's own key"},
	{"jwt-audience", KIND_TEXT, MEMBER(jwt_audience), "TEXT", NULL, 0, 0,
     "what aud must name, in tokens not signed by the database's own key"},
	{"jwt-leeway", KIND_SECONDS, MEMBER(jwt_leeway_ms), "TIME", "30 s", 0, HOUR,
     "how far clocks may differ: added to exp, taken from nbf"},
	{"claim-user", KIND_CLAIM, MEMBER(claim_user), "CLAIM", "sub", 0, 0,
     "the claim that names the user: a plain name, or a JSON pointer such as /app_metadata/user"},
	{"claim-units", KIND_CLAIM, MEMBER(claim_units), "CLAIM", "units", 0, 0, "the claim with the user's units"},
	{"claim-roles", KIND_CLAIM, MEMBER(claim_roles), "CLAIM", "roles", 0, 0,
     "the claim with roles held in all of the token's units"},
	{"allowed-origins", KIND_ORIGINS, MEMBER(allowed_origins), "ORIGIN,...", NULL, 0, 0,
     "pages of which other origins may connect (https://example.org), * for all; none: the same host alone"},
	{"firehose-roles", KIND_WORDS, MEMBER(firehose_roles), "ROLE,...", "admin", 0, 0,
     "who may subscribe to whole feeds, all their units and rows"},
	{"tls-cert", KIND_FILE, MEMBER(tls_cert), "FILE", NULL, 0, 0,
     "certificate chain (PEM) for TLS; read again on SIGHUP"},
	{"tls-key", KIND_FILE, MEMBER(tls_key), "FILE", NULL, 0, 0, "its private key; read again on SIGHUP"},
	{"trusted-proxies", KIND_NETWORKS, MEMBER(trusted_proxies), "NET,...", NULL, 0, 0,
     "proxies whose X-Forwarded-For counts: addresses, networks (10.0.0.0/8), or unix for peers on unix sockets"},
	{"static", KIND_DIRECTORY, MEMBER(static_dir), "DIR", NULL, 0, 0,
     "a folder whose files are served beside the endpoints"},
	{"base-path", KIND_BASE_PATH, MEMBER(base_path), "PATH", "/", 0, 0,
     "where the endpoints begin: with /live, WebSockets connect to /live/ws"},
	{"metrics-listen", KIND_ADDRESS, MEMBER(metrics_listen), "ADDRESS", NULL, 0, 0,
     "an address for /metrics alone; without it loopback peers may ask on the main listener"},
	{"claim-db-role", KIND_CLAIM, MEMBER(claim_db_role), "CLAIM", NULL, 0, 0,
     "the claim that names the database role that a command runs under"},
	{"tick-interval", KIND_MILLISECONDS, MEMBER(tick_interval_ms), "TIME", "5 ms", 0, 10 * SECOND,
     "least distance of ticks under load: longer makes larger batches and later deliveries"},
	{"max-connections", KIND_COUNT, MEMBER(max_connections), "N", "50000", 1, 10000000, "sessions at the same time"},
	{"max-connections-per-user", KIND_COUNT, MEMBER(max_connections_per_user), "N", "100", 1, 10000000,
     "sessions of one user"},
	{"max-connections-per-address", KIND_COUNT, MEMBER(max_connections_per_address), "N", "1000", 1, 10000000,
     "sessions from one address"},
	{"max-subscriptions", KIND_COUNT, MEMBER(max_subscriptions), "N", "100", 1, 1000000,
     "subscriptions of one session"},
	{"max-message", KIND_SIZE, MEMBER(max_message_bytes), "SIZE", "64 KiB", KIB, 16 * MIB,
     "longest message from a client; a longer one closes 1009"},
	{"max-header", KIND_SIZE, MEMBER(max_header_bytes), "SIZE", "8 KiB", KIB, 60 * KIB,
     "longest HTTP request header, token included"},
	{"max-body", KIND_SIZE, MEMBER(max_body_bytes), "SIZE", "64 KiB", KIB, 16 * MIB, "longest HTTP request body"},
	{"max-bad-messages", KIND_COUNT, MEMBER(max_bad_messages), "N", "20", 1, 1000000,
     "bad messages of one session; more close 4400"},
	{"handshake-timeout", KIND_SECONDS, MEMBER(handshake_timeout_ms), "TIME", "10 s", SECOND / 10, 5 * MINUTE,
     "how long a connection may take until its request is complete"},
	{"max-queue", KIND_SIZE, MEMBER(max_queue_bytes), "SIZE", "1 MiB", KIB, GIB,
     "what waits for one slow client; beyond it one that takes nothing is closed with 4408, and resumes"},
	{"rate", KIND_RATE, MEMBER(rate_per_s), "N/s", "50/s", 1, 1000000,
     "messages of one session, calls of one user; the burst is this and max-subscriptions more"},
	{"max-session", KIND_SECONDS, MEMBER(max_session_ms), "TIME", "none", 0, 365 * 24 * HOUR,
     "how long a session may last; over it closes 4409"},
	{"history", KIND_SIZE, MEMBER(history_bytes), "SIZE", "64 MiB", 0, 1024 * GIB,
     "recent events kept in memory, for resume without a query"},
	{"db-connections", KIND_COUNT, MEMBER(db_connections), "N", "4", 1, 1000,
     "connections for snapshots, queries and commands, beside those that listen and tick"},
	{"heartbeat", KIND_SECONDS, MEMBER(heartbeat_ms), "TIME", "25 s", SECOND, HOUR,
     "how long a client waits in silence before it pings"},
	{"idle-auth", KIND_SECONDS, MEMBER(idle_auth_ms), "TIME", "10 s", SECOND / 10, 5 * MINUTE,
     "how long a WebSocket may stay without a token"},
	{"drain", KIND_SECONDS, MEMBER(drain_ms), "TIME", "10 s", 0, HOUR,
     "over how long clients are sent away on SIGTERM, so that they do not return all at once"},
	{"log-level", KIND_CHOICE, MEMBER(log_level), "error|warn|info|debug", "info", 0, 0, "what is logged to stderr"},
	{"log-format", KIND_CHOICE, MEMBER(log_format), "text|json", "text", 0, 0, "how"},
};
const size_t n_settings = sizeof settings / sizeof *settings;
_Static_assert(sizeof settings / sizeof *settings <= SETTINGS_MAX, "more settings than SETTINGS_MAX");

const struct setting *setting_find(const char *name, size_t len)
{
	for (size_t i = 0; i < n_settings; i++)
		if (strlen(settings[i].flag) == len && memcmp(settings[i].flag, name, len) == 0)
			return &settings[i];
	return NULL;
}

void setting_environment_name(const struct setting *setting, char to[SETTING_NAME_MAX_BYTES])
{
	char *c =
		to + snprintf(to, SETTING_NAME_MAX_BYTES, "%s%s", ENVIRONMENT_PREFIX, setting->flag) - strlen(setting->flag);

	for (; *c != '\0'; c++)
		*c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

void setting_describe_origin(const struct setting *setting, const struct config_origin *origin, const char *file,
                             char *to, size_t size)
{
	char name[SETTING_NAME_MAX_BYTES];

	switch (origin->source) {
	case SOURCE_FLAG:
		snprintf(to, size, "flag --%s", setting->flag);
		break;
	case SOURCE_ENVIRONMENT:
		setting_environment_name(setting, name);
		snprintf(to, size, "environment variable %s", name);
		break;
	case SOURCE_INI:
		snprintf(to, size, "%s line %zu", file, origin->line);
		break;
	case SOURCE_DEFAULT:
	case N_SOURCES:
		snprintf(to, size, "default");
		break;
	}
}

/* A config's owner may write to it; whoever has it const only reads what these give. */
static void *member(const struct config *config, const struct setting *setting)
{
	return (void *)((uintptr_t)config + setting->offset);
}

char **setting_text(const struct config *config, const struct setting *setting)
{
	return member(config, setting);
}

struct list *setting_list(const struct config *config, const struct setting *setting)
{
	return member(config, setting);
}

int64_t *setting_number(const struct config *config, const struct setting *setting)
{
	return member(config, setting);
}

bool setting_is_list(const struct setting *setting)
{
	return setting->kind >= KIND_WORDS && setting->kind < KIND_SECONDS;
}

bool setting_is_number(const struct setting *setting)
{
	return setting->kind >= KIND_SECONDS;
}

bool setting_may_be_none(const struct setting *setting)
{
	return setting->offset == MEMBER(max_session_ms);
}

void setting_write_number(const struct setting *setting, int64_t number, char *to, size_t size)
{
	switch (setting->kind) {
	case KIND_SECONDS:
	case KIND_MILLISECONDS:
		value_write_duration(number, to, size);
		break;
	case KIND_SIZE:
		value_write_size(number, to, size);
		break;
	default:
		snprintf(to, size, "%lld%s", (long long)number, setting->kind == KIND_RATE ? "/s" : "");
	}
}
