/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Rows of watched tables, read with the rights of the table's owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_LOOKUP_H
#define LIVEFEED_LOOKUP_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/rel.h"

#include "compat.h"
#include "watch.h"

/* Who the current user was, before lookup_become_owner(). */
typedef struct LookupUser
{
	Oid			user;
	int			context;
} LookupUser;

/*
 * Makes the relation's owner the current user, until lookup_leave_owner(). An
 * error puts the user back by itself: the transaction's abort does.
 */
extern void lookup_become_owner(Oid relation, LookupUser *former);
extern void lookup_leave_owner(const LookupUser *former);

/* Opens a watched table; raises if the watch is broken, or calls functions of strangers. */
extern Relation lookup_open(Oid relation, const Watch **watch);

/* Raises if the table's owner is bound by row-level security himself. */
extern void lookup_check_row_security(Relation relation);

/*
 * Who may see the row of a key: 'found' with its unit and users, 'absent', or
 * 'spelling'. Of a table's feed that is its relation; a declared one has none.
 */
extern const char *lookup_row_scope(const char *feed, Oid relation, char *key, char **unit, ArrayType **users);

/* Says that the watch is broken, as an error. */
pg_noreturn extern void lookup_raise_problem(Relation relation, const char *problem);

/* The values of a key's columns; false if the text is no key's canonical one. */
extern bool lookup_read_key(Relation relation, const Watch *watch, char *given, Datum *values);

/* The value that a text stands for; false if it is not the canonical text of a value of the type. */
extern bool lookup_read_value(Oid type, int32 typmod, char *given, Datum *value);

/* Appends the table's name. Rows of tables that merely inherit are no events, and not read. */
extern void lookup_append_table(StringInfo query, Relation relation);

/* Appends x.COLUMN = $NUMBER; false, and nothing, if the type has no equality. */
extern bool lookup_append_equal(StringInfo query, const char *column, Oid type, int number);

/* Of a watch's columns: what the column's type is. */
extern Oid	lookup_column_type(Relation relation, const WatchColumn *column, int32 *typmod);

/* Appends the columns of the table as lookup_store_row() wants them. */
extern void lookup_append_columns(StringInfo query, Relation relation);

/* Fills a slot of the table's own row type from what such a query returned. */
extern void lookup_store_row(TupleTableSlot *slot, HeapTuple tuple, TupleDesc desc);

#endif							/* LIVEFEED_LOOKUP_H */
