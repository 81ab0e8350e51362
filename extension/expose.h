/*-------------------------------------------------------------------------
 *
 * expose.h
 *	  Queries and commands: functions of the application under a name of ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_EXPOSE_H
#define LIVEFEED_EXPOSE_H

#include "postgres.h"

#include "function.h"

/* The feed of changes of livefeed.sessions: for queries, never for clients. */
#define EXPOSE_SESSIONS_FEED "livefeed_sessions"

#define EXPOSE_QUERY "query"
#define EXPOSE_COMMAND "command"

/* Class LF: what a bridge understands, or passes on to the client as it is. */
#define ERRCODE_LIVEFEED_KEY MAKE_SQLSTATE('L', 'F', '0', '0', '1')
#define ERRCODE_LIVEFEED_NO_COMMAND MAKE_SQLSTATE('L', 'F', '0', '0', '2')

/* A row of livefeed.exposed. */
typedef struct Exposure
{
	char	   *name;
	char	   *kind;
	char	   *scope;			/* of a query */
	FunctionName function;
} Exposure;

/* The exposure of that kind and name; raises if there is none. */
extern void exposure_get(const char *kind, const char *name, Exposure *exposure);

/* Its function, and the function's owner. */
extern Oid	exposure_function(const Exposure *exposure, Oid *owner);

/*
 * Looks at a function that is to be exposed, as a query, command or snapshot of
 * that name, and fills in what it is called; nargs and argument are given. The
 * current user must be able to act as its owner.
 */
extern void exposure_check_function(const char *kind, const char *name, Oid function, FunctionName *wanted);

/* Raises if a feed cannot have the name since a query or a command has it, or it is reserved. */
extern void exposure_refuse_feed(const char *name);

#endif							/* LIVEFEED_EXPOSE_H */
