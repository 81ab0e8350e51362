/*
 * left.c - notices clients that leave while they are answered at length (/events, /poll, polls of Socket.IO). libwebsockets does not read from a
 * connection whose request is being answered, and so would learn of it only by the next write. A set of epoll's of our own, on our
 * loop, waits for the other side to close.
 * Or to send: nobody has anything to say before such an answer is over, and libwebsockets would go round and round, told by the kernel that
 * there is something, and not reading it. That connection is closed as well.
 */
#include "transport.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"

#define EVENTS_AT_ONCE 64

static int set = -1;
static uv_poll_t *poll_handle;

static void on_left(uv_poll_t *handle, int status, int events)
{
	struct epoll_event found[EVENTS_AT_ONCE];
	int n = epoll_wait(set, found, EVENTS_AT_ONCE, 0);
	(void)handle;
	(void)status;
	(void)events;
	for (int i = 0; i < n; i++) {
		struct gate *gate = gate_of(found[i].data.fd);
		struct lws *wsi = gate ? gate_connection(gate) : NULL;
		struct client *client = wsi ? lws_wsi_user(wsi) : NULL;
		if (client && (client->streams || client->engine)) {
			lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
		}
	}
}

static bool start(struct server *server)
{
	set = epoll_create1(EPOLL_CLOEXEC);
	poll_handle = set >= 0 ? malloc(sizeof *poll_handle) : NULL;
	if (!poll_handle) {
		return false;
	}
	uv_poll_init(server->settings.loop, poll_handle, set);
	uv_poll_start(poll_handle, UV_READABLE, on_left);
	return true;
}

void left_watch(struct server *server, struct lws *wsi)
{
	int fd = lws_get_socket_fd(wsi);
	/* Told once: it is closed then. */
	struct epoll_event wanted = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.fd = fd};
	if ((set < 0 && !start(server)) ||
	    (epoll_ctl(set, EPOLL_CTL_ADD, fd, &wanted) != 0 && epoll_ctl(set, EPOLL_CTL_MOD, fd, &wanted) != 0)) {
		log_bounded(LOG_TOPIC_SESSION, NULL,
		            "a client that leaves will be noticed late: epoll does not take its connection");
	}
}

void left_unwatch(struct lws *wsi)
{
	if (set >= 0) {
		(void)epoll_ctl(set, EPOLL_CTL_DEL, lws_get_socket_fd(wsi), NULL); /* -1, where it is closed and out of it */
	}
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void left_end(void)
{
	if (poll_handle) {
		uv_close((uv_handle_t *)poll_handle, on_closed);
		close(set);
	}
	poll_handle = NULL;
	set = -1;
}
