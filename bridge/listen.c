/*
 * listen.c - the sockets that clients come in by (listen.h).
 *
 * They are ours, not libwebsockets': so that to stop accepting is to close them, that one wake takes at most
 * ACCEPTS_PER_WAKE connections, and that running out of file descriptors is a pause instead of a busy loop.
 *
 * The file of a Unix socket is replaced only if nobody answers behind it.
 */
#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define BACKLOG 4096
#define ACCEPTS_PER_WAKE 64
#define PAUSE_MS 200 /* without file descriptors, or memory */
/*
 * Open files that clients do not get: without any the bridge would not find back to a database that was away, since whoever waits
 * here takes what its connections gave back. Of a small limit a quarter.
 */
#define KEPT_FILES 64
/* A peer that is gone without a word is noticed by the kernel: idle, then probes. */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_COUNT 4
#define UNACKNOWLEDGED_MS 60000

struct listener {
	struct listeners *all;
	uv_poll_t poll;
	int fd;
	int family;
	char *path; /* of a Unix socket */
	ino_t inode;
};

struct listeners {
	uv_loop_t *loop;
	listen_accepted accepted;
	void *arg;
	struct listener *items; /* one allocation, freed when the last handle is closed */
	size_t n, n_open; /* handles that libuv has not closed */
	rlim_t max_files; /* the kernel gives the lowest number that is free: one beyond this shows how many are open */
	uv_timer_t pause;
	bool paused, said;
};

__attribute__((format(printf, 1, 2))) static char *say(const char *format, ...)
{
	char *line = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&line, format, args) < 0) {
		line = NULL;
	}
	va_end(args);
	return line;
}

/* ---- opening */

static bool is_socket_dead(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
	if (fd >= 0) {
		close(fd);
	}
	return dead;
}

static int open_unix(struct listener *listener, const char *path, char **error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	if (strlen(path) >= sizeof address.sun_path) {
		*error = say("listen: the path of unix:%s is longer than %zu bytes", path, sizeof address.sun_path - 1);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && is_socket_dead(&address)) {
		unlink(path);
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, BACKLOG) != 0) {
		*error = say("cannot listen on unix:%s: %s", path, strerror(errno));
		if (fd >= 0) {
			close(fd);
		}
		return -1;
	}
	listener->path = strdup(path);
	if (stat(path, &status) == 0) {
		listener->inode = status.st_ino;
	}
	listener->family = AF_UNIX;
	return fd;
}

/* "127.0.0.1:8090", "[::1]:8090", "name:8090"; an empty host or * is all addresses. */
static int open_tcp(struct listener *listener, const char *text, char **error)
{
	char host[256];
	const char *colon = strrchr(text, ':');
	size_t host_len = colon ? (size_t)(colon - text) : 0;
	const char *begin = text;
	if (host_len >= 2 && begin[0] == '[' && begin[host_len - 1] == ']') {
		begin++;
		host_len -= 2;
	}
	snprintf(host, sizeof host, "%.*s", (int)host_len, begin);
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
	int code = colon ? getaddrinfo(host_len == 0 || strcmp(host, "*") == 0 ? NULL : host, colon + 1, &hints, &found)
	                 : EAI_NONAME;
	if (code != 0) {
		*error = say("cannot listen on %s: %s", text, gai_strerror(code));
		return -1;
	}
	int fd = -1, why = EADDRNOTAVAIL, one = 1;
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0) {
			why = errno;
			continue;
		}
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (at->ai_family == AF_INET6) {
			/* so that 0.0.0.0 and [::] can stand side by side */
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
		}
		if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
			why = errno;
			close(fd);
			fd = -1;
			continue;
		}
		listener->family = at->ai_family;
	}
	freeaddrinfo(found);
	if (fd < 0) {
		*error = say("cannot listen on %s: %s", text, strerror(why));
	}
	return fd;
}

/* ---- accepting */

static void on_readable(uv_poll_t *poll, int status, int events);

