/*
 * access_keys.h - the keys that tokens may be signed with, and the check of a signature. The one room, beside the TLS
 * set-up, that knows OpenSSL.
 *
 * A key is bound to its algorithms when it is read, by its type; the header of a token chooses among what the keys
 * allow and adds nothing to it. A secret takes HS256, HS384, HS512; RSA (2048 bits or more) RS256; P-256 ES256; P-384
 * ES384; Ed25519 EdDSA; `alg` of a JWK narrows that further. The database's own keys are secrets.
 */
#ifndef LIVEFEED_ACCESS_KEYS_H
#define LIVEFEED_ACCESS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"

struct keyring;

struct keyring *keyring_new(void);
void keyring_free(struct keyring *keyring);

/*
 * Each replaces the keys of its source; NULL bytes: none any more. False and *error (valid until the next call):
 * nothing was changed.
 */
bool keyring_set_secret(struct keyring *keyring, const void *bytes, size_t len, const char **error);
bool keyring_set_pem(struct keyring *keyring, const char *pem, size_t len, const char **error);
bool keyring_set_jwks(struct keyring *keyring, const char *json, size_t len, const char **error);
bool keyring_set_own(struct keyring *keyring, const struct access_own_key *keys, size_t n);

struct signed_token {
	const char *alg, *kid; /* kid: NULL where the header has none */
	const char *text; /* header.payload, as they stand in the token */
	size_t text_len;
	const uint8_t *signature;
	size_t signature_len;
};

/*
 * NULL: one of the keys signed it; *own: it is one of the database's own. Else a static reason. With a kid, only keys of
 * that kid count, and those that have none.
 */
const char *keyring_verify(struct keyring *keyring, const struct signed_token *token, bool *own);
/* Is one of the keys, of whatever source, called that? */
bool keyring_has(const struct keyring *keyring, const char *kid);

#endif
