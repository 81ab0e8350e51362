/*-------------------------------------------------------------------------
 *
 * function.h
 *	  Functions of the application that we call with their owner's rights: found
 *	  by name and owner, run, and the caller's rights put back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_FUNCTION_H
#define LIVEFEED_FUNCTION_H

#include "postgres.h"

#include "fmgr.h"

#define FUNCTION_MAX_ARGS 2

/* As an exposure or the authorizer is kept. */
typedef struct FunctionName
{
	char	   *schema;
	char	   *name;
	char	   *owner;			/* at the time it was set */
	int			nargs;			/* at most FUNCTION_MAX_ARGS */
	Oid			argument;		/* the type of each */
} FunctionName;

/* "schema.name(type)", for messages. */
extern char *function_signature(const FunctionName *function);

/*
 * The function, which returns jsonb, and its owner: he who set it, or someone
 * who could as well (a restore without owners makes it a superuser's). Raises if
 * there is none: subject begins the message, setter names what would mend it.
 */
extern Oid	function_find(const FunctionName *name, const char *subject, const char *setter, Oid *owner);

/* Whose rights were in force. */
typedef struct FunctionRights
{
	Oid			user;
	int			context;
	int			settings;
} FunctionRights;

/*
 * Goes on with another user's rights: he can neither SET ROLE nor SET SESSION
 * AUTHORIZATION, and restricted leaves nothing behind that would run with the
 * caller's rights. Settings that change are put back by function_leave(); an
 * error puts all of it back by itself, as the transaction's abort does.
 */
extern void function_enter(FunctionRights *former, Oid user, bool restricted);
extern void function_leave(const FunctionRights *former);

/* Goes on with the rights of whom one of our own tables belongs to. */
extern void function_enter_as_owner_of(FunctionRights *former, const char *table);

/* True if the result is not null. */
extern bool function_call(Oid function, int nargs, const NullableDatum *arguments, Datum *result);

/* JSON on one line, in the database's encoding, of a jsonb. */
extern text *function_json(Datum jsonb);

#endif							/* LIVEFEED_FUNCTION_H */
