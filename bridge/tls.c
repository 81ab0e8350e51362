/*
 * tls.c - looks at a certificate chain and its private key (tls.h).
 */
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

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
