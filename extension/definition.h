/*-------------------------------------------------------------------------
 *
 * definition.h
 *	  What a watch says, as it stands in its trigger's argument: a JSON object
 *	  that names columns and functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_DEFINITION_H
#define LIVEFEED_DEFINITION_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* An action and the columns whose change makes it. */
typedef struct DefinitionAction
{
	char	   *name;
	List	   *columns;		/* of char * */
} DefinitionAction;

typedef struct Definition
{
	char	   *feed;
	char	   *entity;
	char	   *unit;			/* NULL: none */
	List	   *unit_function;	/* schema and name, of char *; NIL: none */
	List	   *users;			/* of char * */
	List	   *users_function;
	List	   *columns;		/* NIL: all */
	List	   *except_columns;
	char	   *action;			/* NULL: none */
	List	   *actions;		/* of DefinitionAction * */
	List	   *key;			/* of char *, in the order of the key */
	char	   *parent_feed;	/* NULL: none */
	char	   *parent;			/* column with the parent's key; given with parent_feed */
	bool		durable;
} Definition;

/* Raises where the text is no definition. */
extern Definition *definition_parse(const char *json);

/* [a-z][a-z0-9_]*, at most LIVEFEED_NAME_MAX_BYTES. */
extern bool definition_name_is_valid(const char *name);

/* NULL where the text is no definition. */
extern Definition *definition_read(const char *json);

/* The feed of a definition, NULL where the text is none. */
extern char *definition_feed(const char *json);

/* True if definition_parse() would not raise. */
extern bool definition_is_valid(const char *json);

#endif							/* LIVEFEED_DEFINITION_H */
