/*
 * state.c - GET /state?channel=C: what a channel holds now, its snapshot or its value, once. Asked as a subscription that begins
 * with it, by a session that lives as long (oneshot.c): so whoever may have one may have the other.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "jsontext.h"
#include "metrics.h"

bool state_owns(const char *path)
{
	return strcmp(path, "/state") == 0;
}

int state_request(struct server *server, struct lws *wsi, struct client *client)
{
	static char token[TOKEN_MAX_BYTES];
	char channel[CHANNEL_NAME_MAX_BYTES + 2];
	if (!transport_token(wsi, token, sizeof token)) {
		metrics.auth_failures[METRIC_AUTH_MISSING]++;
		return http_error(wsi, 401, "bad_token", "a token is needed", false);
	}
	memset(token, 0, sizeof token); /* no token stays behind */
	if (!transport_argument(wsi, "channel", channel, sizeof channel)) {
		return http_error(wsi, 400, "bad_message", "the parameter channel is missing, or too long for a channel",
		                  false);
	}
	if (!utf8_is_valid(channel, strlen(channel))) {
		return http_error(wsi, 404, "unknown_channel", "there is no such channel", false);
	}
	struct json_out out = {0};
	json_puts(&out, "{\"type\":\"subscribe\",\"snapshot\":true,\"channel\":");
	json_put_string(&out, channel);
	json_puts(&out, "}");
	int code = out.failed ? http_error(wsi, 503, "unavailable", "out of memory", true)
	                      : oneshot_begin(server, wsi, client, (struct text){out.bytes, out.len});
	free(out.bytes);
	return code;
}
