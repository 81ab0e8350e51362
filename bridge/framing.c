/*
 * framing.c - follows the frames of a WebSocket in the bytes that a client sends (framing.h). Plain C.
 *
 * A frame is FIRST (final bit, opcode), SECOND (mask bit, length), LENGTH (2 or 8 more bytes of it, if any), MASK (4), PAYLOAD. All rules
 * but one can be judged from these few bytes; payloads are only counted. The one that is left to others is UTF-8.
 */
#include "framing.h"

#define CONTROL_MAX_BYTES 125
#define MASK_BYTES 4
#define BROKEN 1002
#define TOO_LARGE 1009

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* What is wrong with a frame that begins so; NULL: nothing. */
static const char *first_byte(struct framing *framing, uint8_t byte)
{
	framing->opcode = byte & 0x0f;
	framing->final = (byte & 0x80) != 0;
	if (byte & 0x70) {
		return "reserved bits";
	}
	switch (framing->opcode) {
	case CONTINUATION:
		return framing->in_message ? NULL : "a continuation of nothing";
	case TEXT:
	case BINARY:
		framing->message = 0;
		return framing->in_message ? "a message within a message" : NULL;
	case CLOSE:
	case PING:
	case PONG:
		return framing->final ? NULL : "a control frame in fragments";
	default:
		return "reserved opcode";
	}
}

static bool is_control(const struct framing *framing)
{
	return framing->opcode >= CLOSE;
}

static const char *second_byte(struct framing *framing, uint8_t byte)
{
	uint8_t length = byte & 0x7f;
	if (!(byte & 0x80)) {
		return "frames must be masked";
	}
	if (is_control(framing) && length > CONTROL_MAX_BYTES) {
		return "a control frame is too long";
	}
	if (framing->opcode == CLOSE && length == 1) {
		return "half a close code";
	}
	framing->length_bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
	framing->payload = framing->length_bytes > 0 ? 0 : length;
	return NULL;
}

/* The length is known. */
static const char *judge_length(struct framing *framing, uint64_t max_message, int *code)
{
	if (framing->payload >> 63) {
		return "a length of 2^63 or more";
	}
	if ((framing->length_bytes == 2 && framing->payload <= CONTROL_MAX_BYTES) ||
	    (framing->length_bytes == 8 && framing->payload <= UINT16_MAX)) {
		return "a length written longer than it must be";
	}
	if (is_control(framing)) {
		framing->charged++;
		return NULL;
	}
	if (!framing->final && framing->payload < FRAMING_SMALL_FRAGMENT_BYTES) {
		framing->charged++;
	}
	framing->in_message = !framing->final;
	framing->message =
		framing->payload > UINT64_MAX - framing->message ? UINT64_MAX : framing->message + framing->payload;
	*code = TOO_LARGE;
	return framing->message > max_message ? "message too large" : NULL;
}

/* A byte that is no payload. Returns what is wrong, or NULL. */
static const char *header_byte(struct framing *framing, uint64_t max_message, uint8_t byte, int *code)
{
	const char *reason = NULL;
	*code = BROKEN;
	if (framing->step == FRAMING_FIRST) {
		framing->step = FRAMING_SECOND;
		return first_byte(framing, byte);
	}
	if (framing->step == FRAMING_MASK) {
		if (--framing->to_read == 0) {
			framing->step = FRAMING_PAYLOAD;
		}
		return NULL;
	}
	if (framing->step == FRAMING_SECOND) {
		framing->step = FRAMING_LENGTH;
		reason = second_byte(framing, byte);
		framing->to_read = framing->length_bytes;
	} else {
		framing->payload = framing->payload << 8 | byte;
		framing->to_read--;
	}
	if (!reason && framing->to_read == 0) {
		framing->step = FRAMING_MASK;
		framing->to_read = MASK_BYTES;
		reason = judge_length(framing, max_message, code);
	}
	return reason;
}

size_t framing_follow(struct framing *framing, uint64_t max_message, const uint8_t *bytes, size_t len, size_t *good,
                      int *code, const char **reason)
{
	size_t at = 0;
	*good = 0; /* all up to here may be handed on; a frame that has begun may, while nothing is wrong with it */
	size_t frame_at = 0;
	*code = 0;
	*reason = NULL;
	while (at < len && !framing->closed) {
		if (framing->step == FRAMING_LOST) {
			return len;
		}
		if (framing->step == FRAMING_FIRST) {
			frame_at = at;
		}
		if (framing->step != FRAMING_PAYLOAD) {
			*reason = header_byte(framing, max_message, bytes[at++], code);
			if (*reason) {
				if (*code == BROKEN) {
					framing->step = FRAMING_LOST;
				}
				*good = frame_at;
				return at;
			}
			*code = 0;
		} else {
			size_t left = len - at;
			size_t taken = framing->payload < left ? (size_t)framing->payload : left;
			at += taken;
			framing->payload -= taken;
		}
		if (framing->step == FRAMING_PAYLOAD && framing->payload == 0) {
			framing->step = FRAMING_FIRST;
			framing->closed = framing->opcode == CLOSE;
		}
	}
	*good = at;
	return at;
}
