/*
 * visible.h - text that somebody else wrote, made fit to be looked at: in a line of the log, or in a terminal.
 *
 * Control bytes (C1 too: they move terminals), other line separators and marks that turn the direction of text are
 * escaped as \uXXXX, what is no UTF-8 is replaced: nobody can forge a line, hide one, or speak to the terminal.
 */
#ifndef LIVEFEED_VISIBLE_H
#define LIVEFEED_VISIBLE_H

#include <stdbool.h>
#include <stddef.h>

/* The most bytes that one becomes. */
#define VISIBLE_GROWS 6
/*
 * Writes text to line, which has room for VISIBLE_GROWS times its length; quoted: fit to stand between quotes, too.
 * Returns how many bytes that took.
 */
size_t visible_escape(char *line, const char *text, size_t len, bool quoted);

#endif
