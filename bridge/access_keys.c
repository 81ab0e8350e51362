/*
 * access_keys.c - reading keys (secret, PEM, JWKS, the database's own) and checking signatures with them.
 *
 * All that can be prepared is prepared when a key is read: a keyed HMAC context for each of its digests, so that a
 * token costs about a microsecond. Contexts are used again and again, which is safe on the one thread there is. The error
 * queue of OpenSSL is emptied after each refusal: the TLS of the listeners shares it.
 */
#include "access_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "base64url.h"
#include "message.h"

#define RSA_MIN_BITS 2048
#define RSA_MAX_BITS 16384 /* the cost of a check grows with the square */
#define KEYS_PER_SOURCE_MAX 256
#define JWK_MEMBER_MAX_BYTES 8192
#define PEM_MAX_BYTES (1 << 20)

enum algorithm { HS256, HS384, HS512, RS256, ES256, ES384, EDDSA, N_ALGORITHMS };
#define N_HMACS (HS512 + 1)
#define BIT(algorithm) (1u << (algorithm))
#define HMAC_ALGORITHMS (BIT(HS256) | BIT(HS384) | BIT(HS512))

static const struct {
	const char *name, *digest;
	size_t size; /* of the digest; ES: of r and of s */
} algorithms[N_ALGORITHMS] = {
	[HS256] = {"HS256", "SHA256", 32}, [HS384] = {"HS384", "SHA384", 48}, [HS512] = {"HS512", "SHA512", 64},
	[RS256] = {"RS256", "SHA256", 0},  [ES256] = {"ES256", "SHA256", 32}, [ES384] = {"ES384", "SHA384", 48},
	[EDDSA] = {"EdDSA", NULL, 0},
};

struct key {
	char *kid; /* NULL: none */
	unsigned allowed; /* bits of enum algorithm */
	EVP_MAC_CTX *hmac[N_HMACS]; /* keyed; for those allowed */
	EVP_PKEY *public_key;
};

struct key_set {
	struct key *keys;
	size_t n;
};

enum key_source { SOURCE_OWN, SOURCE_SECRET, SOURCE_PEM, SOURCE_JWKS, N_SOURCES };

struct keyring {
	struct key_set sets[N_SOURCES];
	EVP_MAC *hmac;
	EVP_MD *sha256, *sha384;
	char error[256];
};

static void key_clear(struct key *key)
{
	free(key->kid);
	for (int i = 0; i < N_HMACS; i++)
		EVP_MAC_CTX_free(key->hmac[i]);
	EVP_PKEY_free(key->public_key);
	memset(key, 0, sizeof *key);
}

static void set_clear(struct key_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		key_clear(&set->keys[i]);
	free(set->keys);
	*set = (struct key_set){NULL, 0};
}

static void set_replace(struct keyring *keyring, enum key_source source, struct key_set *set)
{
	set_clear(&keyring->sets[source]);
	keyring->sets[source] = *set;
}

struct keyring *keyring_new(void)
{
	struct keyring *keyring = calloc(1, sizeof *keyring);

	if (keyring == NULL)
		return NULL;
	keyring->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	keyring->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	keyring->sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
	if (keyring->hmac == NULL || keyring->sha256 == NULL || keyring->sha384 == NULL) {
		keyring_free(keyring);
		return NULL;
	}
	return keyring;
}

void keyring_free(struct keyring *keyring)
{
	if (keyring == NULL)
		return;
	for (int source = 0; source < N_SOURCES; source++)
		set_clear(&keyring->sets[source]);
	EVP_MAC_free(keyring->hmac);
	EVP_MD_free(keyring->sha256);
	EVP_MD_free(keyring->sha384);
	free(keyring);
}

/* Always false. number 0: of no particular key. */
static bool refuse(struct keyring *keyring, size_t number, const char *what, const char **error)
{
	if (number == 0)
		snprintf(keyring->error, sizeof keyring->error, "%s", what);
	else
		snprintf(keyring->error, sizeof keyring->error, "key %zu: %s", number, what);
	*error = keyring->error;
	ERR_clear_error();
	return false;
}

/* ---- making keys; each returns NULL or what is wrong, and leaves a key that key_clear can take */