static void watch_all(struct listeners *listeners)
{
	for (size_t i = 0; i < listeners->n; i++) {
		uv_poll_start(&listeners->items[i].poll, UV_READABLE, on_readable);
	}
}

static void on_pause_over(uv_timer_t *timer)
{
	struct listeners *listeners = timer->data;
	listeners->paused = false;
	watch_all(listeners);
}

static void pause_all(struct listeners *listeners)
{
	if (!listeners->said) {
		log_error("no new connections for now: %s; raise the limit of open files (ulimit -n, LimitNOFILE=)",
		          strerror(errno));
		listeners->said = true;
	}
	listeners->paused = true;
	for (size_t i = 0; i < listeners->n; i++) {
		uv_poll_stop(&listeners->items[i].poll);
	}
	uv_timer_start(&listeners->pause, on_pause_over, PAUSE_MS, 0);
}

static void set_options(const struct listener *listener, int fd)
{
	int one = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
	unsigned unacknowledged = UNACKNOWLEDGED_MS;
	if (listener->family == AF_UNIX) {
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof unacknowledged);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = poll->data;
	struct listeners *listeners = listener->all;
	(void)status, (void)events;
	for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0 && (rlim_t)fd >= listeners->max_files) {
			close(fd);
			errno = EMFILE;
			fd = -1;
		}
		if (fd >= 0) {
			set_options(listener, fd);
			listeners->said = false;
			listeners->accepted(listeners->arg, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			pause_all(listeners);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return; /* nobody is left */
		}
	}
}

/* ---- life */

static void on_closed(uv_handle_t *handle)
{
	struct listeners *listeners = handle->type == UV_TIMER ? handle->data : ((struct listener *)handle->data)->all;
	if (--listeners->n_open == 0) {
		free(listeners->items);
		free(listeners);
	}
}

struct listeners *listen_open(uv_loop_t *loop, const struct list *addresses, listen_accepted accepted, void *arg,
                              char **error)
{
	struct listeners *listeners = calloc(1, sizeof *listeners);
	*error = NULL;
	if (!listeners || !(listeners->items = calloc(addresses->n, sizeof *listeners->items))) {
		free(listeners);
		return NULL;
	}
	listeners->loop = loop;
	listeners->accepted = accepted;
	listeners->arg = arg;
	uv_timer_init(loop, &listeners->pause);
	listeners->pause.data = listeners;
	listeners->n_open = 1;
	for (size_t i = 0; i < addresses->n; i++) {
		struct listener *listener = &listeners->items[i];
		const char *text = addresses->items[i];
		listener->all = listeners;
		listener->fd =
			strncmp(text, "unix:", 5) == 0 ? open_unix(listener, text + 5, error) : open_tcp(listener, text, error);
		if (listener->fd < 0) {
			listen_close(listeners);
			return NULL;
		}
		uv_poll_init(loop, &listener->poll, listener->fd);
		listener->poll.data = listener;
		listeners->n++;
		listeners->n_open++;
		log_info("listening on %s", text);
	}
	return listeners;
}

void listen_start(struct listeners *listeners)
{
	struct rlimit files = {RLIM_INFINITY, RLIM_INFINITY};
	(void)getrlimit(RLIMIT_NOFILE, &files);
	listeners->max_files = files.rlim_cur - (files.rlim_cur / 4 < KEPT_FILES ? files.rlim_cur / 4 : KEPT_FILES);
	watch_all(listeners);
}

void listen_close(struct listeners *listeners)
{
	if (!listeners) {
		return;
	}
	for (size_t i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->items[i];
		struct stat status;
		uv_poll_stop(&listener->poll);
		uv_close((uv_handle_t *)&listener->poll, on_closed);
		close(listener->fd);
		if (listener->path && stat(listener->path, &status) == 0 && status.st_ino == listener->inode) {
			unlink(listener->path);
		}
		free(listener->path);
	}
	uv_close((uv_handle_t *)&listeners->pause, on_closed);
}
