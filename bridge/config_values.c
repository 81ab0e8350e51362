/*
 * config_values.c - values of settings, read strictly: what is not understood whole is refused, and no number is
 * silently cut to its bounds.
 */
#include "config_values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit duration_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit size_units[] = {
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {NULL, 0},
};
static const struct unit rate_units[] = {{"/s", 1}, {NULL, 0}};
static const struct unit no_units[] = {{NULL, 0}};

/* Digits, then one of the units, a space between them at most. */
static bool read_number(const char *text, const struct unit *units, int64_t plain_factor, int64_t *number)
{
	int64_t value = 0, factor = plain_factor;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
		    __builtin_add_overflow(value, (int64_t)(*text - '0'), &value))
			return false;
	if (*text != '\0') {
		if (*text == ' ')
			text++;
		while (units->name != NULL && strcmp(units->name, text) != 0)
			units++;
		if (units->name == NULL)
			return false;
		factor = units->factor;
	}
	return !__builtin_mul_overflow(value, factor, number);
}

bool value_duration(const char *text, int64_t plain_ms, int64_t *ms)
{
	return read_number(text, duration_units, plain_ms, ms);
}

bool value_size(const char *text, int64_t *bytes)
{
	return read_number(text, size_units, 1, bytes);
}

bool value_count(const char *text, int64_t *count)
{
	return read_number(text, no_units, 1, count);
}

bool value_rate(const char *text, int64_t *per_s)
{
	return read_number(text, rate_units, 1, per_s);
}

static void write_number(int64_t number, const struct unit *units, char *to, size_t size)
{
	while (units[1].name != NULL && (number == 0 || number % units->factor != 0))
		units++;
	snprintf(to, size, "%" PRId64 " %s", number / units->factor, units->name);
}

void value_write_duration(int64_t ms, char *to, size_t size)
{
	write_number(ms, duration_units + 1, to, size); /* hours at most: 24 h, not 1 d */
}

void value_write_size(int64_t bytes, char *to, size_t size)
{
	write_number(bytes, size_units, to, size);
}

/* ---- lists */

void value_free_list(struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct list){NULL, 0};
}

bool value_list(const char *text, struct list *list)
{
	size_t commas = 0;

	*list = (struct list){NULL, 0};
	for (const char *c = text; *c != '\0'; c++)
		commas += *c == ',';
	list->items = calloc(commas + 1, sizeof *list->items);
	if (list->items == NULL)
		return false;
	while (isspace((unsigned char)*text))
		text++;
	if (*text == '\0')
		return true;
	for (;;) {
		size_t len = strcspn(text, ","), start = 0, end = len;

		while (start < end && isspace((unsigned char)text[start]))
			start++;
		while (end > start && isspace((unsigned char)text[end - 1]))
			end--;
		if (start == end || (list->items[list->n] = strndup(text + start, end - start)) == NULL) {
			value_free_list(list);
			return false;
		}
		list->n++;
		if (text[len] == '\0')
			return true;
		text += len + 1;
	}
}

/* ---- addresses */

static bool is_port(const char *text)
{
	int64_t port;

	return strlen(text) <= 5 && value_count(text, &port) && port <= 65535;
}

static bool is_ip(const char *text, size_t len, int family)
{
	char ip[INET6_ADDRSTRLEN], binary[16];

	if (len == 0 || len >= sizeof ip)
		return false;
	memcpy(ip, text, len);
	ip[len] = '\0';
	return inet_pton(family, ip, binary) == 1;
}

bool value_is_address(const char *text)
{
	const char *close;

	if (strncmp(text, "unix:", 5) == 0)
		return text[5] == '/' && strlen(text + 5) < sizeof((struct sockaddr_un *)NULL)->sun_path;
	if (*text == '[') {
		close = strchr(text, ']');
		return close != NULL && close[1] == ':' && is_ip(text + 1, (size_t)(close - text - 1), AF_INET6) &&
		       is_port(close + 2);
	}
	close = strchr(text, ':');
	return close != NULL && is_ip(text, (size_t)(close - text), AF_INET) && is_port(close + 1);
}

bool value_is_network(const char *text)
{
	size_t len = strcspn(text, "/");
	int64_t bits = 0;
	int family = AF_UNSPEC;

	if (strcmp(text, "unix") == 0)
		return true;
	if (is_ip(text, len, AF_INET))
		family = AF_INET;
	else if (is_ip(text, len, AF_INET6))
		family = AF_INET6;
	if (family == AF_UNSPEC || text[len] == '\0')
		return family != AF_UNSPEC;
	return value_count(text + len + 1, &bits) && bits <= (family == AF_INET ? 32 : 128);
}

