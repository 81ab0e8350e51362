/*
 * socketio_packet.c - see socketio_packet.h.
 */
#include "socketio_packet.h"

#include <string.h>

#include "channel.h"
#include "text.h"

#define NAMESPACE_MAX_BYTES 256
#define ATTACHMENTS_MAX 1000
#define LOOK_MEMBERS 6
#define ARGUMENTS_MAX 3 /* the name and two more */

/* ---- cutting JSON that was checked */

static size_t skip_space(struct text json, size_t at)
{
	while (at < json.len && strchr(" \t\r\n", json.bytes[at]) != NULL)
		at++;
	return at;
}

/* Where the value that begins at `at` ends. */
static size_t skip_value(struct text json, size_t at)
{
	size_t depth = 0;
	bool within = false;
	for (; at < json.len; at++) {
		char c = json.bytes[at];
		if (within && c == '\\') {
			at++;
		} else if (c == '"') {
			within = !within;
			if (!within && depth == 0)
				return at + 1;
		} else if (within) {
			continue;
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return at;
			if (--depth == 0)
				return at + 1;
		} else if (depth == 0 && strchr(", \t\r\n:", c) != NULL) {
			return at;
		}
	}
	return json.len;
}

/* The next element of an array or object (a name counts as one), from *at on, which begins at 1. False: no more. */
static bool next_value(struct text json, size_t *at, struct text *value)
{
	size_t from = skip_space(json, *at);
	if (from < json.len && (json.bytes[from] == ',' || json.bytes[from] == ':'))
		from = skip_space(json, from + 1);
	if (from >= json.len || json.bytes[from] == ']' || json.bytes[from] == '}')
		return false;
	*at = skip_value(json, from);
	*value = (struct text){json.bytes + from, *at - from};
	return *at > from;
}

/* Without its quotes; bytes NULL: no string, or one with escapes. */
static struct text plain(struct text json)
{
	if (json.bytes == NULL || json.len < 2 || json.bytes[0] != '"' || memchr(json.bytes, '\\', json.len) != NULL)
		return (struct text){NULL, 0};
	return (struct text){json.bytes + 1, json.len - 2};
}

static bool is_object(struct text json)
{
	return json.bytes != NULL && json.len > 0 && json.bytes[0] == '{';
}

/* ---- from clients */

static bool take_digits(struct text *text, size_t max, struct text *digits)
{
	size_t n = 0;
	while (n < text->len && text->bytes[n] >= '0' && text->bytes[n] <= '9')
		n++;
	*digits = (struct text){n > 0 ? text->bytes : NULL, n};
	*text = (struct text){text->bytes + n, text->len - n};
	return n <= max;
}

static bool take_attachments(struct text *text, struct socketio_packet *packet)
{
	struct text digits;
	if (!take_digits(text, 4, &digits) || digits.len == 0 || text->len == 0 || text->bytes[0] != '-')
		return false;
	for (size_t i = 0; i < digits.len; i++)
		packet->attachments = packet->attachments * 10 + (uint32_t)(digits.bytes[i] - '0');
	*text = (struct text){text->bytes + 1, text->len - 1};
	return packet->attachments <= ATTACHMENTS_MAX;
}

static bool take_namespace(struct text *text, struct socketio_packet *packet)
{
	packet->namespace = text_of("/");
	if (text->len == 0 || text->bytes[0] != '/')
		return true;
	const char *comma = memchr(text->bytes, ',', text->len);
	size_t len = comma != NULL ? (size_t)(comma - text->bytes) : text->len;
	const char *query = memchr(text->bytes, '?', len);
	packet->namespace = (struct text){text->bytes, query != NULL ? (size_t)(query - text->bytes) : len};
	len += comma != NULL;
	*text = (struct text){text->bytes + len, text->len - len};
	return packet->namespace.len <= NAMESPACE_MAX_BYTES;
}

/* Is it what a packet of this type carries? */
static bool data_fits(const struct socketio_packet *packet)
{
	struct text data = packet->data, name;
	size_t at = 1;
	switch (packet->type) {
	case SOCKETIO_CONNECT:
		return data.bytes == NULL || is_object(data);
	case SOCKETIO_DISCONNECT:
		return data.bytes == NULL;
	case SOCKETIO_EVENT:
	case SOCKETIO_BINARY_EVENT:
		return data.bytes != NULL && data.bytes[0] == '[' && next_value(data, &at, &name) && name.bytes[0] == '"';
	case SOCKETIO_ACK:
	case SOCKETIO_BINARY_ACK:
		return data.bytes != NULL && data.bytes[0] == '[' && packet->ack.bytes != NULL;
	default:
		return false;
	}
}

