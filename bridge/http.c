/*
 * http.c - plain HTTP: health, readiness, metrics, static files, who serves what else; and the form of every answer.
 *
 * Every request gets an answer, and every answer says which pages may read it (cors.h): those of an origin that is not
 * allowed get 403, whatever they ask for. Cookies are not looked at.
 *
 * Only POST /call/NAME (post.c) and /socket.io/ (socketio.c) take a body. Any other request that brings one is answered and its connection closed, since what is
 * left unread of a body would be taken for the next request.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cors.h"
#include "log.h"
#include "metrics.h"

#define HEADERS_MAX_BYTES 2048 /* of an answer */
#define PATH_MAX_BYTES 4096

static const char *status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 204:
		return "No Content";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
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
	case 429:
		return "Too Many Requests";
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

void http_cors(struct lws *wsi, char to[CORS_MAX_BYTES])
{
	char origin[ORIGIN_MAX_BYTES + 1];
	bool allowed = transport_origin(lws_context_user(lws_get_context(wsi)), wsi, origin, sizeof origin);
	cors_lines(allowed ? origin : NULL, to);
}

/* All of it in one write: what the socket does not take at once, libwebsockets keeps, and goes on with the next request later. */
static int write_answer(struct lws *wsi, const char *head, size_t head_len, const char *body, size_t len)
{
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0) {
		len = 0;
	}
	unsigned char *buffer = malloc(LWS_PRE + head_len + len);
	if (!buffer) {
		return -1;
	}
	memcpy(buffer + LWS_PRE, head, head_len);
	memcpy(buffer + LWS_PRE + head_len, body, len);
	int code = lws_write(wsi, buffer + LWS_PRE, head_len + len, LWS_WRITE_HTTP);
	free(buffer);
	return code;
}

/* cors: the lines that say who may read it. */
static int answer(struct lws *wsi, int status, const char *type, const char *headers, const char *cors,
                  const char *body, size_t len, bool end)
{
	char head[HEADERS_MAX_BYTES], type_line[128] = "", length_line[64] = "";
	metrics.http_answers[metrics_status(status)]++;
	if (type) {
		snprintf(type_line, sizeof type_line, "Content-Type: %s\r\n", type);
	}
	if (status != 304 && status != 204) {
		snprintf(length_line, sizeof length_line, "Content-Length: %zu\r\n", len);
	}
	int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\n%s%s%s%s%s\r\n", status, status_text(status), type_line,
	                 length_line, headers, cors, end ? "Connection: close\r\n" : "");
	if (n < 0 || (size_t)n >= sizeof head) {
		log_error("the headers of an HTTP answer of %d are too long", status);
		return -1;
	}
	if (write_answer(wsi, head, (size_t)n, body, len) < 0 || end) {
		return -1; /* closes once it is written */
	}
	return transport_completed(wsi) ? -1 : 0;
}

int http_answer(struct lws *wsi, int status, const char *type, const char *headers, const char *body, size_t len,
                bool end)
{
	char cors[CORS_MAX_BYTES];
	http_cors(wsi, cors);
	return answer(wsi, status, type, headers, cors, body, len, end);
}

const char *http_error_headers(int status)
{
	switch (status) {
	case 401:
		return "Cache-Control: no-store\r\nWWW-Authenticate: Bearer\r\n";
	case 405:
		return "Cache-Control: no-store\r\nAllow: GET, HEAD, OPTIONS\r\n";
	case 429:
	case 503:
		return "Cache-Control: no-store\r\nRetry-After: 2\r\n";
	default:
		return "Cache-Control: no-store\r\n";
	}
}

int http_error(struct lws *wsi, int status, const char *code, const char *message, bool end)
{
	char body[512];
	int len = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
	return http_answer(wsi, status, "application/json", http_error_headers(status), body, (size_t)len, end);
}

static int answer_json(struct lws *wsi, const char *body)
{
	return http_answer(wsi, 200, "application/json", "Cache-Control: no-store\r\n", body, strlen(body), false);
}

