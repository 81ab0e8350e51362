/*
 * transport.h - what server.c, websocket.c, http.c, files.c, upgrade.c and flush.c share: the files that know
 * libwebsockets.
 *
 * A connection is a `struct lws`, wsi; libwebsockets keeps a struct client for each, zeroed. It begins as HTTP and may become
 * a WebSocket, with a session of the hub.
 */
#ifndef LIVEFEED_TRANSPORT_H
#define LIVEFEED_TRANSPORT_H

#include <libwebsockets.h>

#include "cors.h"
#include "gate.h"
#include "origin.h"
#include "server.h"

/* The subprotocol that is selected where a client offers it. */
#define SUBPROTOCOL "livefeed.v1"
/* The least that --max-header is taken for. */
#define HEADERS_MIN_BYTES 1024
/*
 * Connections beyond --max-connections: to ask for /healthz and the like, and for WebSockets that are told that there are too many.
 */
#define SPARE_CONNECTIONS 256
/* Of a token, in whatever way it comes. */
#define TOKEN_MAX_BYTES 65536
/* For the client to close in turn, or to take what is left for it. */
#define CLOSE_WAIT_S 4

struct frame;

struct client {
	struct lws *wsi; /* of a WebSocket or a oneshot */
	struct session *session; /* NULL: not a WebSocket, or over */
	struct client *prev, *next; /* in the list of those with output, while dirty */
	char *address; /* that it is counted under; NULL: not counted */
	char *message; /* fragments so far; NULL: none */
	uint32_t message_len, message_size;
	bool dirty;
	bool close_sent; /* our close frame is out; nothing may follow */
	struct engine *engine; /* a WebSocket or a poll of Socket.IO, in place of a session; NULL: none */
	struct oneshot *oneshot; /* a plain HTTP request that a session answers; NULL: none */
	struct sse *sse; /* GET /events; NULL: none */
	struct poll *poll; /* GET or POST /poll; NULL: none */
	bool streams; /* it is one of server->streams */
	bool deadline; /* the connection ends within CLOSE_WAIT_S */
	int64_t pinged_ms; /* after it was last heard: it is asked whether it is there */
	uint64_t confirmed, ping_at; /* bytes that its kernel has confirmed; after so many the ping was sent */
};

struct server {
	struct server_settings settings;
	struct lws_context *context;
	struct lws_vhost *vhost;
	void *tls; /* its context of OpenSSL's; NULL: plain HTTP */
	size_t connections; /* alive in libwebsockets */
	size_t websockets; /* and connections of Socket.IO that are polling */
	size_t streams; /* of /events and /poll */
	struct user_counts *addresses; /* of all these */
	struct engines *engines; /* of Socket.IO; NULL: none yet */
	uv_timer_t *look; /* at the unfinished and the silent */
	int look_at; /* file descriptor that it goes on from */
	int64_t looked_ms;
	struct client *dirty, *dirty_last;
	bool draining;
	bool testing; /* the self-test's connection: no session */
	bool wake; /* a deadline was set from outside libwebsockets' own callbacks */
};

/* The text of a header. 0: absent; -1: longer than size - 1. */
int transport_header(struct lws *wsi, enum lws_token_indexes token, char *to, size_t size);
/* A query parameter, decoded. False: absent. */
bool transport_argument(struct lws *wsi, const char *name, char *to, size_t size);
/* The request's path below the base path, beginning with '/', into to. False: not below it, or it holds a NUL. */
bool transport_path(const struct server *server, struct lws *wsi, char *to, size_t size);
/* The answer is given: in place of lws_http_transaction_completed. Not 0: the connection has to be closed. */
int transport_completed(struct lws *wsi);
/* The connection of fd is libwebsockets', and closed by it. False: out of memory; it is not. */
bool transport_adopt(struct server *server, int fd, bool tls);
/* Without a length, libwebsockets takes a POST for one that goes on: the connection cannot be used again. */
bool transport_lacks_length(struct lws *wsi);
/* The number of its file, also while it is being closed; -1: libwebsockets' own. */
int transport_file(struct lws *wsi);
/* Its gate; NULL: it has none. */
struct gate *transport_gate(struct lws *wsi);

