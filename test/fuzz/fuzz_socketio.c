/*
 * fuzz_socketio.c - packets of Socket.IO from clients (socketio_packet.c), and payloads of Engine.IO (engineio.c).
 *
 * Input: a payload. It is cut into packets, each of which means the same however often it is read; what the packets of Socket.IO in
 * them become is JSON that message.c reads, and their acks and namespaces are written back as they came.
 */
#include "fuzz.h"

#include "engineio.h"
#include "message.h"
#include "socketio_packet.h"

static void check_event(const struct socketio_packet *packet)
{
	struct json_out out = {0};
	const char *why, *error;
	char *ref;

	if (!socketio_message(packet, &out, &why)) {
		MUST(why != NULL && is_printable(why));
		free(out.bytes);
		return;
	}
	MUST(!out.failed && is_json(out.bytes, out.len));
	struct message *message = message_parse(out.bytes, out.len, &error, &ref);
	if (message != NULL) {
		MUST(message->type == MESSAGE_SUBSCRIBE || message->type == MESSAGE_UNSUBSCRIBE ||
		     message->type == MESSAGE_CALL);
		MUST((ref != NULL) == (packet->ack.bytes != NULL));
		MUST(ref == NULL || strtoull(ref, NULL, 10) == strtoull(packet->ack.bytes, NULL, 10));
	}
	message_free(message);
	free(ref);
	free(out.bytes);
}

static void check_out(const struct socketio_packet *packet)
{
	static const struct event_names none;
	static const char frame[] = "{\"type\":\"result\",\"ref\":7,\"data\":[\"\\\"]}\"],\"cursor\":\"6f-1\"}";
	struct socketio_packet again;
	const char *why;
	struct json_out out = {0};

	socketio_put_error(&out, packet->namespace, packet->ack, "bad_message", "no \"\\", "6f-1");
	MUST(socketio_parse((struct text){out.bytes, out.len}, &again, &why));
	MUST(again.namespace.len == packet->namespace.len &&
	     memcmp(again.namespace.bytes, packet->namespace.bytes, again.namespace.len) == 0);
	MUST((again.type == SOCKETIO_ACK) == (packet->ack.bytes != NULL));
	out.len = 0;
	socketio_put_frame(&out, packet->namespace, (struct text){frame, sizeof frame - 1}, &none, "6f-1");
	MUST(socketio_parse((struct text){out.bytes, out.len}, &again, &why) && again.type == SOCKETIO_ACK);
	MUST(again.data.len == sizeof frame + 1);
	free(out.bytes);
}

static void check_packet(struct text text)
{
	struct socketio_packet packet;
	struct socketio_auth auth;
	const char *why = NULL;

	if (!socketio_parse(text, &packet, &why)) {
		MUST(why != NULL && is_printable(why));
		return;
	}
	MUST(packet.namespace.len > 0 && packet.namespace.bytes[0] == '/' && packet.ack.len <= SOCKETIO_ACK_DIGITS_MAX);
	MUST(packet.data.bytes == NULL || is_json(packet.data.bytes, packet.data.len));
	check_out(&packet);
	if (packet.type == SOCKETIO_EVENT) {
		check_event(&packet);
	} else if (packet.type == SOCKETIO_CONNECT) {
		socketio_auth(&packet, &auth);
		MUST(auth.token.bytes == NULL || memchr(auth.token.bytes, '"', auth.token.len) == NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = input_copy((struct text){(const char *)data, size});
	struct text payload = {copy, size}, packet, message;
	struct engineio engineio;
	size_t cut = 0;

	engineio_begin(&engineio, ENGINEIO_POLLING, 25000, 0);
	while (engineio_split(&payload, &packet)) {
		cut += packet.len + 1;
		MUST(packet.len == 0 || memchr(packet.bytes, ENGINEIO_SEPARATOR, packet.len) == NULL);
		if (engineio_take(&engineio, ENGINEIO_POLLING, packet, 0, &message) == ENGINEIO_DELIVER)
			check_packet(message);
		struct socketio_frame look;
		if (packet.len > 1 && packet.bytes[0] == '{' && is_json(packet.bytes, packet.len))
			socketio_look(packet, &look); /* frames are our own, but anything may stand in them */
	}
	MUST(cut == size + 1);
	free(copy);
	return 0;
}
