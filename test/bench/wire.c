/*
 * wire.c - see wire.h. Client frames are masked with a mask of zeros, which
 * RFC 6455 allows and which makes masking free.
 */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FRAME_BYTES (16 * 1024 * 1024)

static struct wire_frame frame_of(enum wire_kind kind, const char *text, size_t len, size_t used)
{
	struct wire_frame frame = {.kind = kind, .text = text, .len = len, .used = used};

	return frame;
}

static struct wire_frame broken(const char *why)
{
	return frame_of(WIRE_BROKEN, why, strlen(why), 0);
}

static struct wire_frame http_answer(const char *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);

	if (!end)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	if (len < 12 || memcmp(bytes, "HTTP/1.1 101", 12) != 0)
		return frame_of(WIRE_BROKEN, bytes, len < 40 ? len : 40, 0);
	return frame_of(WIRE_OPENED, NULL, 0, (size_t)(end - bytes) + 4);
}

static struct wire_frame websocket_frame(const char *bytes, size_t len)
{
	const uint8_t *b = (const uint8_t *)bytes;
	size_t head = 2, size;
	struct wire_frame frame;

	if (len < 2)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	size = b[1] & 0x7f;
	if (b[1] & 0x80)
		return broken("a masked frame from the server");
	if (size == 126) {
		if (len < 4)
			return frame_of(WIRE_MORE, NULL, 0, 0);
		size = (size_t)b[2] << 8 | b[3];
		head = 4;
	} else if (size == 127) {
		if (len < 10)
			return frame_of(WIRE_MORE, NULL, 0, 0);
		size = 0;
		for (int i = 2; i < 10; i++)
			size = size << 8 | b[i];
		head = 10;
	}
	if (size > MAX_FRAME_BYTES)
		return broken("a frame beyond 16 MiB");
	if (len < head + size)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	frame = frame_of(WIRE_IGNORED, bytes + head, size, head + size);
	switch (b[0]) {
	case 0x81:
		frame.kind = WIRE_TEXT;
		break;
	case 0x88:
		frame.kind = WIRE_CLOSED;
		if (size >= 2) {
			frame.code = b[head] << 8 | b[head + 1];
			frame.text += 2;
			frame.len -= 2;
		}
		break;
	case 0x89:
		frame.kind = WIRE_PING;
		break;
	case 0x8a:
		break;
	default:
		return broken("a frame that is neither a whole text nor a control frame");
	}
	return frame;
}

static struct wire_frame mqtt_packet(const char *bytes, size_t len)
{
	const uint8_t *b = (const uint8_t *)bytes;
	size_t size = 0, head = 1, topic;

	for (int shift = 0;; shift += 7) {
		if (len <= head)
			return frame_of(WIRE_MORE, NULL, 0, 0);
		size |= (size_t)(b[head] & 0x7f) << shift;
		if (!(b[head++] & 0x80))
			break;
		if (shift > 14)
			return broken("an MQTT packet beyond 256 MiB");
	}
	if (len < head + size)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	switch (b[0] >> 4) {
	case 2:
		return size == 2 && b[head + 1] == 0 ? frame_of(WIRE_OPENED, NULL, 0, head + size) : broken("CONNACK refused");
	case 9:
		return frame_of(WIRE_READY, NULL, 0, head + size);
	case 3:
		if (size < 2)
			return broken("a short PUBLISH");
		topic = (size_t)b[head] << 8 | b[head + 1];
		if (topic + 2 > size)
			return broken("a short PUBLISH");
		return frame_of(WIRE_TEXT, bytes + head + 2 + topic, size - 2 - topic, head + size);
	default:
		return frame_of(WIRE_IGNORED, NULL, 0, head + size);
	}
}

