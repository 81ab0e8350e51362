/*
 * test_access.c - tokens into principals, and what a principal may have.
 *
 * The refusals stand in tables: each row is one thing wrong with a token that is otherwise good, and must be refused for
 * that very reason. Not here: the grammar of JSON (test_message.c), when sessions end (test_session.c).
 */
#include "access.h"

#include "tap.h"
#include "token_maker.h"

#define NOW 1000000
#define OWN_SECRET "own-secret-of-the-database-0123456789"
#define FILE_SECRET "secret-of-another-issuer-0123456789ab"
#define JWKS_SECRET "secret-in-a-key-set-0123456789abcdef0"

static struct access *access_;
static EVP_PKEY *rsa, *rsa_small, *p256, *p384, *p521, *ed25519, *ed448, *strange;
static char *rsa_pem;
static size_t rsa_pem_len;

enum signer {
	OWN, /* HS256 by the database's own key */
	OWN_384,
	SECRET, /* HS256 by the secret file's bytes */
	SECRET_384,
	SECRET_512,
	JWK_SECRET,
	RSA_KEY,
	RSA_384,
	P256_KEY,
	EC_DER, /* ES256, but the signature in DER */
	EC_384,
	ED_KEY,
	PEM_AS_SECRET, /* HS256 by the public key's file: what libjwt 1.10 takes */
	PEM_NEWLINE_AS_SECRET,
	STRANGE, /* an RSA key that nobody knows */
	EMPTY, /* no signature */
	EMPTY_SECRET,
	ZEROS, /* r and s of 0 */
};

static char *make(enum signer signer, const char *header, size_t header_len, const char *payload, size_t payload_len)
{
	char *body = token_body(header, header_len, payload, payload_len);
	static const unsigned char zeros[64];

	switch (signer) {
	case OWN:
		return sign_hmac(body, EVP_sha256(), OWN_SECRET, strlen(OWN_SECRET));
	case OWN_384:
		return sign_hmac(body, EVP_sha384(), OWN_SECRET, strlen(OWN_SECRET));
	case SECRET:
		return sign_hmac(body, EVP_sha256(), FILE_SECRET, strlen(FILE_SECRET));
	case SECRET_384:
		return sign_hmac(body, EVP_sha384(), FILE_SECRET, strlen(FILE_SECRET));
	case SECRET_512:
		return sign_hmac(body, EVP_sha512(), FILE_SECRET, strlen(FILE_SECRET));
	case JWK_SECRET:
		return sign_hmac(body, EVP_sha256(), JWKS_SECRET, strlen(JWKS_SECRET));
	case RSA_KEY:
		return sign_key(body, rsa, EVP_sha256(), 0);
	case RSA_384:
		return sign_key(body, rsa, EVP_sha384(), 0);
	case P256_KEY:
		return sign_key(body, p256, EVP_sha256(), 32);
	case EC_DER:
		return sign_key(body, p256, EVP_sha256(), 0);
	case EC_384:
		return sign_key(body, p384, EVP_sha384(), 48);
	case ED_KEY:
		return sign_key(body, ed25519, NULL, 0);
	case PEM_AS_SECRET:
		return sign_hmac(body, EVP_sha256(), rsa_pem, rsa_pem_len);
	case PEM_NEWLINE_AS_SECRET:
		return sign_hmac(body, EVP_sha256(), rsa_pem, rsa_pem_len - 1);
	case STRANGE:
		return sign_key(body, strange, EVP_sha256(), 0);
	case EMPTY:
		return token_join(body, "", 0);
	case EMPTY_SECRET:
		return sign_hmac(body, EVP_sha256(), "", 0);
	case ZEROS:
		return token_join(body, zeros, sizeof zeros);
	}
	abort();
}

/* In a block of its own size, so that the sanitizers see a read beyond it. */
static struct principal *verify(const char *token, size_t len, const char **reason)
{
	char *exact = malloc(len > 0 ? len : 1);
	struct principal *principal;

	memcpy(exact, token, len);
	principal = access_verify(access_, exact, len, NOW, reason);
	free(exact);
	return principal;
}

/* ---- refusals by header and payload */

struct token_case {
	enum signer signer;
	struct text header, payload;
	const char *reason; /* NULL: it is good */
};

#define TEXT(literal)                                                                                                  \
	{                                                                                                                  \
		literal, sizeof literal - 1                                                                                    \
	}
#define HS256 TEXT("{\"alg\":\"HS256\"}")
#define GOOD TEXT("{\"sub\":\"u\",\"exp\":1000100}")
#define FOR(claims) TEXT("{\"sub\":\"u\",\"exp\":1000100," claims "}")
#define ISSUED TEXT("{\"sub\":\"u\",\"exp\":1000100,\"iss\":\"us\",\"aud\":\"them\"}")

static const char wrong_signature[] = "token's signature is wrong", wrong_alg[] = "token's alg is not one of the key's";
static const char unknown_alg[] = "token's alg is not supported",
				  no_object[] = "token's payload is not a valid JSON object";
static const char no_header[] = "token's header is not a valid JSON object", no_signature[] = "token is not signed";
static const char wrong_units[] = "token's units are neither an array nor an object of strings and integers";
static const char wrong_exp[] = "token's exp is not a number from 0 to 2^53",
				  no_kid[] = "token's kid names no known key";
static const char wrong_nbf[] = "token's nbf is not a number from 0 to 2^53";
static const char wrong_iat[] = "token's iat is not a number from 0 to 2^53";
static const char wrong_user[] = "token's user claim is not a string or an integer",
				  has_crit[] = "token's header has crit";
static const char wrong_issuer[] = "token is of another issuer", wrong_audience[] = "token is for another audience";

