/*-------------------------------------------------------------------------
 *
 * claims.h
 *	  Who is asking, while a command runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_CLAIMS_H
#define LIVEFEED_CLAIMS_H

#include "postgres.h"

#include "utils/jsonb.h"

/* On whose behalf a command runs. */
typedef struct Claims
{
	char	   *user;
	Jsonb	   *all;			/* {"user","units","roles","claims"}, as the bridge gave them */
} Claims;

/* Reads what the bridge gave; raises if it is none. */
extern Claims *claims_read(Jsonb *all);

/* From now on these; the former ones, which the caller puts back, come what may. NULL: none. */
extern const Claims *claims_set(const Claims *claims);

/* The user, NULL outside of a command. */
extern const char *claims_user(void);

#endif							/* LIVEFEED_CLAIMS_H */
