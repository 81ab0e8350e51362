/*-------------------------------------------------------------------------
 *
 * frame.h
 *	  The JSON object of an event, less what the bridge adds to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_FRAME_H
#define LIVEFEED_FRAME_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#include "render.h"
#include "watch.h"

/* Actions and actors are cut to this. */
#define FRAME_MAX_NAME_BYTES 256

/* Begins a frame up to its key; the head is {"type":"e.created","feed":"f","action": */
extern void frame_begin(StringInfo frame, const char *head, int head_len,
						const char *action, const char *unit, const char *key);

/* Goes on from there to the data, which is the caller's to append: through the renderer. */
extern void frame_begin_data(StringInfo frame, TimestampTz at, Renderer *renderer);

/* Appends what the watch publishes of a row, as a JSON object; null for NULL. Of snapshots, too. */
extern void frame_append_row(Renderer *renderer, const Watch *watch, TupleTableSlot *row);

/* Puts null in place of data that got too large, and closes the frame; how long the data are. */
extern int	frame_end(StringInfo frame, Renderer *renderer);

#endif							/* LIVEFEED_FRAME_H */
