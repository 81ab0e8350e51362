/*
 * setup.c - from the configuration to the parts that it configures (setup.h).
 */
#include "setup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "log.h"
#include "tls.h"

#define KEY_FILE_MAX_BYTES (1 << 20)
#define OWN_FILES 512 /* beside the clients' sockets: the database's, listeners, log, spare */

__attribute__((format(printf, 2, 3))) static bool fail(char **error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (vasprintf(error, format, args) < 0) {
		*error = NULL;
	}
	va_end(args);
	return false;
}

/* The whole of a file, with a NUL behind it; malloc'ed. NULL: errno says why. */
static char *read_file(const char *name, size_t *len)
{
	FILE *file = fopen(name, "re");
	char *bytes = file ? malloc(KEY_FILE_MAX_BYTES + 1) : NULL;
	if (!bytes) {
		if (file) {
			fclose(file);
		}
		return NULL;
	}
	*len = fread(bytes, 1, KEY_FILE_MAX_BYTES + 1, file);
	int why = ferror(file) ? errno ? errno : EIO : *len > KEY_FILE_MAX_BYTES ? EFBIG : 0;
	fclose(file);
	if (why != 0) {
		free(bytes);
		errno = why;
		return NULL;
	}
	bytes[*len] = '\0';
	return bytes;
}

static bool set_secret(struct access *access, const char *bytes, size_t len, const char **why)
{
	if (!access_set_secret(access, bytes, len, why)) {
		return false;
	}
	if (bytes && len < ACCESS_SECRET_ADVISED_BYTES) {
		log_warn("jwt-secret-file: the secret has less than %d bytes, and can be guessed; use one of 32 random bytes",
		         ACCESS_SECRET_ADVISED_BYTES);
	}
	return true;
}

static bool set_keys(struct access *access, const char *setting, const char *name,
                     bool (*set)(struct access *access, const char *bytes, size_t len, const char **why), char **error)
{
	size_t len = 0;
	const char *why = NULL;
	if (!name) {
		return set(access, NULL, 0, &why); /* none, or none any more */
	}
	char *bytes = read_file(name, &len);
	if (!bytes) {
		return fail(error, "%s: cannot read %s: %s", setting, name, strerror(errno));
	}
	bool ok = set(access, bytes, len, &why);
	if (!ok) {
		fail(error, "%s: %s: %s", setting, name, why ? why : "no usable key");
	}
	memset(bytes, 0, len);
	free(bytes);
	return ok;
}

bool setup_access(struct access *access, const struct config *config, char **error)
{
	struct access_settings settings = {
		.issuer = config->jwt_issuer,
		.audience = config->jwt_audience,
		.leeway_s = config->jwt_leeway_ms / 1000,
		.claim_user = config->claim_user,
		.claim_units = config->claim_units,
		.claim_roles = config->claim_roles,
		.claim_db_role = config->claim_db_role,
		.firehose_roles = (const char *const *)config->firehose_roles.items,
		.n_firehose_roles = config->firehose_roles.n,
	};
	const char *why = NULL;
	*error = NULL;
	if (config->tls_cert && !tls_check(config->tls_cert, config->tls_key, error)) {
		return false;
	}
	if (!set_keys(access, "jwt-secret-file", config->jwt_secret_file, set_secret, error) ||
	    !set_keys(access, "jwt-public-key", config->jwt_public_key, access_set_public_key, error) ||
	    !set_keys(access, "jwks", config->jwks, access_set_jwks, error)) {
		return false;
	}
	if (!access_configure(access, &settings, &why)) {
		return fail(error, "jwt and claim settings: %s", why ? why : "cannot be used");
	}
	return true;
}

struct session_limits setup_limits(const struct config *config)
{
	return (struct session_limits){
		.max_subscriptions = config->max_subscriptions,
		.max_bad_messages = config->max_bad_messages,
		.max_queue_bytes = config->max_queue_bytes,
		.max_message_bytes = config->max_message_bytes,
		.idle_auth_ms = config->idle_auth_ms,
		.heartbeat_ms = config->heartbeat_ms,
		.max_session_ms = config->max_session_ms,
		.rate_per_s = config->rate_per_s,
		.max_sessions_per_user = config->max_connections_per_user,
	};
}

void setup_open_files(const struct config *config)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)config->max_connections + OWN_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
		return;
	}
	limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
		log_info("max-connections is %lld, but only %llu files can be open (ulimit -n, LimitNOFILE=)",
		         (long long)config->max_connections, (unsigned long long)limit.rlim_cur);
	}
}
