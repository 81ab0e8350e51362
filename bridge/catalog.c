/*
 * catalog.c - feeds and queries by name, and the application's own paths.
 *
 * A load is built beside the current definitions and takes their place in one step. Feeds stand in a hash table of
 * open addressing, sized when the load becomes current; paths are few and tried in order, the most definite first.
 *
 * A path is compared part by part: the parts of a request are percent-decoded, strictly, and compared with the parts of the
 * definition; what {N} caught is encoded again for the channel, by the one way of writing that channels have. So a
 * part can never bring a separator along.
 */
#include "catalog.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "channel.h"
#include "event_names.h"
#include "jsontext.h"
#include "query.h"

#define PATH_PARTS_MAX 32
#define PATH_MAX_BYTES 2048

struct path {
	char *text; /* without slashes at its ends */
	struct text parts[PATH_PARTS_MAX];
	size_t n_parts, n_fixed;
	char **channels;
	size_t n_channels;
};

struct definitions {
	struct feed *feeds;
	size_t n_feeds, feeds_capacity;
	struct path *paths;
	size_t n_paths, paths_capacity;
	struct command *commands;
	size_t n_commands, commands_capacity;
	struct query **queries;
	size_t n_queries, queries_capacity;
	struct event_names event_names;
	uint32_t *table; /* index into feeds, plus 1; 0: free */
	size_t table_size; /* a power of two, at least twice n_feeds */
};

struct catalog {
	struct definitions current;
	bool is_loaded;
};

struct catalog_load {
	struct definitions definitions;
};

static void feed_clear(struct feed *feed)
{
	free(feed->name);
	for (size_t i = 0; i < feed->n_roles; i++)
		free(feed->roles[i]);
	free(feed->roles);
}

static void path_clear(struct path *path)
{
	free(path->text);
	for (size_t i = 0; i < path->n_channels; i++)
		free(path->channels[i]);
	free(path->channels);
}

static void command_clear(struct command *command)
{
	free(command->name);
	for (size_t i = 0; i < command->n_roles; i++)
		free(command->roles[i]);
	free(command->roles);
}

static void definitions_clear(struct definitions *definitions)
{
	for (size_t i = 0; i < definitions->n_feeds; i++)
		feed_clear(&definitions->feeds[i]);
	for (size_t i = 0; i < definitions->n_paths; i++)
		path_clear(&definitions->paths[i]);
	for (size_t i = 0; i < definitions->n_commands; i++)
		command_clear(&definitions->commands[i]);
	free(definitions->commands);
	for (size_t i = 0; i < definitions->n_queries; i++)
		query_unref(definitions->queries[i]);
	free(definitions->queries);
	event_names_free(&definitions->event_names);
	free(definitions->feeds);
	free(definitions->paths);
	free(definitions->table);
	memset(definitions, 0, sizeof *definitions);
}

struct catalog *catalog_new(void)
{
	return calloc(1, sizeof(struct catalog));
}

void catalog_free(struct catalog *catalog)
{
	if (catalog == NULL)
		return;
	definitions_clear(&catalog->current);
	free(catalog);
}

bool catalog_is_loaded(const struct catalog *catalog)
{
	return catalog->is_loaded;
}

/* ---- loading */

struct catalog_load *catalog_load_begin(void)
{
	return calloc(1, sizeof(struct catalog_load));
}

void catalog_load_abort(struct catalog_load *load)
{
	if (load == NULL)
		return;
	definitions_clear(&load->definitions);
	free(load);
}

/* Makes room for one more item in a growing array. */
static bool room(void **items, size_t n, size_t *capacity, size_t size)
{
	size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
	void *grown;

	if (n < *capacity)
		return true;
	grown = realloc(*items, wanted * size);
	if (grown == NULL)
		return false;
	*items = grown;
	*capacity = wanted;
	return true;
}

static uint32_t hash_name(struct text name)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ (unsigned char)name.bytes[i]) * 16777619u;
	return hash;
}

static const struct feed *find_feed(const struct definitions *definitions, struct text name)
{
	if (definitions->table_size == 0 || name.len == 0)
		return NULL;
	for (size_t slot = hash_name(name);; slot++) {
		uint32_t index = definitions->table[slot & (definitions->table_size - 1)];
		const struct feed *feed;

		if (index == 0)
			return NULL;
		feed = &definitions->feeds[index - 1];
		if (strlen(feed->name) == name.len && memcmp(feed->name, name.bytes, name.len) == 0)
			return feed;
	}
}

