/*
 * fuzz_path.c - the application's own paths (catalog.c).
 *
 * Input: lines: a definition's path, its channels with commas between them, the path of a second one (with the same channels),
 * the user, a unit; then the request's path, percent-encoded. What a path gives are channels of the template's own
 * feed and scope, with as many values: whatever stands in the request, it cannot bring a separator along.
 */
#include "fuzz.h"

#include "access.h"
#include "catalog.h"
#include "config_values.h"

struct seen {
	const struct list *templates;
	size_t n;
};

static size_t count(struct text text, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += text.bytes[i] == c;
	return n;
}

/* Some template gives a channel of this form. */
static bool fits(const struct seen *seen, struct text channel)
{
	for (size_t i = 0; i < seen->templates->n; i++) {
		struct text template = text_of(seen->templates->items[i]);
		size_t fixed = strcspn(template.bytes, "{");

		if (channel.len >= fixed && memcmp(channel.bytes, template.bytes, fixed) == 0 &&
		    count(channel, ':') == count(template, ':') && count(channel, ',') == count(template, ','))
			return true;
	}
	return false;
}

static void each(struct text channel, void *arg)
{
	struct seen *seen = arg;

	seen->n++;
	MUST(channel.len <= CHANNEL_NAME_MAX_BYTES && fits(seen, channel));
}

/* As the bridge takes them from the database: anything. But a colon within braces is nobody's. */
static bool is_template(const char *text)
{
	bool brace = false;

	for (; *text != '\0'; text++) {
		if (brace && (*text == ':' || *text == ','))
			return false;
		brace = (*text == '{' || brace) && *text != '}';
	}
	return true;
}

static void ask(const struct list *channels, char *const lines[], struct text request)
{
	struct catalog *catalog = catalog_new();
	struct catalog_load *load = catalog_load_begin();
	struct text *texts = calloc(channels->n + 1, sizeof *texts);
	struct unit_grant unit = {.unit = lines[4]};
	struct principal principal = {.refs = 1, .user = lines[3], .units = &unit, .n_units = *lines[4] != '\0'};
	struct seen seen = {channels, 0};
	bool found, has;

	for (size_t i = 0; i < channels->n; i++)
		texts[i] = text_of(channels->items[i]);
	MUST(catalog_load_path(load, text_of(lines[0]), texts, channels->n));
	MUST(catalog_load_path(load, text_of(lines[2]), texts, channels->n));
	catalog_load_commit(catalog, load);
	has = catalog_has_path(catalog, request);
	found = catalog_match_path(catalog, request, &principal, each, &seen);
	MUST(has == found && (found || seen.n == 0) && seen.n <= CATALOG_PATH_CHANNELS_MAX);
	/* A closing slash is optional. */
	if (request.len > 1 && request.bytes[request.len - 1] != '/') {
		char *closed = malloc(request.len + 1);

		memcpy(closed, request.bytes, request.len);
		closed[request.len] = '/';
		MUST(catalog_has_path(catalog, (struct text){closed, request.len + 1}) == has || request.len >= 2048);
		free(closed);
	}
	free(texts);
	catalog_free(catalog);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	char *lines[5], *request;
	struct list channels = {NULL, 0};
	struct text path;
	bool good;

	for (int i = 0; i < 5; i++)
		lines[i] = input_string(input_line(&input));
	path = input_rest(&input);
	request = input_copy(path);
	good = value_list(lines[1], &channels) && *lines[3] != '\0';
	for (size_t i = 0; good && i < channels.n; i++)
		good = is_template(channels.items[i]);
	if (good)
		ask(&channels, lines, (struct text){request, path.len});
	value_free_list(&channels);
	for (int i = 0; i < 5; i++)
		free(lines[i]);
	free(request);
	return 0;
}
