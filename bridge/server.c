/*
 * server.c - libwebsockets on our loop (server.h): the context, its settings, and where its callbacks go.
 *
 * Each setting here answers a trap that cost an experiment; read the comment before changing one.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "request.h"
#include "users.h"

/* Bytes of a client's message that are handed to us at once; libwebsockets keeps a buffer of this size for each. */
#define RX_BUFFER_BYTES 512
/* What one write may send; smaller ones are cut, and the rest is copied. */
#define SERVICE_BUFFER_BYTES 65536
#define WRITE_MAX_BYTES (1 << 20)
/* Requests whose headers are being read at one time; the others wait. */
#define HEADERS_IN_FLIGHT 4096
/* Connections beyond --max-connections that may still ask for /healthz and the like. */
#define SPARE_CONNECTIONS 256
#define KEEPALIVE_S 15
/* The closing of a handle, and of those whose closing that begins. */
#define DESTROY_TURNS 4

/* ---- what a request says */

int transport_header(struct lws *wsi, enum lws_token_indexes token, char *to, size_t size)
{
	to[0] = '\0';
	int len = lws_hdr_copy(wsi, to, (int)size, token);
	/* A NUL within would hide what follows it. */
	return len > 0 && strlen(to) != (size_t)len && token != WSI_TOKEN_PROTOCOL ? -1 : len;
}

bool transport_argument(struct lws *wsi, const char *name, char *to, size_t size)
{
	static char argument[65536];
	int len;
	for (int i = 0; (len = lws_hdr_copy_fragment(wsi, argument, sizeof argument, WSI_TOKEN_HTTP_URI_ARGS, i)) >= 0;
	     i++) {
		if (request_argument((struct text){argument, (size_t)len}, name, to, size)) {
			memset(argument, 0, (size_t)len);
			return true;
		}
	}
	return false;
}

bool transport_path(const struct server *server, struct lws *wsi, char *to, size_t size)
{
	char *uri = NULL;
	int len = 0;
	return lws_http_get_uri_and_method(wsi, &uri, &len) >= 0 && uri && len > 0 &&
	       request_path_below(server->testing ? "/" : server->settings.config->base_path,
	                          (struct text){uri, (size_t)len}, to, size);
}

bool transport_origin_allowed(const struct server *server, struct lws *wsi)
{
	char origin[512], host[512];
	int origin_len = transport_header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin);
	int host_len = transport_header(wsi, WSI_TOKEN_HOST, host, sizeof host);
	return origin_len >= 0 &&
	       origin_is_allowed(&server->settings.config->allowed_origins, origin, host_len > 0 ? host : NULL);
}

/* ---- callbacks */

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct server *server = lws_context_user(lws_get_context(wsi));
	struct client *client = user;
	switch (reason) {
	case LWS_CALLBACK_WSI_CREATE:
		server->connections++;
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		server->connections--;
		return 0;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return websocket_confirm(server, wsi);
	case LWS_CALLBACK_HTTP:
		return http_request(server, wsi);
	case LWS_CALLBACK_RAW_ADOPT: /* CONNECT: it would stay for ever */
	case LWS_CALLBACK_RAW_RX:
	case LWS_CALLBACK_HTTP_BODY:
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return -1;
	case LWS_CALLBACK_HTTP_FILE_COMPLETION:
		return lws_http_transaction_completed(wsi) ? -1 : 0;
	case LWS_CALLBACK_ESTABLISHED:
		return websocket_established(server, wsi, client);
	case LWS_CALLBACK_RECEIVE:
		return websocket_receive(server, client, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return flush_client(server, client) ? 0 : -1;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return websocket_peer_closes(server, client);
	case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
	case LWS_CALLBACK_CLOSED:
		if (client) {
			websocket_gone(server, client);
		}
		return 0;
	default:
		return 0;
	}
}

/*
 * The first serves HTTP, and WebSockets that offer no subprotocol that we know; without a name, libwebsockets sends
 * none back. Both have the same size of user data: a connection keeps its when it moves from one to the other.
 */
static const struct lws_protocols protocols[] = {
	{.name = "",
     .callback = on_event,
     .per_session_data_size = sizeof(struct client),
     .rx_buffer_size = RX_BUFFER_BYTES,
     .tx_packet_size = WRITE_MAX_BYTES},
	{.name = SUBPROTOCOL,
     .callback = on_event,
     .per_session_data_size = sizeof(struct client),
     .rx_buffer_size = RX_BUFFER_BYTES,
     .tx_packet_size = WRITE_MAX_BYTES},
	{0},
};