static const char *make_secret(struct keyring *keyring, struct key *key, const void *bytes, size_t len,
                               unsigned allowed)
{
	if (len == 0)
		return "the secret is empty";
	for (int i = 0; i < N_HMACS; i++) {
		OSSL_PARAM parameters[2];

		if (!(allowed & BIT(i)))
			continue;
		key->hmac[i] = EVP_MAC_CTX_new(keyring->hmac);
		parameters[0] =
			OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)algorithms[i].digest, 0);
		parameters[1] = OSSL_PARAM_construct_end();
		if (key->hmac[i] == NULL || !EVP_MAC_init(key->hmac[i], bytes, len, parameters))
			return "OpenSSL does not take the secret";
	}
	key->allowed = allowed;
	return NULL;
}

/* Takes public_key. */
static const char *make_public(struct key *key, EVP_PKEY *public_key)
{
	char group[32] = "";
	EVP_PKEY_CTX *check;
	bool sound;

	key->public_key = public_key;
	if (EVP_PKEY_is_a(public_key, "RSA")) {
		if (EVP_PKEY_get_bits(public_key) < RSA_MIN_BITS)
			return "an RSA key needs 2048 bits or more";
		if (EVP_PKEY_get_bits(public_key) > RSA_MAX_BITS)
			return "an RSA key of more than 16384 bits";
		key->allowed = BIT(RS256);
	} else if (EVP_PKEY_is_a(public_key, "EC")) {
		if (!EVP_PKEY_get_group_name(public_key, group, sizeof group, NULL))
			return "an EC key without a named curve";
		if (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0)
			key->allowed = BIT(ES256);
		else if (strcmp(group, "secp384r1") == 0 || strcmp(group, "P-384") == 0)
			key->allowed = BIT(ES384);
		else
			return "an EC key of another curve than P-256 and P-384";
	} else if (EVP_PKEY_is_a(public_key, "ED25519")) {
		key->allowed = BIT(EDDSA);
	} else {
		return "neither RSA, EC nor Ed25519";
	}
	check = EVP_PKEY_CTX_new_from_pkey(NULL, public_key, NULL);
	sound = check != NULL && EVP_PKEY_public_check(check) == 1;
	EVP_PKEY_CTX_free(check);
	return sound ? NULL : "not a sound public key";
}

bool keyring_set_secret(struct keyring *keyring, const void *bytes, size_t len, const char **error)
{
	struct key_set set = {NULL, 0};
	const char *text = bytes, *wrong;

	if (bytes != NULL) {
		/* An editor's newline is not part of it. */
		if (len > 0 && text[len - 1] == '\n')
			len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
		/* A public key is public: as a secret it would let everybody in. */
		if (memmem(text, len, "-----BEGIN ", 11) != NULL)
			return refuse(keyring, 0, "it is a PEM file, not a secret; a public key belongs into jwt-public-key",
			              error);
		if ((set.keys = calloc(1, sizeof *set.keys)) == NULL)
			return refuse(keyring, 0, "out of memory", error);
		set.n = 1;
		wrong = make_secret(keyring, &set.keys[0], bytes, len, HMAC_ALGORITHMS);
		if (wrong != NULL) {
			set_clear(&set);
			return refuse(keyring, 0, wrong, error);
		}
	}
	set_replace(keyring, SOURCE_SECRET, &set);
	return true;
}

bool keyring_set_own(struct keyring *keyring, const struct access_own_key *keys, size_t n)
{
	struct key_set set = {NULL, 0};

	set.keys = calloc(n + 1, sizeof *set.keys);
	if (set.keys == NULL)
		return false;
	for (; set.n < n; set.n++) {
		struct key *key = &set.keys[set.n];

		if (make_secret(keyring, key, keys[set.n].secret.bytes, keys[set.n].secret.len, HMAC_ALGORITHMS) != NULL ||
		    (keys[set.n].kid.bytes != NULL &&
		     (key->kid = strndup(keys[set.n].kid.bytes, keys[set.n].kid.len)) == NULL)) {
			set.n++;
			set_clear(&set);
			ERR_clear_error();
			return false;
		}
	}
	set_replace(keyring, SOURCE_OWN, &set);
	return true;
}

/* How many PEM blocks of any sort the text begins. */
static size_t count_blocks(const char *pem, size_t len)
{
	static const char begin[] = "-----BEGIN ";
	const char *end = pem + len, *at = pem;
	size_t n = 0;

	while ((at = memmem(at, (size_t)(end - at), begin, sizeof begin - 1)) != NULL) {
		at += sizeof begin - 1;
		n++;
	}
	return n;
}

