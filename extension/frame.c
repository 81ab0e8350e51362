/*-------------------------------------------------------------------------
 *
 * frame.c
 *	  The JSON object of an event, less what the bridge adds to it.
 *
 * The fields stand in PROTOCOL.md's order. The bridge never parses a frame: it
 * cuts the closing brace and appends the event's id and the channels that it is
 * for, so a frame must be whole, valid and on one line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "claims.h"
#include "clock.h"
#include "frame.h"
#include "livefeed.h"
#include "text.h"

PG_FUNCTION_INFO_V1(livefeed_frame_text);

/* What a frame needs at first; most need no more. */
#define FRAME_FIRST_BYTES 1024

static inline void
append(StringInfo frame, const char *literal)
{
	appendBinaryStringInfo(frame, literal, strlen(literal));
}

/* A name that comes from a setting or a column can be of any length. */
static void
append_name(StringInfo frame, const char *name)
{
	int			len = strlen(name);

	if (len > FRAME_MAX_NAME_BYTES)
		len = pg_mbcliplen(name, len, FRAME_MAX_NAME_BYTES);
	text_append_json(frame, name, len);
}

void
frame_begin(StringInfo frame, const char *head, int head_len,
			const char *action, const char *unit, const char *key)
{
	/* The first bytes become the header of a bytea (journal.c). */
	initStringInfo(frame);
	enlargeStringInfo(frame, FRAME_FIRST_BYTES + head_len);
	appendStringInfoSpaces(frame, VARHDRSZ);

	appendBinaryStringInfo(frame, head, head_len);
	append_name(frame, action);
	append(frame, ",\"unit\":");
	text_append_json_or_null(frame, unit);
	append(frame, ",\"key\":");
	text_append_json_or_null(frame, key);
}

void
frame_begin_data(StringInfo frame, TimestampTz at, Renderer *renderer)
{
	const char *actor = livefeed_actor;

	if (actor == NULL || *actor == '\0')
		actor = claims_user();

	append(frame, ",\"updated_at\":");
	clock_append(frame, at);
	append(frame, ",\"updated_by\":");
	if (actor == NULL || *actor == '\0')
		append(frame, "null");
	else
		append_name(frame, actor);
	append(frame, ",\"data\":");

	renderer->buf = frame;
	renderer->start = frame->len;
	renderer->end = VARHDRSZ + livefeed_max_event_bytes;
	renderer->too_large = false;
}

void
frame_append_row(Renderer *renderer, const Watch *watch, TupleTableSlot *row)
{
	StringInfo	buf = renderer->buf;

	if (row == NULL)
	{
		append(buf, "null");
		return;
	}
	appendStringInfoCharMacro(buf, '{');
	for (int i = 0; i < watch->npublished && !renderer->too_large; i++)
	{
		WatchColumn *column = &watch->published[i];

		if (i > 0)
			appendStringInfoCharMacro(buf, ',');
		appendBinaryStringInfo(buf, column->label, column->label_len);
		if (row->tts_isnull[column->attnum - 1])
			append(buf, "null");
		else
			render_value(renderer, column->type, row->tts_values[column->attnum - 1]);
	}
	appendStringInfoCharMacro(buf, '}');
}

int
frame_end(StringInfo frame, Renderer *renderer)
{
	int			len;

	/* The renderer looks between values: the last one, and our brace, are still to be counted. */
	if (frame->len >= renderer->end && frame->len > renderer->start + strlen("null"))
		renderer->too_large = true;
	if (renderer->too_large)
	{
		frame->len = renderer->start;
		append(frame, "null");
	}
	len = frame->len - renderer->start;
	if (renderer->too_large)
		append(frame, ",\"too_large\":true");
	appendStringInfoCharMacro(frame, '}');
	return len;
}

/* frame_text(frame bytea): the frame as text of this database, whatever its encoding */
Datum
livefeed_frame_text(PG_FUNCTION_ARGS)
{
	bytea	   *frame = PG_GETARG_BYTEA_PP(0);
	StringInfoData out;

	initStringInfo(&out);
	text_append_from_utf8_json(&out, VARDATA_ANY(frame), VARSIZE_ANY_EXHDR(frame));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
