/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Runs what may raise so that the writer's transaction survives it.
 *
 * A table's definition can name a column that is gone, and a unit_function is
 * the application's code: neither may make its writes fail. Such work runs in a
 * subtransaction of its own, the way PL/pgSQL runs a block with EXCEPTION. It
 * costs a microsecond or two, so nothing else is run here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "guard.h"

/* Errors that are no fault of a definition, and that a write meets by itself too. */
static bool
is_postgres_trouble(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:	/* deadlock, serialization */
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION: /* cancel, shutdown */
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return sqlstate == ERRCODE_DATA_CORRUPTED || sqlstate == ERRCODE_INDEX_CORRUPTED;
	}
}

bool
guard_run(void (*work) (void *arg), void *arg, char **problem)
{
	MemoryContext caller_context = CurrentMemoryContext;
	ResourceOwner caller_owner = CurrentResourceOwner;
	volatile bool good = true;

	*problem = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller_context);
	PG_TRY();
	{
		work(arg);

		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller_context);
		CurrentResourceOwner = caller_owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller_context);
		error = CopyErrorData();
		FlushErrorState();

		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller_context);
		CurrentResourceOwner = caller_owner;

		if (is_postgres_trouble(error->sqlerrcode))
			ReThrowError(error);
		*problem = error->message;
		good = false;
	}
	PG_END_TRY();
	return good;
}
