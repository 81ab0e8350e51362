/*
 * request.c - the text of HTTP requests (request.h).
 */
#include "request.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

bool request_next_item(const char **at, struct text *item)
{
	const char *begin = *at + strspn(*at, " \t,");
	size_t len = strcspn(begin, ",");

	*at = begin + len;
	while (len > 0 && is_space(begin[len - 1]))
		len--;
	*item = (struct text){begin, len};
	return len > 0;
}

bool request_lists(const char *list, const char *item)
{
	struct text found;

	while (request_next_item(&list, &found))
		if (found.len == strlen(item) && memcmp(found.bytes, item, found.len) == 0)
			return true;
	return false;
}

struct text request_subprotocol_token(const char *offered)
{
	static const char prefix[] = "bearer.";
	const size_t prefix_len = sizeof prefix - 1;
	struct text item;

	while (request_next_item(&offered, &item))
		if (item.len > prefix_len && memcmp(item.bytes, prefix, prefix_len) == 0)
			return (struct text){item.bytes + prefix_len, item.len - prefix_len};
	return (struct text){NULL, 0};
}

const char *request_authorization_token(const char *authorization)
{
	static const char scheme[] = "Bearer ";
	const size_t scheme_len = sizeof scheme - 1;

	if (strncasecmp(authorization, scheme, scheme_len) != 0)
		return NULL;
	return authorization + scheme_len + strspn(authorization + scheme_len, " ");
}

bool request_tag_known(const char *if_none_match, const char *tag)
{
	struct text item;

	while (request_next_item(&if_none_match, &item)) {
		if (item.len > 2 && memcmp(item.bytes, "W/", 2) == 0)
			item = (struct text){item.bytes + 2, item.len - 2};
		if ((item.len == 1 && *item.bytes == '*') ||
		    (item.len == strlen(tag) && memcmp(item.bytes, tag, item.len) == 0))
			return true;
	}
	return false;
}

bool request_path_below(const char *base, struct text path, char *to, size_t size)
{
	size_t base_len = strcmp(base, "/") == 0 ? 0 : strlen(base);

	if (path.len < base_len || memcmp(path.bytes, base, base_len) != 0)
		return false;
	path = (struct text){path.bytes + base_len, path.len - base_len};
	if (path.len == 0)
		path = (struct text){"/", 1};
	if (path.bytes[0] != '/' || path.len >= size || memchr(path.bytes, '\0', path.len) != NULL)
		return false;
	memcpy(to, path.bytes, path.len);
	to[path.len] = '\0';
	return true;
}

bool request_encode_path(const char *path, char *to, size_t size)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (const unsigned char *at = (const unsigned char *)path; *at != '\0'; at++) {
		if (n + 4 > size)
			return false;
		if (isalnum(*at) || strchr("/-._~", *at) != NULL) {
			to[n++] = (char)*at;
		} else {
			to[n++] = '%';
			to[n++] = hex[*at >> 4];
			to[n++] = hex[*at & 15];
		}
	}
	if (n >= size)
		return false;
	to[n] = '\0';
	return true;
}

bool request_argument(struct text argument, const char *name, char *to, size_t size)
{
	size_t name_len = strlen(name), len;

	if (argument.len <= name_len || argument.bytes[name_len] != '=' || memcmp(argument.bytes, name, name_len) != 0)
		return false;
	len = argument.len - name_len - 1;
	if (len >= size || memchr(argument.bytes, '\0', argument.len) != NULL)
		return false;
	memcpy(to, argument.bytes + name_len + 1, len);
	to[len] = '\0';
	return true;
}
