/*
 * terminal.h - what subcommands print for an operator: text of others made visible (visible.h), lines broken at the
 * terminal's width, colours where there is a terminal that wants them.
 */
#ifndef LIVEFEED_TERMINAL_H
#define LIVEFEED_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum colour { COLOUR_NONE, COLOUR_DIM, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_CYAN, COLOURS };

/* Is file a terminal that wants colours? Not where NO_COLOR is set to anything, or TERM is dumb or missing. */
bool terminal_has_colour(FILE *file);
/* The bytes that begin a colour, COLOUR_NONE those that end it. */
const char *terminal_colour(enum colour colour);

/* text, escaped, whatever is in it. False: out of memory, or it cannot be written. */
bool terminal_put(FILE *file, const char *text, size_t len);
bool terminal_puts(FILE *file, const char *text);
/* Escaped and broken at spaces, each line indented; ends with a newline. */
bool terminal_paragraph(FILE *file, int indent, const char *text);

#endif
