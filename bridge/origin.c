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

/* What an Origin or a Host header names: [scheme://]host[:port]. All point into the text. */
struct site {
	size_t scheme_len; /* 0: none */
	const char *host;
	size_t host_len;
	int port; /* 0: none */
};

static int lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

static bool is_equal(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (lower(a[i]) != lower(b[i])) {
			return false;
		}
	}
	return true;
}

/* Length of the host at text: a name, an IPv4 address, an IPv6 one in brackets. 0: none. */
static size_t host_length(const char *text)
{
	size_t len = 0;
	if (text[0] == '[') {
		len = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
		return text[len] == ']' && len > 2 ? len + 1 : 0;
	}
	while (is_alnum(text[len]) || (text[len] != '\0' && strchr("-._", text[len]))) {
		len++;
	}
	return len;
}

/* False: a user, a path, a list, control bytes, anything that a browser does not send. */
static bool parse_site(const char *text, bool with_scheme, struct site *site)
{
	const char *at = text;
	*site = (struct site){0};
	if (with_scheme) {
		while (is_alnum(*at) || (*at != '\0' && strchr("+-.", *at))) {
			at++;
		}
		site->scheme_len = (size_t)(at - text);
		if (site->scheme_len == 0 || is_digit(*text) || strncmp(at, "://", 3) != 0) {
			return false;
		}
		at += 3;
	}
	site->host = at;
	site->host_len = host_length(at);
	at += site->host_len;
	if (*at == ':') {
		size_t digits = strspn(++at, "0123456789");
		site->port = digits > 0 && digits <= 5 ? atoi(at) : 0;
		if (site->port <= 0 || site->port > 65535) {
			return false;
		}
		at += digits;
	}
	return site->host_len > 0 && *at == '\0';
}

/* The port that a scheme has anyway; 0: none. */
static int usual_port(const char *scheme, size_t len)
{
	return len == 4 && is_equal(scheme, "http", 4) ? 80 : len == 5 && is_equal(scheme, "https", 5) ? 443 : 0;
}

/* host: a Host header, which says nothing of the scheme; so its port, where left out, is that of the page's. */
static bool is_same_host(const char *text, const struct site *origin, const char *host)
{
	struct site own;
	int usual = usual_port(text, origin->scheme_len);
	return usual != 0 && parse_site(host, false, &own) && own.host_len == origin->host_len &&
	       is_equal(own.host, origin->host, own.host_len) &&
	       (own.port ? own.port : usual) == (origin->port ? origin->port : usual);
}

static bool is_listed(const char *text, const struct site *origin, const char *item)
{
	struct site listed;
	int usual = usual_port(text, origin->scheme_len);
	return parse_site(item, true, &listed) && listed.scheme_len == origin->scheme_len &&
	       is_equal(item, text, listed.scheme_len) && listed.host_len == origin->host_len &&
	       is_equal(listed.host, origin->host, listed.host_len) &&
	       (listed.port ? listed.port : usual) == (origin->port ? origin->port : usual);
}

bool origin_is_allowed(const struct list *allowed, const char *origin, const char *host)
{
	struct site site;
	if (!origin || !*origin) {
		return true;
	}
	bool is_site = parse_site(origin, true, &site);
	if (!is_site && strcmp(origin, "null") != 0) {
		return false;
	}
	if (allowed->n == 0) {
		return is_site && host && is_same_host(origin, &site, host);
	}
	for (size_t i = 0; i < allowed->n; i++) {
		if (strcmp(allowed->items[i], "*") == 0 || (is_site && is_listed(origin, &site, allowed->items[i]))) {
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

/* One text for each address, however it was written: so that it is counted as one. */
static void write_address(const struct address *address, char *to, size_t size)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (memcmp(address->bytes, mapped, sizeof mapped) == 0) {
		inet_ntop(AF_INET, address->bytes + sizeof mapped, to, (socklen_t)size);
	} else {
		inet_ntop(AF_INET6, address->bytes, to, (socklen_t)size);
	}
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
	const char *colon = begin < stop ? memchr(begin, ':', (size_t)(stop - begin)) : NULL;
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
	if (!parse_address(hop, &address)) {
		return false;
	}
	write_address(&address, hop, size);
	return true;
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

const char *origin_forwarded_host(const char *forwarded_host)
{
	const char *comma = strrchr(forwarded_host, ',');
	const char *last = comma ? comma + 1 : forwarded_host;
	return last + strspn(last, " \t");
}

bool origin_is_trusted(const struct list *trusted, const char *peer)
{
	return is_trusted(trusted, peer);
}

bool origin_is_loopback(const char *text)
{
	struct address address;
	return parse_address(text, &address) && (is_in_network(&address, "127.0.0.0/8") || is_in_network(&address, "::1"));
}

bool origin_host_is_local(const char *host)
{
	struct site site;
	char name[ADDRESS_MAX_BYTES];
	if (!parse_site(host, false, &site) || site.host_len >= sizeof name) {
		return false;
	}
	bool bracket = site.host[0] == '[';
	snprintf(name, sizeof name, "%.*s", (int)(site.host_len - (bracket ? 2 : 0)), site.host + bracket);
	return origin_is_loopback(name) || strcasecmp(name, "localhost") == 0;
}
