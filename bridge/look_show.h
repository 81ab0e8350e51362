/*
 * look_show.h - a frame as somebody sees it who looks on (look.h): a line of JSON, or a few lines for a terminal.
 */
#ifndef LIVEFEED_LOOK_SHOW_H
#define LIVEFEED_LOOK_SHOW_H

#include <stdbool.h>

#include "event.h"
#include "jsontext.h"

struct look_style {
	bool json, colour;
};

enum look_kind {
	LOOK_FRAME, /* whatever else */
	LOOK_WELCOME, /* nothing to see */
	LOOK_REFUSED, /* an error that answers a subscribe */
	LOOK_ENDED /* unsubscribed */
};

/*
 * Appends what is to be seen of the frame. Nothing in it reaches the terminal as a control byte; a line of JSON still
 * means the same. What is no frame is shown as it is.
 */
enum look_kind look_show(struct json_out *out, struct text frame, const struct look_style *style);

#endif