bool socketio_parse(struct text text, struct socketio_packet *packet, const char **why)
{
	struct json_fault fault;
	*packet = (struct socketio_packet){0};
	*why = "no packet of Socket.IO";
	if (text.len == 0 || text.bytes[0] < '0' || text.bytes[0] > '6')
		return false;
	packet->type = (enum socketio_type)(text.bytes[0] - '0');
	text = (struct text){text.bytes + 1, text.len - 1};
	if (packet->type >= SOCKETIO_BINARY_EVENT && !take_attachments(&text, packet))
		return false;
	if (!take_namespace(&text, packet) || !take_digits(&text, SOCKETIO_ACK_DIGITS_MAX, &packet->ack))
		return false;
	if (text.len > 0) {
		*why = "the packet's JSON is not valid";
		if (!json_check(text.bytes, text.len, NULL, 0, &fault))
			return false;
		size_t from = skip_space(text, 0);
		packet->data = (struct text){text.bytes + from, text.len - from};
	}
	*why = "the packet's payload does not fit its type";
	return data_fits(packet);
}

void socketio_auth(const struct socketio_packet *packet, struct socketio_auth *auth)
{
	struct text name, value;
	size_t at = 1;
	*auth = (struct socketio_auth){.snapshot = false};
	if (packet->data.bytes == NULL)
		return;
	while (next_value(packet->data, &at, &name) && next_value(packet->data, &at, &value)) {
		if (text_equal(plain(name), text_of("token")))
			auth->token = plain(value);
		else if (text_equal(plain(name), text_of("pid")))
			auth->pid = plain(value);
		else if (text_equal(plain(name), text_of("offset")))
			auth->offset = plain(value);
		else if (text_equal(plain(name), text_of("snapshot")))
			auth->snapshot = text_equal(value, text_of("true"));
	}
}

/* Copies the members of an object that are among names. */
static void put_members(struct json_out *out, struct text object, const char *const *names, size_t n)
{
	struct text name, value;
	size_t at = 1;
	while (next_value(object, &at, &name) && next_value(object, &at, &value)) {
		for (size_t i = 0; i < n; i++) {
			if (text_equal(plain(name), text_of(names[i]))) {
				json_puts(out, ",");
				json_put(out, name.bytes, name.len);
				json_puts(out, ":");
				json_put(out, value.bytes, value.len);
			}
		}
	}
}

static void put_begin(struct json_out *out, const char *type, struct text ack)
{
	json_puts(out, "{\"type\":\"");
	json_puts(out, type);
	json_puts(out, "\"");
	if (ack.bytes != NULL) {
		/* A number, as JSON has it: without leading zeros. */
		while (ack.len > 1 && ack.bytes[0] == '0')
			ack = (struct text){ack.bytes + 1, ack.len - 1};
		json_puts(out, ",\"ref\":");
		json_put(out, ack.bytes, ack.len);
	}
}

bool socketio_message(const struct socketio_packet *packet, struct json_out *out, const char **why)
{
	static const char *const of_subscribe[] = {"channel", "since", "snapshot"}, *const of_call[] = {"idempotency_key"};
	struct text arguments[ARGUMENTS_MAX] = {{NULL, 0}}, more;
	size_t at = 1, n = 0;
	while (n < ARGUMENTS_MAX && next_value(packet->data, &at, &arguments[n]))
		n++;
	struct text name = plain(arguments[0]), first = arguments[1], options = arguments[2];
	if (n == ARGUMENTS_MAX && next_value(packet->data, &at, &more)) {
		*why = "too many arguments: a command takes one, and options";
		return false;
	}
	bool subscribe = text_equal(name, text_of("subscribe"));
	if (subscribe || text_equal(name, text_of("unsubscribe"))) {
		*why = "the argument must be an object with a channel";
		if (!is_object(first))
			return false;
		put_begin(out, subscribe ? "subscribe" : "unsubscribe", packet->ack);
		put_members(out, first, of_subscribe, subscribe ? 3 : 1);
		json_puts(out, "}");
		return true;
	}
	*why = "a command takes its arguments as one object, and options as another";
	if ((first.bytes != NULL && !is_object(first)) || (options.bytes != NULL && !is_object(options)))
		return false;
	put_begin(out, "call", packet->ack);
	json_puts(out, ",\"name\":");
	json_put(out, arguments[0].bytes, arguments[0].len);
	if (first.bytes != NULL) {
		json_puts(out, ",\"args\":");
		json_put(out, first.bytes, first.len);
	}
	if (options.bytes != NULL)
		put_members(out, options, of_call, 1);
	json_puts(out, "}");
	return true;
}

/* ---- to clients */

void socketio_put_head(struct json_out *out, enum socketio_type type, struct text namespace)
{
	char digit = (char)('0' + type);
	json_put(out, &digit, 1);
	if (namespace.len > 1) {
		json_put(out, namespace.bytes, namespace.len);
		json_puts(out, ",");
	}
}

