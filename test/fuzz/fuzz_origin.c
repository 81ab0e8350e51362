/*
 * fuzz_origin.c - Origin and X-Forwarded-For (origin.c).
 *
 * Input: lines: --allowed-origins, --trusted-proxies, Origin, Host, the peer, X-Forwarded-For. Without a list, an origin that
 * is allowed ends with the host that it was sent to; a list allows what it names and no other. A peer that is no trusted
 * proxy is the client, whatever it forwards; else what a client wrote itself, in front of what trusted proxies
 * wrote, changes nothing; the answer is an address that can be told.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <strings.h>

#include "config_values.h"
#include "origin.h"

#define NETWORKS_MAX 64

static bool is_address(const char *text)
{
	char plain[ADDRESS_MAX_BYTES];
	uint8_t bytes[16];

	snprintf(plain, sizeof plain, "%.*s", (int)strcspn(text, "%"), text);
	return inet_pton(AF_INET, plain, bytes) == 1 || inet_pton(AF_INET6, plain, bytes) == 1;
}

static void check_origin(const struct list *allowed, const char *origin, const char *host)
{
	bool good = origin_is_allowed(allowed, origin, host), listed = false;
	const char *at = strstr(origin, "://");
	size_t host_len = strcspn(host, ":");
	size_t site_len = at ? (size_t)(at - origin) + 3 + strcspn(at + 3, at[3] == '[' ? "]" : ":") : strlen(origin);

	if (*origin == '\0')
		return;
	for (size_t i = 0; i < allowed->n; i++)
		listed = listed || strcmp(allowed->items[i], "*") == 0 || strncasecmp(allowed->items[i], origin, site_len) == 0;
	if (allowed->n > 0) {
		MUST(!good || listed); /* ports may be written or left out; what is no origin is never allowed */
	} else if (good) {
		MUST(at != NULL && strcasecmp(origin, "null") != 0);
		MUST(strncasecmp(origin, "http://", 7) == 0 || strncasecmp(origin, "https://", 8) == 0);
		if (*host == '[')
			host_len = strcspn(host, "]") + 1;
		MUST(strncasecmp(at + 3, host, host_len) == 0);
		MUST(at[3 + host_len] == '\0' || at[3 + host_len] == ':');
	}
	/* A page is allowed at its own host, however that is written. */
	if (allowed->n == 0 && value_is_origin(origin) && strncmp(origin, "http", 4) == 0 && good)
		MUST(origin_is_allowed(allowed, origin, at + 3));
}

static void check_address(const struct list *trusted, const char *peer, const char *forwarded)
{
	char client[ADDRESS_MAX_BYTES], again[ADDRESS_MAX_BYTES], *longer = NULL;
	bool is_trusted;

	memset(client, 'x', sizeof client);
	origin_client_address(trusted, peer, forwarded, client, sizeof client);
	MUST(memchr(client, '\0', sizeof client) != NULL);
	origin_client_address(trusted, peer, NULL, again, sizeof again);
	MUST(strcmp(again, peer) == 0);
	MUST(strcmp(client, peer) == 0 || is_address(client));
	/* Would it be asked for what it forwards? */
	origin_client_address(trusted, client, "203.0.113.77", again, sizeof again);
	is_trusted = strcmp(again, client) != 0;
	origin_client_address(trusted, peer, "203.0.113.77", again, sizeof again);
	if (strcmp(again, peer) == 0 && strcmp(peer, "203.0.113.77") != 0)
		MUST(strcmp(client, peer) == 0);
	if (!is_trusted) {
		MUST(asprintf(&longer, "198.51.100.1, unix,\t::1 ,%s%s", strchr(forwarded, ',') || *forwarded ? "," : "",
		              forwarded) > 0);
		if (strspn(forwarded, " \t,") < strlen(forwarded)) {
			origin_client_address(trusted, peer, longer, again, sizeof again);
			MUST(strcmp(again, client) == 0);
		}
		free(longer);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	char *lines[6];
	struct list allowed = {NULL, 0}, trusted = {NULL, 0};
	bool good;

	for (int i = 0; i < 6; i++)
		lines[i] = input_string(input_line(&input));
	good = value_list(lines[0], &allowed) && value_list(lines[1], &trusted) && trusted.n <= NETWORKS_MAX;
	for (size_t i = 0; good && i < allowed.n; i++)
		good = value_is_origin(allowed.items[i]);
	for (size_t i = 0; good && i < trusted.n; i++)
		good = value_is_network(trusted.items[i]);
	if (good) {
		check_origin(&allowed, lines[2], lines[3]);
		if (is_address(lines[4]) && strlen(lines[4]) < ADDRESS_MAX_BYTES)
			check_address(&trusted, lines[4], lines[5]);
		check_address(&trusted, "unix", lines[5]);
	}
	value_free_list(&allowed);
	value_free_list(&trusted);
	for (int i = 0; i < 6; i++)
		free(lines[i]);
	return 0;
}
