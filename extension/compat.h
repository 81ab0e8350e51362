/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between PostgreSQL 13 and 18 that we meet stands here:
 *	  no other file tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_COMPAT_H
#define LIVEFEED_COMPAT_H

#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/stratnum.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 130000
#error "livefeed needs PostgreSQL 13 or later"
#endif

/* The VARATT macros moved out of postgres.h in 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* index_insert() got indexUnchanged in 14. */
#if PG_VERSION_NUM >= 140000
#define compat_index_insert(index, values, isnull, tid, heap, info) \
	index_insert(index, values, isnull, tid, heap, UNIQUE_CHECK_NO, false, info)
#else
#define compat_index_insert(index, values, isnull, tid, heap, info) \
	index_insert(index, values, isnull, tid, heap, UNIQUE_CHECK_NO, info)
#endif

/* index_beginscan() got a place to count in 18. */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, norderbys)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/*
 * Which of the operator family's operators is equality; InvalidStrategy where
 * nobody knows. Until 18 unique indexes were btrees; WITHOUT OVERLAPS makes others.
 */
static inline StrategyNumber
compat_equality_strategy(Relation index, int column)
{
#if PG_VERSION_NUM >= 180000
	return IndexAmTranslateCompareType(COMPARE_EQ, index->rd_rel->relam, index->rd_opfamily[column], true);
#else
	return index->rd_rel->relam == BTREE_AM_OID ? BTEqualStrategyNumber : InvalidStrategy;
#endif
}

/* pg_noreturn stands before the type, and took the place of pg_attribute_noreturn() in 18. */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* A relation's file is its locator since 16. */
#if PG_VERSION_NUM >= 160000
#define compat_set_sequence_record(record, relation) ((record)->locator = (relation)->rd_locator)
#else
#define compat_set_sequence_record(record, relation) ((record)->node = (relation)->rd_node)
#endif

/* A misspelt livefeed.* setting is refused (15) or warned of (before). */
#if PG_VERSION_NUM >= 150000
#define compat_reserve_prefix(prefix) MarkGUCPrefixReserved(prefix)
#else
#define compat_reserve_prefix(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* Virtual generated columns came with 18. */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* May the role execute the function? */
#if PG_VERSION_NUM >= 160000
#define compat_function_aclcheck(function, role) \
	object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE)
#else
#define compat_function_aclcheck(function, role) \
	pg_proc_aclcheck(function, role, ACL_EXECUTE)
#endif

/* May the role SET ROLE to the other? Memberships can lack that since 16. */
#if PG_VERSION_NUM >= 160000
#define compat_can_set_role(member, role) member_can_set_role(member, role)
#else
#define compat_can_set_role(member, role) is_member_of_role(member, role)
#endif

/* Does the role own the relation? */
#if PG_VERSION_NUM >= 160000
#define compat_relation_ownercheck(relation, role) \
	object_ownercheck(RelationRelationId, relation, role)
#else
#define compat_relation_ownercheck(relation, role) \
	pg_class_ownercheck(relation, role)
#endif

/* Base64 reads uint8 from 18. */
#if PG_VERSION_NUM >= 180000
#define compat_b64_encode(source, len, target, room) \
	pg_b64_encode((const uint8 *) (source), len, target, room)
#else
#define compat_b64_encode(source, len, target, room) \
	pg_b64_encode(source, len, target, room)
#endif

/* Converts all of the source, or leaves the target empty. */
#if PG_VERSION_NUM < 140000
static inline bool
compat_convert_whole(Oid proc, int from, int to, const char *source, int len, char *target)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool good = true;

	PG_TRY();
	{
		OidFunctionCall5(proc, Int32GetDatum(from), Int32GetDatum(to),
						 CStringGetDatum(source), CStringGetDatum(target), Int32GetDatum(len));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		good = false;
	}
	PG_END_TRY();

	if (!good)
		target[0] = '\0';
	return good;
}
#endif

/*
 * Converts as much as it can, returns how many bytes of the source that were,
 * and ends the result with NUL. Before 14 a conversion could only raise: the
 * conversion functions hold nothing that an abandoned call would leave behind.
 */
static inline int
compat_convert(Oid proc, int from, int to, const char *source, int len, char *target, int room)
{
#if PG_VERSION_NUM >= 140000
	return pg_do_encoding_conversion_buf(proc, from, to,
										 (unsigned char *) unconstify(char *, source), len,
										 (unsigned char *) target, room, true);
#else
	int			piece = len;	/* the whole, and if that fails a character at a time */
	int			done = 0;

	target[0] = '\0';
	while (done < len)
	{
		if (compat_convert_whole(proc, from, to, source + done, piece, target))
		{
			done += piece;
			target += strlen(target);
		}
		else if (piece < len || pg_encoding_mblen(from, source) >= len)
			break;
		if (done < len)
			piece = Min(pg_encoding_mblen(from, source + done), len - done);
	}
	return done;
#endif
}

/* Writing an integer returns its length since 14. */
#if PG_VERSION_NUM >= 140000
#define compat_ltoa(number, target) pg_ltoa(number, target)
#define compat_lltoa(number, target) pg_lltoa(number, target)
#else
static inline int
compat_ltoa(int32 number, char *target)
{
	pg_ltoa(number, target);
	return strlen(target);
}

static inline int
compat_lltoa(int64 number, char *target)
{
	pg_lltoa(number, target);
	return strlen(target);
}
#endif

/* Array types have symbols of their own since 14. */
#ifndef XID8ARRAYOID
#define XID8ARRAYOID 271
#endif

/* The timeline that is written to; not to be asked for during recovery. */
static inline TimeLineID
compat_timeline(void)
{
#if PG_VERSION_NUM >= 150000
	return GetWALInsertionTimeLine();
#else
	(void) RecoveryInProgress();	/* fills it in, also after a promotion */
	return ThisTimeLineID;
#endif
}

/*
 * Shared memory for a library that need not be preloaded: from what the server
 * has to spare, which takes some kilobytes, or since 17 a segment by name.
 */
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#endif

static inline void *
compat_shared_memory(const char *name, Size size, void (*init) (void *ptr))
{
	bool		found;
#if PG_VERSION_NUM >= 170000
	return GetNamedDSMSegment(name, size, init, &found);
#else
	void	   *ptr;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ptr = ShmemInitStruct(name, size, &found);
	if (!found)
		init(ptr);
	LWLockRelease(AddinShmemInitLock);
	return ptr;
#endif
}

/* Tidies up after an error of compat_shared_memory() that is not passed on. */
static inline void
compat_shared_memory_failed(void)
{
#if PG_VERSION_NUM < 170000
	if (LWLockHeldByMe(AddinShmemInitLock))
	{
		HOLD_INTERRUPTS();		/* the error let go of them; the release does it again */
		LWLockRelease(AddinShmemInitLock);
	}
#endif
}

#endif							/* LIVEFEED_COMPAT_H */