/* Reads each block as a public key; NULL, or what is wrong with the last one in the set. */
static const char *read_pem(struct key_set *set, const char *pem, size_t len, size_t n_blocks)
{
	BIO *file = BIO_new_mem_buf(pem, (int)len);
	const char *wrong = file == NULL ? "out of memory" : NULL;

	while (wrong == NULL && set->n < n_blocks) {
		EVP_PKEY *public_key = PEM_read_bio_PUBKEY(file, NULL, NULL, NULL);

		wrong = public_key == NULL ? "it is no public key (-----BEGIN PUBLIC KEY-----)"
		                           : make_public(&set->keys[set->n], public_key);
		set->n++;
	}
	BIO_free(file);
	return wrong;
}

bool keyring_set_pem(struct keyring *keyring, const char *pem, size_t len, const char **error)
{
	struct key_set set = {NULL, 0};
	size_t n_blocks, number;
	const char *wrong;

	if (pem == NULL) {
		set_replace(keyring, SOURCE_PEM, &set);
		return true;
	}
	if (memmem(pem, len, "PRIVATE KEY-----", 16) != NULL)
		return refuse(keyring, 0, "it holds a private key; give the bridge the public one alone", error);
	n_blocks = len <= PEM_MAX_BYTES ? count_blocks(pem, len) : 0;
	if (n_blocks == 0 || n_blocks > KEYS_PER_SOURCE_MAX)
		return refuse(keyring, 0, "it is no PEM file of public keys (-----BEGIN PUBLIC KEY-----)", error);
	set.keys = calloc(n_blocks, sizeof *set.keys);
	wrong = set.keys == NULL ? "out of memory" : read_pem(&set, pem, len, n_blocks);
	if (wrong != NULL) {
		number = n_blocks > 1 ? set.n : 0;
		set_clear(&set);
		return refuse(keyring, number, wrong, error);
	}
	set_replace(keyring, SOURCE_PEM, &set);
	return true;
}

/* ---- JSON web keys */

/* A member's bytes, malloc'ed; NULL: absent, or not canonical base64url. */
static uint8_t *member_bytes(const char *member, size_t *len)
{
	size_t text_len = member != NULL ? strlen(member) : 0;
	uint8_t *bytes;

	if (text_len == 0 || text_len > JWK_MEMBER_MAX_BYTES)
		return NULL;
	bytes = malloc(BASE64URL_ROOM(text_len));
	if (bytes != NULL && !base64url_decode(member, text_len, bytes, len)) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

static EVP_PKEY *key_from_parameters(const char *type, OSSL_PARAM_BLD *build)
{
	OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *public_key = NULL;

	if (parameters == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &public_key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		public_key = NULL;
	EVP_PKEY_CTX_free(context);
	OSSL_PARAM_free(parameters);
	return public_key;
}

static const char *make_rsa(struct key *key, const struct json_key *jwk)
{
	size_t n_len = 0, e_len = 0;
	uint8_t *n_bytes = member_bytes(jwk->n, &n_len), *e_bytes = member_bytes(jwk->e, &e_len);
	BIGNUM *n = NULL, *e = NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY *public_key = NULL;
	const char *wrong = "n and e must be base64url";

	if (n_bytes != NULL && e_bytes != NULL && n_len <= RSA_MAX_BITS / 8 && e_len <= 8) {
		n = BN_bin2bn(n_bytes, (int)n_len, NULL);
		e = BN_bin2bn(e_bytes, (int)e_len, NULL);
		wrong = "OpenSSL does not take n and e";
		if (build != NULL && n != NULL && e != NULL && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
		    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
			public_key = key_from_parameters("RSA", build);
	}
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	free(n_bytes);
	free(e_bytes);
	return public_key == NULL ? wrong : make_public(key, public_key);
}

static const char *make_ec(struct key *key, const struct json_key *jwk, const char *group, size_t size)
{
	size_t x_len = 0, y_len = 0;
	uint8_t *x = member_bytes(jwk->x, &x_len), *y = member_bytes(jwk->y, &y_len);
	uint8_t point[1 + 2 * 48] = {0x04}; /* uncompressed */
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY *public_key = NULL;
	const char *wrong = "x and y must be base64url of the curve's size";

	if (x != NULL && y != NULL && x_len == size && y_len == size) {
		memcpy(point + 1, x, size);
		memcpy(point + 1 + size, y, size);
		wrong = "x and y are no point of the curve";
		if (build != NULL && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) &&
		    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size))
			public_key = key_from_parameters("EC", build);
	}
	OSSL_PARAM_BLD_free(build);
	free(x);
	free(y);
	return public_key == NULL ? wrong : make_public(key, public_key);
}

static const char *make_ed25519(struct key *key, const struct json_key *jwk)
{
	size_t len = 0;
	uint8_t *x = member_bytes(jwk->x, &len);
	EVP_PKEY *public_key = NULL;

	if (x != NULL && len == 32)
		public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, len);
	free(x);
	return public_key == NULL ? "x must be base64url of 32 bytes" : make_public(key, public_key);
}

