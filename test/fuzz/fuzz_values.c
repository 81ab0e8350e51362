/*
 * fuzz_values.c - values of settings (config_values.c), and the hiding of passwords in connection strings.
 *
 * Input: a value. A number that is read and written reads back the same; a list joined with commas is the same list. A
 * password that libpq finds in a connection string is not in what we show of it.
 */
#include "fuzz.h"

#include <libpq-fe.h>

#include "config_values.h"

/* Shorter pieces of a password stand by chance in what is no secret. */
#define PIECE_BYTES 5

static void check_numbers(const char *text)
{
	char written[64];
	int64_t number, again;

	if (value_duration(text, 1000, &number)) {
		value_write_duration(number, written, sizeof written);
		MUST(number >= 0 && value_duration(written, 7, &again) && again == number);
	}
	if (value_size(text, &number)) {
		value_write_size(number, written, sizeof written);
		MUST(number >= 0 && value_size(written, &again) && again == number);
	}
	if (value_count(text, &number))
		MUST(number >= 0 && strspn(text, "0123456789") == strlen(text) && value_rate(text, &again) && again == number);
}

static void check_list(const char *text)
{
	struct list list, again;
	struct json_out joined = {0};

	if (!value_list(text, &list))
		return;
	for (size_t i = 0; i < list.n; i++) {
		MUST(list.items[i][0] != '\0' && strchr(list.items[i], ',') == NULL);
		json_puts(&joined, i > 0 ? "," : "");
		json_puts(&joined, list.items[i]);
	}
	json_put(&joined, "", 1);
	MUST(value_list(joined.bytes, &again) && again.n == list.n);
	for (size_t i = 0; i < list.n; i++)
		MUST(strcmp(list.items[i], again.items[i]) == 0);
	value_free_list(&again);
	value_free_list(&list);
	free(joined.bytes);
}

static void check_forms(const char *text)
{
	char *path = strdup(text);

	if (value_is_address(text))
		MUST(is_printable(text) || strncmp(text, "unix:/", 6) == 0);
	if (value_is_network(text))
		MUST(is_printable(text) && strlen(text) < 64);
	if (value_is_origin(text))
		MUST(is_printable(text) && (strcmp(text, "*") == 0 || strstr(text, "://") != NULL));
	if (value_is_base_path(path)) {
		MUST(path[0] == '/' && (path[1] == '\0' || path[strlen(path) - 1] != '/') && value_is_base_path(path));
		MUST(strstr(path, "..") == NULL || strstr(path, "/..") == NULL);
	}
	free(path);
}

/* Is that a piece of the password alone: once in the string, and nowhere else in what it means? */
static bool is_secret(const char *dsn, const PQconninfoOption *options, const PQconninfoOption *secret,
                      const char *piece)
{
	const char *first = strstr(dsn, piece);

	if (first == NULL || strstr(first + 1, piece) != NULL)
		return false;
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
		if ((option != secret && option->val != NULL && strstr(option->val, piece) != NULL) ||
		    strstr(option->keyword, piece) != NULL)
			return false;
	return strstr("postgresql://", piece) == NULL;
}

static void check_password(const char *dsn, const char *hidden, const PQconninfoOption *options,
                           const PQconninfoOption *secret)
{
	char piece[PIECE_BYTES + 1] = {0};

	for (size_t i = 0; i + PIECE_BYTES <= strlen(secret->val); i++) {
		memcpy(piece, secret->val + i, PIECE_BYTES);
		if (is_secret(dsn, options, secret, piece))
			MUST(strstr(hidden, piece) == NULL);
	}
}

static void check_passwords(const char *dsn)
{
	char *hidden = value_hide_passwords(dsn), *error = NULL;
	PQconninfoOption *options = PQconninfoParse(dsn, &error);

	MUST(hidden != NULL && strlen(hidden) <= 4 * strlen(dsn) + 3);
	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
		if ((strcmp(option->keyword, "password") == 0 || strcmp(option->keyword, "sslpassword") == 0) &&
		    option->val != NULL)
			check_password(dsn, hidden, options, option);
	PQconninfoFree(options);
	PQfreemem(error);
	free(hidden);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = input_string((struct text){(const char *)data, size});

	check_numbers(text);
	check_list(text);
	check_forms(text);
	check_passwords(text);
	free(text);
	return 0;
}
