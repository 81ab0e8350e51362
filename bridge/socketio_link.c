/*
 * socketio_link.c - see socketio_link.h.
 *
 * A namespace that is being connected holds its frames back, until all of its channels are answered: CONNECT comes first. What it may hold
 * is bounded; beyond that CONNECT goes out at once, and the rest of the channels are live a moment later.
 */
#include "socketio_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "message.h"
#include "metrics.h"
#include "socketio_packet.h"
#include "text.h"

#define HELD_MAX_FRAMES 4096
#define HELD_MAX_BYTES (1u << 20)
#define CONTROL_MAX_BYTES 65536 /* of packets that are no session's */
#define CONNECTS_MAX 256 /* of one connection, in its whole life */
#define PID_MAX_BYTES 80
#define PATH_MAX_BYTES 512

struct held {
	struct held *next;
	struct frame *frame;
	char cursor[CURSOR_MAX_BYTES];
};

struct namespace
{
	struct socketio_link *link;
	struct session *session;
	char *name;
	char sid[SOCKETIO_ID_BYTES + 1];
	char pid[PID_MAX_BYTES]; /* "": it has no channels to recover */
	char cursor[CURSOR_MAX_BYTES]; /* of the last emit, or where it goes on from */
	char welcome[CURSOR_MAX_BYTES]; /* of its session's welcome: before all that follows */
	bool joined, has_channels;
	bool recovers; /* its client has been here, and so far nothing is lost */
	bool told; /* that it ends */
	struct held *first, *last;
	size_t n_held, held_bytes;
};

struct control { /* a packet of no session's */
	struct control *next;
	bool later;
	size_t len;
	char text[];
};

struct socketio_link {
	struct socketio_link_settings settings;
	char *address, *token;
	struct namespace *namespaces[SOCKETIO_NAMESPACES_MAX];
	size_t n, turn, connects;
	struct control *first, *last;
	size_t control_bytes;
	int64_t bad;
	uint32_t attachments; /* binary messages that belong to a refused packet and are still to come */
	int code; /* to close with; 0: none */
	const char *reason;
};

static void wake(struct session *session, void *connection)
{
	struct namespace *namespace = connection;
	(void)session;
	namespace->link->settings.wake(namespace->link->settings.arg);
}

static const struct session_transport transport = {.name = "socketio", .wake = wake, .merged = true};

