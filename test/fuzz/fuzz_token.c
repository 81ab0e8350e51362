/*
 * fuzz_token.c - tokens (access.c, access_keys.c), behind the signature too.
 *
 * Input: a byte that says who signs, one that says what is done to the token afterwards, then the header's JSON in one
 * line and the payload's in the rest; or, for one of the signers, the whole token as it is. The harness signs what
 * the fuzzer wrote. Taken is only what was signed with the algorithm of the key that the header names, by it, and left alone;
 * the principal is what the payload says, until it expires.
 */
#include "fuzz.h"

#include "access.h"
#include "message.h"
#include "token_maker.h"

#define NOW_S 1700000000
#define LEEWAY_S 30
#define TOKEN_MAX_BYTES 65536

static const char secret[] = "a secret of another issuer, long enough",
				  own_secret[] = "the database's own, long as well";

static struct access *keys;
static EVP_PKEY *rsa, *p256, *p384, *ed25519, *stranger;
static char *rsa_pem;
static size_t rsa_pem_len;

enum signer {
	BY_NOBODY,
	BY_SECRET,
	BY_SECRET_512,
	BY_OWN,
	BY_RSA,
	BY_P256,
	BY_P384,
	BY_ED25519,
	BY_STRANGER,
	BY_PUBLIC_AS_SECRET,
	N_SIGNERS
};
static const char *const algorithm_of[N_SIGNERS] = {
	[BY_SECRET] = "HS256", [BY_SECRET_512] = "HS512", [BY_OWN] = "HS256",     [BY_RSA] = "RS256",
	[BY_P256] = "ES256",   [BY_P384] = "ES384",       [BY_ED25519] = "EdDSA",
};
static const char *const kid_of[N_SIGNERS] = {[BY_OWN] = "own", [BY_P256] = "p256", [BY_ED25519] = "ed"};

static void configure(void)
{
	static const char *const firehose_roles[] = {"admin"};
	const char *error;
	char jwks[2048],
		*x = key_number(p256, OSSL_PKEY_PARAM_EC_PUB_X, 32), *y = key_number(p256, OSSL_PKEY_PARAM_EC_PUB_Y, 32),
		*x3 = key_number(p384, OSSL_PKEY_PARAM_EC_PUB_X, 48), *y3 = key_number(p384, OSSL_PKEY_PARAM_EC_PUB_Y, 48), *ed;
	uint8_t raw[32];
	size_t raw_len = sizeof raw;

	MUST(EVP_PKEY_get_raw_public_key(ed25519, raw, &raw_len));
	ed = encode64(raw, raw_len);
	snprintf(jwks, sizeof jwks,
	         "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"p256\",\"x\":\"%s\",\"y\":\"%s\"},"
	         "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"%s\",\"y\":\"%s\"},"
	         "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed\",\"x\":\"%s\"}]}",
	         x, y, x3, y3, ed);
	keys = access_new();
	MUST(access_configure(keys,
	                      &(struct access_settings){.leeway_s = LEEWAY_S,
	                                                .claim_user = "sub",
	                                                .claim_units = "units",
	                                                .claim_roles = "roles",
	                                                .firehose_roles = firehose_roles,
	                                                .n_firehose_roles = 1},
	                      &error));
	MUST(access_set_secret(keys, secret, strlen(secret), &error));
	MUST(access_set_public_key(keys, rsa_pem, rsa_pem_len, &error));
	MUST(access_set_jwks(keys, jwks, strlen(jwks), &error));
	MUST(access_set_own_keys(keys, &(struct access_own_key){{"own", 3}, {own_secret, strlen(own_secret)}}, 1));
	free(x);
	free(y);
	free(x3);
	free(y3);
	free(ed);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	rsa = EVP_RSA_gen(2048);
	p256 = EVP_EC_gen("P-256");
	p384 = EVP_EC_gen("P-384");
	ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	stranger = EVP_EC_gen("P-256");
	rsa_pem = public_pem(rsa, &rsa_pem_len);
	configure();
	return 0;
}

/* Takes body. */
static char *sign(enum signer signer, char *body)
{
	switch (signer) {
	case BY_SECRET_512:
		return sign_hmac(body, EVP_sha512(), secret, strlen(secret));
	case BY_OWN:
		return sign_hmac(body, EVP_sha256(), own_secret, strlen(own_secret));
	case BY_RSA:
		return sign_key(body, rsa, EVP_sha256(), 0);
	case BY_P256:
		return sign_key(body, p256, EVP_sha256(), 32);
	case BY_P384:
		return sign_key(body, p384, EVP_sha384(), 48);
	case BY_ED25519:
		return sign_key(body, ed25519, NULL, 0);
	case BY_STRANGER:
		return sign_key(body, stranger, EVP_sha256(), 32);
	case BY_PUBLIC_AS_SECRET:
		return sign_hmac(body, EVP_sha256(), rsa_pem, rsa_pem_len);
	default:
		return sign_hmac(body, EVP_sha256(), secret, strlen(secret));
	}
}

