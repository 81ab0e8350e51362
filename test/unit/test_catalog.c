/*
 * test_catalog.c - feeds by name, and requests matched with exposed paths.
 * Not here: who may have the channels that a path gives (test_access.c).
 */
#include "catalog.h"

#include <stdlib.h>

#include "access.h"
#include "channel.h"
#include "tap.h"

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static bool load_path(struct catalog_load *load, const char *path, const char *const *channels)
{
	struct text list[8];
	size_t n = 0;

	for (; channels[n] != NULL; n++)
		list[n] = text(channels[n]);
	return catalog_load_path(load, text(path), list, n);
}

static char unit_1[] = "1", unit_2[] = "north wing", user_name[] = "a:b/c";
static struct unit_grant units[] = {{.unit = unit_1}, {.unit = unit_2}};
static const struct principal principal = {.user = user_name, .units = units, .n_units = 2};
static const struct principal unitless = {.user = user_name};

/* Collects channels as "x y z". */
static void collect(struct text channel, void *arg)
{
	char *all = arg;
	struct channel_name name;

	if (*all != '\0')
		strcat(all, " ");
	strncat(all, channel.bytes, channel.len);
	if (!channel_parse(channel.bytes, channel.len, &name))
		strcat(all, "(!)");
}

static const struct {
	const char *path;
	const char *channels; /* NULL: no such path */
} requests[] = {
	{"/ws/orders/123/", "orders:row:123"},
	{"/ws/orders/123", "orders:row:123"},
	{"/ws/orders/a%20b", "orders:row:a%20b"},
	{"/ws/orders/%61", "orders:row:a"},
	{"/ws/orders/a%2Fb/", "orders:row:a%2Fb"},
	{"/ws/orders/a%2fb", "orders:row:a%2Fb"},
	{"/ws/orders/7:unit:9", "orders:row:7%3Aunit%3A9"},
	{"/ws/orders/7,8", "orders:row:7%2C8"},
	{"/ws/orders/*", "orders:row:*"},
	{"/ws/orders/{1}", "orders:row:%7B1%7D"},
	{"/ws/orders/{unit}", "orders:row:%7Bunit%7D"},
	{"/ws/orders/%25", "orders:row:%25"},
	{"/ws/orders/%2541", "orders:row:%2541"},
	{"/ws/orders/%C3%A9", "orders:row:%C3%A9"},
	{"/ws/orders/\xc3\xa9", "orders:row:%C3%A9"},
	{"/ws/orders/..", "orders:row:.."},
	{"/ws/%6Frders/1", "orders:row:1"},
	{"/ws/orders/new", "fresh"},
	{"/ws/orders/new/", "fresh"},
	{"/ws/orders/", NULL},
	{"/ws/orders", NULL},
	{"/ws/orders//", NULL},
	{"/ws//orders/1", NULL},
	{"//ws/orders/1", NULL},
	{"/ws/orders/1//", NULL},
	{"/ws/orders/1/2", NULL},
	{"/ws/Orders/1", NULL},
	{"ws/orders/1", NULL},
	{"", NULL},
	{"/", NULL},
	{"//", NULL},
	{"/ws", NULL},
	{"/ws/orders/%", NULL},
	{"/ws/orders/%4", NULL},
	{"/ws/orders/%4g", NULL},
	{"/ws/orders/%g1", NULL},
	{"/ws/orders/%%41", NULL},
	{"/ws/orders/%00", NULL},
	{"/ws/orders/a%00b", NULL},
	{"/ws/orders/%FF", NULL},
	{"/ws/orders/%C3", NULL},
	{"/ws/orders/%C3%28", NULL},
	{"/ws/orders/%C0%AF", NULL},
	{"/ws/orders/%ED%A0%80", NULL},
	{"/ws/orders/\xff", NULL},
	{"/ws/pair/7/8", "stock:row:8,7"},
	{"/ws/pair/a%2Cb/c", "stock:row:c,a%2Cb"},
	{"/ws/mine/", "notes:user:a%3Ab%2Fc cards:unit:1 cards:unit:north%20wing"},
	{"/ws/both/5", "cards:unit:1 cards:unit:north%20wing orders:row:5"},
	{"/ws/nothing", ""},
	{"/ws/missing/1", ""},
	{"/ws/odd/x", "odd:row:x"},
	{"/ws/literal/{0}", ""},
	{"/ws/literal/0", NULL},
};

