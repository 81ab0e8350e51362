/*
 * fuzz_jwks.c - keys of other issuers: JSON web key sets, PEM files, secrets (access_keys.c); and base64url.
 *
 * Input: a byte that says which, then the file. A set is taken whole or not at all: one that is refused leaves the former
 * keys in force, one that is taken replaces them, and the set's own kids are known then. base64url that is taken is
 * what encoding its bytes gives.
 */
#include "fuzz.h"

#include "access_keys.h"
#include "base64url.h"
#include "message.h"
#include "token_maker.h"

static const char former[] =
	"{\"keys\":[{\"kty\":\"oct\",\"kid\":\"former\",\"k\":\"c2VjcmV0IG9mIGEgZm9ybWVyIHNldA\"}]}";

/* Is the token that the former key signed still good? */
static bool former_is_in_force(struct keyring *keyring)
{
	static const char key[] = "secret of a former set";
	static unsigned char mac[EVP_MAX_MD_SIZE];
	static unsigned int len;
	bool own;

	if (len == 0)
		HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)"a.b", 3, mac, &len);
	return keyring_verify(keyring,
	                      &(struct signed_token){.alg = "HS256",
	                                             .kid = "former",
	                                             .text = "a.b",
	                                             .text_len = 3,
	                                             .signature = mac,
	                                             .signature_len = len},
	                      &own) == NULL &&
	       keyring_has(keyring, "former");
}

static void check_refused(const char *error)
{
	MUST(error != NULL && *error != '\0' && strlen(error) < 256 && is_printable(error));
}

static void check_jwks(struct keyring *keyring, struct text text)
{
	struct json_key *jwks;
	const char *error;
	size_t n;
	bool mentions = false;

	if (!keyring_set_jwks(keyring, text.bytes, text.len, &error)) {
		check_refused(error);
		MUST(former_is_in_force(keyring));
		return;
	}
	MUST(message_parse_jwks(text.bytes, text.len, &jwks, &n, &error) && n > 0);
	for (size_t i = 0; i < n; i++)
		mentions = mentions || (jwks[i].kid != NULL && strcmp(jwks[i].kid, "former") == 0);
	MUST(mentions || !former_is_in_force(keyring));
	MUST(mentions || !keyring_has(keyring, "former"));
	message_free_jwks(jwks, n);
}

static void check_pem(struct keyring *keyring, struct text text)
{
	const char *error;

	if (keyring_set_pem(keyring, text.bytes, text.len, &error)) {
		MUST(memmem(text.bytes, text.len, "-----BEGIN PUBLIC KEY-----", 26) != NULL);
		MUST(memmem(text.bytes, text.len, "PRIVATE KEY-----", 16) == NULL);
	} else {
		check_refused(error);
	}
	MUST(former_is_in_force(keyring)); /* of another source */
}

static void check_secret(struct keyring *keyring, struct text text)
{
	const char *error;

	if (keyring_set_secret(keyring, text.bytes, text.len, &error))
		MUST(text.len > 0 && memmem(text.bytes, text.len, "-----BEGIN ", 11) == NULL);
	else
		check_refused(error);
	MUST(former_is_in_force(keyring));
}

static void check_base64url(struct text text)
{
	uint8_t *bytes = malloc(BASE64URL_ROOM(text.len));
	size_t len = 0;

	if (base64url_decode(text.bytes, text.len, bytes, &len)) {
		char *again = encode64(bytes, len);

		MUST(len <= BASE64URL_ROOM(text.len) && strlen(again) == text.len && memcmp(again, text.bytes, text.len) == 0);
		free(again);
	}
	free(bytes);
	char *encoded = encode64(text.bytes, text.len);
	bytes = malloc(BASE64URL_ROOM(strlen(encoded)));
	MUST(base64url_decode(encoded, strlen(encoded), bytes, &len) && len == text.len &&
	     memcmp(bytes, text.bytes, len) == 0);
	free(bytes);
	free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyring *keyring;
	struct input input = input_of(data, size);
	unsigned what = input_byte(&input) % 8;
	struct text text = input_rest(&input);
	char *copy = input_copy(text);
	const char *error;

	if (keyring == NULL)
		keyring = keyring_new();
	MUST(keyring_set_jwks(keyring, former, strlen(former), &error) && former_is_in_force(keyring));
	text.bytes = copy;
	if (what == 0)
		check_secret(keyring, text);
	else if (what == 1)
		check_base64url(text);
	else if (what == 2)
		check_pem(keyring, text);
	else
		check_jwks(keyring, text);
	MUST(keyring_set_secret(keyring, NULL, 0, &error) && keyring_set_pem(keyring, NULL, 0, &error));
	free(copy);
	return 0;
}
