/*
 * stream.c - see stream.h. Frames are taken apart as bytes: message_out.c made them, type first, then ref.
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#include "jsontext.h"
#include "message.h"

static struct text text_from(const char *string)
{
	return (struct text){string, strlen(string)};
}

static bool text_is(struct text text, const char *string)
{
	return text.len == strlen(string) && memcmp(text.bytes, string, text.len) == 0;
}

/* ---- what is asked for */

void stream_ask_begin(struct stream_ask *ask)
{
	*ask = (struct stream_ask){.wait_ms = STREAM_WAIT_DEFAULT_MS};
}

void stream_ask_end(struct stream_ask *ask)
{
	for (size_t i = 0; i < ask->n_channels; i++)
		free(ask->channels[i]);
	free(ask->channels);
	free(ask->since);
	*ask = (struct stream_ask){0};
}

static char *copy_json(struct stream_ask *ask, struct text json)
{
	char *copy = strndup(json.bytes, json.len);
	ask->failed = ask->failed || copy == NULL;
	return copy;
}

/* Plain text as JSON. */
static char *quote(struct stream_ask *ask, struct text plain)
{
	char *quoted = message_quote(plain);
	ask->failed = ask->failed || quoted == NULL;
	return quoted;
}

/* Takes the text. */
static bool add_channel(struct stream_ask *ask, char *json, const char **error)
{
	if (json == NULL)
		return true; /* failed */
	if (ask->n_channels == STREAM_CHANNELS_MAX) {
		free(json);
		*error = "too many channels";
		return false;
	}
	if (ask->n_channels == ask->capacity) {
		size_t capacity = ask->capacity * 2 + 4;
		char **channels = realloc(ask->channels, capacity * sizeof(*channels));
		if (channels == NULL) {
			free(json);
			ask->failed = true;
			return true;
		}
		ask->channels = channels;
		ask->capacity = capacity;
	}
	ask->channels[ask->n_channels++] = json;
	return true;
}

/* Seconds in decimal, without sign or exponent; more than the most counts as that. */
static bool read_wait(struct text text, int64_t *wait_ms)
{
	int64_t ms = 0, unit = 1000;
	bool point = false, digits = false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];
		if (c == '.' && !point && digits) {
			point = true;
		} else if (c >= '0' && c <= '9') {
			digits = true;
			if (point)
				ms += (c - '0') * (unit /= 10);
			else if (ms <= STREAM_WAIT_MAX_MS)
				ms = ms * 10 + (c - '0') * 1000;
		} else {
			return false;
		}
	}
	*wait_ms = ms < STREAM_WAIT_MAX_MS ? ms : STREAM_WAIT_MAX_MS;
	return digits;
}

static bool set_wait(struct stream_ask *ask, struct text value, const char **error)
{
	*error = "wait must be a number of seconds, from 0 to 55";
	return read_wait(value, &ask->wait_ms);
}

bool stream_ask_argument(struct stream_ask *ask, struct text argument, const char **error)
{
	const char *equals = argument.len > 0 ? memchr(argument.bytes, '=', argument.len) : NULL;
	if (equals == NULL)
		return true;
	struct text name = {argument.bytes, (size_t)(equals - argument.bytes)};
	struct text value = {equals + 1, argument.len - name.len - 1};
	bool channel = text_is(name, "channel"), since = text_is(name, "since");
	if (channel || since) {
		if (!utf8_is_valid(value.bytes, value.len) || memchr(value.bytes, '\0', value.len) != NULL) {
			*error = channel ? "channel is not UTF-8, or holds a NUL" : "since is not UTF-8, or holds a NUL";
			return false;
		}
		if (channel)
			return add_channel(ask, quote(ask, value), error);
		free(ask->since);
		ask->since = quote(ask, value);
	} else if (text_is(name, "snapshot")) {
		ask->snapshot = text_is(value, "1") || text_is(value, "true");
	} else if (text_is(name, "wait")) {
		return set_wait(ask, value, error);
	}
	return true;
}

static size_t skip_space(struct text json, size_t at)
{
	while (at < json.len && strchr(" \t\r\n", json.bytes[at]) != NULL && json.bytes[at] != '\0')
		at++;
	return at;
}

