/*-------------------------------------------------------------------------
 *
 * epoch.h
 *	  The name of a history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_EPOCH_H
#define LIVEFEED_EPOCH_H

#include "postgres.h"

#include "utils/uuid.h"

/* Eight lower-case hex digits and NUL. */
#define EPOCH_BYTES 9

/* The epoch that this database has with that random value; not during recovery. */
extern void epoch_write(const pg_uuid_t *random, char *epoch);

#endif							/* LIVEFEED_EPOCH_H */
