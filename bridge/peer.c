/*
 * peer.c - who asks: the address of a client behind the proxies that are trusted, and the origin of its page. The rules
 * stand in origin.c; here is where a request says these things.
 */
#include "transport.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FORWARDED_MAX_BYTES 65536 /* --max-header is less */
#define HOST_MAX_BYTES 512

void transport_peer(struct lws *wsi, char *to, size_t size)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof address;
	/* One that is gone already, which has no address any more, is nobody whom --trusted-proxies could name. */
	snprintf(to, size, "unknown");
	if (getpeername(lws_get_socket_fd(wsi), (struct sockaddr *)&address, &len) != 0) {
		return;
	}
	if (address.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, to, (socklen_t)size);
	} else if (address.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, to, (socklen_t)size);
	} else if (address.ss_family == AF_UNIX) {
		snprintf(to, size, "unix");
	}
}

void transport_client_address(const struct server *server, struct lws *wsi, char *to, size_t size)
{
	static char forwarded[FORWARDED_MAX_BYTES];
	char peer[ADDRESS_MAX_BYTES];
	transport_peer(wsi, peer, sizeof peer);
	int len = transport_header(wsi, WSI_TOKEN_X_FORWARDED_FOR, forwarded, sizeof forwarded);
	origin_client_address(&server->settings.config->trusted_proxies, peer, len > 0 ? forwarded : NULL, to, size);
}

/* Host, or what a trusted proxy says that was; NULL: none that can be used. */
static const char *request_host(const struct server *server, struct lws *wsi, char *to, size_t size)
{
	static const char forwarded[] = "x-forwarded-host:";
	char peer[ADDRESS_MAX_BYTES];
	transport_peer(wsi, peer, sizeof peer);
	if (origin_is_trusted(&server->settings.config->trusted_proxies, peer)) {
		int len = lws_hdr_custom_length(wsi, forwarded, sizeof forwarded - 1);
		if (len > 0) {
			bool whole = lws_hdr_custom_copy(wsi, to, (int)size, forwarded, sizeof forwarded - 1) == len &&
			             strlen(to) == (size_t)len;
			return whole ? origin_forwarded_host(to) : NULL;
		}
	}
	return transport_header(wsi, WSI_TOKEN_HOST, to, size) > 0 ? to : NULL;
}

bool transport_origin(const struct server *server, struct lws *wsi, char *to, size_t size)
{
	char host[HOST_MAX_BYTES];
	int len = transport_header(wsi, WSI_TOKEN_ORIGIN, to, size);
	if (len < 0) {
		snprintf(to, size, "(too long)");
		return false;
	}
	return len == 0 || origin_is_allowed(&server->settings.config->allowed_origins, to,
	                                     request_host(server, wsi, host, sizeof host));
}