/* Where the value that begins at `at` ends, in text that has passed json_check. */
static size_t value_end(struct text json, size_t at)
{
	size_t depth = 0;
	bool in_string = false;
	for (; at < json.len; at++) {
		char c = json.bytes[at];
		if (in_string) {
			if (c == '\\')
				at++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			depth++;
		} else if (c == ']' || c == '}') {
			if (depth-- == 0)
				break;
		} else if (c == ',' && depth == 0) {
			break;
		}
	}
	return at;
}

static bool add_channels(struct stream_ask *ask, struct text json, const char **error)
{
	if (json.bytes[0] != '[')
		return add_channel(ask, copy_json(ask, json), error);
	for (size_t at = skip_space(json, 1); at < json.len && json.bytes[at] != ']';) {
		size_t end = value_end(json, at), last = end;
		while (last > at && strchr(" \t\r\n", json.bytes[last - 1]) != NULL)
			last--;
		if (!add_channel(ask, copy_json(ask, (struct text){json.bytes + at, last - at}), error))
			return false;
		at = end < json.len && json.bytes[end] == ',' ? skip_space(json, end + 1) : end;
	}
	return true;
}

bool stream_ask_body(struct stream_ask *ask, struct text body, const char **error)
{
	struct json_wanted wanted[] = {{.name = "channel"}, {.name = "since"}, {.name = "snapshot"}, {.name = "wait"}};
	struct json_fault fault;
	size_t begin = body.len > 0 ? skip_space(body, 0) : 0;
	if (body.len == 0 || !json_check(body.bytes, body.len, wanted, 4, &fault) || body.bytes[begin] != '{') {
		*error = "the body must be a JSON object";
		return false;
	}
	struct text channel = wanted[0].value, since = wanted[1].value, snapshot = wanted[2].value, wait = wanted[3].value;
	if (channel.bytes != NULL && !add_channels(ask, channel, error))
		return false;
	if (since.bytes != NULL && !text_is(since, "null"))
		ask->since = copy_json(ask, since);
	if (snapshot.bytes != NULL && !text_is(snapshot, "true") && !text_is(snapshot, "false")) {
		*error = "snapshot must be true or false";
		return false;
	}
	ask->snapshot = snapshot.bytes != NULL && text_is(snapshot, "true");
	return wait.bytes == NULL || set_wait(ask, wait, error);
}

/* The cursor in a JSON text, which is none of one with escapes. */
static bool read_cursor(const char *json, struct cursor *cursor)
{
	char plain[64];
	size_t len = strlen(json);
	if (len < 3 || len - 2 >= sizeof(plain) || json[0] != '"')
		return false;
	memcpy(plain, json + 1, len - 2);
	plain[len - 2] = '\0';
	return cursor_parse(plain, cursor);
}

void stream_ask_last_id(struct stream_ask *ask, struct text id)
{
	struct cursor since, last;
	if (id.len == 0 || !utf8_is_valid(id.bytes, id.len) || memchr(id.bytes, '\0', id.len) != NULL)
		return;
	char *quoted = quote(ask, id);
	bool older = quoted != NULL && ask->since != NULL && read_cursor(ask->since, &since) &&
	             (!read_cursor(quoted, &last) || (strcmp(last.epoch, since.epoch) == 0 && last.id < since.id));
	if (older) {
		free(quoted);
		return;
	}
	free(ask->since);
	ask->since = quoted;
}

bool stream_ask_check(const struct stream_ask *ask, const char **error)
{
	*error = "the parameter channel is missing";
	return ask->n_channels > 0;
}

char *stream_ask_message(const struct stream_ask *ask, size_t i, size_t *len)
{
	struct json_out out = {0};
	json_puts(&out, "{\"type\":\"subscribe\",\"ref\":");
	json_put_int(&out, (int64_t)i);
	json_puts(&out, ",\"channel\":");
	json_puts(&out, ask->channels[i]);
	if (ask->since != NULL) {
		json_puts(&out, ",\"since\":");
		json_puts(&out, ask->since);
	}
	json_puts(&out, ask->snapshot ? ",\"snapshot\":true}" : "}");
	*len = out.len;
	if (out.failed) {
		free(out.bytes);
		return NULL;
	}
	return out.bytes;
}

/* ---- what comes */