static const struct token_case by_own_key[] = {
	{OWN, HS256, GOOD, NULL},
	{OWN, TEXT("{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"own\"}"), GOOD, NULL},
	{OWN,
     TEXT("{\"alg\":\"HS256\",\"jku\":\"http://x\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"},\"x5u\":\"/etc/passwd\"}"),
     GOOD, NULL},
	/* signatures and algorithms */
	{EMPTY, HS256, GOOD, wrong_signature},
	{EMPTY_SECRET, HS256, GOOD, wrong_signature},
	{STRANGE, HS256, GOOD, wrong_signature},
	{OWN_384, HS256, GOOD, wrong_signature},
	{EMPTY, TEXT("{\"alg\":\"none\"}"), GOOD, no_signature},
	{EMPTY, TEXT("{\"alg\":\"None\"}"), GOOD, no_signature},
	{EMPTY, TEXT("{\"alg\":\"NONE\"}"), GOOD, no_signature},
	{EMPTY, TEXT("{\"alg\":\"nOnE\"}"), GOOD, no_signature},
	{OWN, TEXT("{\"alg\":\"none\"}"), GOOD, no_signature},
	{EMPTY, TEXT("{\"alg\":\"\"}"), GOOD, unknown_alg},
	{OWN, TEXT("{\"alg\":\"hs256\"}"), GOOD, unknown_alg},
	{OWN, TEXT("{\"alg\":\"HS256 \"}"), GOOD, unknown_alg},
	{OWN, TEXT("{\"alg\":\"HS1\"}"), GOOD, unknown_alg},
	{OWN, TEXT("{\"alg\":\"dir\"}"), GOOD, unknown_alg},
	{RSA_KEY, TEXT("{\"alg\":\"PS256\"}"), GOOD, unknown_alg},
	{RSA_384, TEXT("{\"alg\":\"RS384\"}"), GOOD, unknown_alg},
	{OWN, TEXT("{\"alg\":\"ES512\"}"), GOOD, unknown_alg},
	{OWN_384, TEXT("{\"alg\":\"HS384\",\"kid\":\"own\"}"), GOOD, NULL},
	{OWN_384, TEXT("{\"alg\":\"HS512\",\"kid\":\"own\"}"), GOOD, wrong_signature},
	{PEM_AS_SECRET, HS256, GOOD, wrong_signature},
	{PEM_NEWLINE_AS_SECRET, HS256, GOOD, wrong_signature},
	/* the header */
	{OWN, TEXT(""), GOOD, "token has not three parts"},
	{OWN, TEXT("{}"), GOOD, "token's header has no alg"},
	{OWN, TEXT("{\"alg\":null}"), GOOD, "token's header has no alg"},
	{OWN, TEXT("{\"alg\":256}"), GOOD, "token's header has no alg"},
	{OWN, TEXT("{\"alg\":[\"HS256\"]}"), GOOD, "token's header has no alg"},
	{OWN, TEXT("[]"), GOOD, no_header},
	{OWN, TEXT("null"), GOOD, no_header},
	{OWN, TEXT("\"HS256\""), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\"}}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\"} {}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\"}\0"), GOOD, no_header},
	{OWN, TEXT("{'alg':'HS256'}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\",}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"none\",\"alg\":\"HS256\"}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\\u0000\":\"HS256\"}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\\u0000\"}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\",\"x\":\"\xff\"}"), GOOD, no_header},
	{OWN, TEXT("\xef\xbb\xbf{\"alg\":\"HS256\"}"), GOOD, no_header},
	{OWN, TEXT("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}"), GOOD, has_crit},
	{OWN, TEXT("{\"alg\":\"HS256\",\"crit\":[]}"), GOOD, has_crit},
	{OWN, TEXT("{\"alg\":\"HS256\",\"crit\":null}"), GOOD, has_crit},
	{OWN, TEXT("{\"alg\":\"HS256\",\"cr\\u0069t\":1}"), GOOD, has_crit},
	{OWN, TEXT("{\"alg\":\"HS256\",\"b64\":false,\"crit\":[\"b64\"]}"), GOOD, has_crit},
	{OWN, TEXT("{\"alg\":\"HS256\",\"kid\":5}"), GOOD, "token's kid is not a string"},
	{OWN, TEXT("{\"alg\":\"HS256\",\"kid\":null}"), GOOD, "token's kid is not a string"},
	{OWN, TEXT("{\"alg\":\"HS256\",\"kid\":\"other\"}"), GOOD, wrong_signature}, /* only keys without kid are left */
	{OWN, TEXT("{\"alg\":\"HS256\",\"kid\":\"\"}"), GOOD, wrong_signature},
	{OWN, TEXT("{\"alg\":\"HS256\",\"kid\":\"Own\"}"), GOOD, wrong_signature},
	{EMPTY_SECRET, TEXT("{\"alg\":\"HS256\",\"kid\":\"../../../dev/null\"}"), GOOD, wrong_signature},
	{EMPTY_SECRET, TEXT("{\"alg\":\"HS256\",\"kid\":\"x' UNION SELECT ''--\"}"), GOOD, wrong_signature},
	/* the payload */
	{OWN, HS256, TEXT(""), "token has not three parts"},
	{OWN, HS256, TEXT("[]"), no_object},
	{OWN, HS256, TEXT("null"), no_object},
	{OWN, HS256, TEXT("1"), no_object},
	{OWN, HS256, TEXT("\"sub\""), no_object},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1000100"), no_object},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1000100}x"), no_object},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1000100}\0"), no_object},
	{OWN, HS256, FOR("\"sub\":\"v\""), no_object},
	{OWN, HS256, FOR("\"\\u0073ub\":\"v\""), no_object},
	{OWN, HS256, FOR("\"units\":{\"7\":[],\"7\":[]}"), no_object},
	{OWN, HS256, FOR("\"x\":{\"y\":1,\"y\":2}"), no_object},
	{OWN, HS256, FOR("\"x\":NaN"), no_object},
	{OWN, HS256, FOR("\"units\":[\"7\\u0000\"]"), no_object},
	{OWN, HS256, FOR("\"units\":[\"7\xff\"]"), no_object},
	{OWN, HS256, FOR("\"units\":[\"\\ud800\"]"), no_object},
	/* times */
	{OWN, HS256, TEXT("{\"sub\":\"u\"}"), "token has no exp"},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":null}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":\"1000100\"}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":true}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":[1000100]}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":-1}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":-0.5}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":9007199254740993}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":9223372036854775808}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":99999999999999999999999999}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1e300}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1e999}"), wrong_exp},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":9007199254740992}"), NULL},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":1.0001e6}"), NULL},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":0}"), "token is expired"},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":999970}"), "token is expired"},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":999970.9}"), "token is expired"},
	{OWN, HS256, TEXT("{\"sub\":\"u\",\"exp\":999971}"), NULL},
	{OWN, HS256, FOR("\"nbf\":1000031"), "token is not valid yet"},
	{OWN, HS256, FOR("\"nbf\":1000030.1"), "token is not valid yet"},
	{OWN, HS256, FOR("\"nbf\":1000030"), NULL},
	{OWN, HS256, FOR("\"nbf\":\"0\""), wrong_nbf},
	{OWN, HS256, FOR("\"nbf\":null"), wrong_nbf},
	{OWN, HS256, FOR("\"nbf\":-1"), wrong_nbf},
	{OWN, HS256, FOR("\"nbf\":1e17"), wrong_nbf},
	{OWN, HS256, FOR("\"iat\":\"999999\""), wrong_iat},
	{OWN, HS256, FOR("\"iat\":false"), wrong_iat},
	{OWN, HS256, FOR("\"iat\":-5"), wrong_iat},
	{OWN, HS256, FOR("\"iat\":{}"), wrong_iat},
	{OWN, HS256, FOR("\"iat\":999999"), NULL},
	/* users and units */
	{OWN, HS256, TEXT("{\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":\"\",\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":null,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":true,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":1.5,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":[\"u\"],\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":{\"id\":1},\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":18446744073709551615,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":99999999999999999999,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, TEXT("{\"sub\":-99999999999999999999,\"exp\":1000100}"), wrong_user},
	{OWN, HS256, FOR("\"units\":null"), wrong_units},
	{OWN, HS256, FOR("\"units\":7"), wrong_units},
	{OWN, HS256, FOR("\"units\":\"7\""), wrong_units},
	{OWN, HS256, FOR("\"units\":true"), wrong_units},
	{OWN, HS256, FOR("\"units\":[null]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[7,true]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[7.5]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[7.0]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[1e1]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[\"7\",[\"8\"]]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[{\"id\":7}]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[9223372036854775808]"), wrong_units},
	{OWN, HS256, FOR("\"units\":[99999999999999999999,99999999999999999998]"), wrong_units},
	{OWN, HS256, FOR("\"units\":{\"7\":null}"), "token's units' roles are not arrays of strings"},
	{OWN, HS256, FOR("\"units\":{\"7\":\"approver\"}"), "token's units' roles are not arrays of strings"},
	{OWN, HS256, FOR("\"units\":{\"7\":[5]}"), "token's units' roles are not arrays of strings"},
	{OWN, HS256, FOR("\"units\":{\"7\":[\"a\",null]}"), "token's units' roles are not arrays of strings"},
	{OWN, HS256, FOR("\"units\":{\"7\":{\"role\":\"a\"}}"), "token's units' roles are not arrays of strings"},
	{OWN, HS256, FOR("\"units\":[],\"roles\":[],\"sid\":\"s\",\"jti\":\"x\",\"other\":{\"a\":[1]}"), NULL},
	{OWN, HS256, FOR("\"sid\":[]"), "token's sid is neither a string nor an integer"},
	/* issuer and audience are not asked of the database's own */
	{OWN, HS256, FOR("\"iss\":\"elsewhere\",\"aud\":\"elsewhere\""), NULL},
};

static const struct token_case by_other_keys[] = {
	{SECRET, HS256, ISSUED, NULL},
	{SECRET, TEXT("{\"alg\":\"HS256\",\"kid\":\"any: the file has none\"}"), ISSUED, NULL},
	{SECRET_384, TEXT("{\"alg\":\"HS384\"}"), ISSUED, NULL},
	{SECRET_512, TEXT("{\"alg\":\"HS512\"}"), ISSUED, NULL},
	{JWK_SECRET, TEXT("{\"alg\":\"HS256\",\"kid\":\"oct\"}"), ISSUED, NULL},
	{RSA_KEY, TEXT("{\"alg\":\"RS256\"}"), ISSUED, NULL},
	{P256_KEY, TEXT("{\"alg\":\"ES256\",\"kid\":\"ec\"}"), ISSUED, NULL},
	{P256_KEY, TEXT("{\"alg\":\"ES256\"}"), ISSUED, NULL},
	{EC_384, TEXT("{\"alg\":\"ES384\"}"), ISSUED, NULL},
	{ED_KEY, TEXT("{\"alg\":\"EdDSA\",\"kid\":\"ed\"}"), ISSUED, NULL},
	{ED_KEY, TEXT("{\"alg\":\"EdDSA\"}"), ISSUED, NULL},
	{SECRET_384, HS256, ISSUED, wrong_signature},
	{SECRET, TEXT("{\"alg\":\"HS512\"}"), ISSUED, wrong_signature},
	{EMPTY, TEXT("{\"alg\":\"RS256\"}"), ISSUED, wrong_signature},
	{STRANGE, TEXT("{\"alg\":\"RS256\"}"), ISSUED, wrong_signature},
	{RSA_384, TEXT("{\"alg\":\"RS256\"}"), ISSUED, wrong_signature},
	{RSA_KEY, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{RSA_KEY, TEXT("{\"alg\":\"EdDSA\"}"), ISSUED, wrong_signature},
	{P256_KEY, TEXT("{\"alg\":\"EdDSA\"}"), ISSUED, wrong_signature},
	{P256_KEY, TEXT("{\"alg\":\"ES384\"}"), ISSUED, wrong_signature},
	{P256_KEY, TEXT("{\"alg\":\"RS256\"}"), ISSUED, wrong_signature},
	{EC_384, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{EC_DER, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{ZEROS, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{EMPTY, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{ZEROS, TEXT("{\"alg\":\"EdDSA\"}"), ISSUED, wrong_signature},
	{EMPTY, TEXT("{\"alg\":\"EdDSA\"}"), ISSUED, wrong_signature},
	{ED_KEY, TEXT("{\"alg\":\"ES256\"}"), ISSUED, wrong_signature},
	{ED_KEY, TEXT("{\"alg\":\"EdDSA\",\"kid\":\"ec\"}"), ISSUED, wrong_alg},
	{P256_KEY, TEXT("{\"alg\":\"ES256\",\"kid\":\"ed\"}"), ISSUED, wrong_alg},
	{P256_KEY, TEXT("{\"alg\":\"ES256\",\"kid\":\"EC\"}"), ISSUED, wrong_alg},
	{PEM_AS_SECRET, HS256, ISSUED, wrong_signature},
	{PEM_NEWLINE_AS_SECRET, HS256, ISSUED, wrong_signature},
	{PEM_AS_SECRET, TEXT("{\"alg\":\"RS256\"}"), ISSUED, wrong_signature},
	{JWK_SECRET, TEXT("{\"alg\":\"HS256\",\"kid\":\"ec\"}"), ISSUED, wrong_signature},
	/* issuer and audience */
	{SECRET, HS256, FOR("\"aud\":\"them\""), wrong_issuer},
	{SECRET, HS256, FOR("\"iss\":\"US\",\"aud\":\"them\""), wrong_issuer},
	{SECRET, HS256, FOR("\"iss\":\"us/\",\"aud\":\"them\""), wrong_issuer},
	{SECRET, HS256, FOR("\"iss\":[\"us\"],\"aud\":\"them\""), wrong_issuer},
	{SECRET, HS256, FOR("\"iss\":null,\"aud\":\"them\""), wrong_issuer},
	{SECRET, HS256, FOR("\"iss\":\"us\""), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":\"\""), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":[]"), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":[\"other\"]"), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":{\"them\":1}"), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":[\"them\",5]"), wrong_audience},
	{SECRET, HS256, FOR("\"iss\":\"us\",\"aud\":[\"other\",\"them\"]"), NULL},
};

static void check_cases(const struct token_case *cases, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		const struct token_case *c = &cases[i];
		char *token = make(c->signer, c->header.bytes, c->header.len, c->payload.bytes, c->payload.len);
		const char *reason;
		struct principal *principal = verify(token, strlen(token), &reason);

		if (c->reason == NULL)
			ok(principal != NULL && reason == NULL, "%s %zu: good (%s)", name, i, reason != NULL ? reason : "yes");
		else
			ok(principal == NULL && reason != NULL && strcmp(reason, c->reason) == 0, "%s %zu: %s (%s)", name, i,
			   c->reason, reason != NULL ? reason : "taken");
		principal_unref(principal);
		free(token);
	}
}