void socketio_put_connect(struct json_out *out, struct text namespace, const char *sid, struct text pid)
{
	socketio_put_head(out, SOCKETIO_CONNECT, namespace);
	json_puts(out, "{\"sid\":");
	json_put_string(out, sid);
	if (pid.bytes != NULL) {
		json_puts(out, ",\"pid\":");
		json_put_text(out, pid);
	}
	json_puts(out, "}");
}

void socketio_put_connect_error(struct json_out *out, struct text namespace, const char *message, struct text data)
{
	socketio_put_head(out, SOCKETIO_CONNECT_ERROR, namespace);
	json_puts(out, "{\"message\":");
	json_put_string(out, message);
	if (data.bytes != NULL) {
		json_puts(out, ",\"data\":");
		json_put(out, data.bytes, data.len);
	}
	json_puts(out, "}");
}

static void put_ack(struct json_out *out, struct text namespace, struct text ack)
{
	socketio_put_head(out, SOCKETIO_ACK, namespace);
	json_put(out, ack.bytes, ack.len);
	json_puts(out, "[");
}

static void put_cursor(struct json_out *out, const char *cursor)
{
	json_puts(out, ",\"");
	json_puts(out, cursor);
	json_puts(out, "\"]");
}

void socketio_put_error(struct json_out *out, struct text namespace, struct text ack, const char *code,
                        const char *text, const char *cursor)
{
	if (ack.bytes != NULL) {
		put_ack(out, namespace, ack);
	} else {
		socketio_put_head(out, SOCKETIO_EVENT, namespace);
		json_puts(out, "[\"error\",");
	}
	json_puts(out, "{\"type\":\"error\",\"code\":");
	json_put_string(out, code);
	json_puts(out, ",\"message\":");
	json_put_string(out, text);
	json_puts(out, "}");
	if (ack.bytes != NULL)
		json_puts(out, "]");
	else
		put_cursor(out, cursor);
}

void socketio_look(struct text frame, struct socketio_frame *out)
{
	struct text name, value;
	size_t at = 1;
	*out = (struct socketio_frame){.type = {NULL, 0}};
	for (int i = 0; i < LOOK_MEMBERS && next_value(frame, &at, &name) && next_value(frame, &at, &value); i++) {
		struct text key = plain(name);
		if (i == 0)
			out->type = plain(value);
		else if (text_equal(key, text_of("ref")))
			out->ref = value;
		else if (text_equal(key, text_of("feed")))
			out->feed = plain(value);
		else if (text_equal(key, text_of("action")) && value.len >= 2)
			out->action = (struct text){value.bytes + 1, value.len - 2}; /* it may have escapes */
		else if (text_equal(key, text_of("channel")))
			out->channel = plain(value);
		else if (text_equal(key, text_of("recovered")))
			out->recovered = value;
		else if (text_equal(key, text_of("code")))
			out->code = plain(value);
		else if (text_equal(key, text_of("cursor")))
			out->cursor = plain(value);
		else if (text_equal(key, text_of("data")))
			out->data = value;
		if (out->action.bytes != NULL || (out->channel.bytes != NULL && text_equal(out->type, text_of("snapshot"))))
			return; /* the rest may be long */
	}
}

/* Of a value's channel, the query. */
static struct text source_of(struct text channel)
{
	const char *colon = channel.bytes != NULL ? memchr(channel.bytes, ':', channel.len) : NULL;
	return (struct text){channel.bytes, colon != NULL ? (size_t)(colon - channel.bytes) : channel.len};
}

void socketio_put_frame(struct json_out *out, struct text namespace, struct text frame, const struct event_names *names,
                        const char *cursor)
{
	struct socketio_frame look;
	socketio_look(frame, &look);
	if (look.ref.bytes != NULL) {
		put_ack(out, namespace, look.ref);
		json_put(out, frame.bytes, frame.len);
		json_puts(out, "]");
		return;
	}
	bool value = text_equal(look.type, text_of("value")) && look.data.bytes != NULL;
	struct text source = value ? source_of(look.channel) : look.feed;
	struct text name = source.bytes != NULL ? event_names_find(names, source, look.action) : (struct text){NULL, 0};
	socketio_put_head(out, SOCKETIO_EVENT, namespace);
	json_puts(out, "[\"");
	name = name.bytes != NULL ? name : look.type;
	json_put(out, name.bytes, name.len);
	json_puts(out, "\",");
	if (value) {
		json_put(out, look.data.bytes, look.data.len);
		json_puts(out, ",\"");
		json_put(out, look.channel.bytes, look.channel.len);
		json_puts(out, "\"");
	} else {
		json_put(out, frame.bytes, frame.len);
	}
	put_cursor(out, cursor);
}