static void test_paths(void)
{
	struct catalog *catalog = catalog_new();
	struct catalog_load *load = catalog_load_begin();
	static char all[65536];
	char *longest;

	ok(!catalog_is_loaded(catalog), "nothing is loaded at first");
	ok(!catalog_has_path(catalog, text("/ws/orders/1")), "and no path is there");
	load_path(load, "/ws/orders/{1}/", (const char *[]){"orders:row:{1}", NULL});
	load_path(load, "/ws/orders/new", (const char *[]){"fresh", NULL});
	load_path(load, "/ws/pair/{1}/{2}/", (const char *[]){"stock:row:{2},{1}", NULL});
	load_path(load, "/ws/mine/", (const char *[]){"notes:user:{user}", "cards:unit:{unit}", NULL});
	load_path(load, "/ws/both/{1}", (const char *[]){"cards:unit:{unit}", "orders:row:{1}", NULL});
	load_path(load, "/ws/nothing/", (const char *[]){NULL});
	load_path(load, "/ws/missing/{1}", (const char *[]){"orders:row:{2}", NULL});
	load_path(load, "/ws/odd/{3}", (const char *[]){"odd:row:{3}", NULL});
	load_path(load, "/ws/literal/{0}", (const char *[]){NULL});
	ok(load_path(load, "no slash", (const char *[]){"x", NULL}), "a path that no request can match is passed over");
	catalog_load_commit(catalog, load);
	ok(catalog_is_loaded(catalog), "loaded");

	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		size_t len = strlen(requests[i].path);
		char *exact = malloc(len > 0 ? len : 1);
		bool found;

		memcpy(exact, requests[i].path, len);
		*all = '\0';
		found = catalog_match_path(catalog, (struct text){exact, len}, &principal, collect, all);
		is_str(found ? all : NULL, requests[i].channels, "path %s", requests[i].path);
		ok(catalog_has_path(catalog, (struct text){exact, len}) == found, "and has_path agrees");
		free(exact);
	}
	*all = '\0';
	ok(catalog_match_path(catalog, text("/ws/mine"), &unitless, collect, all), "a token without units");
	is_str(all, "notes:user:a%3Ab%2Fc", "has no unit channels");

	longest = malloc(4096);
	memset(longest, 'a', 4096);
	memcpy(longest, "/ws/orders/", 11);
	*all = '\0';
	ok(catalog_match_path(catalog, (struct text){longest, 11 + 1024 - 11}, &principal, collect, all) &&
	       strlen(all) == 1024,
	   "the longest channel there can be");
	*all = '\0';
	ok(catalog_match_path(catalog, (struct text){longest, 11 + 1024 - 10}, &principal, collect, all) && *all == '\0',
	   "a longer one is none");
	ok(!catalog_has_path(catalog, (struct text){longest, 4096}), "a path that is too long");
	for (size_t i = 0; i < 4096; i += 2)
		memcpy(longest + i, "/a", 2);
	ok(!catalog_has_path(catalog, (struct text){longest, 2048}), "a path of too many parts");
	free(longest);
	catalog_free(catalog);
}

/* {unit} of a token with very many units. */
static void count(struct text channel, void *arg)
{
	(void)channel;
	++*(size_t *)arg;
}

static void test_bound(void)
{
	static struct unit_grant many[CATALOG_PATH_CHANNELS_MAX + 5];
	const struct principal member = {.user = user_name, .units = many, .n_units = CATALOG_PATH_CHANNELS_MAX + 5};
	struct catalog *catalog = catalog_new();
	struct catalog_load *load = catalog_load_begin();
	size_t n = 0;

	for (size_t i = 0; i < CATALOG_PATH_CHANNELS_MAX + 5; i++)
		many[i].unit = unit_1;
	load_path(load, "/all", (const char *[]){"a:unit:{unit}", "b:unit:{unit}", NULL});
	catalog_load_commit(catalog, load);
	catalog_match_path(catalog, text("/all"), &member, count, &n);
	is_int(n, CATALOG_PATH_CHANNELS_MAX, "channels of one path are bounded");
	catalog_free(catalog);
}

static void test_feeds(void)
{
	struct catalog *catalog = catalog_new();
	struct catalog_load *load = catalog_load_begin();
	char name[16], role_a[] = "a", role_b[] = "b", *roles[] = {role_a, role_b};
	const struct feed *found;
	bool all = true;

	ok(catalog_feed(catalog, text("f1")) == NULL, "no feed at first");
	for (int i = 0; i < 1000; i++) {
		const struct feed feed = {
			.name = name, .has_unit = i % 2 == 0, .n_key_columns = i, .roles = roles, .n_roles = i % 3};

		sprintf(name, "f%d", i);
		all = catalog_load_feed(load, &feed) && all;
	}
	ok(all, "1000 feeds");
	role_a[0] = 'x';
	sprintf(name, "f1");
	ok(catalog_load_feed(load, &(struct feed){.name = name, .n_key_columns = 77}), "one of them again");
	ok(catalog_feed(catalog, text("f1")) == NULL, "not there before the commit");
	catalog_load_commit(catalog, load);
	for (int i = 0; i < 1000; i++) {
		sprintf(name, "f%d", i);
		found = catalog_feed(catalog, text(name));
		all = all && found != NULL && strcmp(found->name, name) == 0 && found->n_key_columns == i &&
		      found->has_unit == (i % 2 == 0) && found->n_roles == (size_t)i % 3;
	}
	ok(all, "each is found, and the first of a name counts");
	found = catalog_feed(catalog, text("f2"));
	is_str(found->roles[0], "a", "roles were copied");
	is_str(found->roles[1], "b", "all of them");
	ok(catalog_feed(catalog, text("f1000")) == NULL, "another is not");
	ok(catalog_feed(catalog, (struct text){"f1\0", 3}) == NULL, "nor one with a NUL behind");
	ok(catalog_feed(catalog, (struct text){"f1", 0}) == NULL, "nor the empty name");

	load = catalog_load_begin();
	catalog_load_feed(load, &(struct feed){.name = name});
	load_path(load, "/x/{1}", (const char *[]){"x:row:{1}", NULL});
	catalog_load_abort(load);
	ok(catalog_feed(catalog, text("f2")) == found, "an aborted load changes nothing");
	catalog_load_commit(catalog, catalog_load_begin());
	ok(catalog_feed(catalog, text("f2")) == NULL && catalog_is_loaded(catalog), "an empty load leaves no feed");
	catalog_free(catalog);
	catalog_free(NULL);
	catalog_load_abort(NULL);
}

int main(void)
{
	test_paths();
	test_bound();
	test_feeds();
	return tap_done();
}