/* ---- refusals by form: what one does to a good token's bytes */

static void refuse(const char *token, size_t len, const char *want, const char *name)
{
	const char *reason;
	struct principal *principal = verify(token, len, &reason);

	ok(principal == NULL && reason != NULL && strcmp(reason, want) == 0, "%s: %s", name,
	   reason != NULL ? reason : "taken");
	principal_unref(principal);
}

static void refuse_changed(const char *want, const char *name, const char *format, ...)
{
	char *token = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&token, format, arguments) < 0)
		abort();
	va_end(arguments);
	refuse(token, strlen(token), want, name);
	free(token);
}

static void test_form(void)
{
	static const char three[] = "token has not three parts", base64[] = "token is not canonical base64url";
	static const char payload[] = "{\"sub\":\"u\",\"exp\":1000100}"; /* 25 bytes: its last letter has unused bits */
	char *token = make(OWN, "{\"alg\":\"HS256\"}", 15, payload, sizeof payload - 1);
	size_t len = strlen(token);
	char *signature = strrchr(token, '.') + 1, *middle = strchr(token, '.') + 1, *changed = strdup(token);
	const char *reason;
	struct principal *principal = verify(token, len, &reason);

	ok(principal != NULL, "the token that is changed below is good");
	principal_unref(principal);

	refuse("", 0, "token is empty", "nothing");
	refuse("a", 1, three, "one part");
	refuse("a.b", 3, three, "two parts");
	refuse("..", 2, three, "three empty parts");
	refuse("a..c", 4, three, "an empty payload");
	refuse(".b.c", 4, three, "an empty header");
	refuse("a.b.c.d.e", 9, three, "five parts, as an encrypted token has");
	refuse_changed(three, "a fourth part", "%s.", token);
	refuse_changed(three, "a leading point", ".%s", token);
	refuse_changed(three, "twice", "%s.%s", token, token);
	refuse_changed(base64, "a space before", " %s", token);
	refuse_changed(base64, "a space after", "%s ", token);
	refuse_changed(base64, "a newline after", "%s\n", token);
	refuse_changed(base64, "Bearer before", "Bearer %s", token);
	refuse_changed(base64, "padding", "%s=", token);
	refuse_changed(base64, "padding in the payload", "%.*s==.%s", (int)(signature - 1 - token), token, signature);
	refuse_changed(base64, "quotes", "\"%s\"", token);
	refuse_changed("token's signature is wrong", "one letter, and so one byte, more", "%sA", token);
	refuse_changed(base64, "two letters more", "%sAA", token);
	refuse_changed("token's signature is wrong", "three bytes more", "%sAAAA", token);
	refuse_changed("token's signature is wrong", "a signature that is too short", "%.*s", (int)(len - 3), token);
	refuse_changed("token's signature is wrong", "no signature", "%.*s", (int)(signature - token), token);
	refuse(token, len - 1, base64, "its last letter gone");

	changed[len - 1] = '+';
	refuse(changed, len, base64, "the other alphabet's +");
	changed[len - 1] = '/';
	refuse(changed, len, base64, "the other alphabet's /");
	changed[len - 1] = '\0';
	refuse(changed, len, base64, "a NUL byte");
	changed[len - 1] = (char)0xC1;
	refuse(changed, len, base64, "a byte beyond ASCII");
	/* A letter's next neighbour differs in the lowest bit: in the last place of 32 bytes, an unused one. */
	changed[len - 1] = token[len - 1] == 'A' ? 'B' : (char)(token[len - 1] + 1);
	refuse(changed, len, base64, "an unused bit of the signature");
	changed[len - 1] = token[len - 1];
	changed[signature - 2 - token]++;
	refuse(changed, len, base64, "an unused bit of the payload");
	changed[signature - 2 - token]--;
	changed[middle - token + 8]++;
	refuse(changed, len, "token's signature is wrong", "a letter of the payload");
	changed[middle - token + 8]--;
	changed[signature - token]++;
	refuse(changed, len, "token's signature is wrong", "a letter of the signature");
	free(changed);
	free(token);

	changed = malloc(65537);
	memset(changed, 'A', 65537);
	refuse(changed, 65537, "token is too long", "65537 bytes");
	refuse(changed, 65536, three, "65536 bytes");
	changed[10] = changed[20] = '.';
	refuse(changed, 65536, base64, "65536 bytes in three parts");
	free(changed);
}

