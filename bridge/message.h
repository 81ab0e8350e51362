/*
 * message.h - the only room that knows JSON: client messages in (message.c), control messages out (message_out.c), and the JSON of
 * tokens and key sets for access.c (message_token.c).
 *
 * Everything is parsed strictly: UTF-8, depth 32 at most, no NUL (raw or
 * as \u0000), no trailing bytes, no doubled names, no single quotes, NaN or comments (jsontext.h).
 */
#ifndef LIVEFEED_MESSAGE_H
#define LIVEFEED_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "frame.h"

enum message_type { MESSAGE_AUTH, MESSAGE_SUBSCRIBE, MESSAGE_UNSUBSCRIBE, MESSAGE_CALL, MESSAGE_PING };

struct message { /* strings are owned by the message, NUL-terminated, free of NUL inside */
	enum message_type type;
	char *ref; /* the JSON text of ref (number or string) to be echoed as it is; NULL: none */
	char *token; /* auth */
	size_t token_len;
	char *channel; /* subscribe, unsubscribe */
	char *since; /* subscribe; NULL: none */
	bool snapshot; /* subscribe */
	/* call: name, args (JSON text of an object as it came, "{}" where there was none), idempotency_key (NULL: none) */
	char *name, *args, *idempotency_key;
};

/*
 * NULL and *error: what was wrong, naming the field, for the client (a static or per-thread string that is valid
 * until the next call). *ref_out gets the ref's JSON text where it could be read, else NULL, whether or not there is a
 * message (which has its own copy); the caller frees it.
 */
struct message *message_parse(const char *text, size_t len, const char **error, char **ref_out);
void message_free(struct message *message);

/* A cursor EPOCH-ID in canonical form (ID without sign or leading zeros, at most 2^53-1). */
struct cursor {
	char epoch[17];
	int64_t id;
};
bool cursor_parse(const char *text, struct cursor *out);

/* Control messages, each a new frame (NULL: out of memory). ref: JSON text or NULL, channel: plain name. */
struct frame *message_welcome(const char *ref, const char *user, const char *epoch, int64_t head, int64_t expires_s,
                              int heartbeat_s);
/* recovered: -1 none asked (left out), 0 false with reason, 1 true. */
struct frame *message_subscribed(const char *ref, const char *channel, const char *epoch, int64_t id, int recovered,
                                 const char *reason);
struct frame *message_unsubscribed(const char *ref, const char *channel, const char *reason);
struct frame *message_resync(const char *channel, const char *epoch, int64_t id, const char *reason);
/* key_columns NULL: there are none to name; data, keys: JSON arrays, keys.bytes NULL: left out. */
struct frame *message_snapshot(const char *channel, const char *epoch, int64_t id, const struct text *key_columns,
                               size_t n_key_columns, struct text data, struct text keys, bool truncated);
/* data: JSON */
struct frame *message_result(const char *ref, const char *data, const char *epoch, int64_t id);
struct frame *message_value(struct text channel, const char *epoch, int64_t id, struct text data);
struct frame *message_pong(const char *ref, const char *epoch, int64_t id, bool live);
struct frame *message_status(bool live);
struct frame *message_error(const char *ref, const char *code, const char *text, const char *channel);

/* The JSON of tokens, for access.c. *error is static: what is wrong, without any of the token. */
struct json_header { /* of a JWT or one key of a JWKS */
	char *alg, *kid;
	bool has_crit;
};
struct json_unit {
	char *unit;
	char **roles;
	size_t n_roles;
};
struct json_claims {
	char *user;
	bool has_units;
	struct json_unit *units;
	size_t n_units;
	char **roles;
	size_t n_roles;
	char *iss;
	char **aud;
	size_t n_aud;
	char *sid;
	int64_t exp_s, nbf_s, iat_s; /* -1: absent; fractions are rounded down (exp, iat) or up (nbf) */
};
bool message_parse_header(const char *text, size_t len, struct json_header *out, const char **error);
void message_free_header(struct json_header *header);
/* claim names: plain, or JSON pointers that begin with '/'. */
bool message_parse_claims(const char *text, size_t len, const char *claim_user, const char *claim_units,
                          const char *claim_roles, struct json_claims *out, const char **error);
void message_free_claims(struct json_claims *claims);
/* The string that this claim holds in a payload which has passed message_parse_claims, malloc'ed; NULL: none. */
char *message_claim(const char *text, size_t len, const char *claim);
/*
 * A token's claims without those that differ from token to token (exp, iat, nbf, jti), into key of at least
 * len bytes: equal for tokens that say the same. text has passed message_parse_claims. Returns the length.
 */
size_t message_claims_key(const char *text, size_t len, char *key);
/*
 * What an authorizer returned: an object with user, units and roles in the forms that claims have, each of which may be
 * absent or null (user NULL, has_units false). Stricter than with tokens: what has another form is an error.
 */
bool message_parse_rights(const char *text, size_t len, struct json_claims *out, const char **error);
struct json_key { /* members of a JWK as they stand (base64url); NULL where absent */
	char *kty, *kid, *alg, *use, *crv, *n, *e, *x, *y, *k;
};
bool message_parse_jwks(const char *text, size_t len, struct json_key **keys, size_t *n_keys, const char **error);
void message_free_jwks(struct json_key *keys, size_t n_keys);
/* A string as JSON, quotes included, into a malloc'ed buffer. For log.c and metrics. */
char *message_quote(struct text plain);

#endif
