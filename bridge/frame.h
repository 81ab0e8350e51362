/*
 * frame.h - bytes on their way to clients: written once, shared by every
 * session that gets them, with head room in which a transport's own header
 * stands ready, so that sending copies nothing.
 */
#ifndef LIVEFEED_FRAME_H
#define LIVEFEED_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

struct frame {
	uint32_t refs;
	uint32_t len; /* of the JSON text, bytes */
	uint8_t head_len; /* of the WebSocket header that stands right before the text */
	int64_t id; /* of the event in it; 0: a control message */
	struct latest *latest; /* what may have replaced that; NULL: nothing ever */
	/* FRAME_HEADROOM bytes, then the text */
};

/* Room for libwebsockets' LWS_PRE (16) and a WebSocket header (10 at most). */
#define FRAME_HEADROOM 32

/* A frame of len bytes of text to be filled in at frame_text(); one reference. NULL: out of memory. */
struct frame *frame_new(size_t len);
/* The same from text that stands ready. */
struct frame *frame_copy(const char *text, size_t len);
struct frame *frame_ref(struct frame *frame);
void frame_unref(struct frame *frame);
char *frame_text(struct frame *frame);
/* A newer event has replaced the one in it: it need not be sent. */
bool frame_is_stale(const struct frame *frame);
/* The text with its RFC 6455 server-to-client text-frame header before it (FIN, opcode 1, unmasked). */
const uint8_t *frame_wire(const struct frame *frame, size_t *len);

/* An event's frame for these channels: body, then `,"id":N,"channels":["..",..]}`. Names are JSON-escaped here. */
struct frame *frame_of_event(const struct event *event, const struct text *channels, size_t n_channels);

#endif