int http_refuse_origin(struct lws *wsi, bool end)
{
	struct server *server = lws_context_user(lws_get_context(wsi));
	char origin[ORIGIN_MAX_BYTES + 1], path[PATH_MAX_BYTES], address[ADDRESS_MAX_BYTES];
	transport_origin(server, wsi, origin, sizeof origin);
	transport_client_address(server, wsi, address, sizeof address);
	metrics.origins_refused++;
	struct log_field fields[] = {{"origin", origin},
	                             {"path", transport_path(server, wsi, path, sizeof path) ? path : NULL},
	                             {"address", address},
	                             {NULL, NULL}};
	log_bounded(LOG_TOPIC_REQUEST, fields, "origin is not in --allowed-origins");
	return http_error(wsi, 403, "forbidden", "this origin is not allowed", end);
}

static bool is_method(struct lws *wsi, enum lws_token_indexes method)
{
	return lws_hdr_total_length(wsi, method) > 0;
}

/* What may be asked of us: the answer to OPTIONS. call: where something is posted. */
static int answer_options(struct server *server, struct lws *wsi, bool call, bool end)
{
	char origin[ORIGIN_MAX_BYTES + 1], cors[CORS_MAX_BYTES];
	transport_origin(server, wsi, origin, sizeof origin);
	cors_preflight_lines(origin, cors);
	return answer(wsi, 204, NULL,
	              call ? "Allow: POST, OPTIONS\r\nCache-Control: no-store\r\n"
	                   : "Allow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n",
	              cors, "", 0, end);
}

static int answer_ready(struct server *server, struct lws *wsi)
{
	const char *why = server->draining ? "shutting down" : server->settings.not_ready(server->settings.arg);
	return why ? http_error(wsi, 503, "unavailable", why, false) : answer_json(wsi, "{\"status\":\"ready\"}\n");
}

/* What both listeners serve. False: path is none of these. */
static bool serve_operator(struct server *server, struct lws *wsi, const char *path, int *code)
{
	if (strcmp(path, "/healthz") == 0) {
		*code = answer_json(wsi, "{\"status\":\"alive\"}\n");
	} else if (strcmp(path, "/readyz") == 0) {
		*code = answer_ready(server, wsi);
	} else if (strcmp(path, "/metrics") == 0) {
		*code = monitor_metrics(server, wsi);
	} else {
		return false;
	}
	return true;
}

int http_request(struct server *server, struct lws *wsi, struct client *client)
{
	char path[PATH_MAX_BYTES], origin[ORIGIN_MAX_BYTES + 1];
	const struct config *config = server->settings.config;
	bool body = gate_request(transport_gate(wsi))->body > 0;
	int code;
	if (!transport_origin(server, wsi, origin, sizeof origin)) {
		return http_refuse_origin(wsi, body);
	}
	bool known = transport_path(server, wsi, path, sizeof path);
	bool calls = known && !monitor_owns(wsi) && post_owns(path);
	bool polls = known && !monitor_owns(wsi) && poll_owns(path);
	bool socketio = known && !monitor_owns(wsi) && socketio_owns(path);
	if (is_method(wsi, WSI_TOKEN_OPTIONS_URI)) {
		return answer_options(server, wsi, calls || socketio || polls, body);
	}
	if (calls) {
		return post_request(server, wsi, client, path, body);
	}
	if (polls) {
		return poll_request(server, wsi, client, body);
	}
	if (socketio) {
		return socketio_request(server, wsi, client, body);
	}
	if (!is_method(wsi, WSI_TOKEN_GET_URI) && !is_method(wsi, WSI_TOKEN_HEAD_URI)) {
		return http_error(wsi, 405, "bad_message", "only GET and HEAD here", true);
	}
	if (body) {
		return http_error(wsi, 400, "bad_message", "no body is taken here", true);
	}
	if (!known) {
		return http_error(wsi, 404, "unknown_path", "nothing here", false);
	}
	if (serve_operator(server, wsi, path, &code)) {
		return code;
	}
	if (monitor_owns(wsi)) {
		return http_error(wsi, 404, "unknown_path", "nothing here", false);
	}
	if (sse_owns(path)) {
		return sse_request(server, wsi, client);
	}
	if (state_owns(path)) {
		return state_request(server, wsi, client);
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
