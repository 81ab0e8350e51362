/*
 * barelistener.c - the limit: the least that can stand between pg_notify and
 * browsers. It LISTENs, puts a WebSocket header before each payload, and on each
 * wake sends every socket all that is new for it with one send(). Nothing is
 * durable, nothing can be resumed, nobody is asked who they are.
 *
 *   barelistener CONNINFO CHANNEL PORT
 *
 * GET /ws takes all payloads, GET /ws?unit=7 those with "unit":7. Prints "ready" once it listens on both sides.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 20000
#define MAX_UNITS 1024
#define MAX_EVENTS 512
#define REQUEST_BYTES 2048
#define MAX_QUEUE 64 /* blocks that wait for a socket; a slower one is hung up on */

/* What one wake brought for one unit, with its WebSocket headers: shared by all sockets of that unit. */
struct block {
	size_t len, room;
	int refs;
	char *bytes;
};

struct client {
	bool live;
	int unit; /* 0: everything */
	struct block *queue[MAX_QUEUE];
	int n_queue;
	size_t sent; /* of queue[0] */
	int next; /* fd of the unit's next client, -1 at the end */
};

static struct client *clients[MAX_FDS];
static int first_of_unit[MAX_UNITS];
static struct block *fresh[MAX_UNITS];
static int loop_fd, listen_fd;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "barelistener: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void block_unref(struct block *block)
{
	if (--block->refs > 0)
		return;
	free(block->bytes);
	free(block);
}

static void block_add(struct block **to, const char *text, size_t len)
{
	struct block *block = *to;
	uint8_t head[4] = {0x81, (uint8_t)len, 0, 0};
	size_t head_len = 2;

	if (!block) {
		block = *to = calloc(1, sizeof *block);
		if (!block)
			die("memory");
		block->refs = 1;
	}
	if (len > 125) {
		head[1] = 126;
		head[2] = (uint8_t)(len >> 8);
		head[3] = (uint8_t)len;
		head_len = 4;
	}
	if (block->len + len + 4 > block->room) {
		block->room = (block->len + len + 4) * 2;
		block->bytes = realloc(block->bytes, block->room);
		if (!block->bytes)
			die("memory");
	}
	memcpy(block->bytes + block->len, head, head_len);
	memcpy(block->bytes + block->len + head_len, text, len);
	block->len += head_len + len;
}

static void client_close(int fd)
{
	struct client *client = clients[fd];

	if (client->live) {
		int *at = &first_of_unit[client->unit];

		while (*at != fd)
			at = &clients[*at]->next;
		*at = client->next;
	}
	for (int i = 0; i < client->n_queue; i++)
		block_unref(client->queue[i]);
	free(client);
	clients[fd] = NULL;
	close(fd);
}

static void watch_fd(int op, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (epoll_ctl(loop_fd, op, fd, &e) != 0)
		die("epoll_ctl");
}

