/*-------------------------------------------------------------------------
 *
 * prune.c
 *	  What livefeed.prune() needs of C: locks that are never waited for, and the
 *	  word to all backends that the log has rotated. The rest is in log.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "compat.h"
#include "livefeed.h"

/* The one that prunes: "live", "prun", and 3, as the tick lock (tick.c). */
#define PRUNE_LOCK_KEY1 0x6c697665
#define PRUNE_LOCK_KEY2 0x7072756e
#define PRUNE_LOCK_KIND 3

/*
 * Readers hold a child for milliseconds, again and again. We ask so often,
 * without ever standing in the queue, where all others would wait behind us.
 */
#define PRUNE_LOCK_TRIES 20
#define PRUNE_LOCK_PAUSE_US 1000

PG_FUNCTION_INFO_V1(livefeed_prune_lock);
PG_FUNCTION_INFO_V1(livefeed_lock_child);
PG_FUNCTION_INFO_V1(livefeed_invalidate_state);

/* livefeed.prune_lock(): true, unless another transaction prunes; then nobody waits */
Datum
livefeed_prune_lock(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, PRUNE_LOCK_KEY1, PRUNE_LOCK_KEY2, PRUNE_LOCK_KIND);
	PG_RETURN_BOOL(LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL);
}

/* livefeed.lock_child(child text): true once this transaction holds it for TRUNCATE, false if others use it */
Datum
livefeed_lock_child(PG_FUNCTION_ARGS)
{
	Oid			child = livefeed_relation(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	for (int try = 0; try < PRUNE_LOCK_TRIES; try++)
	{
		if (ConditionalLockRelationOid(child, AccessExclusiveLock))
			PG_RETURN_BOOL(true);
		CHECK_FOR_INTERRUPTS();
		pg_usleep(PRUNE_LOCK_PAUSE_US);
	}
	PG_RETURN_BOOL(false);
}

/* livefeed.invalidate_state(): all backends read livefeed.state anew, once this transaction commits */
Datum
livefeed_invalidate_state(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcacheByRelid(livefeed_relation("state"));
	PG_RETURN_VOID();
}