/* Each bit of a good token turned around: refused, always. */
static void test_bits(void)
{
	static const struct {
		enum signer signer;
		const char *alg;
	} kinds[] = {{OWN, "HS256"}, {P256_KEY, "ES256"}, {ED_KEY, "EdDSA"}, {RSA_KEY, "RS256"}};

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		char header[32], *token;
		size_t taken = 0, len;
		static const char payload[] = "{\"sub\":\"u\",\"exp\":1000100,\"iss\":\"us\",\"aud\":\"them\"}";

		snprintf(header, sizeof header, "{\"alg\":\"%s\"}", kinds[k].alg);
		token = make(kinds[k].signer, header, strlen(header), payload, sizeof payload - 1);
		len = strlen(token);
		for (size_t at = 0; at < len; at++) {
			char was = token[at];
			const char *reason;
			struct principal *principal;

			token[at] = was == 'A' ? 'B' : 'A';
			principal = verify(token, len, &reason);
			taken += principal != NULL;
			principal_unref(principal);
			token[at] = was;
		}
		is_int(taken, 0, "%s: %zu tokens with one letter changed", kinds[k].alg, len);
		free(token);
	}
}

/* ---- principals */

static struct principal *principal_of(const char *claims)
{
	char *payload = NULL, *token;
	const char *reason;
	struct principal *principal;

	if (asprintf(&payload, "{\"sub\":\"u\",\"exp\":1000100%s%s}", *claims != '\0' ? "," : "", claims) < 0)
		abort();
	token = make(OWN, "{\"alg\":\"HS256\"}", 15, payload, strlen(payload));
	principal = verify(token, strlen(token), &reason);
	if (principal == NULL)
		fail("a principal of %s: %s", claims, reason);
	free(payload);
	free(token);
	return principal;
}

static struct text text(const char *string)
{
	return (struct text){string, string != NULL ? strlen(string) : 0};
}

static void test_principals(void)
{
	struct principal *principal = principal_of(
		"\"units\":[10,\"9\",9,\"\",\"b\",-3,\"10\",\"0x\"],\"roles\":[\"a\",\"b\"],\"iat\":5,\"sid\":\"s\"");

	is_str(principal->user, "u", "the user");
	is_int(principal->n_units, 5, "units: each once, the empty one not");
	is_str(principal->units[0].unit, "-3", "units are sorted as text");
	is_str(principal->units[1].unit, "0x", "0x");
	is_str(principal->units[2].unit, "10", "10");
	is_str(principal->units[3].unit, "9", "9");
	is_str(principal->units[4].unit, "b", "b");
	is_int(principal->n_roles, 2, "roles");
	is_str(principal->roles[1], "b", "the second");
	is_str(principal->sid, "s", "sid");
	is_int(principal->iat_s, 5, "iat");
	is_int(principal->exp_s, 1000100, "exp");
	is_int(access_expiry_s(access_, principal), 1000130, "exp and leeway");
	ok(principal->has_units_claim, "it has a units claim");
	ok(principal_in_unit(principal, text("9")), "in unit 9");
	ok(!principal_in_unit(principal, text("")), "not in unit ''");
	ok(!principal_in_unit(principal, text(NULL)), "not in unit NULL");
	ok(!principal_in_unit(principal, (struct text){"9\0", 2}), "not in a unit with a NUL behind");
	ok(!principal_in_unit(principal, (struct text){"10", 1}), "not in unit 1");
	ok(!principal_in_unit(principal, text("100")), "not in unit 100");
	ok(!principal_in_unit(principal, text("B")), "not in unit B");
	ok(principal_ref(principal) == principal && principal->refs == 2, "a second reference");
	principal_unref(principal);
	principal_unref(principal);

	principal = principal_of("\"units\":{\"b\":[\"x\",\"y\"],\"\":[\"z\"],\"a\":[],\"07\":[\"w\"]}");
	is_int(principal->n_units, 3, "units as an object");
	is_str(principal->units[0].unit, "07", "a string stays what it is");
	is_int(principal->units[1].n_roles, 0, "a unit without roles");
	is_str(principal->units[2].roles[1], "y", "a role held in a unit");
	principal_unref(principal);

	principal = principal_of("");
	ok(!principal->has_units_claim && principal->n_units == 0 && principal->n_roles == 0, "no claims");
	ok(principal->sid == NULL && principal->iat_s == -1, "no sid, no iat");
	principal_unref(principal);
	principal_unref(NULL);
}

