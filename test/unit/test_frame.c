/*
 * test_frame.c - frame.c: the text, its WebSocket header, and an event's id and channels. Does not test what a
 * library does with the head room (see the e2e tests).
 */
#include "frame.h"

#include <stdlib.h>

#include "tap.h"

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static void is_frame(struct frame *frame, const char *want, const char *name)
{
	is_mem(frame_text(frame), frame->len, want, strlen(want), "%s", name);
	frame_unref(frame);
}

static void test_header(size_t len, const uint8_t *want, size_t want_len)
{
	char *bytes = malloc(len + 1);
	memset(bytes, 'a', len);
	struct frame *frame = frame_copy(bytes, len);
	size_t wire_len;
	const uint8_t *wire = frame_wire(frame, &wire_len);
	is_int(wire_len, want_len + len, "%zu bytes: length on the wire", len);
	is_mem(wire, want_len, want, want_len, "%zu bytes: header", len);
	ok(memcmp(wire + want_len, bytes, len) == 0, "%zu bytes: the text follows", len);
	free(bytes);
	frame_unref(frame);
}

static void test_headers(void)
{
	test_header(0, (const uint8_t[]){0x81, 0}, 2);
	test_header(125, (const uint8_t[]){0x81, 125}, 2);
	test_header(126, (const uint8_t[]){0x81, 126, 0, 126}, 4);
	test_header(65535, (const uint8_t[]){0x81, 126, 0xff, 0xff}, 4);
	test_header(65536, (const uint8_t[]){0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}, 10);
}

static void test_events(void)
{
	struct event event = {.id = 1042, .body = text("{\"type\":\"a.created\",\"data\":{}")};
	struct text two[] = {text("a:unit:7"), text("a:row:%22")};
	struct text odd[] = {text("q\"b\\s\n")};
	struct frame *frame = frame_of_event(&event, two, 1);
	is_int(frame->id, 1042, "the frame knows its event's id");
	is_frame(frame, "{\"type\":\"a.created\",\"data\":{},\"id\":1042,\"channels\":[\"a:unit:7\"]}", "one channel");
	is_frame(frame_of_event(&event, two, 2),
	         "{\"type\":\"a.created\",\"data\":{},\"id\":1042,\"channels\":[\"a:unit:7\",\"a:row:%22\"]}",
	         "two channels");
	is_frame(frame_of_event(&event, odd, 1),
	         "{\"type\":\"a.created\",\"data\":{},\"id\":1042,\"channels\":[\"q\\\"b\\\\s\\u000a\"]}",
	         "a name that needs escapes gets them");
	event.id = INT64_C(9007199254740991);
	event.body = text("{");
	is_frame(frame_of_event(&event, two, 1), "{\"id\":9007199254740991,\"channels\":[\"a:unit:7\"]}",
	         "an object without members, the largest id");
}

static void test_references(void)
{
	struct frame *frame = frame_copy("{}", 2);
	is_int(frame->id, 0, "a control message has no id");
	ok(frame_ref(frame) == frame && frame->refs == 2, "a second reference is to the same bytes");
	frame_unref(frame);
	frame_unref(frame);
	frame_unref(NULL);
	ok(frame_new((size_t)1 << 40) == NULL, "a length beyond all bounds is refused");
}

int main(void)
{
	test_headers();
	test_events();
	test_references();
	return tap_done();
}
