/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  What a relation publishes, ready for use by its trigger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_WATCH_H
#define LIVEFEED_WATCH_H

#include "postgres.h"

#include "access/tupconvert.h"
#include "fmgr.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "definition.h"
#include "render.h"

typedef struct WatchColumn
{
	AttrNumber	attnum;
	RenderType *type;
	const char *name;
	const char *label;			/* "name":  as it stands in JSON, UTF-8 */
	int			label_len;
} WatchColumn;

typedef struct WatchAction
{
	const char *name;
	int			ncolumns;
	AttrNumber *columns;
} WatchAction;

/* A function of the row; its argument is of the type of an ancestor, perhaps. */
typedef struct WatchFunction
{
	Oid			run_as;			/* the table's owner, or InvalidOid: whoever writes */
	FmgrInfo	call;
	Oid			row_type;
	TupleDesc	row_desc;
	TupleConversionMap *map;	/* NULL: rows fit as they are */
} WatchFunction;

/*
 * Read-only once made, and alive until the end of the transaction in which it
 * was replaced: a trigger that is at work with it need not care.
 */
typedef struct Watch
{
	MemoryContext context;
	Oid			relation;
	char	   *relation_name;
	char	   *problem;		/* NULL: all is well; else nothing below but feed is set */
	char	   *feed;			/* NULL: not even that is known, or it is another's */

	const char *created_head;	/* {"type":"e.created","feed":"f","action": */
	const char *updated_head;
	const char *deleted_head;
	int			created_head_len;
	int			updated_head_len;
	int			deleted_head_len;

	int			nkeys;
	WatchColumn *keys;
	Oid			deferrable_key;	/* the index that allows two rows of one key for a while, or InvalidOid */
	int			npublished;
	WatchColumn *published;		/* in the table's order */
	WatchColumn *unit;			/* NULL: none */
	WatchFunction *unit_function;
	int			nusers;
	WatchColumn *users;
	WatchFunction *users_function;
	WatchColumn *action;
	int			nactions;
	WatchAction *actions;
	bool		durable;
	const char *parent_feed;	/* whose row channels its events go to, too */
	WatchColumn *parent;		/* NULL: none, or the parent's feed is not there */

	int			last_attnum;	/* of all columns named above */
	int			ncompared;		/* those whose change may matter */
	AttrNumber *compared;
} Watch;

/*
 * The watch of a relation. The trigger may be NULL: then it is looked for; the
 * result is NULL where there is none.
 */
extern const Watch *watch_get(Relation relation, const Trigger *trigger);

/* Says that the watch is broken: once a backend as a warning; as an error under livefeed.strict. */
extern void watch_complain(const Watch *watch, const char *problem);

/* The relation that a feed is of (the root of a partitioned one); InvalidOid: none. */
extern Oid	watch_find_feed(const char *feed, Oid *trigger);

/* What the watch that has a feed says, and whose the table is; NULL: none has it. */
extern Definition *watch_find_definition(const char *feed, Oid *owner);

/*
 * Whoever holds a row's channel trusts what comes by it: so a child must be of
 * the parent's owner, or of one who may act as he; under a declared feed, of one
 * who may publish.
 */
typedef enum WatchParent
{
	WATCH_PARENT_MISSING,		/* no such feed (yet): nobody holds a channel of it */
	WATCH_PARENT_FITS,
	WATCH_PARENT_FOREIGN,
} WatchParent;

/* May a table of that owner be a child of the feed? */
extern WatchParent watch_judge_parent(Oid owner, const char *feed);

/* Has it a child whose feed is not durable? */
extern bool watch_has_transient_child(const char *feed);

/* Watches that have a parent are looked at anew: somebody's feed came, or became another's. */
extern void watch_forget_children(void);

/* The trigger that a partition's is a copy of, up to the topmost. */
extern Oid	watch_topmost_trigger(Oid trigger);

/* A function by its name and arguments, whatever the current user may; InvalidOid: none. */
extern Oid	watch_find_function(const char *schema_name, const char *name, const Oid *argument_types, int narguments);

/* The oid of livefeed.capture_row(). */
extern Oid	watch_function(void);

extern void watch_init(void);

#endif							/* LIVEFEED_WATCH_H */
