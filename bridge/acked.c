/*
 * acked.c - what a peer's kernel has confirmed (acked.h), by Linux's TCP_INFO and SIOCOUTQ (tcp(7)).
 */
#include "acked.h"

#include <linux/sockios.h>
#include <linux/tcp.h> /* the C library's struct tcp_info ends before tcpi_bytes_acked */
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool acked_bytes(int socket, uint64_t *confirmed, uint64_t *waiting)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;
	int queued = 0;
	if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked ||
	    ioctl(socket, SIOCOUTQ, &queued) != 0) {
		return false;
	}
	*confirmed = info.tcpi_bytes_acked;
	*waiting = (uint64_t)queued;
	return true;
}