static void test_many_units(void)
{
	char *claims = malloc(60000), *to = claims;
	struct principal *principal;
	bool all = true;
	char unit[16];

	to += sprintf(to, "\"units\":[");
	for (int i = 0; i < 5000; i++)
		to += sprintf(to, "%s%d", i > 0 ? "," : "", (i * 7919) % 5000);
	sprintf(to, "]");
	principal = principal_of(claims);
	free(claims);
	is_int(principal->n_units, 5000, "5000 units");
	for (int i = 0; i < 5000; i++) {
		sprintf(unit, "%d", i);
		all = all && principal_in_unit(principal, text(unit));
	}
	ok(all, "each of them is found");
	ok(!principal_in_unit(principal, text("5000")) && !principal_in_unit(principal, text("-1")), "others are not");
	principal_unref(principal);
}

/* ---- rights */

static char role_a[] = "a", role_b[] = "b";
static char *roles_ab[] = {role_a, role_b};
static char feed_name[] = "f", other_name[] = "g";

static const struct feed unit_feed = {.name = feed_name, .has_unit = true, .has_users = true};
static const struct feed role_feed = {
	.name = feed_name, .has_unit = true, .has_users = true, .roles = roles_ab, .n_roles = 2};
static const struct feed user_feed = {.name = feed_name, .has_users = true};
static const struct feed bare_feed = {.name = feed_name, .roles = roles_ab, .n_roles = 2};
static const struct feed open_feed = {.name = feed_name, .any_user = true};
static const struct feed declared = {.name = feed_name, .declared = true};
static const struct feed declared_roles = {.name = feed_name, .declared = true, .roles = roles_ab, .n_roles = 2};
static const struct feed declared_open = {.name = feed_name, .declared = true, .any_user = true};
static const struct feed parent_feed = {.name = other_name, .has_unit = true};

enum { NOBODY, MEMBER, MEMBER_A, MEMBER_A_CLAIM, A_ELSEWHERE, A_CLAIM, ADMIN, UNIT_ADMIN, N_PRINCIPALS };
static const char *const principal_claims[N_PRINCIPALS] = {
	[NOBODY] = "",
	[MEMBER] = "\"units\":[7]",
	[MEMBER_A] = "\"units\":{\"7\":[\"a\"]}",
	[MEMBER_A_CLAIM] = "\"units\":[7],\"roles\":[\"a\"]",
	[A_ELSEWHERE] = "\"units\":{\"7\":[\"c\"],\"8\":[\"a\"]}",
	[A_CLAIM] = "\"roles\":[\"a\"]",
	[ADMIN] = "\"roles\":[\"admin\"]",
	[UNIT_ADMIN] = "\"units\":{\"7\":[\"admin\"]}",
};
static struct principal *principals[N_PRINCIPALS];

/* A verdict for each principal: g granted, f forbidden, u unknown, r ask for the row. */
struct subscribe_case {
	const struct feed *feed;
	const char *channel, *verdicts;
};

static const struct subscribe_case subscribes[] = {
	/* principals:                    NOBODY MEMBER MEMBER_A MEMBER_A_CLAIM A_ELSEWHERE A_CLAIM ADMIN UNIT_ADMIN */
	{&unit_feed, "f:unit:7", "fggggfgg"},
	{&unit_feed, "f:unit:8", "ffffgfgf"},
	{&unit_feed, "f:unit:07", "ffffffgf"},
	{&unit_feed, "f:unit:*", "ffffffgf"},
	{&role_feed, "f:unit:7", "ffggffgf"},
	{&role_feed, "f:unit:8", "ffffgfgf"},
	{&user_feed, "f:unit:7", "uuuuuuuu"},
	{&bare_feed, "f:unit:7", "uuuuuuuu"},
	{&declared, "f:unit:7", "fggggfgg"},
	{&declared_roles, "f:unit:7", "ffggffgf"},
	{&declared_open, "f:unit:7", "fggggfgg"},
	{&unit_feed, "f:user:u", "gggggggg"},
	{&unit_feed, "f:user:U", "ffffffff"},
	{&unit_feed, "f:user:v", "ffffffff"},
	{&role_feed, "f:user:u", "gggggggg"},
	{&declared, "f:user:u", "gggggggg"},
	{&declared, "f:user:v", "ffffffff"},
	{&bare_feed, "f:user:u", "uuuuuuuu"},
	{&parent_feed, "f:user:u", "uuuuuuuu"},
	{&unit_feed, "f:row:1", "rrrrrrrr"},
	{&bare_feed, "f:row:1", "rrrrrrrr"},
	{&declared, "f:row:1", "rrrrrrrr"},
	{&unit_feed, "f", "ffffffgf"},
	{&role_feed, "f", "ffffffgf"},
	{&user_feed, "f", "ffffffgf"},
	{&bare_feed, "f", "fffgfggf"},
	{&open_feed, "f", "gggggggg"},
	{&declared, "f", "ffffffgf"},
	{&declared_roles, "f", "fffgfggf"},
	{&declared_open, "f", "gggggggg"},
};

static void test_subscribe(void)
{
	for (size_t i = 0; i < sizeof subscribes / sizeof *subscribes; i++) {
		const struct subscribe_case *c = &subscribes[i];
		struct channel_name name;
		char got[N_PRINCIPALS + 1] = "";

		if (!ok(channel_parse(c->channel, strlen(c->channel), &name), "a channel: %s", c->channel))
			continue;
		for (int p = 0; p < N_PRINCIPALS; p++) {
			const char *why = NULL;
			enum verdict verdict = access_may_subscribe(access_, principals[p], c->feed, &name, &why);

			got[p] = "gfur"[verdict];
			if ((verdict == ACCESS_FORBIDDEN) != (why != NULL))
				fail("a reason where it is forbidden, and only there");
		}
		is_str(got, c->verdicts, "%zu: who may have %s", i, c->channel);
	}
	{
		struct channel_name name;
		const char *why;

		channel_parse("f:unit:9%2F", 11, &name);
		access_may_subscribe(access_, principals[MEMBER], &unit_feed, &name, &why);
		is_str(why, "unit 9%2F is not in your token", "the client is told which unit");
		channel_parse("f:unit:7", 8, &name);
		access_may_subscribe(access_, principals[MEMBER], &role_feed, &name, &why);
		is_str(why, "you hold none of the feed's roles in unit 7", "or that a role is missing");
	}
	for (enum scope scope = SCOPE_UNIT; scope <= SCOPE_ROW; scope++) {
		const struct channel_name empty = {text("f"), scope, {"", 0}};
		const char *why;

		is_int(access_may_subscribe(access_, principals[ADMIN], &unit_feed, &empty, &why), ACCESS_UNKNOWN,
		       "an empty value is unknown");
	}
}

