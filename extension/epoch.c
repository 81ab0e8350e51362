/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  The name of a history: of this cluster, on this timeline, in this database,
 *	  since the last reset. A restore or a promotion makes another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "epoch.h"

PG_FUNCTION_INFO_V1(livefeed_epoch);

void
epoch_write(const pg_uuid_t *random, char *epoch)
{
	struct
	{
		uint64		system;
		uint32		timeline;
		uint32		database;
		unsigned char random[UUID_LEN];
	}			source;

	memset(&source, 0, sizeof(source));
	source.system = GetSystemIdentifier();
	source.timeline = compat_timeline();
	source.database = MyDatabaseId;
	memcpy(source.random, random->data, UUID_LEN);
	snprintf(epoch, EPOCH_BYTES, "%08x", hash_bytes((const unsigned char *) &source, sizeof(source)));
}

/* livefeed.epoch(random uuid): what that makes, with cluster, timeline and database; NULL on a standby */
Datum
livefeed_epoch(PG_FUNCTION_ARGS)
{
	char		epoch[EPOCH_BYTES];

	if (RecoveryInProgress())
		PG_RETURN_NULL();
	epoch_write(PG_GETARG_UUID_P(0), epoch);
	PG_RETURN_DATUM(CStringGetTextDatum(epoch));
}
