/*
 * framing.h - follows the frames of a WebSocket in the bytes that a client sends (RFC 6455, 5), and says where they break the rules:
 * before libwebsockets sees them, which lets several through. Plain C; no byte is changed or kept.
 */
#ifndef LIVEFEED_FRAMING_H
#define LIVEFEED_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A fragment of fewer bytes counts as control frames do: what its sender can make us do for a byte is as much. */
#define FRAMING_SMALL_FRAGMENT_BYTES 256

enum framing_step { FRAMING_FIRST, FRAMING_SECOND, FRAMING_LENGTH, FRAMING_MASK, FRAMING_PAYLOAD, FRAMING_LOST };

struct framing { /* zeroed: between frames */
	uint64_t payload; /* of this frame: its length, then what of it is to come */
	uint64_t message; /* bytes of this message, those announced by this frame included */
	uint32_t charged; /* control frames and small fragments; the caller takes them away */
	uint8_t step, opcode;
	uint8_t length_bytes; /* behind the second one: 0, 2, 8 */
	uint8_t to_read; /* of length or mask */
	bool final, in_message;
	bool closed; /* a close frame has come, whole */
};

/*
 * Goes on with bytes and stops behind a close frame or where a rule is broken: *code is then what to close with, 1002 or 1009 (0: none),
 * *reason a static text. Returns how many bytes it took; *good of them may be handed on: not the frame that breaks a rule.
 * After 1009 one can go on, with max_message UINT64_MAX, to find the close frame; after 1002 all is taken and nothing is good.
 */
size_t framing_follow(struct framing *framing, uint64_t max_message, const uint8_t *bytes, size_t len, size_t *good,
                      int *code, const char **reason);

#endif