static const char subscribed_head[] = "{\"type\":\"subscribed\"", error_head[] = "{\"type\":\"error\"",
				  welcome_head[] = "{\"type\":\"welcome\"", value_head[] = "{\"type\":\"value\"",
				  ref_part[] = ",\"ref\":";

static bool begins(struct frame *frame, const char *head)
{
	return frame->id == 0 && frame->len > strlen(head) && memcmp(frame_text(frame), head, strlen(head)) == 0;
}

/* Where the ref of a frame that begins with head ends; strlen(head): it has none. Our refs are numbers. */
static size_t behind_ref(struct frame *frame, const char *head)
{
	const char *text = frame_text(frame);
	size_t at = strlen(head);
	if (frame->len - at < strlen(ref_part) || memcmp(text + at, ref_part, strlen(ref_part)) != 0)
		return at;
	at += strlen(ref_part);
	while (at < frame->len && text[at] >= '0' && text[at] <= '9')
		at++;
	return at;
}

void stream_look(struct stream_answers *answers, struct frame *frame)
{
	static const char lost[] = ",\"recovered\":false", unavailable[] = ",\"code\":\"unavailable\"";
	if (begins(frame, subscribed_head)) {
		answers->answered++;
		if (memmem(frame_text(frame), frame->len, lost, strlen(lost)) != NULL)
			answers->something = true;
	} else if (begins(frame, error_head)) {
		size_t at = behind_ref(frame, error_head);
		if (at > strlen(error_head)) {
			answers->answered++;
			answers->refused++;
			if (memmem(frame_text(frame) + at, strlen(unavailable), unavailable, strlen(unavailable)) != NULL)
				answers->unavailable = true;
		}
		if (answers->refusal == NULL)
			answers->refusal = frame;
		answers->something = true;
	} else if (begins(frame, value_head)) {
		answers->value = true;
	} else if (!begins(frame, welcome_head)) {
		answers->something = true;
	}
}

bool stream_is_refused(const struct stream_answers *answers, size_t n_channels)
{
	return answers->refused >= n_channels || answers->unavailable;
}

/* head, then the frame from `at` on, without the part from `cut` to `end`. */
static struct frame *rewrite(struct frame *frame, const char *head, size_t at, size_t cut, size_t end)
{
	const char *text = frame_text(frame);
	struct frame *made = frame_new(strlen(head) + (cut - at) + (frame->len - end));
	if (made == NULL)
		return NULL;
	char *to = frame_text(made);
	memcpy(to, head, strlen(head));
	memcpy(to + strlen(head), text + at, cut - at);
	memcpy(to + strlen(head) + (cut - at), text + end, frame->len - end);
	return made;
}

/* A `subscribed` that was not recovered, as `resync`; NULL: it is none. */
static struct frame *resync(struct frame *frame, bool *failed)
{
	static const char lost[] = ",\"recovered\":false";
	const char *text = frame_text(frame);
	const char *found = memmem(text, frame->len, lost, strlen(lost));
	if (found == NULL)
		return NULL;
	size_t cut = (size_t)(found - text);
	struct frame *made =
		rewrite(frame, "{\"type\":\"resync\"", behind_ref(frame, subscribed_head), cut, cut + strlen(lost));
	*failed = made == NULL;
	return made;
}

struct frame *stream_frame(struct frame *frame, bool *failed)
{
	*failed = false;
	if (begins(frame, welcome_head))
		return NULL;
	if (begins(frame, subscribed_head))
		return resync(frame, failed);
	if (!begins(frame, error_head))
		return frame_ref(frame);
	size_t at = behind_ref(frame, error_head);
	if (at == strlen(error_head))
		return frame_ref(frame);
	struct frame *made = rewrite(frame, error_head, at, at, at);
	*failed = made == NULL;
	return made;
}

struct frame *stream_closing(int code, const char *reason)
{
	struct json_out out = {0};
	json_puts(&out, "{\"type\":\"closing\",\"code\":");
	json_put_int(&out, code);
	json_puts(&out, ",\"reason\":");
	json_put_text(&out, text_from(reason != NULL ? reason : ""));
	json_puts(&out, "}");
	struct frame *frame = out.failed ? NULL : frame_copy(out.bytes, out.len);
	free(out.bytes);
	return frame;
}