static void enter_feed(struct definitions *definitions, size_t index)
{
	const char *name = definitions->feeds[index].name;
	size_t slot = hash_name((struct text){name, strlen(name)});

	while (definitions->table[slot & (definitions->table_size - 1)] != 0)
		slot++;
	definitions->table[slot & (definitions->table_size - 1)] = (uint32_t)index + 1;
}

/* Room in the table for one more feed, so that committing a load cannot fail. */
static bool table_room(struct definitions *definitions)
{
	size_t size = definitions->table_size == 0 ? 64 : definitions->table_size * 2;
	uint32_t *table;

	if ((definitions->n_feeds + 1) * 2 <= definitions->table_size)
		return true;
	table = calloc(size, sizeof *table);
	if (table == NULL)
		return false;
	free(definitions->table);
	definitions->table = table;
	definitions->table_size = size;
	for (size_t i = 0; i < definitions->n_feeds; i++)
		enter_feed(definitions, i);
	return true;
}

bool catalog_load_feed(struct catalog_load *load, const struct feed *feed)
{
	struct definitions *definitions = &load->definitions;
	struct feed copy = *feed;

	if (find_feed(definitions, (struct text){feed->name, strlen(feed->name)}) != NULL)
		return true;
	if (!room((void **)&definitions->feeds, definitions->n_feeds, &definitions->feeds_capacity, sizeof copy) ||
	    !table_room(definitions))
		return false;
	copy.n_roles = 0;
	copy.roles = calloc(feed->n_roles + 1, sizeof *copy.roles);
	copy.name = strdup(feed->name);
	while (copy.roles != NULL && copy.name != NULL && copy.n_roles < feed->n_roles) {
		copy.roles[copy.n_roles] = strdup(feed->roles[copy.n_roles]);
		if (copy.roles[copy.n_roles] == NULL)
			break;
		copy.n_roles++;
	}
	if (copy.name == NULL || copy.roles == NULL || copy.n_roles < feed->n_roles) {
		feed_clear(&copy);
		return false;
	}
	definitions->feeds[definitions->n_feeds] = copy;
	enter_feed(definitions, definitions->n_feeds++);
	return true;
}

bool catalog_load_query(struct catalog_load *load, struct query *query)
{
	struct definitions *definitions = &load->definitions;

	if (query == NULL ||
	    !room((void **)&definitions->queries, definitions->n_queries, &definitions->queries_capacity, sizeof query)) {
		query_unref(query);
		return false;
	}
	definitions->queries[definitions->n_queries++] = query;
	return true;
}

/* Cuts a path at its slashes; one at each end does not count. False: too many parts, or an empty one. */
static bool split_path(struct text path, struct text parts[PATH_PARTS_MAX], size_t *n_parts)
{
	const char *at = path.bytes, *end = path.bytes + path.len;

	*n_parts = 0;
	if (path.len == 0 || *at != '/')
		return false;
	at++;
	if (end > at && end[-1] == '/')
		end--;
	while (*n_parts < PATH_PARTS_MAX) {
		const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
		const char *stop = slash != NULL ? slash : end;

		if (stop == at)
			return false;
		parts[(*n_parts)++] = (struct text){at, (size_t)(stop - at)};
		if (slash == NULL)
			return true;
		at = slash + 1;
	}
	return false;
}

/* The number of {N} (1 and up); 0: not one. */
static size_t placeholder(struct text part)
{
	size_t number = 0;

	if (part.len < 3 || part.len > 4 || part.bytes[0] != '{' || part.bytes[part.len - 1] != '}' || part.bytes[1] == '0')
		return 0;
	for (size_t i = 1; i < part.len - 1; i++) {
		if (part.bytes[i] < '0' || part.bytes[i] > '9')
			return 0;
		number = number * 10 + (size_t)(part.bytes[i] - '0');
	}
	return number <= PATH_PARTS_MAX ? number : 0;
}

bool catalog_load_path(struct catalog_load *load, struct text path, const struct text *channels, size_t n_channels)
{
	struct definitions *definitions = &load->definitions;
	struct path copy = {.text = NULL};
	size_t place;

	if (!room((void **)&definitions->paths, definitions->n_paths, &definitions->paths_capacity, sizeof copy))
		return false;
	copy.text = strndup(path.bytes, path.len);
	copy.channels = calloc(n_channels + 1, sizeof *copy.channels);
	while (copy.text != NULL && copy.channels != NULL && copy.n_channels < n_channels) {
		copy.channels[copy.n_channels] = strndup(channels[copy.n_channels].bytes, channels[copy.n_channels].len);
		if (copy.channels[copy.n_channels] == NULL)
			break;
		copy.n_channels++;
	}
	if (copy.text == NULL || copy.channels == NULL || copy.n_channels < n_channels) {
		path_clear(&copy);
		return false;
	}
	if (!split_path((struct text){copy.text, strlen(copy.text)}, copy.parts, &copy.n_parts)) {
		path_clear(&copy); /* no request can match it */
		return true;
	}
	for (size_t i = 0; i < copy.n_parts; i++)
		copy.n_fixed += placeholder(copy.parts[i]) == 0;
	for (place = definitions->n_paths; place > 0 && definitions->paths[place - 1].n_fixed < copy.n_fixed; place--)
		definitions->paths[place] = definitions->paths[place - 1];
	definitions->paths[place] = copy;
	definitions->n_paths++;
	return true;
}

