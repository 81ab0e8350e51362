/*
 * visible.c - text that somebody else wrote, made fit to be looked at (visible.h).
 */
#include "visible.h"

#include <stdio.h>
#include <string.h>

#include "jsontext.h"

/* Beyond the control characters: U+2028 and U+2029, which end lines, and what turns the direction of text or has no width. */
static bool is_unseen(const unsigned char *c, size_t n)
{
	return n == 3 &&
	       ((c[0] == 0xE2 && c[1] == 0x80 && ((c[2] >= 0x8B && c[2] <= 0x8F) || (c[2] >= 0xA8 && c[2] <= 0xAE))) ||
	        (c[0] == 0xE2 && c[1] == 0x81 && c[2] >= 0xA0 && c[2] <= 0xAF) ||
	        (c[0] == 0xEF && c[1] == 0xBB && c[2] == 0xBF));
}

size_t visible_escape(char *line, const char *text, size_t len, bool quoted)
{
	size_t to = 0;

	for (size_t at = 0; at < len;) {
		const unsigned char *c = (const unsigned char *)text + at;
		size_t n = utf8_sequence(text + at, len - at);

		if (n == 0) { /* U+FFFD stands for a byte that is no UTF-8 */
			memcpy(line + to, "\xEF\xBF\xBD", 3);
			to += 3;
			at++;
			continue;
		}
		if (n == 1 && (*c < 0x20 || *c == 0x7F)) {
			if (*c == '\n' || *c == '\t')
				to += (size_t)sprintf(line + to, "\\%c", *c == '\n' ? 'n' : 't');
			else
				to += (size_t)sprintf(line + to, "\\u%04x", *c);
		} else if (n == 2 && c[0] == 0xC2 && c[1] < 0xA0) {
			to += (size_t)sprintf(line + to, "\\u%04x", c[1]);
		} else if (is_unseen(c, n)) {
			to += (size_t)sprintf(line + to, "\\u%04x", (c[0] & 0x0Fu) << 12 | (c[1] & 0x3Fu) << 6 | (c[2] & 0x3Fu));
		} else if (quoted && (*c == '"' || *c == '\\')) {
			line[to++] = '\\';
			line[to++] = (char)*c;
		} else {
			memcpy(line + to, c, n);
			to += n;
		}
		at += n;
	}
	return to;
}
