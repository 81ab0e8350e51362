/*
 * monitor.c - /metrics: who may read it, and the listener of its own (--metrics-listen).
 *
 * Without --metrics-listen it is at the main listener, and for this machine alone: a peer on a loopback address, whose
 * request no proxy has passed on. A proxy on this machine is on a loopback address, too, and it may tell nobody for whom
 * it asks; so a request with any header of a proxy is refused, trusted or not, and so is one for another host than
 * localhost or a loopback address, which is what a page would ask for whose name was made to point here. Peers on Unix
 * sockets have no address, and are mostly proxies: they are refused.
 *
 * With --metrics-listen it is at that address alone, for all who reach it, beside /healthz and /readyz and nothing else;
 * plain HTTP, whatever --tls-cert says, and without --base-path.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metrics.h"

/* Connections that came by --metrics-listen; --max-connections does not count them. */
#define MONITOR_CONNECTIONS_MAX 64

static int files[MONITOR_CONNECTIONS_MAX];
static size_t n_files;

static int *find_file(int fd)
{
	for (size_t i = 0; i < n_files; i++) {
		if (files[i] == fd) {
			return &files[i];
		}
	}
	return NULL;
}

static void forget_file(int fd)
{
	int *file = find_file(fd);
	if (file) {
		*file = files[--n_files];
	}
}

bool monitor_owns(struct lws *wsi)
{
	return find_file(transport_file(wsi)) != NULL;
}

void monitor_gone(struct lws *wsi)
{
	forget_file(transport_file(wsi));
}

void monitor_adopt(void *arg, int fd)
{
	if (n_files == MONITOR_CONNECTIONS_MAX) {
		close(fd);
		return;
	}
	files[n_files++] = fd;
	if (!transport_adopt(arg, fd, false)) {
		close(fd);
	}
	if (!gate_of(fd)) {
		forget_file(fd);
	}
}

static bool is_forwarded(struct lws *wsi)
{
	/* Those that libwebsockets knows by a number, it does not find by their name. */
	static const enum lws_token_indexes known[] = {WSI_TOKEN_X_FORWARDED_FOR, WSI_TOKEN_HTTP_X_REAL_IP,
	                                               WSI_TOKEN_HTTP_VIA};
	static const char *const others[] = {
		"forwarded:",          "x-forwarded-host:", "x-forwarded-proto:", "x-forwarded-port:",
		"x-forwarded-server:", "x-client-ip:",      "cf-connecting-ip:",  "true-client-ip:"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (lws_hdr_total_length(wsi, known[i]) > 0) {
			return true;
		}
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		if (lws_hdr_custom_length(wsi, others[i], (int)strlen(others[i])) >= 0) {
			return true;
		}
	}
	return false;
}

static bool is_from_here(struct lws *wsi)
{
	char peer[ADDRESS_MAX_BYTES], host[256];
	transport_peer(wsi, peer, sizeof peer);
	return origin_is_loopback(peer) && !is_forwarded(wsi) &&
	       transport_header(wsi, WSI_TOKEN_HOST, host, sizeof host) > 0 && origin_host_is_local(host);
}

int monitor_metrics(struct server *server, struct lws *wsi)
{
	if (!monitor_owns(wsi) && server->settings.config->metrics_listen) {
		return http_error(wsi, 404, "unknown_path", "nothing here", false);
	}
	if (!monitor_owns(wsi) && !is_from_here(wsi)) {
		return http_error(wsi, 403, "forbidden", "metrics are for this machine alone, unless --metrics-listen is set",
		                  false);
	}
	struct json_out page = {0};
	metrics.connections = server->connections;
	server->settings.measure(server->settings.arg);
	metrics_render(&page);
	int code = page.failed
	               ? http_error(wsi, 503, "unavailable", "out of memory", true)
	               : http_answer(wsi, 200, METRICS_TYPE, "Cache-Control: no-store\r\n", page.bytes, page.len, false);
	free(page.bytes);
	return code;
}