bool value_is_origin(const char *text)
{
	const char *host;

	if (strcmp(text, "*") == 0)
		return true;
	host = strstr(text, "://");
	if (host == NULL || host == text)
		return false;
	for (const char *c = text; c < host; c++)
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && strchr("+-.", *c) == NULL)
			return false;
	host += 3;
	/* As browsers send it: lower case, without path or closing slash. */
	for (const char *c = host; *c != '\0'; c++)
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && strchr(".-_:[]", *c) == NULL)
			return false;
	return *host != '\0';
}

bool value_is_claim(const char *text)
{
	if (*text == '\0')
		return false;
	if (*text == '/')
		for (const char *c = text; *c != '\0'; c++)
			if (*c == '~' && c[1] != '0' && c[1] != '1')
				return false;
	return true;
}

bool value_is_base_path(char *text)
{
	size_t len = strlen(text);

	if (*text != '/' || strstr(text, "//") != NULL || strstr(text, "/.") != NULL)
		return false;
	for (const char *c = text; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("/-._~", *c) == NULL)
			return false;
	if (len > 1 && text[len - 1] == '/')
		text[len - 1] = '\0';
	return true;
}

/* ---- passwords */

static bool is_password(const char *name, size_t len)
{
	return (len == 8 && strncasecmp(name, "password", 8) == 0) ||
	       (len == 11 && strncasecmp(name, "sslpassword", 11) == 0);
}

/* user:PASSWORD@host, and ?password=PASSWORD. Rather hides too much than too little. */
static void hide_in_uri(const char *dsn, FILE *out)
{
	const char *authority = strstr(dsn, "://") + 3;
	size_t len = strcspn(authority, "?");
	const char *at = memrchr(authority, '@', len), *colon;

	if (at == NULL) /* a password may hold a bare question mark, though it should not */
		at = strrchr(authority, '@');
	colon = at != NULL ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
	if (colon != NULL && at > authority + len && memchr(authority, '/', (size_t)(at - authority)) != NULL) {
		/* Of a parameter, or of a password with a slash as well: where it ends cannot be told. */
		fprintf(out, "%.*s***", (int)(authority - dsn), dsn);
		return;
	}
	if (colon != NULL) {
		fprintf(out, "%.*s:***", (int)(colon - dsn), dsn);
		dsn = at;
	}
	while (*dsn != '\0') { /* parameters begin after ? and & */
		size_t name = strcspn(dsn, "?&=");

		fprintf(out, "%.*s", (int)name, dsn);
		if (dsn[name] == '=' && is_password(dsn, name)) {
			fputs("=***", out);
			dsn += name + strcspn(dsn + name, "&");
		} else {
			dsn += name;
		}
		if (*dsn != '\0')
			fputc(*dsn++, out);
	}
}

/* The end of a value of a connection string: quoted or bare, with backslashes. */
static const char *value_end(const char *value)
{
	bool quoted = *value == '\'';

	for (const char *c = value + quoted;; c++) {
		if (*c == '\\' && c[1] != '\0')
			c++;
		else if (*c == '\0' || (!quoted && isspace((unsigned char)*c)))
			return c;
		else if (quoted && *c == '\'')
			return c + 1;
	}
}

static void hide_in_pairs(const char *dsn, FILE *out)
{
	while (*dsn != '\0') {
		const char *name = dsn, *value;
		size_t len = strcspn(name, "= \t\n\r\f\v");

		value = name + len;
		value += strspn(value, " \t\n\r\f\v");
		if (len == 0 || *value != '=') { /* space between pairs, or nothing that libpq would take */
			fprintf(out, "%.*s", len > 0 ? (int)len : 1, name);
			dsn += len > 0 ? len : 1;
			continue;
		}
		value++;
		value += strspn(value, " \t\n\r\f\v");
		dsn = value_end(value);
		if (is_password(name, len))
			fprintf(out, "%.*s***", (int)(value - name), name);
		else
			fprintf(out, "%.*s", (int)(dsn - name), name);
	}
}

char *value_hide_passwords(const char *dsn)
{
	char *hidden = NULL;
	size_t size;
	FILE *out = open_memstream(&hidden, &size);

	if (out == NULL)
		return NULL;
	if (strncmp(dsn, "postgresql://", 13) == 0 || strncmp(dsn, "postgres://", 11) == 0)
		hide_in_uri(dsn, out);
	else
		hide_in_pairs(dsn, out);
	if (fclose(out) != 0) {
		free(hidden);
		return NULL;
	}
	return hidden;
}
