/*
 * post.c - POST /call/NAME: a command over HTTP. The body is its args, a JSON object or nothing; its answer that of the
 * session which calls it (oneshot.c).
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsontext.h"
#include "message.h"
#include "metrics.h"

#define PREFIX "/call/"
#define KEY_MAX_BYTES 1024 /* the session says what is too long */
#define NAME_MAX_BYTES 63

bool post_owns(const char *path)
{
	return strncmp(path, PREFIX, strlen(PREFIX)) == 0;
}

/* A bad message, with where it is bad. */
static int refuse_body(struct lws *wsi, const struct json_fault *fault)
{
	char message[256];
	snprintf(message, sizeof message, "the body is not valid JSON: %s (byte %zu)", fault->what, fault->at);
	char *quoted = message_quote((struct text){message, strlen(message)});
	if (!quoted) {
		return http_error(wsi, 503, "unavailable", "out of memory", true);
	}
	quoted[strlen(quoted) - 1] = '\0'; /* http_error puts the quotes */
	int code = http_error(wsi, 400, "bad_message", quoted + 1, false);
	free(quoted);
	return code;
}

/* The header's value; false: it has no use as a key. "": there is none. */
static bool idempotency_key(struct lws *wsi, char to[KEY_MAX_BYTES])
{
	static const char name[] = "idempotency-key:";
	int len = lws_hdr_custom_length(wsi, name, sizeof name - 1);
	to[0] = '\0';
	return len <= 0 ||
	       (lws_hdr_custom_copy(wsi, to, KEY_MAX_BYTES, name, sizeof name - 1) == len && utf8_is_valid(to, strlen(to)));
}

static bool is_blank(struct text body)
{
	for (size_t i = 0; i < body.len; i++) {
		if (!strchr(" \t\r\n", body.bytes[i]) || body.bytes[i] == '\0') {
			return false;
		}
	}
	return true;
}

static bool is_object(struct text body)
{
	size_t i = 0;
	while (i < body.len && strchr(" \t\r\n", body.bytes[i])) {
		i++;
	}
	return i < body.len && body.bytes[i] == '{';
}

static int ready(struct server *server, struct lws *wsi, struct client *client, const char *name, struct text body)
{
	char key[KEY_MAX_BYTES];
	struct json_fault fault;
	if (is_blank(body)) {
		body = (struct text){"{}", 2};
	}
	/* By itself, so that nothing in it can be taken for a part of the message. */
	if (!json_check(body.bytes, body.len, NULL, 0, &fault)) {
		metrics.messages_bad++;
		oneshot_gone(client);
		return refuse_body(wsi, &fault);
	}
	if (!is_object(body) || !idempotency_key(wsi, key)) {
		metrics.messages_bad++;
		oneshot_gone(client);
		return http_error(wsi, 400, "bad_message",
		                  is_object(body) ? "Idempotency-Key must have 1 to 255 bytes of UTF-8"
		                                  : "the body must be a JSON object",
		                  transport_lacks_length(wsi));
	}
	struct json_out out = {0};
	json_puts(&out, "{\"type\":\"call\",\"name\":");
	json_put_string(&out, name);
	if (key[0]) {
		json_puts(&out, ",\"idempotency_key\":");
		json_put_string(&out, key);
	}
	json_puts(&out, ",\"args\":");
	json_put(&out, body.bytes, body.len);
	json_puts(&out, "}");
	int code;
	if (out.failed) {
		oneshot_gone(client);
		code = http_error(wsi, 503, "unavailable", "out of memory", true);
	} else {
		code = oneshot_begin(server, wsi, client, (struct text){out.bytes, out.len});
	}
	free(out.bytes);
	return code;
}

int post_request(struct server *server, struct lws *wsi, struct client *client, const char *path, bool end)
{
	static char token[TOKEN_MAX_BYTES];
	const char *name = path + strlen(PREFIX);
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) <= 0) {
		static const char body[] =
			"{\"error\":{\"code\":\"bad_message\",\"message\":\"a command is called with POST\"}}\n";
		return http_answer(wsi, 405, "application/json", "Cache-Control: no-store\r\nAllow: POST, OPTIONS\r\n", body,
		                   sizeof body - 1, end);
	}
	end = end || transport_lacks_length(wsi);
	if (!transport_token(wsi, token, sizeof token)) {
		metrics.auth_failures[METRIC_AUTH_MISSING]++;
		return http_error(wsi, 401, "bad_token", "a token is needed", end);
	}
	memset(token, 0, sizeof token); /* no token stays behind */
	if (len == 0 || len > NAME_MAX_BYTES || name[len] != '\0') {
		metrics.commands[METRIC_COMMAND_UNKNOWN]++;
		return http_error(wsi, 404, "unknown_command", "there is no such command", end);
	}
	return oneshot_body(server, wsi, client, name, ready);
}
