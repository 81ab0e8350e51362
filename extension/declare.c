/*-------------------------------------------------------------------------
 *
 * declare.c
 *	  What livefeed.watch() and its like need of C: who may, whose a name is,
 *	  and the word to the bridges that definitions changed.
 *
 * watch() and unwatch() run as whoever calls them, so that CREATE TRIGGER checks
 * his rights; the functions here that they call are open to everyone and check
 * for themselves that the caller owns the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "definition.h"
#include "expose.h"
#include "feed.h"
#include "journal.h"
#include "livefeed.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(livefeed_watch_begin);
PG_FUNCTION_INFO_V1(livefeed_watch_changed);
PG_FUNCTION_INFO_V1(livefeed_definitions_changed);
PG_FUNCTION_INFO_V1(livefeed_tell_transient_lost);
PG_FUNCTION_INFO_V1(livefeed_take_name);
PG_FUNCTION_INFO_V1(livefeed_watch_definition);
PG_FUNCTION_INFO_V1(livefeed_watch_problem);

static void
check_owner(Oid relation)
{
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	if (!compat_relation_ownercheck(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relation)), name);
}

/*
 * Makes sure that nobody else has the name, nor takes it before this
 * transaction ends: whoever defines something holds this lock.
 */
static void
take_name(const char *feed, Oid relation)
{
	Oid			trigger;
	Oid			holder;
	char	   *entity;

	LockRelationOid(livefeed_relation("declared"), ShareRowExclusiveLock);
	exposure_refuse_feed(feed);
	if (OidIsValid(relation) && feed_is_declared(feed, &entity))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feed \"%s\" is in use: it is a declared feed", feed),
				 errhint("Give another name as \"feed\".")));
	holder = watch_find_feed(feed, &trigger);
	if (OidIsValid(holder) && holder != relation)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("feed \"%s\" is in use: it is that of relation \"%s\"", feed, get_rel_name(holder)),
				 errhint("A feed has one table. Give another name as \"feed\".")));
}

/* watch_begin(relation regclass, feed text): may the caller watch it, and under that name? */
Datum
livefeed_watch_begin(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);

	check_owner(relation);
	if (!PG_ARGISNULL(1))
		take_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), relation);
	PG_RETURN_VOID();
}

/* A table that may not be its parent's child is refused here, where the trigger is made already. */
static void
check_parent(Oid oid)
{
	Relation	relation = relation_open(oid, AccessShareLock);
	const Watch *watch = watch_get(relation, NULL);

	if (watch != NULL && watch->problem != NULL && watch->parent_feed != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot watch %s: %s", RelationGetRelationName(relation), watch->problem)));
	relation_close(relation, AccessShareLock);
}

/* watch_changed(relation regclass): bridges are to read the definitions anew. */
Datum
livefeed_watch_changed(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("livefeed.watch()");
	check_owner(PG_GETARG_OID(0));
	check_parent(PG_GETARG_OID(0));
	watch_forget_children();
	journal_control("definitions");
	PG_RETURN_VOID();
}

/* definitions_changed(): the same where no table is concerned. */
Datum
livefeed_definitions_changed(PG_FUNCTION_ARGS)
{
	watch_forget_children();
	journal_control("definitions");
	PG_RETURN_VOID();
}

/* tell_transient_lost(): what was transient is gone. */
Datum
livefeed_tell_transient_lost(PG_FUNCTION_ARGS)
{
	journal_control(EVENT_KIND_TRANSIENT_LOST);
	PG_RETURN_VOID();
}

/* take_name(name text): raises if a table's feed has the name. */
Datum
livefeed_take_name(PG_FUNCTION_ARGS)
{
	take_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), InvalidOid);
	PG_RETURN_VOID();
}

/* watch_definition(argument bytea): a trigger's argument as json, NULL if it is no definition. */
Datum
livefeed_watch_definition(PG_FUNCTION_ARGS)
{
	bytea	   *arguments = PG_GETARG_BYTEA_PP(0);
	char	   *first = pnstrdup(VARDATA_ANY(arguments), VARSIZE_ANY_EXHDR(arguments));

	if (!definition_is_valid(first))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(first));
}

/* watch_problem(relation oid): why the watch of the relation is broken; NULL if it is not. */
Datum
livefeed_watch_problem(PG_FUNCTION_ARGS)
{
	Relation	relation = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	const Watch *watch;
	char	   *problem = NULL;

	if (relation == NULL)
		PG_RETURN_NULL();
	watch = watch_get(relation, NULL);
	if (watch != NULL && watch->problem != NULL)
		problem = pstrdup(watch->problem);
	relation_close(relation, AccessShareLock);
	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
