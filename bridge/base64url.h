/*
 * base64url.h - RFC 4648 section 5 without padding, as tokens have it, and only in its canonical form: each text
 * of bytes has one spelling, so nobody can make a second token out of one.
 */
#ifndef LIVEFEED_BASE64URL_H
#define LIVEFEED_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enough for what len characters decode to. */
#define BASE64URL_ROOM(len) ((len) / 4 * 3 + 3)

/* False: a character of another alphabet, padding, an impossible length, or unused bits that are not zero. */
bool base64url_decode(const char *text, size_t len, uint8_t *out, size_t *out_len) __attribute__((warn_unused_result));

#endif