static bool is_role_list_sound(char *const *roles, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!utf8_is_valid(roles[i], strlen(roles[i])))
			return false;
	return true;
}

static void check_principal(const struct principal *principal, struct text payload)
{
	MUST(is_json(payload.bytes, payload.len));
	MUST(principal->refs == 1 && *principal->user != '\0' && utf8_is_valid(principal->user, strlen(principal->user)));
	MUST(principal->exp_s + LEEWAY_S > NOW_S && principal->iat_s >= -1);
	MUST(access_expiry_s(keys, principal) == principal->exp_s + LEEWAY_S);
	MUST(principal->has_units_claim == (json_member(payload, "units").bytes != NULL));
	MUST(principal->has_units_claim || principal->n_units == 0);
	MUST(is_role_list_sound(principal->roles, principal->n_roles));
	for (size_t i = 0; i < principal->n_units; i++) {
		MUST(*principal->units[i].unit != '\0');
		MUST(i == 0 || strcmp(principal->units[i - 1].unit, principal->units[i].unit) < 0);
		MUST(principal_in_unit(principal, text_of(principal->units[i].unit)));
		MUST(is_role_list_sound(principal->units[i].roles, principal->units[i].n_roles));
	}
	MUST(!principal_in_unit(principal, (struct text){NULL, 0}) && !principal_in_unit(principal, (struct text){"", 0}));
	/* User and times are the payload's own. */
	struct text sub = json_member(payload, "sub");
	if (*sub.bytes != '"')
		MUST(sub.len == strlen(principal->user) && memcmp(sub.bytes, principal->user, sub.len) == 0);
}

/* By another way than access.c: does this header go with the key of that signer? */
static bool header_names(struct text header, enum signer signer)
{
	struct json_header fields;
	const char *error;
	bool good;

	if (algorithm_of[signer] == NULL || !is_json(header.bytes, header.len) ||
	    !message_parse_header(header.bytes, header.len, &fields, &error))
		return false;
	good = strcmp(fields.alg, algorithm_of[signer]) == 0 && !fields.has_crit &&
	       (fields.kid == NULL || kid_of[signer] == NULL || strcmp(fields.kid, kid_of[signer]) == 0);
	message_free_header(&fields);
	return good;
}

static struct principal *verify(const char *token, size_t len, int64_t now_s)
{
	const char *reason;
	struct principal *principal = access_verify(keys, token, len, now_s, &reason);

	MUST((principal == NULL) == (reason != NULL));
	MUST(reason == NULL || (*reason != '\0' && strlen(reason) < 120 && is_printable(reason)));
	return principal;
}

/* The same signed text, changed in one place. */
static void check_changed(const char *token, unsigned how)
{
	size_t len = strlen(token), at = (size_t)how * 2654435761u % len;
	char *changed = strdup(token);

	changed[at] = changed[at] == 'A' ? 'B' : 'A';
	if (strcmp(changed, token) != 0)
		MUST(verify(changed, len, NOW_S) == NULL);
	free(changed);
	MUST(verify(token, len - 1, NOW_S) == NULL);
}

static void check_signed(enum signer signer, unsigned how, struct text header, struct text payload)
{
	char *token = sign(signer, token_body(header.bytes, header.len, payload.bytes, payload.len));
	size_t len = strlen(token);
	struct principal *principal = verify(token, len, NOW_S);
	const char *error;
	struct json_claims claims;
	bool good = header_names(header, signer);

	(void)access_lacks_key(keys, token, len);
	if (!good || header.len == 0 || len > TOKEN_MAX_BYTES) {
		MUST(principal == NULL);
	} else if (message_parse_claims(payload.bytes, payload.len, "sub", "units", "roles", &claims, &error)) {
		MUST((principal != NULL) ==
		     (NOW_S < claims.exp_s + LEEWAY_S && (claims.nbf_s < 0 || claims.nbf_s <= NOW_S + LEEWAY_S)));
		message_free_claims(&claims);
	} else {
		MUST(principal == NULL);
	}
	if (principal != NULL) {
		check_principal(principal, payload);
		MUST(verify(token, len, principal->exp_s + LEEWAY_S) == NULL);
		check_changed(token, how);
		principal_unref(principal);
	}
	free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	enum signer signer = input_byte(&input) % N_SIGNERS;
	unsigned how = input_byte(&input);

	if (signer == BY_NOBODY) {
		struct text token = input_rest(&input);
		char *copy = input_copy(token);

		MUST(verify(copy, token.len, NOW_S) == NULL); /* nobody guesses a signature */
		(void)access_lacks_key(keys, copy, token.len);
		free(copy);
	} else {
		struct text header = input_line(&input);

		check_signed(signer, how, header, input_rest(&input));
	}
	return 0;
}