static const char *make_oct(struct keyring *keyring, struct key *key, const struct json_key *jwk)
{
	size_t len = 0;
	uint8_t *secret = member_bytes(jwk->k, &len);
	const char *wrong;

	if (secret == NULL)
		return "k must be base64url";
	wrong = make_secret(keyring, key, secret, len, HMAC_ALGORITHMS);
	OPENSSL_cleanse(secret, len);
	free(secret);
	return wrong;
}

static bool same(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/* Keys of other types, curves, uses or algorithms are left out (RFC 7517, 5): *left_out. */
static const char *make_jwk(struct keyring *keyring, struct key *key, const struct json_key *jwk, bool *left_out)
{
	const char *wrong = NULL;

	*left_out = false;
	if (jwk->use != NULL && strcmp(jwk->use, "sig") != 0)
		*left_out = true;
	else if (same(jwk->kty, "RSA"))
		wrong = make_rsa(key, jwk);
	else if (same(jwk->kty, "EC") && same(jwk->crv, "P-256"))
		wrong = make_ec(key, jwk, "P-256", 32);
	else if (same(jwk->kty, "EC") && same(jwk->crv, "P-384"))
		wrong = make_ec(key, jwk, "P-384", 48);
	else if (same(jwk->kty, "OKP") && same(jwk->crv, "Ed25519"))
		wrong = make_ed25519(key, jwk);
	else if (same(jwk->kty, "oct"))
		wrong = make_oct(keyring, key, jwk);
	else
		*left_out = true;
	if (wrong != NULL || *left_out)
		return wrong;
	if (jwk->alg != NULL) {
		unsigned named = 0;

		for (int i = 0; i < N_ALGORITHMS; i++)
			if (strcmp(jwk->alg, algorithms[i].name) == 0)
				named = BIT(i);
		key->allowed &= named;
		*left_out = key->allowed == 0;
	}
	if (jwk->kid != NULL && (key->kid = strdup(jwk->kid)) == NULL)
		return "out of memory";
	return NULL;
}

bool keyring_set_jwks(struct keyring *keyring, const char *json, size_t len, const char **error)
{
	struct key_set set = {NULL, 0};
	struct json_key *jwks;
	size_t n, number = 0;
	const char *wrong = NULL;

	if (json == NULL) {
		set_replace(keyring, SOURCE_JWKS, &set);
		return true;
	}
	if (!message_parse_jwks(json, len, &jwks, &n, error))
		return false;
	set.keys = calloc(n + 1, sizeof *set.keys);
	if (set.keys == NULL)
		wrong = "out of memory";
	for (size_t i = 0; i < n && wrong == NULL; i++) {
		bool left_out;

		number = i + 1;
		wrong = make_jwk(keyring, &set.keys[set.n], &jwks[i], &left_out);
		if (left_out)
			key_clear(&set.keys[set.n]);
		else
			set.n++;
	}
	message_free_jwks(jwks, n);
	if (wrong == NULL && set.n == 0) {
		wrong = "it has no key that can be used (RSA, EC P-256, EC P-384, Ed25519 or oct, for signatures)";
		number = 0;
	}
	if (wrong != NULL) {
		set_clear(&set);
		return refuse(keyring, number, wrong, error);
	}
	set_replace(keyring, SOURCE_JWKS, &set);
	return true;
}

/* ---- checking signatures */

static bool verify_hmac(const struct key *key, enum algorithm algorithm, const struct signed_token *token)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	size_t len = 0;
	EVP_MAC_CTX *context = key->hmac[algorithm];

	/* No key given: the context starts again with the one it has. */
	return token->signature_len == algorithms[algorithm].size && EVP_MAC_init(context, NULL, 0, NULL) == 1 &&
	       EVP_MAC_update(context, (const unsigned char *)token->text, token->text_len) == 1 &&
	       EVP_MAC_final(context, mac, &len, sizeof mac) == 1 && len == token->signature_len &&
	       CRYPTO_memcmp(mac, token->signature, len) == 0;
}

