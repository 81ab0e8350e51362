/*
 * access.h - who is asking, and what they may have.
 *
 * access_verify turns a JWT into a principal (PROTOCOL.md, Who is asking);
 * access_may_subscribe and access_may_receive judge the principal against a
 * channel and against each event. Plain C without I/O; the clock is a parameter.
 */
#ifndef LIVEFEED_ACCESS_H
#define LIVEFEED_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog.h"
#include "channel.h"
#include "event.h"

struct unit_grant {
	char *unit;
	char **roles; /* held in this unit */
	size_t n_roles;
};

struct principal { /* reference-counted, immutable; one allocation */
	uint32_t refs;
	char *user; /* never NULL or empty */
	struct unit_grant *units; /* sorted by unit (strcmp), distinct */
	size_t n_units;
	char **roles; /* of the roles claim alone: held in every unit, and firehose */
	size_t n_roles;
	char *sid; /* login session, or NULL */
	int64_t exp_s; /* as in the token, without leeway */
	int64_t iat_s; /* -1: the token has none */
	bool has_units_claim;
	bool is_operator; /* sits at the database, not at a socket: every channel is his */
	struct text claims; /* of a token: its payload */
	struct text
		claims_key; /* ... without units: what of it tokens that say the same have in common, for the authorizer */
	size_t size; /* of this allocation, bytes */
};

struct principal *principal_ref(struct principal *principal);
void principal_unref(struct principal *principal);
bool principal_in_unit(const struct principal *principal, struct text unit);

struct access_settings { /* all strings are copied */
	const char *issuer, *audience; /* NULL: not asked */
	int64_t leeway_s;
	const char *claim_user, *claim_units, *claim_roles; /* plain names or JSON pointers */
	const char *claim_db_role; /* the same; NULL: commands run with their owners' rights */
	const char *const *firehose_roles;
	size_t n_firehose_roles;
};

struct access;
struct access *access_new(void);
void access_free(struct access *access);
/* False and *error (a line for the operator, static or owned by access): nothing was changed. Used at start and on reload. */
bool access_configure(struct access *access, const struct access_settings *settings, const char **error);
/*
 * Keys of other issuers. Each call replaces what the same source gave before. bytes: file contents; NULL: no such keys
 * any more. Of a secret, one newline at the end does not count; one shorter than ACCESS_SECRET_ADVISED_BYTES is taken, but
 * deserves a warning. pem may hold several public keys. On an error nothing was changed.
 */
#define ACCESS_SECRET_ADVISED_BYTES 32
bool access_set_secret(struct access *access, const void *bytes, size_t len, const char **error);
bool access_set_public_key(struct access *access, const char *pem, size_t len, const char **error);
bool access_set_jwks(struct access *access, const char *json, size_t len, const char **error);
/* The database's own keys (HMAC secrets; standard claim names, no issuer or audience asked). Replaces the former set. */
struct access_own_key {
	struct text kid, secret;
};
bool access_set_own_keys(struct access *access, const struct access_own_key *keys, size_t n);

/*
 * A principal with one reference, or NULL and *reason: a static string such as "token is expired", fit for the
 * client and for our log (it never holds any of the token).
 */
struct principal *access_verify(struct access *access, const char *token, size_t len, int64_t now_s,
                                const char **reason);
/* Was a token refused that names a key which none of ours is? The database may have a new one. */
bool access_lacks_key(const struct access *access, const char *token, size_t len);
/*
 * Who a token without units is for, as the authorizer says: its JSON (message_parse_rights). The user, where it names
 * none, is the token's. What belongs to the token (exp_s, iat_s, sid) is not in it. NULL: *wrong is a static string.
 */
struct principal *access_rights(const struct principal *token, const char *json, size_t len, const char **wrong);
/*
 * The database role that this token's commands run under, malloc'ed, into *role; NULL where none is asked for. False: it has to name one, and
 * does not.
 */
bool access_db_role(const struct access *access, const struct principal *token, char **role);
/* Who looks on with the rights of the database's role; no token makes one. NULL: out of memory. */
struct principal *access_operator(void);
/* When this principal's session must end, seconds: exp plus leeway. */
int64_t access_expiry_s(const struct access *access, const struct principal *principal);

/* Who can see one row, as events carry it and as row_scope finds it. */
struct row_access {
	struct text unit; /* bytes NULL: none */
	const struct text *users;
	size_t n_users;
};

enum verdict {
	ACCESS_GRANTED,
	ACCESS_FORBIDDEN,
	ACCESS_UNKNOWN, /* the feed does not have such a scope: unknown_channel */
	ACCESS_ASK_ROW /* a row channel: the row's unit and users decide; see access_may_see_row */
};

/* Holds one of the firehose roles (of its roles claim): every unit and row channel, and the whole feed, of any feed. */
bool access_is_firehose(const struct access *access, const struct principal *principal);
/*
 * May this principal subscribe to feed's channel? On FORBIDDEN *why is a sentence for the client, valid until the next
 * call; else NULL.
 */
enum verdict access_may_subscribe(const struct access *access, const struct principal *principal,
                                  const struct feed *feed, const struct channel_name *name, const char **why);
bool access_may_see_row(const struct access *access, const struct principal *principal, const struct feed *feed,
                        const struct row_access *row);
/*
 * Asked for each delivery: is this event for that principal, who holds a channel of that scope which the event's
 * routing matched? feed: whose channel it is.
 */
bool access_may_receive(const struct access *access, const struct principal *principal, const struct feed *feed,
                        enum scope scope, const struct event *event);

#endif
