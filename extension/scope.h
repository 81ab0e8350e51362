/*-------------------------------------------------------------------------
 *
 * scope.h
 *	  Whom a row concerns: its key, its unit, its users.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_SCOPE_H
#define LIVEFEED_SCOPE_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/array.h"

#include "watch.h"

/* A longer unit or user id is refused, and so makes a broken watch. */
#define SCOPE_MAX_BYTES 1024

/* A set of user ids: sorted, each once. */
typedef struct UserSet
{
	int			n;
	char	  **ids;
} UserSet;

typedef struct Scope
{
	char	   *unit;			/* NULL: nobody's */
	UserSet		users;
	char	   *parent;			/* key of the row in the parent's feed, NULL: none */
} Scope;

/*
 * An id that a caller gives (what: "unit", "a user"): itself; NULL for NULL and
 * ''; an error if it is too long, or has characters that UTF-8 has not.
 */
extern char *scope_check_id(const char *what, char *id);

/* The key of a row as text. */
extern char *scope_key(const Watch *watch, TupleTableSlot *row);

/* Unit and users of a row; false, with the problem, if a function or value is no good. */
extern bool scope_of_row(const Watch *watch, TupleTableSlot *row, Scope *scope, char **problem);

extern void users_normalize(UserSet *users);
extern UserSet users_common(const UserSet *a, const UserSet *b);
extern UserSet users_minus(const UserSet *a, const UserSet *b);

/* As text[]; NULL for the empty set. */
extern ArrayType *users_array(const UserSet *users);

#endif							/* LIVEFEED_SCOPE_H */