bool catalog_load_command(struct catalog_load *load, struct text name, const struct text *roles, size_t n_roles)
{
	struct definitions *definitions = &load->definitions;
	struct command command = {.name = NULL};

	if (!room((void **)&definitions->commands, definitions->n_commands, &definitions->commands_capacity,
	          sizeof command))
		return false;
	command.name = strndup(name.bytes, name.len);
	command.roles = calloc(n_roles + 1, sizeof *command.roles);
	while (command.name != NULL && command.roles != NULL && command.n_roles < n_roles) {
		command.roles[command.n_roles] = strndup(roles[command.n_roles].bytes, roles[command.n_roles].len);
		if (command.roles[command.n_roles] == NULL)
			break;
		command.n_roles++;
	}
	if (command.name == NULL || command.roles == NULL || command.n_roles < n_roles) {
		command_clear(&command);
		return false;
	}
	definitions->commands[definitions->n_commands++] = command;
	return true;
}

bool catalog_load_event_name(struct catalog_load *load, struct text source, struct text action, struct text event)
{
	return event_names_add(&load->definitions.event_names, source, action, event);
}

const struct event_names *catalog_event_names(const struct catalog *catalog)
{
	return &catalog->current.event_names;
}

/* There are few. */
const struct command *catalog_command(const struct catalog *catalog, struct text name)
{
	const struct definitions *definitions = &catalog->current;

	for (size_t i = 0; i < definitions->n_commands; i++)
		if (strlen(definitions->commands[i].name) == name.len &&
		    memcmp(definitions->commands[i].name, name.bytes, name.len) == 0)
			return &definitions->commands[i];
	return NULL;
}

/* A row's value has the row's key; none where its feed is gone, so that no channel of it is one. */
static void resolve_queries(struct definitions *definitions)
{
	for (size_t i = 0; i < definitions->n_queries; i++) {
		struct query *query = definitions->queries[i];
		const char *name = query->access_feed;
		const struct feed *feed = name != NULL ? find_feed(definitions, (struct text){name, strlen(name)}) : NULL;

		query->rules.n_key_columns = feed != NULL ? feed->n_key_columns : 0;
	}
}

void catalog_load_commit(struct catalog *catalog, struct catalog_load *load)
{
	resolve_queries(&load->definitions);
	definitions_clear(&catalog->current);
	catalog->current = load->definitions;
	catalog->is_loaded = true;
	free(load);
}

const struct feed *catalog_feed(const struct catalog *catalog, struct text name)
{
	return find_feed(&catalog->current, name);
}

struct query *catalog_query(const struct catalog *catalog, struct text name)
{
	for (size_t i = 0; i < catalog->current.n_queries; i++) {
		struct query *query = catalog->current.queries[i];

		if (strlen(query->name) == name.len && memcmp(query->name, name.bytes, name.len) == 0)
			return query;
	}
	return NULL;
}

const struct feed *catalog_rules(const struct catalog *catalog, struct text name)
{
	const struct feed *feed = find_feed(&catalog->current, name);
	const struct query *query = feed == NULL ? catalog_query(catalog, name) : NULL;

	return query != NULL ? &query->rules : feed;
}

const struct feed *catalog_row_feed(const struct catalog *catalog, const struct feed *rules)
{
	const char *name = rules->query != NULL ? rules->query->access_feed : NULL;

	return name != NULL ? find_feed(&catalog->current, (struct text){name, strlen(name)}) : rules;
}

