/*
 * fuzz_json.c - the strict JSON check and the writing of JSON (jsontext.c).
 *
 * Input: any text. What passes is UTF-8 without raw control bytes in strings, stays JSON within an array or object, and
 * stops being it when it is cut short or goes on; json-c, that parses it next, must read it too. Any text that is
 * UTF-8 without NUL can be written as a string, and is read back as itself.
 */
#include "fuzz.h"

#include <json-c/json.h>

static char *joined(const char *before, struct text text, const char *after, size_t *len)
{
	char *all = NULL;
	int n = asprintf(&all, "%s%.*s%s", before, (int)text.len, text.bytes, after);

	MUST(n >= 0);
	*len = (size_t)n;
	return all;
}

static void check_accepted(struct text text)
{
	size_t len;
	char *nested, first = text.bytes[strspn(text.bytes, " \t\r\n")];
	json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2);

	MUST(utf8_is_valid(text.bytes, text.len) && memchr(text.bytes, '\0', text.len) == NULL);
	json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
	nested = joined("", text, " ", &len); /* a bare number ends only where something follows */
	json_object_put(json_tokener_parse_ex(tokener, nested, (int)len));
	MUST(json_tokener_get_error(tokener) == json_tokener_success);
	json_tokener_free(tokener);
	free(nested);

	nested = joined("", text, "]", &len);
	MUST(!is_json(nested, len));
	free(nested);
	if (first == '{' || first == '[' || first == '"')
		for (size_t cut = text.len - strlen(strrchr(text.bytes, first == '{'   ? '}'
		                                                        : first == '[' ? ']'
		                                                                       : '"')),
		            step = cut / 16 + 1;
		     cut > 0; cut -= cut > step ? step : cut)
			MUST(!is_json(text.bytes, cut));
}

static unsigned depth(struct text text)
{
	unsigned now = 0, most = 0;
	bool string = false;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.bytes[i];

		if (string && c == '\\')
			i++;
		else if (c == '"')
			string = !string;
		else if (!string && (c == '{' || c == '['))
			most = ++now > most ? now : most;
		else if (!string && (c == '}' || c == ']'))
			now--;
	}
	return most;
}

static void check_nested(struct text text, bool good)
{
	size_t len;
	bool fits = good && depth(text) < JSON_DEPTH_MAX;
	char *nested = joined("[", text, ", 1]", &len);

	if (memchr(text.bytes, ',', text.len) == NULL && memchr(text.bytes, ']', text.len) == NULL)
		MUST(is_json(nested, len) == fits);
	else
		MUST(!fits || is_json(nested, len));
	free(nested);
	nested = joined("{\"b\":", text, ", \"a\":0}", &len);
	MUST(!fits || is_json(nested, len));
	free(nested);
	nested = joined("{\"a\":", text, ",\"\\u0061\":0}", &len); /* the same name twice */
	MUST(!is_json(nested, len));
	free(nested);
}

static void check_written(struct text text)
{
	struct json_out out = {0};
	json_object *value;
	json_tokener *tokener;
	bool valid = utf8_is_valid(text.bytes, text.len) && memchr(text.bytes, '\0', text.len) == NULL;

	json_put_text(&out, text);
	MUST(!out.failed && out.len >= text.len + 2 && out.len <= 6 * text.len + 2);
	MUST(memchr(out.bytes, '\n', out.len) == NULL);
	MUST(is_json(out.bytes, out.len) == valid);
	if (valid) {
		tokener = json_tokener_new();
		value = json_tokener_parse_ex(tokener, out.bytes, (int)out.len);
		MUST((size_t)json_object_get_string_len(value) == text.len &&
		     memcmp(json_object_get_string(value), text.bytes, text.len) == 0);
		json_object_put(value);
		json_tokener_free(tokener);
	}
	free(out.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *string = malloc(size + 1), *bytes = input_copy((struct text){(const char *)data, size});
	struct json_fault fault;
	bool good = json_check(bytes, size, NULL, 0, &fault);

	memcpy(string, bytes, size);
	string[size] = '\0';
	MUST(fault.at <= size && (good ? fault.what == NULL : fault.what != NULL && is_printable(fault.what)));
	if (good)
		check_accepted((struct text){string, size});
	if (memchr(bytes, '\0', size) == NULL)
		check_nested((struct text){string, size}, good);
	check_written((struct text){bytes, size});
	free(bytes);
	free(string);
	return 0;
}
