/*
 * server.c - libwebsockets on our loop (server.h): the context, its settings, and where its callbacks go.
 *
 * Each setting here answers a trap that cost an experiment; read the comment before changing one.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "acked.h"
#include "log.h"
#include "metrics.h"
#include "request.h"
#include "tls.h"
#include "users.h"

/* Bytes of a client's message that are handed to us at once; libwebsockets keeps a buffer of this size for each. */
#define RX_BUFFER_BYTES 512
/* What one write may send; smaller ones are cut, and the rest is copied. */
#define SERVICE_BUFFER_BYTES 65536
#define WRITE_MAX_BYTES (1 << 20)
/* Connections whose request is not complete yet; one more, and the oldest of them is closed: slow ones keep nobody out. */
#define UNFINISHED_MAX 4096
/* What libwebsockets keeps beside the bytes of a header, and of an argument. */
#define FIELD_EXTRA_BYTES 16
/* Our own handshake time-out counts; libwebsockets' is later. */
#define LIBRARY_EXTRA_S 5
/* How often it is looked for time-outs, at so many connections a time. */
#define LOOK_MS 1000
#define LOOK_FILES 4096
#define LATE_MS 500
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
	       request_path_below(server->testing || monitor_owns(wsi) ? "/" : server->settings.config->base_path,
	                          (struct text){uri, (size_t)len}, to, size);
}

int transport_file(struct lws *wsi)
{
	/* Kept with 1 added; libwebsockets no longer knows it after it is closed. */
	return (int)(intptr_t)lws_get_opaque_user_data(wsi) - 1;
}

bool transport_lacks_length(struct lws *wsi)
{
	return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0;
}

struct gate *transport_gate(struct lws *wsi)
{
	return gate_of(transport_file(wsi));
}

int transport_completed(struct lws *wsi)
{
	struct gate *gate = transport_gate(wsi);
	return gate && gate_answered(gate) ? lws_http_transaction_completed(wsi) : -1;
}

/* ---- callbacks */

