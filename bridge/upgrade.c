/*
 * upgrade.c - lets a token travel as a WebSocket subprotocol.
 *
 * libwebsockets copies the Sec-WebSocket-Protocol header into a buffer of 128 bytes and hangs up if it does not fit;
 * a token never does. It uses its own exported lws_hdr_copy for that. We define a function of that name, which the
 * dynamic linker gives to the library too: for that one header it hands out only the name that we know, for all else
 * it calls the library's. That works only as long as the library is a shared one that does not bind the call to
 * itself, and so it is tested at start.
 */
#include "transport.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "request.h"

#define OFFERED_MAX_BYTES 65536 /* --max-header is less */
#define TEST_TURNS 200
#define TEST_SUBPROTOCOL_BYTES 600

typedef int (*hdr_copy)(struct lws *wsi, char *dst, int len, enum lws_token_indexes h);

static hdr_copy library_hdr_copy(void)
{
	static hdr_copy found;
	if (!found) {
		*(void **)&found = dlsym(RTLD_NEXT, "lws_hdr_copy");
	}
	return found;
}

int upgrade_offered(struct lws *wsi, char *to, size_t size)
{
	hdr_copy copy = library_hdr_copy();
	to[0] = '\0';
	return copy ? copy(wsi, to, (int)size, WSI_TOKEN_PROTOCOL) : -1;
}

char *upgrade_token(char *offered)
{
	struct text token = request_subprotocol_token(offered);
	if (!token.bytes) {
		return NULL;
	}
	offered[token.bytes + token.len - offered] = '\0';
	return offered + (token.bytes - offered);
}

/* In front of the library's: see above. */
int lws_hdr_copy(struct lws *wsi, char *dst, int len, enum lws_token_indexes h)
{
	static char offered[OFFERED_MAX_BYTES];
	hdr_copy copy = library_hdr_copy();
	if (!copy) {
		return -1;
	}
	if (h != WSI_TOKEN_PROTOCOL) {
		return copy(wsi, dst, len, h);
	}
	dst[0] = '\0';
	if (upgrade_offered(wsi, offered, sizeof offered) <= 0) {
		return 0;
	}
	if (!request_lists(offered, SUBPROTOCOL) || (int)strlen(SUBPROTOCOL) >= len) {
		return 0;
	}
	memcpy(dst, SUBPROTOCOL, strlen(SUBPROTOCOL) + 1);
	return (int)strlen(SUBPROTOCOL);
}

bool upgrade_test(struct server *server)
{
	char request[TEST_SUBPROTOCOL_BYTES + 512], token[TEST_SUBPROTOCOL_BYTES + 1], answer[1024];
	int pair[2];
	size_t got = 0;
	memset(token, 'x', sizeof token - 1);
	token[sizeof token - 1] = '\0';
	int len = snprintf(request, sizeof request,
	                   "GET /ws HTTP/1.1\r\nHost: self\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	                   "Sec-WebSocket-Protocol: bearer.%s, " SUBPROTOCOL "\r\n\r\n",
	                   token);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
		return false;
	}
	server->testing = true;
	if (!transport_adopt(server, pair[0], false)) {
		len = 0;
	}
	bool sent = len > 0 && write(pair[1], request, (size_t)len) == len;
	for (int i = 0; sent && i < TEST_TURNS && !memmem(answer, got, "\r\n\r\n", 4); i++) {
		uv_run(server->settings.loop, UV_RUN_NOWAIT);
		ssize_t n = read(pair[1], answer + got, sizeof answer - got);
		if (n == 0 || got + (n > 0 ? (size_t)n : 0) == sizeof answer) {
			break;
		}
		got += n > 0 ? (size_t)n : 0;
	}
	close(pair[1]);
	for (int i = 0; i < TEST_TURNS && server->connections > 0; i++) {
		uv_run(server->settings.loop, UV_RUN_NOWAIT);
	}
	server->testing = false;
	return memmem(answer, got, " 101 ", 5) && memmem(answer, got, SUBPROTOCOL, strlen(SUBPROTOCOL));
}
