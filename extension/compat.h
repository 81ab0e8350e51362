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

#include "access/genam.h"
#include "utils/guc.h"

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

#endif							/* LIVEFEED_COMPAT_H */