/* peer.c: the address of the connection itself, "unix" of a Unix socket. */
void transport_peer(struct lws *wsi, char *to, size_t size);
/* The client's, behind proxies that are trusted. */
void transport_client_address(const struct server *server, struct lws *wsi, char *to, size_t size);
/* May a page of the request's Origin talk to us? The Origin into to; "": none. */
bool transport_origin(const struct server *server, struct lws *wsi, char *to, size_t size);

/* upgrade.c: the subprotocols that the client offered, unfiltered; 0: none, -1: too long. */
int upgrade_offered(struct lws *wsi, char *to, size_t size);
/* The token among them (after "bearer."), or NULL. Points into offered, which is written to. */
char *upgrade_token(char *offered);
/* Does libwebsockets call our lws_hdr_copy? Performs a handshake with a long subprotocol. */
bool upgrade_test(struct server *server);

/* websocket.c: return values are those of libwebsockets' callbacks. */
/* The token that came with a request, by the first carrier that has one; NULL: none. Points into buffer. */
const char *transport_token(struct lws *wsi, char *buffer, size_t size);
int websocket_confirm(struct server *server, struct lws *wsi);
int websocket_established(struct server *server, struct lws *wsi, struct client *client);
int websocket_receive(struct server *server, struct client *client, const char *in, size_t len);
int websocket_peer_closes(struct server *server, struct client *client);
void websocket_gone(struct server *server, struct client *client);
/* Writes a close frame and leaves the client CLOSE_WAIT_S. False: the connection is broken. */
bool websocket_close(struct server *server, struct client *client, int code, const char *reason);
void websocket_set_deadline(struct server *server, struct client *client);

/* flush.c: writes what the session has. False: the connection is broken. */
bool flush_client(struct server *server, struct client *client);
void flush_mark(struct server *server, struct client *client);
void flush_unmark(struct server *server, struct client *client);
void flush_all(struct server *server);

/* http.c */
int http_request(struct server *server, struct lws *wsi, struct client *client);
/* A whole answer. end: the connection is closed after it. headers: further lines, each with its CRLF, or "". */
int http_answer(struct lws *wsi, int status, const char *type, const char *headers, const char *body, size_t len,
                bool end);
/* As PROTOCOL.md has them; message must need no escaping. */
int http_error(struct lws *wsi, int status, const char *code, const char *message, bool end);
/* A foreign Origin: 403, logged and counted. */
int http_refuse_origin(struct lws *wsi, bool end);
/* The header lines that say which pages may read an answer; in all that http_answer makes. */
void http_cors(struct lws *wsi, char to[CORS_MAX_BYTES]);

/* The status that goes with an error code of PROTOCOL.md, and the further headers that go with a status of an error. */
int http_status(const char *code);
const char *http_error_headers(int status);

/*
 * oneshot.c: requests that a session answers. Return values are those of libwebsockets' callbacks.
 *
 * oneshot_body: the body is read, then ready is called with it (bytes NULL: of no bytes) and a copy of about; it answers, or calls
 * oneshot_begin. oneshot_begin: message is what a WebSocket would send; the first frame that is a result, snapshot, value, error or
 * unsubscribed is the answer. The token is the request's.
 */
struct oneshot;
typedef int (*oneshot_ready)(struct server *server, struct lws *wsi, struct client *client, const char *about,
                             struct text body);
int oneshot_body(struct server *server, struct lws *wsi, struct client *client, const char *about, oneshot_ready ready);
int oneshot_body_part(struct lws *wsi, struct client *client, const char *in, size_t len);
int oneshot_body_end(struct server *server, struct lws *wsi, struct client *client);
int oneshot_begin(struct server *server, struct lws *wsi, struct client *client, struct text message);
/* Its session has output: answers, once there is an answer. Not 0: the connection is closed once that is written. */
int oneshot_write(struct server *server, struct lws *wsi, struct client *client);
/* The connection is gone, or takes another request. */
void oneshot_gone(struct client *client);

