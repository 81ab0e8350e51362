/*
 * socketio_echo.c - what the public test suites of Engine.IO and Socket.IO expect of a server: it takes anybody on "/" and "/custom", says
 * who connected (`auth`), and sends back what it is sent. Compiled by `make ECHO=1` alone, into a program that is never installed.
 */
#include "socketio_link.h"

#ifdef LIVEFEED_ECHO

#include "socketio_packet.h"
#include "text.h"

static void put_arguments(struct json_out *out, struct text data, const char *name)
{
	size_t behind = 1 + strlen("\"\"") + strlen(name); /* of the arguments, behind the event's name */
	json_put(out, data.bytes + behind, data.len - behind);
}

static bool is_event(const struct socketio_packet *packet, const char *name)
{
	struct text begin = {packet->data.bytes, strlen(name) + 3};
	char wanted[64] = "[\"";
	strcat(strcat(wanted, name), "\"");
	return packet->data.len > begin.len && text_equal(begin, text_of(wanted));
}

bool socketio_echo(const char *text, size_t len, struct json_out *out, struct json_out *later)
{
	struct socketio_packet packet;
	const char *why;
	if (!socketio_parse((struct text){text, len}, &packet, &why))
		return false;
	if (!text_equal(packet.namespace, text_of("/")) && !text_equal(packet.namespace, text_of("/custom")))
		return false;
	if (packet.type == SOCKETIO_CONNECT) {
		socketio_put_connect(out, packet.namespace, "anybody", (struct text){NULL, 0});
		socketio_put_head(later, SOCKETIO_EVENT, packet.namespace);
		json_puts(later, "[\"auth\",");
		json_put(later, packet.data.bytes != NULL ? packet.data.bytes : "{}",
		         packet.data.bytes != NULL ? packet.data.len : 2);
		json_puts(later, "]");
	} else if (packet.type == SOCKETIO_EVENT && is_event(&packet, "message")) {
		socketio_put_head(out, SOCKETIO_EVENT, packet.namespace);
		json_puts(out, "[\"message-back\"");
		put_arguments(out, packet.data, "message");
	} else if (packet.type == SOCKETIO_EVENT && is_event(&packet, "message-with-ack") && packet.ack.bytes != NULL) {
		socketio_put_head(out, SOCKETIO_ACK, packet.namespace);
		json_put(out, packet.ack.bytes, packet.ack.len);
		json_puts(out, "[");
		put_arguments(out, (struct text){packet.data.bytes + 1, packet.data.len - 1}, "message-with-ack");
	} else {
		return packet.type == SOCKETIO_DISCONNECT;
	}
	return true;
}

#else

typedef int nothing_here; /* C wants something */

#endif
