/*
 * token_maker.h - makes JWTs for tests, good and bad: any header, any payload, signed by any key in any way.
 */
#ifndef LIVEFEED_TOKEN_MAKER_H
#define LIVEFEED_TOKEN_MAKER_H

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

/* base64url of bytes, malloc'ed. */
static char *encode64(const void *bytes, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unsigned char *from = bytes;
	char *text = malloc(len * 4 / 3 + 4), *to = text;

	for (size_t i = 0; i < len; i += 3) {
		unsigned long three = (unsigned long)from[i] << 16 | (i + 1 < len ? (unsigned long)from[i + 1] << 8 : 0) |
		                      (i + 2 < len ? from[i + 2] : 0);

		*to++ = letters[three >> 18 & 63];
		*to++ = letters[three >> 12 & 63];
		if (i + 1 < len)
			*to++ = letters[three >> 6 & 63];
		if (i + 2 < len)
			*to++ = letters[three & 63];
	}
	*to = '\0';
	return text;
}

/* header.payload */
static char *token_body(const char *header, size_t header_len, const char *payload, size_t payload_len)
{
	char *a = encode64(header, header_len), *b = encode64(payload, payload_len), *body = NULL;

	if (asprintf(&body, "%s.%s", a, b) < 0)
		abort();
	free(a);
	free(b);
	return body;
}

static char *token_join(char *body, const void *signature, size_t len)
{
	char *text = encode64(signature, len), *token = NULL;

	if (asprintf(&token, "%s.%s", body, text) < 0)
		abort();
	free(text);
	free(body);
	return token;
}

/* Takes body. */
static char *sign_hmac(char *body, const EVP_MD *digest, const void *secret, size_t secret_len)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	HMAC(digest, secret, (int)secret_len, (const unsigned char *)body, strlen(body), mac, &len);
	return token_join(body, mac, len);
}

/* r and s side by side, size bytes each. */
static void raw_ecdsa(const unsigned char *der, size_t der_len, size_t size, unsigned char *raw)
{
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_len);

	BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, (int)size);
	BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + size, (int)size);
	ECDSA_SIG_free(pair);
}

/* raw_size: of r and of s for ES*, as JWS has it; 0: the signature as OpenSSL gives it. Takes body. */
static char *sign_key(char *body, EVP_PKEY *key, const EVP_MD *digest, size_t raw_size)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char signature[1024], raw[256];
	size_t len = sizeof signature;

	if (EVP_DigestSignInit(context, NULL, digest, NULL, key) != 1 ||
	    EVP_DigestSign(context, signature, &len, (const unsigned char *)body, strlen(body)) != 1)
		abort();
	EVP_MD_CTX_free(context);
	if (raw_size == 0)
		return token_join(body, signature, len);
	raw_ecdsa(signature, len, raw_size, raw);
	return token_join(body, raw, 2 * raw_size);
}

static char *public_pem(EVP_PKEY *key, size_t *len)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes, *pem;
	long n;

	PEM_write_bio_PUBKEY(out, key);
	n = BIO_get_mem_data(out, &bytes);
	pem = strndup(bytes, (size_t)n);
	*len = (size_t)n;
	BIO_free(out);
	return pem;
}

static char *private_pem(EVP_PKEY *key)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes, *pem;
	long n;

	PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
	n = BIO_get_mem_data(out, &bytes);
	pem = strndup(bytes, (size_t)n);
	BIO_free(out);
	return pem;
}

/* A number of a key as base64url, padded to size bytes (0: as it is). */
static char *key_number(EVP_PKEY *key, const char *name, size_t size)
{
	BIGNUM *number = NULL;
	unsigned char bytes[1024];
	int len;

	if (!EVP_PKEY_get_bn_param(key, name, &number))
		abort();
	len = size == 0 ? BN_bn2bin(number, bytes) : BN_bn2binpad(number, bytes, (int)size);
	BN_free(number);
	return encode64(bytes, (size_t)len);
}

#endif