/* Its own lines are for its developers; none may show what a client sent. */
static void on_log(int level, const char *line)
{
	log_line(level & LLL_ERR ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static void on_quiet_log(int level, const char *line)
{
	(void)level;
	log_debug("libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

/* ---- life */

struct server *server_new(const struct server_settings *settings)
{
	static const lws_retry_bo_t no_pings = {
		0}; /* its timers stand in one sorted list: the kernel's keepalive instead */
	struct lws_context_creation_info info = {0};
	void *loops[1] = {settings->loop};
	const struct config *config = settings->config;
	struct server *server = calloc(1, sizeof *server);
	if (!server) {
		return NULL;
	}
	server->settings = *settings;
	server->addresses = user_counts_new();
	if (!server->addresses) {
		free(server);
		return NULL;
	}
	lws_set_log_level(LLL_ERR, on_log);
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.protocols = protocols;
	info.user = server;
	info.foreign_loops = loops;
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
	               LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
	info.gid = info.uid = (gid_t)-1;
	info.pt_serv_buf_size = SERVICE_BUFFER_BYTES;
	info.max_http_header_data2 =
		(unsigned)(config->max_header_bytes < HEADERS_MIN_BYTES ? HEADERS_MIN_BYTES : config->max_header_bytes);
	info.max_http_header_pool2 = HEADERS_IN_FLIGHT;
	info.timeout_secs = (unsigned)((config->handshake_timeout_ms + 999) / 1000);
	info.timeout_secs_ah_idle = info.timeout_secs;
	info.keepalive_timeout = KEEPALIVE_S;
	info.retry_and_idle_policy = &no_pings;
	info.server_string = "livefeed";
	info.vhost_name = "livefeed";
	info.alpn = "http/1.1"; /* HTTP/2 off: raw writes are not for it */
	if (config->tls_cert) {
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.ssl_cert_filepath = config->tls_cert;
		info.ssl_private_key_filepath = config->tls_key;
	}
	server->context = lws_create_context(&info);
	server->vhost = server->context ? lws_create_vhost(server->context, &info) : NULL;
	if (!server->vhost) {
		log_error("libwebsockets cannot be set up%s", config->tls_cert ? ": look at --tls-cert and --tls-key" : "");
		if (server->context) {
			lws_context_destroy(server->context);
		}
		user_counts_free(server->addresses);
		free(server);
		return NULL;
	}
	lws_set_log_level(LLL_ERR, on_quiet_log);
	if (!config->tls_cert && !upgrade_test(server)) {
		log_warn("tokens cannot be sent as subprotocols: this build of libwebsockets (%s) does not let lws_hdr_copy be "
		         "replaced",
		         lws_get_library_version());
	}
	return server;
}

void server_configure(struct server *server, const struct config *config)
{
	server->settings.config = config;
	if (config->tls_cert &&
	    lws_tls_cert_updated(server->context, config->tls_cert, config->tls_key, NULL, 0, NULL, 0)) {
		log_error("--tls-cert and --tls-key cannot be used; the old certificate stays");
	}
}

void server_adopt(void *arg, int fd)
{
	struct server *server = arg;
	if (server->connections >= (size_t)server->settings.config->max_connections + SPARE_CONNECTIONS) {
		close(fd);
		return;
	}
	lws_adopt_socket_vhost(server->vhost, fd); /* closes it where it fails */
}

void server_set_clock(struct server *server)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	hub_tick_clock(server->settings.hub, (int64_t)uv_now(server->settings.loop), now.tv_sec);
}

void server_flush(struct server *server)
{
	flush_all(server);
}

void server_drain(struct server *server)
{
	server->draining = true;
}

size_t server_connections(const struct server *server)
{
	return server->connections;
}

void server_free(struct server *server)
{
	if (!server) {
		return;
	}
	/* It closes all it has on the loop; once the loop has seen to that, the second call frees it. */
	lws_context_destroy(server->context);
	for (int i = 0; i < 1000 && server->connections > 0; i++) {
		uv_run(server->settings.loop, UV_RUN_NOWAIT);
	}
	for (int i = 0; i < DESTROY_TURNS; i++) {
		uv_run(server->settings.loop, UV_RUN_NOWAIT);
	}
	if (server->connections == 0) {
		lws_context_destroy(server->context);
	}
	user_counts_free(server->addresses);
	free(server);
}
