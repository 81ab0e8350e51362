/*-------------------------------------------------------------------------
 *
 * presence.c
 *	  The events of the feed livefeed_sessions: whose sessions changed. They are
 *	  for queries alone: no client may have that feed, and no table or declared
 *	  feed its name (expose.c). They are transient, as the sessions are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "expose.h"
#include "frame.h"
#include "journal.h"

PG_FUNCTION_INFO_V1(livefeed_tell_sessions);

static void
write_event(int flags, const char *unit, ArrayType *users)
{
	static const char head[] = "{\"type\":\"" EXPOSE_SESSIONS_FEED ".updated\",\"feed\":\"" EXPOSE_SESSIONS_FEED "\",\"action\":";
	LivefeedEvent event = {0};
	StringInfoData frame;
	Renderer	renderer;

	event.flags = flags | EVENT_UPDATED;
	event.command = GetCurrentCommandId(false);
	event.at = GetCurrentTimestamp();
	frame_begin(&frame, head, strlen(head), "updated", unit, NULL);
	frame_begin_data(&frame, event.at, &renderer);
	appendStringInfoString(&frame, "null");
	frame_end(&frame, &renderer);
	event.feed = EXPOSE_SESSIONS_FEED;
	event.unit = unit;
	event.users = users;
	event.action = "updated";
	event.transient = true;
	event.frame = &frame;
	journal_write(&event);
	pfree(frame.data);
}

/* tell_sessions(units text[], users text[]) */
Datum
livefeed_tell_sessions(PG_FUNCTION_ARGS)
{
	if (journal_is_full(EXPOSE_SESSIONS_FEED))
		PG_RETURN_VOID();
	if (!PG_ARGISNULL(0))
	{
		Datum	   *units;
		bool	   *nulls;
		int			n;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &units, &nulls, &n);
		for (int i = 0; i < n; i++)
			if (!nulls[i])
				write_event(EVENT_TO_UNIT, TextDatumGetCString(units[i]), NULL);
	}
	if (!PG_ARGISNULL(1))
		write_event(EVENT_TO_USERS, NULL, PG_GETARG_ARRAYTYPE_P(1));
	PG_RETURN_VOID();
}
