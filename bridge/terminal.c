/*
 * terminal.c - printing for an operator (terminal.h).
 */
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "visible.h"

#define WIDTH 100 /* of paragraphs */

bool terminal_has_colour(FILE *file)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fileno(file)) && (!no || !*no) && term && *term && strcmp(term, "dumb") != 0;
}

const char *terminal_colour(enum colour colour)
{
	static const char *const codes[COLOURS] = {
		[COLOUR_NONE] = "\x1b[0m",   [COLOUR_DIM] = "\x1b[2m",     [COLOUR_RED] = "\x1b[31m",
		[COLOUR_GREEN] = "\x1b[32m", [COLOUR_YELLOW] = "\x1b[33m", [COLOUR_CYAN] = "\x1b[36m",
	};
	return codes[colour];
}

bool terminal_put(FILE *file, const char *text, size_t len)
{
	char *line = malloc(VISIBLE_GROWS * len + 1);
	if (!line) {
		return false;
	}
	size_t n = visible_escape(line, text, len, false);
	bool written = fwrite(line, 1, n, file) == n;
	free(line);
	return written;
}

bool terminal_puts(FILE *file, const char *text)
{
	return terminal_put(file, text, strlen(text));
}

bool terminal_paragraph(FILE *file, int indent, const char *text)
{
	bool good = true;
	int column = 0;
	while (*text) {
		size_t word = strcspn(text, " ");
		if (column > indent && column + 1 + (int)word > WIDTH) {
			fputc('\n', file);
			column = 0;
		}
		column += column == 0 ? fprintf(file, "%*s", indent, "") : fprintf(file, " ");
		good = terminal_put(file, text, word) && good;
		column += (int)word;
		text += word + strspn(text + word, " ");
	}
	return fputc('\n', file) != EOF && good;
}
