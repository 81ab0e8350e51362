/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Who ticks in which database: a small array in shared memory through
 *	  which a committing writer sets the ticker's latch.
 *
 * A slot belongs to a database. It is made when the first ticker of that
 * database comes, and stays there: a slot whose ticker has gone is given to
 * another database only if there is no other. A writer that kept a pointer to
 * it therefore checks the database before each use; it may still race with
 * such a change, and then wakes a ticker that finds nothing to do.
 *
 * No wake is lost while there is a ticker. The ticker resets its latch, then
 * takes a snapshot; the writer leaves the array of running transactions, then
 * looks for the ticker. Both go through ProcArrayLock, so either the snapshot
 * shows the commit or the writer sees the ticker. A wake that is lost because
 * the ticker came between a writer's first event and its commit is made good
 * by the ticker's look, once a second.
 *
 * The slots are written under a spinlock, and read without: each field is
 * read by itself, and none is wider than what is read atomically, but for
 * those that only ring() and look() use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "clock.h"
#include "compat.h"
#include "wake.h"

/* Databases of one cluster that can have a ticker with wake-ups at a time; the others' tickers poll. */
#define WAKE_SLOTS 64

#define WAKE_NOBODY (-1)

typedef struct WakeSlot
{
	Oid			database;		/* InvalidOid: never used */
	int			procno;			/* the ticker's PGPROC, WAKE_NOBODY: none */
	int			pid;			/* and its process id */
	int64		rung;			/* the last tick whose bells were rung; 0: not known */
	int64		waiting_tick;	/* events wait for the tick after this one, ... */
	uint32		waiting_epoch;	/* ... of this epoch, ... */
	int64		waiting_since;	/* ... since then (clock_passed_us) */
} WakeSlot;

typedef struct WakeArray
{
	slock_t		mutex;
	WakeSlot	slots[WAKE_SLOTS];
} WakeArray;

static WakeArray *wake_array = NULL;
static WakeSlot *wake_slot = NULL;	/* of this database, when last looked up */
static bool wake_unavailable = false;	/* shared memory was full: poll instead */
static bool wake_exit_registered = false;

static void
wake_array_init(void *ptr)
{
	WakeArray  *array = (WakeArray *) ptr;

	memset(array, 0, sizeof(WakeArray));
	SpinLockInit(&array->mutex);
	for (int i = 0; i < WAKE_SLOTS; i++)
		array->slots[i].procno = WAKE_NOBODY;
}

/*
 * Finds the array, or makes it. Where shared memory is full we do without: a
 * writer must not fail because of it.
 */
static bool
wake_attach(void)
{
	MemoryContext context = CurrentMemoryContext;
	char		name[48];

	if (wake_array != NULL)
		return true;
	if (wake_unavailable)
		return false;

	/* A library of another layout may have been here since the server started. */
	snprintf(name, sizeof(name), "livefeed wake, %zu bytes", sizeof(WakeArray));
	PG_TRY();
	{
		wake_array = compat_shared_memory(name, sizeof(WakeArray), wake_array_init);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		compat_shared_memory_failed();
		FlushErrorState();
		wake_unavailable = true;
	}
	PG_END_TRY();

	return wake_array != NULL;
}

/* The slot of this database, NULL if it has none. */
static WakeSlot *
wake_find(void)
{
	if (!wake_attach())
		return NULL;
	if (wake_slot != NULL && wake_slot->database == MyDatabaseId)
		return wake_slot;

	wake_slot = NULL;
	for (int i = 0; i < WAKE_SLOTS; i++)
	{
		if (wake_array->slots[i].database == MyDatabaseId)
		{
			wake_slot = &wake_array->slots[i];
			break;
		}
	}
	return wake_slot;
}

/* The slot of this database, made if need be; NULL if there is no room. */
static WakeSlot *
wake_find_or_make(void)
{
	WakeSlot   *spare = NULL;
	WakeSlot   *found = NULL;

	if (wake_find() != NULL || wake_array == NULL)
		return wake_slot;

	SpinLockAcquire(&wake_array->mutex);
	for (int i = 0; i < WAKE_SLOTS && found == NULL; i++)
	{
		WakeSlot   *slot = &wake_array->slots[i];

		if (slot->database == MyDatabaseId)
			found = slot;
		else if (slot->procno == WAKE_NOBODY &&
				 (spare == NULL || (OidIsValid(spare->database) && !OidIsValid(slot->database))))
			spare = slot;
	}
	if (found == NULL && spare != NULL)
	{
		spare->pid = 0;
		spare->rung = 0;
		spare->waiting_tick = 0;
		spare->waiting_since = 0;
		spare->database = MyDatabaseId;
		found = spare;
	}
	SpinLockRelease(&wake_array->mutex);

	wake_slot = found;
	return found;
}

