/*
 * http.c - plain HTTP: health, readiness, static files; and the form of every answer. The endpoints that serve
 * channels over HTTP come with a later version.
 *
 * No endpoint takes a body yet. A request that brings one is answered and its connection closed, since what is left
 * unread of a body would be taken for the next request; one whose length nobody can know gets 411.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define ANSWER_MAX_BYTES 8192

static const char *status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 426:
		return "Upgrade Required";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Error";
	}
}

int http_answer(struct lws *wsi, int status, const char *type, const char *headers, const char *body, size_t len,
                bool end)
{
	static unsigned char buffer[LWS_PRE + ANSWER_MAX_BYTES];
	char *at = (char *)buffer + LWS_PRE, type_line[128] = "", length_line[64] = "";
	if (type) {
		snprintf(type_line, sizeof type_line, "Content-Type: %s\r\n", type);
	}
	if (status != 304) {
		snprintf(length_line, sizeof length_line, "Content-Length: %zu\r\n", len);
	}
	int n = snprintf(at, ANSWER_MAX_BYTES, "HTTP/1.1 %d %s\r\n%s%s%s%s\r\n", status, status_text(status), type_line,
	                 length_line, headers, end ? "Connection: close\r\n" : "");
	if (n < 0 || (size_t)n + len > ANSWER_MAX_BYTES) {
		log_error("an HTTP answer of %d is too long", status);
		return -1;
	}
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) <= 0) {
		memcpy(at + n, body, len);
		n += (int)len;
	}
	if (lws_write(wsi, (unsigned char *)at, (size_t)n, LWS_WRITE_HTTP) < 0 || end) {
		return -1; /* closes once it is written */
	}
	return transport_completed(wsi) ? -1 : 0;
}

int http_error(struct lws *wsi, int status, const char *code, const char *message, bool end)
{
	char body[512];
	int len = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
	const char *headers = status == 405   ? "Cache-Control: no-store\r\nAllow: GET, HEAD\r\n"
	                      : status == 503 ? "Cache-Control: no-store\r\nRetry-After: 2\r\n"
	                                      : "Cache-Control: no-store\r\n";
	return http_answer(wsi, status, "application/json", headers, body, (size_t)len, end);
}

static int answer_json(struct lws *wsi, const char *body)
{
	return http_answer(wsi, 200, "application/json", "Cache-Control: no-store\r\n", body, strlen(body), false);
}

/* Content-Length is there and not 0: also where it is doubled, negative or no number. */
static bool has_body(struct lws *wsi)
{
	char value[32];
	int len = transport_header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, value, sizeof value);
	return len < 0 || (len > 0 && strcmp(value, "0") != 0);
}

int http_request(struct server *server, struct lws *wsi)
{
	char path[4096];
	const struct config *config = server->settings.config;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0) {
		return http_error(wsi, 411, "bad_message", "send the length of the body", true);
	}
	bool body = has_body(wsi);
	if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0 && lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) <= 0) {
		return http_error(wsi, 405, "bad_message", "only GET and HEAD here", true);
	}
	if (body) {
		return http_error(wsi, 400, "bad_message", "no body is taken here", true);
	}
	if (!transport_path(server, wsi, path, sizeof path)) {
		return http_error(wsi, 404, "unknown_path", "nothing here", false);
	}
	if (strcmp(path, "/healthz") == 0) {
		return answer_json(wsi, "{\"status\":\"alive\"}\n");
	}
	if (strcmp(path, "/readyz") == 0) {
		const char *why = server->draining ? "shutting down" : server->settings.not_ready(server->settings.arg);
		return why ? http_error(wsi, 503, "unavailable", why, false) : answer_json(wsi, "{\"status\":\"ready\"}\n");
	}
	if (!transport_origin_allowed(server, wsi)) {
		return http_error(wsi, 403, "forbidden", "this origin is not allowed", false);
	}
	if (strcmp(path, "/ws") == 0 || strncmp(path, "/ws/", 4) == 0) {
		return http_answer(wsi, 426, "text/plain", "Upgrade: websocket\r\nCache-Control: no-store\r\n",
		                   "a WebSocket is served here\n", 27, false);
	}
	if (config->static_dir) {
		return files_serve(wsi, config->static_dir, path);
	}
	return http_error(wsi, 404, "unknown_path", "nothing here", false);
}
