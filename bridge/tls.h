/*
 * tls.h - are a certificate and its key fit for use? Asked before libwebsockets gets them, which would go on with half of a
 * bad pair, and tell nobody.
 */
#ifndef LIVEFEED_TLS_H
#define LIVEFEED_TLS_H

#include <stdbool.h>

/* Files in PEM. False: *error names the setting and what is wrong; malloc'ed, or NULL (out of memory). */
bool tls_check(const char *cert, const char *key, char **error);
/* From now on the server's context (of OpenSSL's: an SSL_CTX) shows these. False: as above, and what it has shown so far stays. */
bool tls_renew(void *context, const char *cert, const char *key, char **error);
/* What is switched off, as SSL_CTX_set_options has it: all before TLS 1.2, and renegotiation. */
long tls_options(void);

#endif
