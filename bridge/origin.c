/*
 * origin.c - may a page of this Origin talk to us, and who is the peer (origin.h)? Plain C.
 */
#include "origin.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOPS_MAX 16 /* addresses of X-Forwarded-For that are looked at */

/* "host", "host:port", "[v6]:port": where the host ends, and the port or fallback. False: neither. */
static bool split_host(const char *text, const char *fallback, size_t *host_len, const char **port)
{
	const char *colon = strrchr(text, ':');
	if (text[0] == '[') {
		const char *bracket = strchr(text, ']');
		if (!bracket || (bracket[1] != '\0' && bracket[1] != ':')) {
			return false;
		}
		colon = bracket[1] == ':' ? bracket + 1 : NULL;
	}
	*host_len = colon ? (size_t)(colon - text) : strlen(text);
	*port = colon ? colon + 1 : fallback;
	return *host_len > 0 && **port != '\0';
}

static bool is_same_host(const char *origin, const char *host)
{
	const char *fallback;
	if (strncasecmp(origin, "https://", 8) == 0) {
		origin += 8;
		fallback = "443";
	} else if (strncasecmp(origin, "http://", 7) == 0) {
		origin += 7;
		fallback = "80";
	} else {
		return false;
	}
	size_t origin_len, host_len;
	const char *origin_port, *host_port;
	return split_host(origin, fallback, &origin_len, &origin_port) &&
	       split_host(host, fallback, &host_len, &host_port) && origin_len == host_len &&
	       strncasecmp(origin, host, host_len) == 0 && strcmp(origin_port, host_port) == 0;
}

bool origin_is_allowed(const struct list *allowed, const char *origin, const char *host)
{
	if (!origin || !*origin) {
		return true;
	}
	if (allowed->n == 0) {
		return host && is_same_host(origin, host);
	}
	for (size_t i = 0; i < allowed->n; i++) {
		if (strcmp(allowed->items[i], "*") == 0 || strcasecmp(allowed->items[i], origin) == 0) {
			return true;
		}
	}
	return false;
}

struct address {
	uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
};

static bool parse_address(const char *text, struct address *out)
{
	struct in_addr v4;
	char plain[ADDRESS_MAX_BYTES];
	if (inet_pton(AF_INET, text, &v4) == 1) {
		memset(out->bytes, 0, 10);
		memset(out->bytes + 10, 0xff, 2);
		memcpy(out->bytes + 12, &v4, 4);
		return true;
	}
	snprintf(plain, sizeof plain, "%.*s", (int)strcspn(text, "%"), text);
	return inet_pton(AF_INET6, plain, out->bytes) == 1;
}

static bool is_in_network(const struct address *address, const char *network)
{
	char text[ADDRESS_MAX_BYTES];
	struct address base;
	const char *slash = strchr(network, '/');
	snprintf(text, sizeof text, "%.*s", (int)(slash ? slash - network : (long)strlen(network)), network);
	if (!parse_address(text, &base)) {
		return false;
	}
	int bits = slash ? atoi(slash + 1) + (strchr(text, ':') ? 0 : 96) : 128;
	for (int i = 0; i < 16 && bits > 0; i++, bits -= 8) {
		uint8_t mask = bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
		if ((address->bytes[i] ^ base.bytes[i]) & mask) {
			return false;
		}
	}
	return true;
}

static bool is_trusted(const struct list *trusted, const char *text)
{
	struct address address;
	bool parsed = parse_address(text, &address);
	for (size_t i = 0; i < trusted->n; i++) {
		if (parsed ? is_in_network(&address, trusted->items[i]) : strcmp(trusted->items[i], text) == 0) {
			return true;
		}
	}
	return false;
}

/* The last address of the list in [text, end), without port or brackets; false: none, or no address. */
static bool last_hop(const char *text, const char **end, char *hop, size_t size)
{
	const char *stop = *end;
	while (stop > text && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == ',')) {
		stop--;
	}
	const char *begin = stop;
	while (begin > text && begin[-1] != ',') {
		begin--;
	}
	*end = begin;
	while (begin < stop && (*begin == ' ' || *begin == '\t')) {
		begin++;
	}
	const char *colon = memchr(begin, ':', (size_t)(stop - begin));
	if (begin < stop && *begin == '[') {
		const char *bracket = memchr(begin, ']', (size_t)(stop - begin));
		begin++;
		stop = bracket ? bracket : stop;
	} else if (colon && !memchr(colon + 1, ':', (size_t)(stop - colon - 1))) {
		stop = colon; /* IPv4 with a port */
	}
	struct address address;
	if ((size_t)(stop - begin) >= size) {
		return false;
	}
	snprintf(hop, size, "%.*s", (int)(stop - begin), begin);
	return parse_address(hop, &address);
}

void origin_client_address(const struct list *trusted, const char *peer, const char *forwarded_for, char *to,
                           size_t size)
{
	snprintf(to, size, "%s", peer);
	if (!forwarded_for || trusted->n == 0) {
		return;
	}
	const char *end = forwarded_for + strlen(forwarded_for);
	char hop[ADDRESS_MAX_BYTES];
	for (int i = 0; i < HOPS_MAX && is_trusted(trusted, to) && last_hop(forwarded_for, &end, hop, sizeof hop); i++) {
		snprintf(to, size, "%s", hop);
	}
}
