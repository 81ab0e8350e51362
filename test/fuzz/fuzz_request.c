/*
 * fuzz_request.c - the text of HTTP requests (request.c): lists, tokens, paths, arguments.
 *
 * Input: a header's value in one line, a name in the next, then a path or argument. Items of a list hold no comma and no
 * space at their ends, and joined again are the same list; a path below a base is that base and the rest; encoded, it
 * names the same; an argument is NAME=VALUE.
 */
#include "fuzz.h"

#include "config_values.h"
#include "request.h"

static void check_list(const char *list, const char *wanted)
{
	struct json_out joined = {0};
	struct text item;
	const char *at = list;
	size_t n = 0, again = 0;
	bool lists = false;

	while (request_next_item(&at, &item)) {
		MUST(item.len > 0 && memchr(item.bytes, ',', item.len) == NULL);
		MUST(item.bytes >= list && item.bytes + item.len <= list + strlen(list));
		MUST(strchr(" \t", item.bytes[0]) == NULL && strchr(" \t", item.bytes[item.len - 1]) == NULL);
		lists = lists || text_equal(item, text_of(wanted));
		json_puts(&joined, n++ > 0 ? " ,\t," : " ");
		json_put(&joined, item.bytes, item.len);
	}
	MUST(request_lists(list, wanted) == lists);
	json_put(&joined, "", 1);
	at = joined.bytes;
	while (request_next_item(&at, &item))
		again++;
	MUST(again == n);
	if (n > 0)
		MUST(request_lists(joined.bytes, wanted) == lists);
	free(joined.bytes);
	MUST(!lists || strncmp(wanted, "W/", 2) == 0 || request_tag_known(list, wanted));
}

static void check_tokens(const char *header)
{
	struct text token = request_subprotocol_token(header);
	const char *given = request_authorization_token(header);

	if (token.bytes != NULL) {
		MUST(token.len > 0 && memcmp(token.bytes - 7, "bearer.", 7) == 0);
		MUST(memchr(token.bytes, ',', token.len) == NULL && token.bytes + token.len <= header + strlen(header));
	}
	if (given != NULL)
		MUST(given > header && given <= header + strlen(header) && *given != ' ');
}

static void check_path(const char *base, struct text path)
{
	char to[256], encoded[600], *copy = input_string(text_of(base)), *plain = input_string(path);

	if (value_is_base_path(copy) && request_path_below(copy, path, to, sizeof to)) {
		size_t base_len = strcmp(copy, "/") == 0 ? 0 : strlen(copy);

		MUST(to[0] == '/' && strlen(to) < sizeof to && strncmp(plain, copy, base_len) == 0);
		MUST(strcmp(plain + base_len, to) == 0 || (plain[base_len] == '\0' && strcmp(to, "/") == 0));
	}
	if (request_encode_path(plain, encoded, sizeof encoded)) {
		size_t slashes = 0;

		MUST(strlen(encoded) < sizeof encoded && is_printable(encoded) && strpbrk(encoded, "?#\" ") == NULL);
		for (const char *c = plain; *c != '\0'; c++)
			slashes += *c == '/';
		for (const char *c = encoded; *c != '\0'; c++)
			slashes -= *c == '/';
		MUST(slashes == 0);
		/* Decoded again, it is what it was. */
		size_t n = 0;
		for (const char *c = encoded; *c != '\0'; c++, n++) {
			char byte = *c;
			if (byte == '%') {
				char digits[3] = {c[1], c[2], '\0'};
				byte = (char)strtoul(digits, NULL, 16);
				c += 2;
			}
			MUST(plain[n] == byte);
		}
		MUST(plain[n] == '\0');
	} else {
		MUST(strlen(plain) * 3 + 4 > sizeof encoded);
	}
	free(copy);
	free(plain);
}

static void check_argument(const char *name, struct text argument)
{
	char to[64];

	memset(to, 'x', sizeof to);
	if (*name == '\0' || strchr(name, '=') != NULL || !request_argument(argument, name, to, sizeof to))
		return;
	MUST(memchr(to, '\0', sizeof to) != NULL && argument.len == strlen(name) + 1 + strlen(to));
	MUST(memcmp(argument.bytes, name, strlen(name)) == 0 && argument.bytes[strlen(name)] == '=');
	MUST(memcmp(argument.bytes + strlen(name) + 1, to, strlen(to)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	char *header = input_string(input_line(&input)), *name = input_string(input_line(&input)), *copy;
	struct text rest = input_rest(&input);

	copy = input_copy(rest);
	rest.bytes = copy;
	check_list(header, name);
	check_tokens(header);
	check_path(name, rest);
	check_argument(name, rest);
	free(copy);
	free(header);
	free(name);
	return 0;
}