/* Sends what waits; false: the client is gone. */
static bool client_flush(int fd, bool was_waiting)
{
	struct client *client = clients[fd];

	while (client->n_queue > 0) {
		struct block *block = client->queue[0];
		ssize_t n = send(fd, block->bytes + client->sent, block->len - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN) {
			client_close(fd);
			return false;
		}
		if (n > 0)
			client->sent += (size_t)n;
		if (client->sent < block->len) {
			if (!was_waiting)
				watch_fd(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
			return true;
		}
		block_unref(block);
		client->sent = 0;
		memmove(client->queue, client->queue + 1, sizeof(struct block *) * (size_t)--client->n_queue);
	}
	if (was_waiting)
		watch_fd(EPOLL_CTL_MOD, fd, EPOLLIN);
	return true;
}

static void send_unit(int unit, struct block *block)
{
	for (int fd = first_of_unit[unit], next; fd >= 0; fd = next) {
		struct client *client = clients[fd];

		next = client->next;
		if (client->n_queue == MAX_QUEUE) {
			client_close(fd);
			continue;
		}
		block->refs++;
		client->queue[client->n_queue++] = block;
		if (client->n_queue == 1)
			client_flush(fd, false);
	}
}

static int unit_of(const char *text)
{
	const char *at = strstr(text, "\"unit\":");
	int unit = at ? atoi(at + 7) : 0;

	return unit > 0 && unit < MAX_UNITS ? unit : 0;
}

/* Takes all that the server has for us before anything is sent: one send a socket and wake. */
static void take_notifications(PGconn *conn)
{
	int touched[MAX_UNITS], n_touched = 0;
	PGnotify *notify;
	struct pollfd more = {.fd = PQsocket(conn), .events = POLLIN};

	do {
		if (!PQconsumeInput(conn))
			die("the database hung up");
		while ((notify = PQnotifies(conn))) {
			size_t len = strlen(notify->extra);
			int unit = unit_of(notify->extra);

			if (first_of_unit[0] >= 0)
				block_add(&fresh[0], notify->extra, len);
			if (unit && first_of_unit[unit] >= 0) {
				if (!fresh[unit])
					touched[n_touched++] = unit;
				block_add(&fresh[unit], notify->extra, len);
			}
			PQfreemem(notify);
		}
	} while (poll(&more, 1, 0) > 0);
	if (fresh[0])
		touched[n_touched++] = 0;
	for (int i = 0; i < n_touched; i++) {
		struct block *block = fresh[touched[i]];

		fresh[touched[i]] = NULL;
		send_unit(touched[i], block);
		block_unref(block);
	}
}

/* The handshake; the request comes in one piece, as our client sends it. */
static void client_greet(int fd)
{
	struct client *client = clients[fd];
	char request[REQUEST_BYTES], text[128], answer[256];
	unsigned char digest[EVP_MAX_MD_SIZE], accept64[64];
	unsigned int digest_len;
	ssize_t n = recv(fd, request, sizeof request - 1, 0);
	const char *key, *unit;

	if (n <= 0) {
		client_close(fd);
		return;
	}
	request[n] = 0;
	key = strstr(request, "Sec-WebSocket-Key: ");
	if (!key || !strstr(request, "\r\n\r\n")) {
		client_close(fd);
		return;
	}
	snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
	if (!EVP_Digest(text, strlen(text), digest, &digest_len, EVP_sha1(), NULL))
		die("sha1");
	EVP_EncodeBlock(accept64, digest, (int)digest_len);
	n = snprintf(answer, sizeof answer,
	             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	             "Sec-WebSocket-Accept: %s\r\n\r\n",
	             (char *)accept64);
	if (send(fd, answer, (size_t)n, MSG_NOSIGNAL) != n) {
		client_close(fd);
		return;
	}
	unit = strstr(request, "?unit=");
	client->unit = unit && unit < strchr(request, '\r') ? atoi(unit + 6) % MAX_UNITS : 0;
	client->live = true;
	client->next = first_of_unit[client->unit];
	first_of_unit[client->unit] = fd;
}

static void client_event(int fd, uint32_t events)
{
	char ignored[1024];
	ssize_t n;

	if (!clients[fd])
		return;
	if (!clients[fd]->live) {
		client_greet(fd);
		return;
	}
	if ((events & EPOLLOUT) && !client_flush(fd, true))
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = recv(fd, ignored, sizeof ignored, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			client_close(fd);
	}
}

static void accept_all(void)
{
	int fd, on = 1;

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FDS || !(clients[fd] = calloc(1, sizeof(struct client)))) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		watch_fd(EPOLL_CTL_ADD, fd, EPOLLIN);
	}
}

static PGconn *database_open(const char *conninfo, const char *channel)
{
	PGconn *conn = PQconnectdb(conninfo);
	char listen_sql[100];
	PGresult *result;

	snprintf(listen_sql, sizeof listen_sql, "LISTEN %.60s", channel);
	result = PQexec(conn, listen_sql);
	if (PQresultStatus(result) != PGRES_COMMAND_OK) {
		fprintf(stderr, "barelistener: %s", PQerrorMessage(conn));
		exit(1);
	}
	PQclear(result);
	return conn;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct epoll_event events[MAX_EVENTS];
	PGconn *conn;
	int on = 1;

	if (argc != 4) {
		fprintf(stderr, "usage: barelistener CONNINFO CHANNEL PORT\n");
		return 2;
	}
	memset(first_of_unit, -1, sizeof first_of_unit);
	conn = database_open(argv[1], argv[2]);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons((uint16_t)atoi(argv[3]));
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listen_fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(listen_fd, 4096) != 0)
		die("listen");
	loop_fd = epoll_create1(EPOLL_CLOEXEC);
	watch_fd(EPOLL_CTL_ADD, listen_fd, EPOLLIN);
	watch_fd(EPOLL_CTL_ADD, PQsocket(conn), EPOLLIN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(loop_fd, events, MAX_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listen_fd)
				accept_all();
			else if (events[i].data.fd == PQsocket(conn))
				take_notifications(conn);
			else
				client_event(events[i].data.fd, events[i].events);
		}
	}
}
