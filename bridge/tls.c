/*
 * tls.c - looks at a certificate chain and its private key (tls.h), and lets what clients send through TLS pass by the gate (gate.h).
 */
#include "tls.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "gate.h"

static bool refuse(char **error, const char *setting, const char *file, const char *what)
{
	if (asprintf(error, "%s: %s: %s", setting, file, what) < 0) {
		*error = NULL;
	}
	return false;
}

/* A context that holds the pair. NULL: *error, as of tls_check. */
static SSL_CTX *read_pair(const char *cert, const char *key, char **error)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	bool good = false;
	*error = NULL;
	if (!context) {
		return NULL;
	}
	if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
		refuse(error, "tls-cert", cert, "it is no certificate chain in PEM");
	} else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
		refuse(error, "tls-key", key, "it is no private key in PEM, or not that of tls-cert");
	} else {
		good = true;
	}
	ERR_clear_error();
	if (!good) {
		SSL_CTX_free(context);
	}
	return good ? context : NULL;
}

bool tls_check(const char *cert, const char *key, char **error)
{
	SSL_CTX *context = read_pair(cert, key, error);
	SSL_CTX_free(context);
	return context != NULL;
}

/* ---- another certificate */

static SSL_CTX *renewed;

/* Whatever the connection was to show, it shows this: a context keeps one pair of each kind of key, and so the old beside the new. */
static int show_renewed(SSL *ssl, void *arg)
{
	STACK_OF(X509) *chain = NULL;
	(void)arg;
	SSL_certs_clear(ssl);
	SSL_CTX_get0_chain_certs(renewed, &chain);
	return SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(renewed), SSL_CTX_get0_privatekey(renewed), chain, 1);
}

bool tls_renew(void *context, const char *cert, const char *key, char **error)
{
	SSL_CTX *pair = read_pair(cert, key, error);
	if (!pair) {
		return false;
	}
	SSL_CTX_free(renewed);
	renewed = pair;
	SSL_CTX_set_cert_cb(context, show_renewed, NULL);
	return true;
}

long tls_options(void)
{
	return (long)(SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_RENEGOTIATION);
}

/* ---- reading */

typedef int (*read_function)(SSL *ssl, void *to, int len);

static read_function library_read(void)
{
	static read_function found;
	if (!found) {
		*(void **)&found = dlsym(RTLD_NEXT, "SSL_read");
	}
	return found;
}

static ssize_t source_tls(void *arg, void *to, size_t len)
{
	return library_read()(arg, to, len < INT_MAX ? (int)len : INT_MAX);
}

/*
 * In front of OpenSSL's, for libwebsockets. Its caller asks the connection why nothing came, and so the gate reads on until OpenSSL itself
 * says that there is no more.
 */
int SSL_read(SSL *ssl, void *to, int len)
{
	struct gate *gate = gate_of(SSL_get_fd(ssl));
	return gate && len > 0 ? (int)gate_read(gate, source_tls, ssl, to, (size_t)len, true)
	                       : library_read()(ssl, to, len);
}