static const struct text user_u[] = {{"v", 1}, {"u", 1}}, user_v[] = {{"v", 1}, {"uu", 2}, {"", 0}};

struct row_case {
	const struct feed *feed;
	const char *unit;
	const struct text *users;
	size_t n_users;
	const char *seen; /* y or n for each principal */
};

static const struct row_case rows[] = {
	/* NOBODY MEMBER MEMBER_A MEMBER_A_CLAIM A_ELSEWHERE A_CLAIM ADMIN UNIT_ADMIN */
	{&unit_feed, "7", NULL, 0, "nyyyynyy"},         {&unit_feed, "9", NULL, 0, "nnnnnnyn"},
	{&unit_feed, NULL, NULL, 0, "nnnnnnyn"},        {&unit_feed, "", NULL, 0, "nnnnnnyn"},
	{&unit_feed, "9", user_u, 2, "yyyyyyyy"},       {&unit_feed, "9", user_v, 3, "nnnnnnyn"},
	{&role_feed, "7", NULL, 0, "nnyynnyn"},         {&role_feed, "7", user_u, 2, "yyyyyyyy"},
	{&role_feed, NULL, NULL, 0, "nnnnnnyn"},        {&user_feed, NULL, user_u, 2, "yyyyyyyy"},
	{&user_feed, NULL, user_v, 3, "nnnnnnyn"},      {&bare_feed, NULL, NULL, 0, "nnnynyyn"},
	{&open_feed, NULL, NULL, 0, "yyyyyyyy"},        {&declared, NULL, NULL, 0, "nnnnnnyn"},
	{&declared, "7", NULL, 0, "nyyyynyy"},          {&declared_roles, NULL, NULL, 0, "nnnynyyn"},
	{&declared_roles, "", NULL, 0, "nnnynyyn"},     {&declared_roles, "9", NULL, 0, "nnnnnnyn"},
	{&declared_roles, NULL, user_v, 3, "nnnnnnyn"}, {&declared_roles, "7", NULL, 0, "nnyynnyn"},
	{&declared_open, NULL, NULL, 0, "yyyyyyyy"},    {&declared_open, "9", NULL, 0, "nnnnnnyn"},
	{&declared_open, NULL, user_v, 3, "nnnnnnyn"},
};

/* A row channel's event is judged as the row is. */
static void test_rows(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row_case *c = &rows[i];
		const struct row_access row = {text(c->unit), c->users, c->n_users};
		const struct event event = {.flags =
		                                EVENT_UPDATED | EVENT_TO_UNIT | EVENT_TO_USERS | EVENT_TO_ROW | EVENT_TO_FEED,
		                            .feed = text("f"),
		                            .unit = text(c->unit),
		                            .users = c->users,
		                            .n_users = (uint32_t)c->n_users};
		char got[N_PRINCIPALS + 1] = "", received[N_PRINCIPALS + 1] = "";

		for (int p = 0; p < N_PRINCIPALS; p++) {
			got[p] = access_may_see_row(access_, principals[p], c->feed, &row) ? 'y' : 'n';
			received[p] = access_may_receive(access_, principals[p], c->feed, SCOPE_ROW, &event) ? 'y' : 'n';
		}
		is_str(got, c->seen, "row %zu: who may see it", i);
		is_str(received, c->seen, "row %zu: who gets its event", i);
	}
}

struct receive_case {
	const struct feed *feed;
	enum scope scope;
	struct event event;
	const char *received;
};

#define TO_ALL (EVENT_TO_UNIT | EVENT_TO_USERS | EVENT_TO_ROW | EVENT_TO_FEED)
#define EVENT(the_flags, ...)                                                                                          \
	{                                                                                                                  \
		.flags = (the_flags), .feed = {"f", 1}, __VA_ARGS__                                                            \
	}

static const struct receive_case receives[] = {
	/* NOBODY MEMBER MEMBER_A MEMBER_A_CLAIM A_ELSEWHERE A_CLAIM ADMIN UNIT_ADMIN */
	{&unit_feed, SCOPE_UNIT, EVENT(TO_ALL, .unit = {"7", 1}), "nyyyynyy"},
	{&unit_feed, SCOPE_UNIT, EVENT(EVENT_TO_UNIT, .unit = {"7", 1}), "nyyyynyy"},
	{&unit_feed, SCOPE_UNIT, EVENT(TO_ALL & ~EVENT_TO_UNIT, .unit = {"7", 1}), "nnnnnnnn"},
	{&unit_feed, SCOPE_UNIT, EVENT(TO_ALL, .unit = {"8", 1}), "nnnnynyn"},
	{&unit_feed, SCOPE_UNIT, EVENT(TO_ALL, .unit = {NULL, 0}), "nnnnnnyn"},
	{&role_feed, SCOPE_UNIT, EVENT(TO_ALL, .unit = {"7", 1}), "nnyynnyn"},
	{&declared_roles, SCOPE_UNIT, EVENT(TO_ALL, .unit = {"7", 1}), "nnyynnyn"},
	{&unit_feed, SCOPE_USER, EVENT(TO_ALL, .users = user_u, .n_users = 2), "yyyyyyyy"},
	{&unit_feed, SCOPE_USER, EVENT(TO_ALL, .users = user_v, .n_users = 3), "nnnnnnnn"},
	{&unit_feed, SCOPE_USER, EVENT(TO_ALL, .users = user_u, .n_users = 2, .to_users = user_v, .n_to_users = 3),
     "nnnnnnnn"},
	{&unit_feed, SCOPE_USER, EVENT(EVENT_TO_USERS, .to_users = user_u, .n_to_users = 2), "yyyyyyyy"},
	{&unit_feed, SCOPE_USER, EVENT(EVENT_TO_UNIT, .users = user_u, .n_users = 2), "nnnnnnnn"},
	{&unit_feed, SCOPE_ROW, EVENT(EVENT_TO_UNIT, .unit = {"7", 1}), "nnnnnnnn"},
	{&unit_feed, SCOPE_FEED, EVENT(TO_ALL, .unit = {"7", 1}), "nnnnnnyn"},
	{&unit_feed, SCOPE_FEED, EVENT(EVENT_TO_UNIT, .unit = {"7", 1}), "nnnnnnnn"},
	{&bare_feed, SCOPE_FEED, EVENT(TO_ALL, .key = {"1", 1}), "nnnynyyn"},
	{&open_feed, SCOPE_FEED, EVENT(TO_ALL, .key = {"1", 1}), "yyyyyyyy"},
	{&declared, SCOPE_FEED, EVENT(TO_ALL, .key = {"1", 1}), "nnnnnnyn"},
	{&declared_roles, SCOPE_FEED, EVENT(TO_ALL, .key = {"1", 1}), "nnnynyyn"},
	{&declared_roles, SCOPE_FEED, EVENT(TO_ALL, .unit = {"7", 1}), "nnnnnnyn"},
	{&declared_roles, SCOPE_FEED, EVENT(TO_ALL, .users = user_u, .n_users = 2), "nnnnnnyn"},
	{&declared_open, SCOPE_FEED, EVENT(TO_ALL, .key = {"1", 1}), "yyyyyyyy"},
	{&declared_open, SCOPE_FEED, EVENT(TO_ALL, .unit = {"9", 1}), "nnnnnnyn"},
	{&unit_feed, SCOPE_UNIT, EVENT(EVENT_RESYNC), "yyyyyyyy"},
	{&unit_feed, SCOPE_USER, EVENT(EVENT_RESYNC), "yyyyyyyy"},
	{&unit_feed, SCOPE_FEED, EVENT(EVENT_CONTROL | TO_ALL), "nnnnnnnn"},
	{&parent_feed, SCOPE_ROW, EVENT(TO_ALL, .parent_feed = {"g", 1}, .parent_key = {"1", 1}), "yyyyyyyy"},
	{&parent_feed, SCOPE_ROW, EVENT(TO_ALL, .parent_feed = {"h", 1}, .unit = {"9", 1}), "nnnnnnyn"},
	{&parent_feed, SCOPE_UNIT, EVENT(TO_ALL, .parent_feed = {"g", 1}, .unit = {"9", 1}), "nnnnnnyn"},
	{&unit_feed, SCOPE_ROW, EVENT(TO_ALL, .parent_feed = {"f", 1}, .unit = {"9", 1}), "nnnnnnyn"},
};