void
wake_prepare(void)
{
	(void) wake_find();
}

void
wake_ticker(void)
{
	WakeSlot   *slot = wake_slot;
	int			procno;

	if (slot == NULL || slot->database != MyDatabaseId)
		return;
	procno = *(volatile int *) &slot->procno;
	if (procno >= 0 && procno < (int) ProcGlobal->allProcCount)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

static int
wake_my_procno(void)
{
	return (int) (MyProc - ProcGlobal->allProcs);
}

/* At the end of a ticker's backend. */
static void
wake_leave(int code, Datum arg)
{
	WakeSlot   *slot = wake_slot;

	if (slot == NULL)
		return;
	SpinLockAcquire(&wake_array->mutex);
	if (slot->database == MyDatabaseId && slot->pid == MyProcPid)
	{
		slot->procno = WAKE_NOBODY;
		slot->pid = 0;
	}
	SpinLockRelease(&wake_array->mutex);
}

WakeRole
wake_take(bool force)
{
	WakeSlot   *slot = wake_find_or_make();
	int			holder;
	bool		taken = false;

	if (slot == NULL)
		return WAKE_NO_SLOT;
	if (!wake_exit_registered)
	{
		before_shmem_exit(wake_leave, (Datum) 0);
		wake_exit_registered = true;
	}

	holder = slot->pid;
	if (holder != 0 && holder != MyProcPid && !force && BackendPidGetProc(holder) != NULL)
		return WAKE_FOLLOWER;

	SpinLockAcquire(&wake_array->mutex);
	if (slot->database == MyDatabaseId && (force || slot->pid == holder))
	{
		slot->procno = wake_my_procno();
		slot->pid = MyProcPid;
		taken = true;
	}
	SpinLockRelease(&wake_array->mutex);

	/* Lost a race: the one who won it ticks. */
	return taken ? WAKE_TICKER : WAKE_FOLLOWER;
}

bool
wake_is_ticker(void)
{
	WakeSlot   *slot = wake_find();

	return slot != NULL && slot->pid == MyProcPid;
}

int
wake_ticker_pid(void)
{
	WakeSlot   *slot = wake_find();
	int			pid = slot ? slot->pid : 0;

	return pid != 0 && BackendPidGetProc(pid) != NULL ? pid : 0;
}

int64
wake_rung(void)
{
	WakeSlot   *slot = wake_find();
	int64		rung = 0;

	if (slot != NULL)
	{
		SpinLockAcquire(&wake_array->mutex);
		if (slot->database == MyDatabaseId)
			rung = slot->rung;
		SpinLockRelease(&wake_array->mutex);
	}
	return rung;
}

void
wake_set_rung(int64 tick)
{
	WakeSlot   *slot = wake_find_or_make();

	if (slot == NULL)
		return;
	SpinLockAcquire(&wake_array->mutex);
	if (slot->database == MyDatabaseId)
		slot->rung = tick;
	SpinLockRelease(&wake_array->mutex);
}

int64
wake_waiting_us(int64 tick, const char *epoch)
{
	uint32		epoch_number = (uint32) strtoul(epoch, NULL, 16);
	WakeSlot   *slot = wake_find_or_make();
	int64		now = clock_passed_us();
	int64		since = now;

	if (slot == NULL)
		return 0;
	SpinLockAcquire(&wake_array->mutex);
	if (slot->database == MyDatabaseId)
	{
		/* Later than now: from a library that kept the time of day. */
		if (slot->waiting_tick != tick || slot->waiting_epoch != epoch_number || slot->waiting_since > now)
		{
			slot->waiting_tick = tick;
			slot->waiting_epoch = epoch_number;
			slot->waiting_since = now;
		}
		since = slot->waiting_since;
	}
	SpinLockRelease(&wake_array->mutex);
	return Max(now - since, 0);
}