/* True: *status is what the callback has to return. */
static bool is_refused(struct lws *wsi, int *status)
{
	const struct gate *gate = transport_gate(wsi);
	const struct head_fault *refusal = gate_refusal(gate);
	if (!gate_request(gate)) {
		log_error("a request came to libwebsockets by a way of its own: it is not served");
		*status = -1;
	} else if (refusal) {
		metrics.limits[METRIC_LIMIT_MAX_HEADER] += refusal->status == 431;
		metrics.limits[METRIC_LIMIT_MAX_BODY] += refusal->status == 413;
		metrics.origins_refused += refusal->status == 403;
		*status = http_error(wsi, refusal->status, refusal->code, refusal->message, true);
	} else {
		return false;
	}
	return true;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct server *server = lws_context_user(lws_get_context(wsi));
	struct client *client = user;
	int status;
	switch (reason) {
	case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: /* the one that shows us its context */
		server->tls = user;
		return 0;
	case LWS_CALLBACK_WSI_CREATE:
		server->connections++;
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		server->connections--;
		monitor_gone(wsi);
		gate_close(transport_file(wsi));
		return 0;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return is_refused(wsi, &status) ? status : websocket_confirm(server, wsi);
	case LWS_CALLBACK_HTTP:
		return is_refused(wsi, &status) ? status : http_request(server, wsi, client);
	case LWS_CALLBACK_RAW_ADOPT: /* CONNECT: it would stay for ever */
	case LWS_CALLBACK_RAW_RX:
		return -1;
	case LWS_CALLBACK_HTTP_BODY:
		return oneshot_body_part(wsi, client, in, len);
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return oneshot_body_end(server, wsi, client);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return !client || !client->wsi || flush_client(server, client) ? 0 : -1;
	case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
	case LWS_CALLBACK_CLOSED_HTTP:
		if (client) {
			oneshot_gone(client);
			socketio_gone(client);
			sse_gone(server, client);
			poll_gone(server, client);
		}
		return 0;
	case LWS_CALLBACK_HTTP_FILE_COMPLETION:
		return transport_completed(wsi) ? -1 : 0;
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

/* ---- what is looked after */

static int64_t now_ms(void *arg)
{
	return (int64_t)uv_now(((struct server *)arg)->settings.loop);
}

static void on_fault(void *arg, void *connection)
{
	struct client *client = lws_wsi_user(connection);
	if (client && client->wsi) {
		flush_mark(arg, client);
	}
}

static uint64_t max_header(const struct config *config)
{
	return (uint64_t)(config->max_header_bytes < HEADERS_MIN_BYTES ? HEADERS_MIN_BYTES : config->max_header_bytes);
}

static void set_gates(struct server *server)
{
	const struct config *config = server->settings.config;
	struct gate_settings settings = {
		.now_ms = now_ms,
		.faulty = on_fault,
		.arg = server,
		.max_header_bytes = max_header(config),
		.max_body_bytes = (uint64_t)config->max_body_bytes,
		.max_message_bytes = (uint64_t)config->max_message_bytes,
		.rate_per_s = config->rate_per_s,
		.burst = config->rate_per_s + config->max_subscriptions,
	};
	gate_configure(&settings);
}

/*
 * At once, whatever waits to be sent: libwebsockets, asked to close, first wants to be rid of that, and begins to wait anew
 * each time. On a socket that is shut its next write fails, and our kernel keeps nothing either (SO_LINGER of 0).
 */
static void kill_connection(struct lws *wsi)
{
	static const struct linger none = {.l_onoff = 1};
	int file = lws_get_socket_fd(wsi);
	gate_forget(transport_gate(wsi));
	setsockopt(file, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	shutdown(file, SHUT_RDWR);
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

/* The oldest of the connections that have not asked for anything yet gives way. */
static void kill_oldest(void)
{
	int64_t since_ms;
	struct lws *wsi = gate_oldest(&since_ms);
	if (wsi) {
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS]++;
		kill_connection(wsi);
	}
}

/* Whether its kernel took some of what stood before the ping, or keeps the ping from being sent at all: as good as a word from it. */
static bool is_taking(struct client *client, struct lws *wsi)
{
	uint64_t confirmed, waiting;
	if (!acked_bytes(lws_get_socket_fd(wsi), &confirmed, &waiting)) {
		return false;
	}
	bool taking = confirmed > client->confirmed && client->confirmed < client->ping_at;
	client->confirmed = confirmed;
	return taking;
}

static bool send_ping(struct server *server, struct client *client, struct lws *wsi)
{
	/* One for all: a ping without payload. */
	static unsigned char ping[LWS_PRE + 2] = {[LWS_PRE] = 0x89, [LWS_PRE + 1] = 0x00};
	uint64_t waiting;
	client->pinged_ms = now_ms(server);
	client->ping_at = UINT64_MAX;
	if (!acked_bytes(lws_get_socket_fd(wsi), &client->confirmed, &waiting)) {
		client->confirmed = client->ping_at = waiting = 0;
	}
	if (lws_partial_buffered(wsi)) {
		return true; /* it would only wait behind the rest */
	}
	if (client->ping_at != 0) {
		client->ping_at = client->confirmed + waiting;
	}
	return lws_write(wsi, ping + LWS_PRE, sizeof ping - LWS_PRE, LWS_WRITE_RAW) >= 0;
}

/*
 * At a peer that may be gone: asked once it was silent for a heartbeat, given up when it is for one more. A write that our own
 * kernel takes says nothing about it.
 */
static void look_at_websocket(struct server *server, struct lws *wsi)
{
	int64_t heartbeat_ms = server->settings.config->heartbeat_ms, now = now_ms(server);
	struct client *client = lws_wsi_user(wsi);
	if (!client || !client->session || client->close_sent) {
		return; /* it has a deadline already */
	}
	int64_t heard = gate_heard_ms(transport_gate(wsi));
	if (client->pinged_ms <= heard) {
		if (now - heard >= heartbeat_ms && !send_ping(server, client, wsi)) {
			kill_connection(wsi);
		}
	} else if (is_taking(client, wsi)) {
		gate_heard(transport_gate(wsi));
	} else if (now - heard >= 2 * heartbeat_ms && now - client->pinged_ms >= heartbeat_ms / 2) {
		metrics.peers_lost++;
		kill_connection(wsi);
	}
}

/* In slices, so that a look at 50,000 keeps nobody waiting: each connection once in LOOK_MS. */
static void on_look(uv_timer_t *timer)
{
	struct server *server = timer->data;
	int files = gate_files(), slices = files / LOOK_FILES + 1;
	int64_t late_ms = now_ms(server) - server->looked_ms;
	server->looked_ms = now_ms(server);
	sse_look(server);
	poll_look(server);
	uv_timer_start(timer, on_look, (uint64_t)(LOOK_MS / slices), 0);
	if (late_ms > LOOK_MS + LATE_MS) {
		return; /* we stood still: what came meanwhile is to be read first */
	}
	int64_t since_ms, latest_ms = now_ms(server) - server->settings.config->handshake_timeout_ms;
	struct lws *wsi;
	while ((wsi = gate_oldest(&since_ms)) != NULL && since_ms <= latest_ms) {
		metrics.limits[METRIC_LIMIT_HANDSHAKE_TIMEOUT]++;
		kill_connection(wsi);
	}
	if (server->look_at >= files) {
		server->look_at = 0;
	}
	for (int i = 0; i < LOOK_FILES && server->look_at < files; i++, server->look_at++) {
		wsi = gate_websocket(server->look_at);
		if (wsi) {
			look_at_websocket(server, wsi);
		}
	}
}

static void on_look_closed(uv_handle_t *handle)
{
	free(handle);
}

static bool start_looking(struct server *server)
{
	server->look = malloc(sizeof *server->look);
	if (!server->look) {
		return false;
	}
	uv_timer_init(server->settings.loop, server->look);
	server->look->data = server;
	server->looked_ms = now_ms(server);
	uv_timer_start(server->look, on_look, LOOK_MS, 0);
	return true;
}

/* ---- life */

struct server *server_new(const struct server_settings *settings)
{
	static const lws_retry_bo_t no_pings = {0}; /* its timers stand in one sorted list: on_look instead */
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
	set_gates(server);
	lws_set_log_level(LLL_ERR, on_log);
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.protocols = protocols;
	info.user = server;
	info.foreign_loops = loops;
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
	info.gid = info.uid = (gid_t)-1;
	info.pt_serv_buf_size = SERVICE_BUFFER_BYTES;
	/* More than a head can need that comes through the gate: libwebsockets never refuses one, which it does by hanging up. */
	info.max_http_header_data2 = (unsigned)max_header(config) + HEAD_FIELDS_MAX * FIELD_EXTRA_BYTES;
	/* No pool of heads of a size: as many as there are files. server_adopt bounds them, by what --max-connections is now. */
	info.timeout_secs = (unsigned)((config->handshake_timeout_ms + 999) / 1000) + LIBRARY_EXTRA_S;
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
		info.ssl_options_set = tls_options();
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
	if (!upgrade_test(server) || !start_looking(server)) {
		log_error("this build of libwebsockets (%s) cannot be used: it must be a shared library that calls recv and "
		          "lws_hdr_copy as the bridge defines them",
		          lws_get_library_version());
		server_free(server);
		return NULL;
	}
	return server;
}

void server_configure(struct server *server, const struct config *config)
{
	char *error = NULL;
	server->settings.config = config;
	set_gates(server);
	/* Not libwebsockets' own way, which knows no other files than those of its start, and does not tell what became of it. */
	if (config->tls_cert && server->tls && !tls_renew(server->tls, config->tls_cert, config->tls_key, &error)) {
		log_error("the old certificate stays: %s", error ? error : "out of memory");
	}
	free(error);
}

void server_adopt(void *arg, int fd)
{
	struct server *server = arg;
	size_t max = (size_t)server->settings.config->max_connections + SPARE_CONNECTIONS;
	if (gate_unfinished() >= UNFINISHED_MAX || server->connections >= max) {
		kill_oldest(); /* gone from the count a moment later */
	}
	/* Once more as many are being closed by now. */
	if (server->connections >= max + SPARE_CONNECTIONS || !transport_adopt(server, fd, true)) {
		close(fd);
	}
}

bool transport_adopt(struct server *server, int fd, bool tls)
{
	int type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP | (tls ? LWS_ADOPT_ALLOW_SSL : 0);
	if (!gate_open(fd)) {
		return false;
	}
	struct lws *wsi = lws_adopt_descriptor_vhost(server->vhost, (lws_adoption_type)type,
	                                             (lws_sock_file_fd_type){.sockfd = fd}, NULL, NULL);
	if (!wsi) {
		gate_close(fd); /* and libwebsockets has closed the socket */
		return true;
	}
	lws_set_opaque_user_data(wsi, (void *)(intptr_t)(fd + 1));
	gate_attach(fd, wsi);
	return true;
}

void server_set_clock(struct server *server)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now); /* not the coarse one: a token's time ends at a moment */
	hub_tick_clock(server->settings.hub, (int64_t)uv_now(server->settings.loop), now.tv_sec);
}

void server_flush(struct server *server)
{
	flush_all(server);
}

void server_drain(struct server *server)
{
	server->draining = true;
	socketio_drain(server);
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
	socketio_end(server);
	left_end();
	/* It closes all it has on the loop; once the loop has seen to that, the second call frees it. */
	if (server->look) {
		uv_close((uv_handle_t *)server->look, on_look_closed);
		server->look = NULL;
	}
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
