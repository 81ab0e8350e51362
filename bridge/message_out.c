/*
 * message_out.c - control messages of the server (PROTOCOL.md, Server to client). Events are not made here: their
 * bytes come out of the log (frame.c).
 */
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jsontext.h"

/* 9999-12-31T23:59:59Z: the last second that ISO 8601 writes with four digits. A token may say any. */
#define TIME_MAX_S 253402300799

static struct frame *finish(struct json_out *out)
{
	struct frame *frame = NULL;

	json_put(out, "}", 1);
	if (!out->failed)
		frame = frame_copy(out->bytes, out->len);
	free(out->bytes);
	return frame;
}

static void begin(struct json_out *out, const char *type, const char *ref)
{
	json_puts(out, "{\"type\":");
	json_put_string(out, type);
	if (ref != NULL) {
		json_puts(out, ",\"ref\":");
		json_puts(out, ref);
	}
}

static void put_member(struct json_out *out, const char *name, const char *value)
{
	json_puts(out, ",\"");
	json_puts(out, name);
	json_puts(out, "\":");
	json_put_string(out, value);
}

static void put_cursor(struct json_out *out, const char *epoch, int64_t id)
{
	json_puts(out, ",\"cursor\":\"");
	json_puts(out, epoch);
	json_puts(out, "-");
	json_put_int(out, id);
	json_puts(out, "\"");
}

struct frame *message_welcome(const char *ref, const char *user, const char *epoch, int64_t head, int64_t expires_s,
                              int heartbeat_s)
{
	struct json_out out = {0};
	time_t expires = expires_s > TIME_MAX_S ? TIME_MAX_S : expires_s;
	struct tm utc;
	char at[40];

	gmtime_r(&expires, &utc);
	strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &utc);
	begin(&out, "welcome", ref);
	json_puts(&out, ",\"protocol\":1");
	put_member(&out, "user", user);
	put_member(&out, "epoch", epoch);
	put_cursor(&out, epoch, head);
	put_member(&out, "expires_at", at);
	json_puts(&out, ",\"heartbeat\":");
	json_put_int(&out, heartbeat_s);
	return finish(&out);
}

struct frame *message_subscribed(const char *ref, const char *channel, const char *epoch, int64_t id, int recovered,
                                 const char *reason)
{
	struct json_out out = {0};

	begin(&out, "subscribed", ref);
	put_member(&out, "channel", channel);
	put_cursor(&out, epoch, id);
	if (recovered >= 0)
		json_puts(&out, recovered ? ",\"recovered\":true" : ",\"recovered\":false");
	if (recovered == 0 && reason != NULL)
		put_member(&out, "reason", reason);
	return finish(&out);
}

struct frame *message_unsubscribed(const char *ref, const char *channel, const char *reason)
{
	struct json_out out = {0};

	begin(&out, "unsubscribed", ref);
	put_member(&out, "channel", channel);
	if (reason != NULL)
		put_member(&out, "reason", reason);
	return finish(&out);
}

struct frame *message_resync(const char *channel, const char *epoch, int64_t id, const char *reason)
{
	struct json_out out = {0};

	begin(&out, "resync", NULL);
	put_member(&out, "channel", channel);
	put_cursor(&out, epoch, id);
	put_member(&out, "reason", reason);
	return finish(&out);
}

static void put_key_columns(struct json_out *out, const struct text *columns, size_t n)
{
	json_puts(out, ",\"key_columns\":");
	if (columns == NULL) {
		json_puts(out, "null");
		return;
	}
	json_puts(out, "[");
	for (size_t i = 0; i < n; i++) {
		json_puts(out, i > 0 ? "," : "");
		json_put_text(out, columns[i]);
	}
	json_puts(out, "]");
}

/* Rows may be many: they are copied once, into the frame itself. */
struct frame *message_snapshot(const char *channel, const char *epoch, int64_t id, const struct text *key_columns,
                               size_t n_key_columns, struct text data, struct text keys, bool truncated)
{
	struct json_out head = {0};
	const struct text before_keys = {",\"keys\":", 8};
	const struct text tail =
		truncated ? (struct text){",\"truncated\":true}", 18} : (struct text){",\"truncated\":false}", 19};
	const struct text none = {NULL, 0};

	begin(&head, "snapshot", NULL);
	put_member(&head, "channel", channel);
	put_cursor(&head, epoch, id);
	put_key_columns(&head, key_columns, n_key_columns);
	json_puts(&head, ",\"data\":");
	const struct text parts[] = {{head.bytes, head.len}, data, keys.bytes != NULL ? before_keys : none, keys, tail};
	size_t len = 0;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		len += parts[i].len;
	struct frame *frame = head.failed ? NULL : frame_new(len);
	char *to = frame != NULL ? frame_text(frame) : NULL;
	for (size_t i = 0; to != NULL && i < sizeof parts / sizeof *parts; i++) {
		if (parts[i].len > 0)
			memcpy(to, parts[i].bytes, parts[i].len);
		to += parts[i].len;
	}
	free(head.bytes);
	return frame;
}

struct frame *message_result(const char *ref, const char *data, const char *epoch, int64_t id)
{
	struct json_out out = {0};

	begin(&out, "result", ref);
	json_puts(&out, ",\"data\":");
	json_puts(&out, data);
	put_cursor(&out, epoch, id);
	return finish(&out);
}

struct frame *message_value(struct text channel, const char *epoch, int64_t id, struct text data)
{
	struct json_out out = {0};

	begin(&out, "value", NULL);
	json_puts(&out, ",\"channel\":");
	json_put_text(&out, channel);
	put_cursor(&out, epoch, id);
	json_puts(&out, ",\"data\":");
	json_put(&out, data.bytes, data.len);
	return finish(&out);
}

struct frame *message_pong(const char *ref, const char *epoch, int64_t id, bool live)
{
	struct json_out out = {0};

	begin(&out, "pong", ref);
	put_cursor(&out, epoch, id);
	json_puts(&out, live ? ",\"live\":true" : ",\"live\":false");
	return finish(&out);
}

struct frame *message_status(bool live)
{
	struct json_out out = {0};

	begin(&out, "status", NULL);
	json_puts(&out, live ? ",\"live\":true" : ",\"live\":false");
	return finish(&out);
}

struct frame *message_error(const char *ref, const char *code, const char *text, const char *channel)
{
	struct json_out out = {0};

	begin(&out, "error", ref);
	put_member(&out, "code", code);
	put_member(&out, "message", text);
	if (channel != NULL)
		put_member(&out, "channel", channel);
	return finish(&out);
}

char *message_quote(struct text plain)
{
	struct json_out out = {0};

	json_put_text(&out, plain);
	json_put(&out, "", 1); /* its NUL */
	if (out.failed) {
		free(out.bytes);
		return NULL;
	}
	return out.bytes;
}

bool cursor_parse(const char *text, struct cursor *out)
{
	const char *dash = strchr(text, '-');
	int64_t id = 0;
	size_t len;

	if (dash == NULL || dash == text)
		return false;
	len = (size_t)(dash - text);
	if (len >= sizeof out->epoch)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'z'))
			return false;
	if (dash[1] == '\0' || (dash[1] == '0' && dash[2] != '\0'))
		return false;
	for (const char *digit = dash + 1; *digit != '\0'; digit++) {
		if (*digit < '0' || *digit > '9')
			return false;
		id = id * 10 + (*digit - '0');
		if (id > INT64_C(9007199254740991))
			return false;
	}
	memcpy(out->epoch, text, len);
	out->epoch[len] = '\0';
	out->id = id;
	return true;
}
