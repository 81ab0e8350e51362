/*
 * socketio_packet.h - the packets of Socket.IO, protocol 5, and what they are in the protocol of the WebSocket: plain text in, plain
 * text out. JSON is checked (jsontext.h) and cut, never rebuilt: names and values go on as they were written.
 *
 *   2/board,17["move_card",{"id":1}]   type, namespace (without one: "/"), number of the ack, arguments
 */
#ifndef LIVEFEED_SOCKETIO_PACKET_H
#define LIVEFEED_SOCKETIO_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event_names.h"
#include "jsontext.h"

#define SOCKETIO_ACK_DIGITS_MAX 15

enum socketio_type {
	SOCKETIO_CONNECT,
	SOCKETIO_DISCONNECT,
	SOCKETIO_EVENT,
	SOCKETIO_ACK,
	SOCKETIO_CONNECT_ERROR,
	SOCKETIO_BINARY_EVENT,
	SOCKETIO_BINARY_ACK
};

struct socketio_packet { /* points into the text that it was read from */
	enum socketio_type type;
	struct text namespace;
	struct text ack; /* digits; bytes NULL: none */
	uint32_t attachments; /* binary messages that follow */
	struct text data; /* JSON; bytes NULL: none */
};

/* False: not a packet that a client may send; *why is static. */
bool socketio_parse(struct text text, struct socketio_packet *packet, const char **why);

/* Of CONNECT: what its data says, as strings without quotes; bytes NULL: it does not, or with escapes, which none of these needs. */
struct socketio_auth {
	struct text token, pid, offset;
	bool snapshot;
};
void socketio_auth(const struct socketio_packet *packet, struct socketio_auth *auth);

/* Of EVENT: the message that a WebSocket would send. ref is the number of the ack. False: there is none; *why is static, for the client. */
bool socketio_message(const struct socketio_packet *packet, struct json_out *out, const char **why);

/* ---- to clients; each appends one packet */
void socketio_put_head(struct json_out *out, enum socketio_type type, struct text namespace);
/* pid.bytes NULL: none */
void socketio_put_connect(struct json_out *out, struct text namespace, const char *sid, struct text pid);
/* data: JSON; bytes NULL: none */
void socketio_put_connect_error(struct json_out *out, struct text namespace, const char *message, struct text data);
void socketio_put_error(struct json_out *out, struct text namespace, struct text ack, const char *code,
                        const char *text, const char *cursor);
/*
 * A frame of a session: to an ack, where it has a ref; else an event: under its type, or the name that names has for it, the frame (a
 * value's data, and its channel) and the cursor.
 */
void socketio_put_frame(struct json_out *out, struct text namespace, struct text frame, const struct event_names *names,
                        const char *cursor);

/* What socketio_put_frame looks at. */
struct socketio_frame {
	struct text type, ref, feed, action, channel, cursor, data, recovered,
		code; /* strings without quotes; bytes NULL: not there */
};
void socketio_look(struct text frame, struct socketio_frame *out);

#endif
