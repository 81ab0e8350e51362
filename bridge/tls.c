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

bool tls_check(const char *cert, const char *key, char **error)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	bool good = false;
	*error = NULL;
	if (!context) {
		return false;
	}
	if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
		refuse(error, "tls-cert", cert, "it is no certificate chain in PEM");
	} else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
		refuse(error, "tls-key", key, "it is no private key in PEM, or not that of tls-cert");
	} else {
		good = true;
	}
	SSL_CTX_free(context);
	ERR_clear_error();
	return good;
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