bool socketio_id(char to[SOCKETIO_ID_BYTES + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char bytes[SOCKETIO_ID_BYTES];
	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		to[i] = letters[bytes[i] % 64];
	to[SOCKETIO_ID_BYTES] = '\0';
	return true;
}

/* ---- life */

struct socketio_link *socketio_link_new(const struct socketio_link_settings *settings)
{
	struct socketio_link *link = calloc(1, sizeof(*link));
	if (link == NULL)
		return NULL;
	link->settings = *settings;
	link->address = settings->address != NULL ? strdup(settings->address) : NULL;
	link->token = settings->token != NULL ? strdup(settings->token) : NULL;
	if ((settings->address != NULL && link->address == NULL) || (settings->token != NULL && link->token == NULL)) {
		socketio_link_free(link);
		return NULL;
	}
	return link;
}

static void drop_held(struct namespace *namespace)
{
	struct held *held = namespace->first;
	namespace->first = held->next;
	namespace->n_held--;
	namespace->held_bytes -= held->frame->len;
	frame_unref(held->frame);
	free(held);
}

static void namespace_free(struct namespace *namespace)
{
	if (namespace->session != NULL)
		session_gone(namespace->session);
	while (namespace->first != NULL)
		drop_held(namespace);
	free(namespace->name);
	free(namespace);
}

static void remove_namespace(struct socketio_link *link, size_t i)
{
	namespace_free(link->namespaces[i]);
	link->namespaces[i] = link->namespaces[--link->n];
}

void socketio_link_free(struct socketio_link *link)
{
	if (link == NULL)
		return;
	while (link->n > 0)
		remove_namespace(link, 0);
	while (link->first != NULL) {
		struct control *next = link->first->next;
		free(link->first);
		link->first = next;
	}
	if (link->token != NULL)
		explicit_bzero(link->token, strlen(link->token));
	free(link->token);
	free(link->address);
	free(link);
}

void socketio_link_close(struct socketio_link *link, enum close_code code, const char *reason)
{
	if (link->code == 0) {
		link->code = code;
		link->reason = reason;
	}
}

bool socketio_link_is_empty(const struct socketio_link *link)
{
	return link->n == 0;
}

/* ---- packets that are no session's */

/* Takes what out holds. */
static void put_control(struct socketio_link *link, struct json_out *out)
{
	struct control *control = out->failed ? NULL : malloc(sizeof(*control) + out->len);
	if (control == NULL) {
		socketio_link_close(link, CLOSE_INTERNAL, "out of memory");
	} else if (link->control_bytes + out->len > CONTROL_MAX_BYTES) {
		free(control);
		socketio_link_close(link, CLOSE_TOO_SLOW, "too slow");
	} else {
		control->next = NULL;
		control->later = false;
		control->len = out->len;
		memcpy(control->text, out->bytes, out->len);
		if (link->first != NULL)
			link->last->next = control;
		else
			link->first = control;
		link->last = control;
		link->control_bytes += control->len;
	}
	free(out->bytes);
	*out = (struct json_out){0};
}

static bool output_control(struct socketio_link *link, struct json_out *out)
{
	struct control *control = link->first;
	if (control == NULL)
		return false;
	if (control->later)
		return false;
	json_put(out, control->text, control->len);
	link->first = control->next;
	link->control_bytes -= control->len;
	free(control);
	return true;
}

/* Too many of these, and the connection ends. */
static void count_bad(struct socketio_link *link)
{
	metrics.messages_bad++;
	if (++link->bad <= link->settings.max_bad_messages)
		return;
	metrics.limits[METRIC_LIMIT_MAX_BAD_MESSAGES]++;
	socketio_link_close(link, CLOSE_BAD_MESSAGES, "too many bad messages");
}

static struct namespace *find(const struct socketio_link *link, struct text name, size_t *i)
{
	for (*i = 0; *i < link->n; ++*i)
		if (text_equal(text_of(link->namespaces[*i]->name), name))
			return link->namespaces[*i];
	return NULL;
}

static void refuse_event(struct socketio_link *link, const struct socketio_packet *packet, const char *why)
{
	struct json_out out = {0};
	size_t i;
	const struct namespace *namespace = find(link, packet->namespace, &i);
	socketio_put_error(&out, packet->namespace, packet->ack, "bad_message", why,
	                   namespace != NULL ? namespace->cursor : "");
	put_control(link, &out);
	count_bad(link);
}

/* ---- connecting */

static void refuse_connect(struct socketio_link *link, struct text name, const char *message)
{
	struct json_out out = {0};
	socketio_put_connect_error(&out, name, message, (struct text){NULL, 0});
	put_control(link, &out);
}

/* Where it goes on: the cursor of the last emit, or else that of its pid, which begins with one. */
static bool recovery_cursor(const struct socketio_auth *auth, char cursor[CURSOR_MAX_BYTES])
{
	struct cursor parsed;
	struct text from = auth->offset;
	if (auth->pid.bytes == NULL || auth->pid.len >= PID_MAX_BYTES)
		return false;
	if (from.bytes == NULL) {
		const char *dot = memchr(auth->pid.bytes, '.', auth->pid.len);
		from = (struct text){auth->pid.bytes, dot != NULL ? (size_t)(dot - auth->pid.bytes) : 0};
	}
	if (from.len >= CURSOR_MAX_BYTES)
		return false;
	text_copy(from, cursor);
	return cursor_parse(cursor, &parsed);
}

static struct namespace *namespace_new(struct socketio_link *link, struct text name)
{
	struct namespace *namespace = calloc(1, sizeof(*namespace));
	if (namespace == NULL)
		return NULL;
	namespace->link = link;
	namespace->name = strndup(name.bytes, name.len);
	if (namespace->name == NULL || !socketio_id(namespace->sid)) {
		namespace_free(namespace);
		return NULL;
	}
	return namespace;
}

static void open_session(struct socketio_link *link, struct text name, const char *path,
                         const struct socketio_auth *auth)
{
	struct namespace *namespace = namespace_new(link, name);
	struct session_origin origin = {.address = link->address, .path = path, .snapshot = auth->snapshot};
	if (namespace != NULL) {
		namespace->has_channels = path != NULL;
		if (path != NULL && recovery_cursor(auth, namespace->cursor)) {
			namespace->recovers = true;
			text_copy(auth->pid, namespace->pid);
			origin.since = namespace->cursor;
		}
		namespace->session = session_open(link->settings.hub, &transport, namespace, &origin);
	}
	if (namespace == NULL || namespace->session == NULL) {
		if (namespace != NULL)
			namespace_free(namespace);
		socketio_link_close(link, CLOSE_GOING_AWAY, "shutting down");
		return;
	}
	link->namespaces[link->n++] = namespace;
	if (link->token != NULL)
		session_authenticate(namespace->session, link->token, strlen(link->token));
	else
		session_authenticate(namespace->session, auth->token.bytes, auth->token.len);
}

static void take_connect(struct socketio_link *link, const struct socketio_packet *packet)
{
	struct socketio_auth auth;
	char path[PATH_MAX_BYTES];
	struct text name = packet->namespace;
	size_t i;
	if (find(link, name, &i) != NULL || ++link->connects > CONNECTS_MAX) {
		socketio_link_close(link, CLOSE_LIMIT, "connected already, or too often");
		return;
	}
	if (!catalog_is_loaded(link->settings.catalog)) {
		socketio_link_close(link, CLOSE_TRY_LATER, "try again later");
		return;
	}
	int len = snprintf(path, sizeof path, CATALOG_NAMESPACE_PATH "%.*s", name.len > 1 ? (int)name.len : 0, name.bytes);
	bool known = len > 0 && (size_t)len < sizeof path && catalog_has_path(link->settings.catalog, text_of(path));
	socketio_auth(packet, &auth);
	if (!known && name.len > 1) {
		refuse_connect(link, name, "Invalid namespace");
	} else if (link->token == NULL && auth.token.bytes == NULL) {
		metrics.auth_failures[METRIC_AUTH_MISSING]++;
		refuse_connect(link, name, "bad_token");
	} else if (link->n == SOCKETIO_NAMESPACES_MAX) {
		refuse_connect(link, name, "rate_limited");
	} else {
		open_session(link, name, known ? path : NULL, &auth);
	}
}

/* ---- packets of clients */

static void take_event(struct socketio_link *link, const struct socketio_packet *packet)
{
	const char *why;
	struct json_out out = {0};
	size_t i;
	struct namespace *namespace = find(link, packet->namespace, &i);
	if (namespace == NULL) {
		count_bad(link); /* it may have left a moment ago */
	} else if (!socketio_message(packet, &out, &why)) {
		refuse_event(link, packet, why);
	} else if (out.failed) {
		socketio_link_close(link, CLOSE_INTERNAL, "out of memory");
	} else {
		session_receive(namespace->session, out.bytes, out.len);
	}
	free(out.bytes);
}

void socketio_link_receive(struct socketio_link *link, const char *text, size_t len)
{
	struct socketio_packet packet;
	const char *why;
	size_t i;
	if (link->code != 0)
		return;
#ifdef LIVEFEED_ECHO
	struct json_out now = {0}, later = {0};
	if (link->settings.echoes) {
		json_put(&now, text, len);
		put_control(link, &now);
		return;
	}
	if (socketio_echo(text, len, &now, &later)) {
		if (now.len > 0)
			put_control(link, &now);
		if (later.len > 0) {
			put_control(link, &later);
			link->last->later = true;
		}
		return;
	}
#endif
	if (!socketio_parse((struct text){text, len}, &packet, &why)) {
		metrics.messages_bad++;
		socketio_link_close(link, CLOSE_BAD_MESSAGES, why);
		return;
	}
	switch (packet.type) {
	case SOCKETIO_CONNECT:
		take_connect(link, &packet);
		break;
	case SOCKETIO_DISCONNECT:
		if (find(link, packet.namespace, &i) != NULL)
			remove_namespace(link, i);
		break;
	case SOCKETIO_EVENT:
		take_event(link, &packet);
		break;
	case SOCKETIO_BINARY_EVENT:
	case SOCKETIO_BINARY_ACK:
		link->attachments += packet.attachments;
		refuse_event(link, &packet, "binary is not taken here: send text, or base64 in it");
		break;
	default:
		break; /* an answer that nobody asked for */
	}
}

void socketio_link_binary(struct socketio_link *link)
{
	if (link->attachments > 0)
		link->attachments--; /* refused with its packet */
	else
		count_bad(link);
}

/* ---- output */

/* The session's next frame and the cursor with it ("": none, the last one stays). NULL: none. */
static struct frame *next_frame(struct namespace *namespace, char cursor[CURSOR_MAX_BYTES])
{
	struct frame *frame;
	if (session_output(namespace->session, &frame, 1) == 0)
		return NULL;
	if (!session_cursor(namespace->session, 1, cursor))
		cursor[0] = '\0';
	frame_ref(frame);
	session_sent(namespace->session, 1);
	return frame;
}

static void put_frame(struct namespace *namespace, struct frame *frame, const char *cursor, struct json_out *out)
{
	if (cursor[0] != '\0')
		memcpy(namespace->cursor, cursor, sizeof namespace->cursor);
	socketio_put_frame(out, text_of(namespace->name), (struct text){frame_text(frame), frame->len},
	                   catalog_event_names(namespace->link->settings.catalog), namespace->cursor);
}

static bool hold(struct namespace *namespace, struct frame *frame, const char *cursor)
{
	struct held *held = malloc(sizeof(*held));
	if (held == NULL)
		return false;
	held->next = NULL;
	held->frame = frame;
	memcpy(held->cursor, cursor, sizeof held->cursor);
	if (namespace->first != NULL)
	namespace->last->next = held;
	else namespace->first = held;
	namespace->last = held;
	namespace->n_held++;
	namespace->held_bytes += frame->len;
	return true;
}

/* What a frame means for a namespace that is being connected. */
static void look(struct namespace *namespace, struct frame *frame)
{
	struct socketio_frame seen;
	if (frame->id != 0)
		return;
	socketio_look((struct text){frame_text(frame), frame->len}, &seen);
	if (text_equal(seen.type, text_of("error")) || text_equal(seen.recovered, text_of("false")))
	namespace->recovers = false;
	/* To be tried again as a whole: what it missed of that channel would be lost to the one cursor. */
	if (text_equal(seen.code, text_of("unavailable")))
		socketio_link_close(namespace->link, CLOSE_TRY_LATER, "try again later");
	if (namespace->welcome[0] == '\0' && seen.cursor.bytes != NULL && seen.cursor.len < CURSOR_MAX_BYTES)
		text_copy(seen.cursor, namespace->welcome);
}

static void put_connect(struct namespace *namespace, struct json_out *out)
{
	char random[SOCKETIO_ID_BYTES + 1];
	namespace->joined = true;
	if (!namespace->recovers)
		memcpy(namespace->cursor, namespace->welcome, sizeof namespace->cursor);
	if (!namespace->has_channels)
	namespace->pid[0] = '\0';
	else if (!namespace->recovers && socketio_id(random))
		snprintf(namespace->pid, sizeof namespace->pid, "%s.%s", namespace->cursor, random);
	struct text pid = text_of(namespace->pid[0] != '\0' ? namespace->pid : NULL);
	socketio_put_connect(out, text_of(namespace->name), namespace->sid, pid);
}

/* The error that it ends with, if it has one. */
static struct text last_error(const struct namespace *namespace)
{
	struct socketio_frame seen;
	if (namespace->last == NULL || namespace->first == NULL)
		return (struct text){NULL, 0};
	struct text frame = {frame_text(namespace->last->frame), namespace->last->frame->len};
	socketio_look(frame, &seen);
	return text_equal(seen.type, text_of("error")) ? frame : (struct text){NULL, 0};
}

/* Its session ends. True: there is a packet that says so. */
static bool output_end(struct socketio_link *link, size_t i, int code, const char *reason, struct json_out *out)
{
	struct namespace *namespace = link->namespaces[i];
	if (!namespace->joined && code == CLOSE_TOKEN) {
		socketio_put_connect_error(out, text_of(namespace->name), "bad_token", last_error(namespace));
		remove_namespace(link, i);
		return true;
	}
	if (namespace->joined && !namespace->told) {
		namespace->told = true;
		socketio_put_head(out, SOCKETIO_EVENT, text_of(namespace->name));
		json_puts(out, "[\"closing\",{\"type\":\"closing\",\"code\":");
		json_put_int(out, code);
		json_puts(out, ",\"reason\":");
		json_put_string(out, reason);
		json_puts(out, "},\"");
		json_puts(out, namespace->cursor);
		json_puts(out, "\"]");
		return true;
	}
	if (namespace->joined && code == CLOSE_DISCONNECTED) {
		socketio_put_head(out, SOCKETIO_DISCONNECT, text_of(namespace->name));
		remove_namespace(link, i);
		return true;
	}
	/* The reason may be the session's own, which is gone before it is used. */
	socketio_link_close(link, (enum close_code)code, code == CLOSE_DISCONNECTED ? "disconnected" : reason);
	return false;
}

static bool output_joining(struct socketio_link *link, size_t i, struct json_out *out)
{
	struct namespace *namespace = link->namespaces[i];
	char cursor[CURSOR_MAX_BYTES];
	struct frame *frame;
	const char *reason;
	while (namespace->n_held < HELD_MAX_FRAMES && namespace->held_bytes < HELD_MAX_BYTES &&
	       (frame = next_frame(namespace, cursor)) != NULL) {
		look(namespace, frame);
		if (!hold(namespace, frame, cursor)) {
			frame_unref(frame);
			socketio_link_close(link, CLOSE_INTERNAL, "out of memory");
			return false;
		}
	}
	if (link->code != 0)
		return false;
	int code = session_closing(namespace->session, &reason);
	if (code != 0)
		return output_end(link, i, code, reason, out);
	if (!session_settled(namespace->session) && namespace->n_held < HELD_MAX_FRAMES &&
	    namespace->held_bytes < HELD_MAX_BYTES)
		return false;
	put_connect(namespace, out);
	return true;
}

static bool output_namespace(struct socketio_link *link, size_t i, struct json_out *out)
{
	struct namespace *namespace = link->namespaces[i];
	char cursor[CURSOR_MAX_BYTES];
	const char *reason;
	if (!namespace->joined)
		return output_joining(link, i, out);
	if (namespace->first != NULL) {
		put_frame(namespace, namespace->first->frame, namespace->first->cursor, out);
		drop_held(namespace);
		return true;
	}
	struct frame *frame = next_frame(namespace, cursor);
	if (frame != NULL) {
		put_frame(namespace, frame, cursor, out);
		frame_unref(frame);
		return true;
	}
	int code = session_closing(namespace->session, &reason);
	return code != 0 && output_end(link, i, code, reason, out);
}

bool socketio_link_output(struct socketio_link *link, struct json_out *out)
{
	if (output_control(link, out))
		return true;
	size_t n = link->n;
	for (size_t k = 0; k < n && link->n > 0; k++) {
		size_t i = (link->turn + k) % link->n;
		if (output_namespace(link, i, out)) {
			link->turn = i + 1;
			return true;
		}
	}
	return false;
}

#ifdef LIVEFEED_ECHO
bool socketio_link_is_late(const struct socketio_link *link)
{
	return link->first != NULL && link->first->later;
}

void socketio_link_ripen(struct socketio_link *link)
{
	if (link->first != NULL)
		link->first->later = false;
}
#endif

int socketio_link_closing(const struct socketio_link *link, const char **reason)
{
	*reason = link->reason;
	return link->code;
}

bool socketio_link_blocked(struct socketio_link *link)
{
	struct frame *frame;
	const char *reason;
	bool ends = link->code != 0;
	for (size_t i = 0; i < link->n; i++) {
		/* Heard: the session may wake us again, when it has to close. */
		(void)session_output(link->namespaces[i]->session, &frame, 0);
		ends = ends || session_closing(link->namespaces[i]->session, &reason) != 0;
	}
	return ends;
}
