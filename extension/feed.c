/*-------------------------------------------------------------------------
 *
 * feed.c
 *	  Declared feeds: those that livefeed.publish() fills; and what the journal
 *	  needs to know of a feed of either kind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "feed.h"
#include "livefeed.h"
#include "own_row.h"
#include "watch.h"

/* The first columns of livefeed.declared (feeds.sql). */
enum
{
	DECLARED_FEED = 1,
	DECLARED_ENTITY,
	DECLARED_ROLES,
	DECLARED_RETAIN,
	DECLARED_DURABLE,
};

bool
feed_get_declared(const char *feed, DeclaredFeed *it)
{
	OwnRow		row;

	if (!own_row_get(livefeed_relation("declared"), feed, &row))
		return false;
	it->entity = own_row_text(&row, DECLARED_ENTITY);
	it->retain = own_row_bool(&row, DECLARED_RETAIN);
	it->durable = own_row_bool(&row, DECLARED_DURABLE);
	return true;
}

bool
feed_is_declared(const char *feed, char **entity)
{
	DeclaredFeed declared;
	bool		found = feed_get_declared(feed, &declared);

	if (found)
		*entity = declared.entity;
	return found;
}

bool
feed_find_declared(const char *feed, char **entity, bool *durable)
{
	DeclaredFeed declared;

	if (!feed_get_declared(feed, &declared))
		return false;
	*entity = declared.entity;
	*durable = declared.durable;
	return true;
}

void
feed_look_up(const char *feed, FeedFacts *facts)
{
	DeclaredFeed declared;
	Definition *definition;
	Oid			owner;

	facts->durable = true;
	facts->parent_feed = NULL;
	if (feed_get_declared(feed, &declared))
	{
		facts->durable = declared.durable;
		return;
	}
	definition = watch_find_definition(feed, &owner);
	if (definition == NULL)
		return;
	facts->durable = definition->durable;
	if (definition->parent_feed != NULL && watch_judge_parent(owner, definition->parent_feed) == WATCH_PARENT_FITS)
		facts->parent_feed = definition->parent_feed;
}