static bool verify_digest(const struct key *key, const EVP_MD *digest, const struct signed_token *token,
                          const uint8_t *signature, size_t signature_len)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good =
		context != NULL && EVP_DigestVerifyInit(context, NULL, digest, NULL, key->public_key) == 1 &&
		EVP_DigestVerify(context, signature, signature_len, (const unsigned char *)token->text, token->text_len) == 1;

	EVP_MD_CTX_free(context);
	return good;
}

/* A token has r and s side by side; OpenSSL wants them in DER. */
static bool verify_ecdsa(const struct key *key, const EVP_MD *digest, size_t size, const struct signed_token *token)
{
	ECDSA_SIG *pair;
	BIGNUM *r, *s;
	unsigned char *der = NULL;
	int der_len;
	bool good;

	if (token->signature_len != 2 * size)
		return false;
	pair = ECDSA_SIG_new();
	r = BN_bin2bn(token->signature, (int)size, NULL);
	s = BN_bin2bn(token->signature + size, (int)size, NULL);
	if (pair == NULL || r == NULL || s == NULL || !ECDSA_SIG_set0(pair, r, s)) {
		ECDSA_SIG_free(pair);
		BN_free(r);
		BN_free(s);
		return false;
	}
	der_len = i2d_ECDSA_SIG(pair, &der);
	good = der_len > 0 && verify_digest(key, digest, token, der, (size_t)der_len);
	OPENSSL_free(der);
	ECDSA_SIG_free(pair);
	return good;
}

static bool verify_with(const struct keyring *keyring, const struct key *key, enum algorithm algorithm,
                        const struct signed_token *token)
{
	switch (algorithm) {
	case HS256:
	case HS384:
	case HS512:
		return verify_hmac(key, algorithm, token);
	case RS256:
		return verify_digest(key, keyring->sha256, token, token->signature, token->signature_len);
	case ES256:
		return verify_ecdsa(key, keyring->sha256, algorithms[ES256].size, token);
	case ES384:
		return verify_ecdsa(key, keyring->sha384, algorithms[ES384].size, token);
	case EDDSA:
		return verify_digest(key, NULL, token, token->signature, token->signature_len);
	case N_ALGORITHMS:
		break;
	}
	return false;
}

const char *keyring_verify(struct keyring *keyring, const struct signed_token *token, bool *own)
{
	enum algorithm algorithm = 0;
	bool any_key = false, any_kid = false;

	*own = false;
	if (strcasecmp(token->alg, "none") == 0)
		return "token is not signed";
	while (algorithm < N_ALGORITHMS && strcmp(token->alg, algorithms[algorithm].name) != 0)
		algorithm++;
	if (algorithm == N_ALGORITHMS)
		return "token's alg is not supported";

	for (int source = 0; source < N_SOURCES; source++) {
		for (size_t i = 0; i < keyring->sets[source].n; i++) {
			const struct key *key = &keyring->sets[source].keys[i];

			if (token->kid != NULL && key->kid != NULL && strcmp(token->kid, key->kid) != 0)
				continue;
			any_kid = true;
			if (!(key->allowed & BIT(algorithm)))
				continue;
			any_key = true;
			if (verify_with(keyring, key, algorithm, token)) {
				*own = source == SOURCE_OWN;
				return NULL;
			}
			ERR_clear_error();
		}
	}
	if (!any_kid)
		return "token's kid names no known key";
	return any_key ? "token's signature is wrong" : "token's alg is not one of the key's";
}

bool keyring_has(const struct keyring *keyring, const char *kid)
{
	for (int source = 0; source < N_SOURCES; source++)
		for (size_t i = 0; i < keyring->sets[source].n; i++)
			if (same(keyring->sets[source].keys[i].kid, kid))
				return true;
	return false;
}
