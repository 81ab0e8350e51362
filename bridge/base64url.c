/*
 * base64url.c - canonical base64url, decoded.
 */
#include "base64url.h"

static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

bool base64url_decode(const char *text, size_t len, uint8_t *out, size_t *out_len)
{
	uint32_t bits = 0;
	unsigned n_bits = 0; /* in bits, not written yet */
	size_t written = 0;

	for (size_t i = 0; i < len; i++) {
		int value = sextet(text[i]);

		if (value < 0)
			return false;
		bits = (bits << 6 | (uint32_t)value) & 0xFFFF;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[written++] = (uint8_t)(bits >> n_bits);
		}
	}
	if (len % 4 == 1 || (bits & ((1u << n_bits) - 1)) != 0)
		return false;
	*out_len = written;
	return true;
}
