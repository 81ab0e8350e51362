/*-------------------------------------------------------------------------
 *
 * own_row.h
 *	  Rows of the extension's own short tables: what is declared, what is exposed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_OWN_ROW_H
#define LIVEFEED_OWN_ROW_H

#include "postgres.h"

/* More than any of those tables has. */
#define OWN_ROW_MAX_COLUMNS 16

typedef struct OwnRow
{
	Datum		values[OWN_ROW_MAX_COLUMNS];
	bool		nulls[OWN_ROW_MAX_COLUMNS];
} OwnRow;

/*
 * The row whose first column, a text, is the key; with NULL, the only one. False
 * if there is none. The rights of whoever asks do not matter.
 */
extern bool own_row_get(Oid table, const char *key, OwnRow *row);

/* A column, counted from 1; palloc'd, NULL for null. */
extern char *own_row_text(const OwnRow *row, int column);

/* A column that is not null. */
extern bool own_row_bool(const OwnRow *row, int column);

#endif							/* LIVEFEED_OWN_ROW_H */