static void test_receive(void)
{
	for (size_t i = 0; i < sizeof receives / sizeof *receives; i++) {
		char got[N_PRINCIPALS + 1] = "";

		for (int p = 0; p < N_PRINCIPALS; p++)
			got[p] = access_may_receive(access_, principals[p], receives[i].feed, receives[i].scope, &receives[i].event)
			             ? 'y'
			             : 'n';
		is_str(got, receives[i].received, "event %zu: who gets it", i);
	}
}

/* ---- settings and keys */

static void test_settings(void)
{
	static const char *const roles[] = {"root", "operator"};
	struct access_settings settings = {.leeway_s = 0,
	                                   .claim_user = "user_id",
	                                   .claim_units = "/app/units",
	                                   .claim_roles = "/app/roles",
	                                   .firehose_roles = roles,
	                                   .n_firehose_roles = 2};
	static const char payload[] =
		"{\"user_id\":5,\"sub\":\"u\",\"units\":[1],\"app\":{\"units\":[2],\"roles\":[\"root\"]},"
		"\"exp\":1000001}";
	const char *error, *reason;
	struct principal *principal;
	char *token;

	ok(access_configure(access_, &settings, &error), "other settings");
	token = make(SECRET, "{\"alg\":\"HS256\"}", 15, payload, sizeof payload - 1);
	principal = verify(token, strlen(token), &reason);
	free(token);
	ok(principal != NULL, "a token of another issuer");
	is_str(principal->user, "5", "its user by the claim that was set");
	is_str(principal->units[0].unit, "2", "its units by a pointer");
	ok(access_is_firehose(access_, principal), "its roles by a pointer, and the firehose roles that were set");
	is_int(access_expiry_s(access_, principal), 1000001, "no leeway");
	principal_unref(principal);

	token = make(OWN, "{\"alg\":\"HS256\"}", 15, payload, sizeof payload - 1);
	principal = verify(token, strlen(token), &reason);
	free(token);
	is_str(principal->user, "u", "the database's own tokens keep the standard names");
	is_str(principal->units[0].unit, "1", "units too");
	principal_unref(principal);

	settings.claim_user = "";
	ok(!access_configure(access_, &settings, &error) && error != NULL, "a claim without a name is refused");
	token = make(SECRET, "{\"alg\":\"HS256\"}", 15, payload, sizeof payload - 1);
	principal = verify(token, strlen(token), &reason);
	ok(principal != NULL, "and changes nothing");
	free(token);
	principal_unref(principal);
}

static bool takes(enum signer signer, const char *header)
{
	static const char payload[] = "{\"sub\":\"u\",\"user_id\":1,\"exp\":1000100}";
	char *token = make(signer, header, strlen(header), payload, sizeof payload - 1);
	const char *reason;
	struct principal *principal = verify(token, strlen(token), &reason);

	free(token);
	principal_unref(principal);
	return principal != NULL;
}

static bool set_pem(EVP_PKEY *key, const char **error)
{
	size_t len;
	char *pem = public_pem(key, &len);
	bool good = access_set_public_key(access_, pem, len, error);

	free(pem);
	return good;
}

static void test_keys(void)
{
	static const struct access_own_key both[] = {{{"new", 3}, {FILE_SECRET, sizeof FILE_SECRET - 1}},
	                                             {{"own", 3}, {OWN_SECRET, sizeof OWN_SECRET - 1}}};
	const char *error;
	char *private = private_pem(rsa), *pem, *two = NULL, *token;
	bool refused;
	size_t len;

	refused = !set_pem(rsa_small, &error) && strstr(error, "2048") != NULL;
	ok(refused, "an RSA key of 1024 bits: %s", error);
	ok(takes(RSA_KEY, "{\"alg\":\"RS256\"}"), "a refused key leaves the one before it");
	refused = !set_pem(p521, &error);
	ok(refused, "a P-521 key: %s", error);
	refused = !set_pem(ed448, &error);
	ok(refused, "an Ed448 key: %s", error);
	refused = !access_set_public_key(access_, private, strlen(private), &error) && strstr(error, "private") != NULL;
	ok(refused, "a private key: %s", error);
	refused = !access_set_public_key(access_, "", 0, &error);
	ok(refused, "an empty file: %s", error);
	refused = !access_set_public_key(access_, "garbage", 7, &error);
	ok(refused, "no PEM file: %s", error);
	refused = !access_set_public_key(access_, rsa_pem, rsa_pem_len / 2, &error);
	ok(refused, "half a PEM file: %s", error);
	free(private);
	pem = public_pem(p256, &len);
	if (asprintf(&two, "# a comment\n%s\n%s", rsa_pem, pem) < 0)
		abort();
	ok(access_set_jwks(access_, NULL, 0, &error), "no key set any more");
	ok(!takes(P256_KEY, "{\"alg\":\"ES256\"}"), "its keys are gone");
	ok(access_set_public_key(access_, two, strlen(two), &error), "two keys in one file");
	ok(takes(RSA_KEY, "{\"alg\":\"RS256\"}") && takes(P256_KEY, "{\"alg\":\"ES256\"}"), "count both");
	ok(access_set_public_key(access_, NULL, 0, &error) && !takes(RSA_KEY, "{\"alg\":\"RS256\"}"),
	   "no PEM file any more");
	free(pem);
	free(two);

	refused = !access_set_secret(access_, "", 0, &error);
	ok(refused, "an empty secret: %s", error);
	refused = !access_set_secret(access_, "\n", 1, &error);
	ok(refused, "a secret of one newline: %s", error);
	refused = !access_set_secret(access_, rsa_pem, rsa_pem_len, &error);
	ok(refused, "a PEM file as secret: %s", error);
	ok(takes(SECRET, "{\"alg\":\"HS256\"}"), "a refused secret leaves the one before it");
	ok(access_set_secret(access_, FILE_SECRET "\n", sizeof FILE_SECRET, &error) && takes(SECRET, "{\"alg\":\"HS256\"}"),
	   "one newline at the end is no part of it");
	ok(access_set_secret(access_, FILE_SECRET "\r\n", sizeof FILE_SECRET + 1, &error) &&
	       takes(SECRET, "{\"alg\":\"HS256\"}"),
	   "nor is one of DOS");
	ok(access_set_secret(access_, FILE_SECRET "\n\n", sizeof FILE_SECRET + 1, &error) &&
	       !takes(SECRET, "{\"alg\":\"HS256\"}"),
	   "a second one is");
	ok(access_set_secret(access_, NULL, 0, &error) && !takes(SECRET, "{\"alg\":\"HS256\"}"), "no secret any more");

	ok(access_set_own_keys(access_, both, 2), "a new key of the database beside the former");
	ok(takes(OWN, "{\"alg\":\"HS256\",\"kid\":\"own\"}") && takes(SECRET, "{\"alg\":\"HS256\",\"kid\":\"new\"}"),
	   "count both");
	ok(!takes(OWN, "{\"alg\":\"HS256\",\"kid\":\"new\"}"), "each under its kid");
	ok(takes(OWN, "{\"alg\":\"HS256\"}"), "or without one");
	ok(takes(SECRET_384, "{\"alg\":\"HS384\"}"), "for HS384 too");
	token = make(OWN, "{\"alg\":\"HS256\",\"kid\":\"old\"}", 27, "{}", 2);
	refuse(token, strlen(token), no_kid, "a kid that nobody knows");
	free(token);
	ok(access_set_own_keys(access_, both, 1) && !takes(OWN, "{\"alg\":\"HS256\"}"), "the former one is out");
	ok(access_set_own_keys(access_, NULL, 0) && !takes(SECRET, "{\"alg\":\"HS256\"}"), "no key at all");
}