/* ---- paths */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* False: a % without two hex digits, NUL, or what is not UTF-8. plain has room for part.len bytes. */
static bool percent_decode(struct text part, char *plain, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < part.len; i++) {
		char c = part.bytes[i];

		if (c == '%') {
			int high = part.len - i > 2 ? hex_digit(part.bytes[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(part.bytes[i + 2]) : -1;

			if (low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0')
			return false;
		plain[(*len)++] = c;
	}
	return utf8_is_valid(plain, *len);
}

struct request_path {
	struct text parts[PATH_PARTS_MAX]; /* decoded */
	size_t n_parts;
	char decoded[PATH_MAX_BYTES];
};

static bool read_path(struct text path, struct request_path *request)
{
	char *to = request->decoded;

	if (path.len > PATH_MAX_BYTES || !split_path(path, request->parts, &request->n_parts))
		return false;
	for (size_t i = 0; i < request->n_parts; i++) {
		size_t len;

		if (!percent_decode(request->parts[i], to, &len))
			return false;
		request->parts[i] = (struct text){to, len};
		to += len;
	}
	return true;
}

/* The path that matches, with values[N - 1] of its {N}; else NULL. */
static const struct path *match(const struct catalog *catalog, const struct request_path *request,
                                struct text values[PATH_PARTS_MAX])
{
	for (size_t p = 0; p < catalog->current.n_paths; p++) {
		const struct path *path = &catalog->current.paths[p];
		size_t i;

		if (path->n_parts != request->n_parts)
			continue;
		memset(values, 0, PATH_PARTS_MAX * sizeof *values);
		for (i = 0; i < path->n_parts; i++) {
			size_t number = placeholder(path->parts[i]);

			if (number > 0)
				values[number - 1] = request->parts[i];
			else if (path->parts[i].len != request->parts[i].len ||
			         memcmp(path->parts[i].bytes, request->parts[i].bytes, request->parts[i].len) != 0)
				break;
		}
		if (i == path->n_parts)
			return path;
	}
	return NULL;
}

bool catalog_has_path(const struct catalog *catalog, struct text path)
{
	struct request_path request = {.n_parts = 0};
	struct text values[PATH_PARTS_MAX];

	return read_path(path, &request) && match(catalog, &request, values) != NULL;
}

/* Appends plain as a channel has it. False: the channel becomes too long. */
static bool append_encoded(char channel[CHANNEL_NAME_MAX_BYTES], size_t *len, struct text plain)
{
	char encoded[3 * CHANNEL_NAME_MAX_BYTES];
	size_t n;

	if (plain.len > CHANNEL_NAME_MAX_BYTES)
		return false;
	n = channel_encode(plain, encoded);
	if (n > CHANNEL_NAME_MAX_BYTES - *len)
		return false;
	memcpy(channel + *len, encoded, n);
	*len += n;
	return true;
}

/*
 * Writes a channel with its braces filled in. False: it becomes too long, or names a {N} that the path does not have:
 * there is no such channel.
 */
static bool fill_in(const char *template, const struct text values[PATH_PARTS_MAX], struct text user, struct text unit,
                    char channel[CHANNEL_NAME_MAX_BYTES], size_t *len)
{
	*len = 0;
	while (*template != '\0') {
		const char *close = *template == '{' ? strchr(template, '}') : NULL;
		struct text brace = {template, close != NULL ? (size_t)(close + 1 - template) : 0};
		struct text value = {NULL, 0};

		if (close == NULL) {
			if (*len == CHANNEL_NAME_MAX_BYTES)
				return false;
			channel[(*len)++] = *template ++;
			continue;
		}
		if (brace.len == 6 && memcmp(brace.bytes, "{user}", 6) == 0)
			value = user;
		else if (brace.len == 6 && memcmp(brace.bytes, "{unit}", 6) == 0)
			value = unit;
		else if (placeholder(brace) > 0)
			value = values[placeholder(brace) - 1];
		if (value.bytes == NULL || !append_encoded(channel, len, value))
			return false;
		template = close + 1;
	}
	return true;
}

bool catalog_match_path(const struct catalog *catalog, struct text path, const struct principal *principal,
                        void (*each)(struct text channel, void *arg), void *arg)
{
	struct text user = {principal->user, strlen(principal->user)};
	struct request_path request = {.n_parts = 0};
	struct text values[PATH_PARTS_MAX];
	const struct path *found = read_path(path, &request) ? match(catalog, &request, values) : NULL;
	size_t given = 0;

	if (found == NULL)
		return false;
	for (size_t i = 0; i < found->n_channels; i++) {
		bool by_unit = strstr(found->channels[i], "{unit}") != NULL;
		size_t times = by_unit ? principal->n_units : 1;

		for (size_t u = 0; u < times && given < CATALOG_PATH_CHANNELS_MAX; u++) {
			char channel[CHANNEL_NAME_MAX_BYTES];
			struct text unit = {NULL, 0};
			size_t len;

			if (by_unit)
				unit = (struct text){principal->units[u].unit, strlen(principal->units[u].unit)};
			if (fill_in(found->channels[i], values, user, unit, channel, &len)) {
				each((struct text){channel, len}, arg);
				given++;
			}
		}
	}
	return true;
}