/* The answer that a frame makes of itself, -2: it is none; and that of a session which ended without. */
int oneshot_answer_frame(struct lws *wsi, struct frame *frame, bool end);
int oneshot_answer_closed(struct lws *wsi, int code);

/* seat.c: one more connection that lasts, which is counted already, of that address. Not NULL: there are too many. */
const char *seat_take(struct server *server, struct client *client, const char *address);
void seat_leave(struct server *server, struct client *client);

/* stream_open.c: the arguments of the request. False: *error says what is wrong. */
struct stream_ask;
struct stream_answers;
bool stream_read_query(struct lws *wsi, struct stream_ask *ask, const char **error);
void stream_read_last_id(struct lws *wsi, struct stream_ask *ask);
/* A session that has been given the request's token and a subscribe for each channel; NULL: *code was answered. */
struct session *stream_open(struct server *server, struct lws *wsi, struct client *client,
                            const struct session_transport *transport, const struct stream_ask *ask, bool end,
                            int *code);
/* Its session is gone. */
void stream_leave(struct server *server, struct client *client);
/* Every channel was refused, or the session ends (closing: its code) before it began. */
int stream_refuse(struct lws *wsi, const struct stream_answers *answers, size_t n_channels, int closing, bool end);

/* left.c: while a request is answered at length, its connection is closed when the client leaves. */
void left_watch(struct server *server, struct lws *wsi);
void left_unwatch(struct lws *wsi);
/* With the loop's other handles. */
void left_end(void);

/* sse.c: GET /events */
bool sse_owns(const char *path);
int sse_request(struct server *server, struct lws *wsi, struct client *client);
/* False: the connection is to be closed. */
bool sse_write(struct server *server, struct client *client);
void sse_gone(struct server *server, struct client *client);
/* About once a second: heartbeats. */
void sse_look(struct server *server);

/* poll.c: GET and POST /poll. Return values are those of libwebsockets' callbacks. */
bool poll_owns(const char *path);
int poll_request(struct server *server, struct lws *wsi, struct client *client, bool body);
/* Answers, once it is time to. Not 0: the connection is closed once that is written. */
int poll_write(struct server *server, struct client *client);
void poll_gone(struct server *server, struct client *client);
/* About once a second: whose time is over. */
void poll_look(struct server *server);

/* post.c: POST /call/NAME; path begins with that. end: the request brings a body. */
bool post_owns(const char *path);
int post_request(struct server *server, struct lws *wsi, struct client *client, const char *path, bool end);

/*
 * socketio.c: /socket.io/. The first is for plain requests, the others for WebSockets that come by that path: confirm says whether it is
 * one (*why not), established and receive whether it goes on.
 */
bool socketio_owns(const char *path);
int socketio_request(struct server *server, struct lws *wsi, struct client *client, bool body);
bool socketio_confirm(struct server *server, struct lws *wsi, const char **why);
bool socketio_established(struct server *server, struct lws *wsi, struct client *client);
bool socketio_receive(struct client *client, const char *text, size_t len, bool binary);
/* To be closed with this code, for what it sent. */
void socketio_refuse(struct client *client, int code, const char *reason);
/* The connection of the WebSocket or the poll is gone. */
void socketio_gone(struct client *client);
/* Its socket takes more, or its gate has found a fault. */
void socketio_writable(struct client *client);
void socketio_flush(struct server *server);
void socketio_drain(struct server *server);
void socketio_end(struct server *server);

/* state.c: GET /state */
bool state_owns(const char *path);
int state_request(struct server *server, struct lws *wsi, struct client *client);

/* monitor.c: /metrics */
int monitor_metrics(struct server *server, struct lws *wsi);
/* Did it come by --metrics-listen? */
bool monitor_owns(struct lws *wsi);
void monitor_gone(struct lws *wsi);

/* files.c: --static. path begins with '/'. */
int files_serve(struct lws *wsi, const char *folder, const char *path);

#endif