static struct wire_frame nats_message(const char *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n", 2);
	size_t line, size;
	const char *last;

	if (!end)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	line = (size_t)(end - bytes) + 2;
	if (line > 4 && memcmp(bytes, "MSG ", 4) == 0) {
		last = memrchr(bytes, ' ', (size_t)(end - bytes));
		size = strtoul(last + 1, NULL, 10);
		if (len < line + size + 2)
			return frame_of(WIRE_MORE, NULL, 0, 0);
		return frame_of(WIRE_TEXT, bytes + line, size, line + size + 2);
	}
	if (line > 4 && memcmp(bytes, "INFO", 4) == 0)
		return frame_of(WIRE_OPENED, NULL, 0, line);
	if (memcmp(bytes, "PONG", 4) == 0)
		return frame_of(WIRE_READY, NULL, 0, line);
	if (memcmp(bytes, "PING", 4) == 0)
		return frame_of(WIRE_PING, NULL, 0, line);
	if (bytes[0] == '-')
		return frame_of(WIRE_BROKEN, bytes, line - 2, 0);
	return frame_of(WIRE_IGNORED, NULL, 0, line);
}

struct wire_frame wire_next(enum wire_protocol protocol, int opened, const char *bytes, size_t len)
{
	if (len == 0)
		return frame_of(WIRE_MORE, NULL, 0, 0);
	switch (protocol) {
	case WIRE_MQTT:
		return mqtt_packet(bytes, len);
	case WIRE_NATS:
		return nats_message(bytes, len);
	default:
		return opened ? websocket_frame(bytes, len) : http_answer(bytes, len);
	}
}

size_t wire_text(const char *text, size_t len, char *out, size_t room)
{
	size_t head = len < 126 ? 6 : 8;

	if (len > 0xffff || head + len > room)
		abort();
	memset(out, 0, head);
	out[0] = (char)0x81;
	out[1] = (char)(0x80 | (len < 126 ? len : 126));
	if (len >= 126) {
		out[2] = (char)(len >> 8);
		out[3] = (char)(len & 0xff);
	}
	memcpy(out + head, text, len);
	return head + len;
}

size_t wire_hello(enum wire_protocol protocol, const char *path, char *out, size_t room)
{
	static const char mqtt_connect[] = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
	int len;

	switch (protocol) {
	case WIRE_MQTT:
		memcpy(out, mqtt_connect, sizeof mqtt_connect - 1);
		return sizeof mqtt_connect - 1;
	case WIRE_NATS:
		return 0; /* the server speaks first */
	default:
		len = snprintf(out, room,
		               "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		               "Sec-WebSocket-Key: bGl2ZWZlZWQgYmVuY2hlcw==\r\nSec-WebSocket-Version: 13\r\n"
		               "Sec-WebSocket-Protocol: livefeed.v1\r\n\r\n",
		               path);
		if (len < 0 || (size_t)len >= room)
			abort();
		return (size_t)len;
	}
}

size_t wire_subscribe(enum wire_protocol protocol, const char *topic, char *out, size_t room)
{
	size_t n = strlen(topic);
	int len;

	if (n > 100)
		abort();
	if (protocol == WIRE_MQTT) {
		memcpy(out, "\x82\x00\x00\x01\x00\x00", 6);
		out[1] = (char)(n + 5);
		out[5] = (char)n;
		memcpy(out + 6, topic, n);
		out[6 + n] = 0;
		return n + 7;
	}
	len = snprintf(out, room, "CONNECT {\"verbose\":false}\r\nSUB %s 1\r\nPING\r\n", topic);
	return (size_t)len;
}

size_t wire_pong(enum wire_protocol protocol, const char *text, size_t len, char *out, size_t room)
{
	if (protocol == WIRE_NATS) {
		memcpy(out, "PONG\r\n", 6);
		return 6;
	}
	if (len > 125 || len + 6 > room)
		return 0;
	memset(out, 0, 6);
	out[0] = (char)0x8a;
	out[1] = (char)(0x80 | len);
	memcpy(out + 6, text, len);
	return len + 6;
}