static void test_jwks(void)
{
	static const struct {
		const char *keys;
		bool good;
	} cases[] = {
		{"", false},
		{"[]", false},
		{"{}", false},
		{"{\"keys\":{}}", false},
		{"{\"keys\":[]}", false},
		{"{\"keys\":[5]}", false},
		{"{\"keys\":[{}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", true},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}],\"keys\":[]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":5}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA==\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AB\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"use\":\"enc\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"A128KW\"}]}", false},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"RS256\"}]}", false},
		{"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", false},
		{"{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\"}]}", false},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"AQ\"}]}", false},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
	     "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
	     false}, /* not on the curve */
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AQ\",\"y\":\"AQ\"}]}", false},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AQ\",\"y\":\"AQ\"},{\"kty\":\"oct\",\"k\":\"AAAA\"}]"
	     "}",
	     true},
		{"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}", false},
		{"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AAAA\"}]}", false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *error = "none";

		bool taken = access_set_jwks(access_, cases[i].keys, strlen(cases[i].keys), &error);

		ok(taken == cases[i].good, "key set %zu: %s (%s)", i, cases[i].keys, error);
	}
}

/* ---- set-up */

static char *key_set(void)
{
	char *x = key_number(p256, OSSL_PKEY_PARAM_EC_PUB_X, 32), *y = key_number(p256, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
	char *x384 = key_number(p384, OSSL_PKEY_PARAM_EC_PUB_X, 48), *y384 = key_number(p384, OSSL_PKEY_PARAM_EC_PUB_Y, 48);
	char *n = key_number(strange, OSSL_PKEY_PARAM_RSA_N, 0), *k = encode64(JWKS_SECRET, strlen(JWKS_SECRET)), *ed,
		 *json;
	unsigned char raw[32];
	size_t len = sizeof raw;

	EVP_PKEY_get_raw_public_key(ed25519, raw, &len);
	ed = encode64(raw, len);
	/* The strange key is there too, but for encryption, and for another algorithm. */
	if (asprintf(&json,
	             "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"ec\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"x\":"
	             "\"%s\","
	             "\"y\":\"%s\"},"
	             "{\"kty\":\"EC\",\"kid\":\"ec384\",\"crv\":\"P-384\",\"x\":\"%s\",\"y\":\"%s\"},"
	             "{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":\"Ed25519\",\"x\":\"%s\"},"
	             "{\"kty\":\"oct\",\"kid\":\"oct\",\"alg\":\"HS256\",\"k\":\"%s\"},"
	             "{\"kty\":\"RSA\",\"use\":\"enc\",\"n\":\"%s\",\"e\":\"AQAB\"},"
	             "{\"kty\":\"RSA\",\"alg\":\"PS256\",\"n\":\"%s\",\"e\":\"AQAB\"},"
	             "{\"kty\":\"future\",\"kid\":\"ec\"}]}",
	             x, y, x384, y384, ed, k, n, n) < 0)
		abort();
	free(x);
	free(y);
	free(x384);
	free(y384);
	free(n);
	free(k);
	free(ed);
	return json;
}

static void set_up(void)
{
	static const struct access_own_key own = {{"own", 3}, {OWN_SECRET, sizeof OWN_SECRET - 1}};
	static const char *const firehose[] = {"admin"};
	static const struct access_settings settings = {.issuer = "us",
	                                                .audience = "them",
	                                                .leeway_s = 30,
	                                                .claim_user = "sub",
	                                                .claim_units = "units",
	                                                .claim_roles = "roles",
	                                                .firehose_roles = firehose,
	                                                .n_firehose_roles = 1};
	const char *error = NULL;
	char *json;

	rsa = EVP_RSA_gen(2048);
	strange = EVP_RSA_gen(2048);
	rsa_small = EVP_RSA_gen(1024);
	p256 = EVP_EC_gen("P-256");
	p384 = EVP_EC_gen("P-384");
	p521 = EVP_EC_gen("P-521");
	ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	ed448 = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
	rsa_pem = public_pem(rsa, &rsa_pem_len);
	access_ = access_new();
	ok(access_configure(access_, &settings, &error), "settings");
	ok(access_set_own_keys(access_, &own, 1), "the database's own key");
	ok(access_set_secret(access_, FILE_SECRET, strlen(FILE_SECRET), &error), "a secret");
	ok(access_set_public_key(access_, rsa_pem, rsa_pem_len, &error), "a PEM file");
	json = key_set();
	ok(access_set_jwks(access_, json, strlen(json), &error), "a key set");
	free(json);
	for (int p = 0; p < N_PRINCIPALS; p++)
		principals[p] = principal_of(principal_claims[p]);
}

static void tear_down(void)
{
	EVP_PKEY *keys[] = {rsa, rsa_small, p256, p384, p521, ed25519, ed448, strange};

	for (int p = 0; p < N_PRINCIPALS; p++)
		principal_unref(principals[p]);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		EVP_PKEY_free(keys[i]);
	free(rsa_pem);
	access_free(access_);
	access_free(NULL);
}

int main(void)
{
	set_up();
	check_cases(by_own_key, sizeof by_own_key / sizeof *by_own_key, "own key");
	check_cases(by_other_keys, sizeof by_other_keys / sizeof *by_other_keys, "other keys");
	test_form();
	test_bits();
	test_principals();
	test_many_units();
	test_subscribe();
	test_rows();
	test_receive();
	test_settings();
	test_keys();
	test_jwks();
	tear_down();
	return tap_done();
}
