/*
 * frame.c - reference-counted bytes with head room. The WebSocket header
 * depends on the length alone, so it is written when the frame is made.
 */
#include "frame.h"

#include <stdlib.h>
#include <string.h>

#include "latest.h"

#define FRAME_MAX_BYTES ((size_t)1 << 30)

#define ID_MAX_CHARS 20

static uint8_t *text_of_frame(struct frame *frame)
{
	return (uint8_t *)(frame + 1) + FRAME_HEADROOM;
}

static uint8_t put_header(uint8_t *text, size_t len)
{
	const uint8_t fin_text = 0x81;
	if (len < 126) {
		text[-2] = fin_text;
		text[-1] = (uint8_t)len;
		return 2;
	}
	if (len < 65536) {
		text[-4] = fin_text;
		text[-3] = 126;
		text[-2] = (uint8_t)(len >> 8);
		text[-1] = (uint8_t)len;
		return 4;
	}
	text[-10] = fin_text;
	text[-9] = 127;
	for (int i = 0; i < 8; i++)
		text[-8 + i] = (uint8_t)((uint64_t)len >> (8 * (7 - i)));
	return 10;
}

struct frame *frame_new(size_t len)
{
	if (len > FRAME_MAX_BYTES)
		return NULL;
	struct frame *frame = malloc(sizeof(struct frame) + FRAME_HEADROOM + len);
	if (frame == NULL)
		return NULL;
	frame->refs = 1;
	frame->len = (uint32_t)len;
	frame->head_len = put_header(text_of_frame(frame), len);
	frame->id = 0;
	frame->latest = NULL;
	return frame;
}

struct frame *frame_copy(const char *text, size_t len)
{
	struct frame *frame = frame_new(len);
	if (frame != NULL && len > 0)
		memcpy(frame_text(frame), text, len);
	return frame;
}

struct frame *frame_ref(struct frame *frame)
{
	frame->refs++;
	return frame;
}

void frame_unref(struct frame *frame)
{
	if (frame == NULL || --frame->refs > 0)
		return;
	latest_unref(frame->latest);
	free(frame);
}

bool frame_is_stale(const struct frame *frame)
{
	return latest_is_stale(frame->latest, frame->id);
}

char *frame_text(struct frame *frame)
{
	return (char *)text_of_frame(frame);
}

const uint8_t *frame_wire(const struct frame *frame, size_t *len)
{
	*len = (size_t)frame->head_len + frame->len;
	return (const uint8_t *)(frame + 1) + FRAME_HEADROOM - frame->head_len;
}

/* Canonical channel names need no escapes; this is for any that are not. */
static size_t escaped_size(struct text name)
{
	size_t size = name.len;
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.bytes[i];
		if (c == '"' || c == '\\')
			size += 1;
		else if (c < 0x20)
			size += 5;
	}
	return size;
}

static char *put_escaped(char *to, struct text name, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	if (size == name.len) {
		memcpy(to, name.bytes, name.len);
		return to + name.len;
	}
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.bytes[i];
		if (c == '"' || c == '\\') {
			*to++ = '\\';
			*to++ = (char)c;
		} else if (c < 0x20) {
			memcpy(to, "\\u00", 4);
			to[4] = hex[c >> 4];
			to[5] = hex[c & 15];
			to += 6;
		} else {
			*to++ = (char)c;
		}
	}
	return to;
}

static size_t format_id(int64_t id, char digits[ID_MAX_CHARS])
{
	char reversed[ID_MAX_CHARS];
	size_t n = 0, len = 0;
	uint64_t rest = id < 0 ? 0 : (uint64_t)id;
	do {
		reversed[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	while (n > 0)
		digits[len++] = reversed[--n];
	return len;
}

static char *put_bytes(char *to, const char *bytes, size_t len)
{
	memcpy(to, bytes, len);
	return to + len;
}

#define PUT(to, literal) put_bytes(to, literal, sizeof(literal) - 1)

struct frame *frame_of_event(const struct event *event, const struct text *channels, size_t n_channels)
{
	char id[ID_MAX_CHARS];
	size_t id_len = format_id(event->id, id);
	size_t len = event->body.len + strlen(",\"id\":") + id_len + strlen(",\"channels\":[") + strlen("]}");
	for (size_t i = 0; i < n_channels; i++)
		len += escaped_size(channels[i]) + (i == 0 ? 2 : 3);
	bool bare = event->body.len <= 1; /* an object without members: no comma before ours */
	if (bare)
		len--;

	struct frame *frame = frame_new(len);
	if (frame == NULL)
		return NULL;
	frame->id = event->id;
	frame->latest = latest_ref(event->latest);
	char *to = frame_text(frame);
	if (event->body.len > 0)
		to = put_bytes(to, event->body.bytes, event->body.len);
	if (!bare)
		*to++ = ',';
	to = PUT(to, "\"id\":");
	to = put_bytes(to, id, id_len);
	to = PUT(to, ",\"channels\":[");
	for (size_t i = 0; i < n_channels; i++) {
		if (i > 0)
			*to++ = ',';
		*to++ = '"';
		to = put_escaped(to, channels[i], escaped_size(channels[i]));
		*to++ = '"';
	}
	PUT(to, "]}");
	return frame;
}
