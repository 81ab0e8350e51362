/*
 * definitions.c - what livefeed.feeds, livefeed.queries, livefeed.paths, livefeed.keys and the others return, put into the catalog and the keys
 * (definitions.h).
 */
#include "definitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query.h"
#include "rows.h"

#define NAMESPACE_PATH_MAX_BYTES 256

static char *copy(struct text text)
{
	return strndup(text.bytes ? text.bytes : "", text.len);
}

static bool take_feed(struct catalog_load *load, const PGresult *result, int row, struct text **roles, size_t *size)
{
	struct feed feed = {
		.name = copy(rows_text(result, row, 0)),
		.declared = rows_bool(result, row, 1),
		.has_unit = rows_bool(result, row, 2),
		.has_users = rows_bool(result, row, 3),
		.durable = rows_bool(result, row, 4),
		.latest_only = rows_bool(result, row, 5),
		.n_key_columns = rows_int4(result, row, 6),
		.transient_children = rows_bool(result, row, 8),
	};
	size_t n = 0;
	bool ok = feed.name && rows_text_array(rows_text(result, row, 7), roles, size, &n);
	if (ok && n > 0) {
		feed.roles = calloc(n, sizeof *feed.roles);
		ok = feed.roles != NULL;
	}
	while (ok && feed.n_roles < n) {
		struct text role = (*roles)[feed.n_roles];
		feed.any_user = feed.any_user || (role.len == 1 && role.bytes[0] == '*');
		ok = (feed.roles[feed.n_roles] = copy(role)) != NULL;
		feed.n_roles += ok;
	}
	ok = ok && catalog_load_feed(load, &feed);
	for (size_t i = 0; i < feed.n_roles; i++) {
		free(feed.roles[i]);
	}
	free(feed.roles);
	free(feed.name);
	return ok;
}

bool definitions_take_feeds(struct catalog_load *load, const PGresult *result)
{
	struct text *roles = NULL;
	size_t size = 0;
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		ok = take_feed(load, result, row, &roles, &size);
	}
	free(roles);
	return ok;
}

bool definitions_take_queries(struct catalog_load *load, const PGresult *result)
{
	struct text *feeds = NULL, *roles = NULL;
	size_t feeds_size = 0, roles_size = 0;
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		struct query_template query = {
			.name = rows_text(result, row, 0),
			.scope = rows_text(result, row, 1),
			.access_feed = rows_text(result, row, 4),
			.debounce_ms = rows_int8(result, row, 5),
			.refresh_ms = rows_int8(result, row, 6),
			.function = rows_text(result, row, 7),
		};
		ok = rows_text_array(rows_text(result, row, 2), &feeds, &feeds_size, &query.n_feeds) &&
		     rows_text_array(rows_text(result, row, 3), &roles, &roles_size, &query.n_roles);
		query.feeds = feeds;
		query.roles = roles;
		ok = ok && catalog_load_query(load, query_new(&query));
	}
	free(feeds);
	free(roles);
	return ok;
}

bool definitions_take_paths(struct catalog_load *load, const PGresult *result)
{
	struct text *channels = NULL;
	size_t size = 0, n;
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		ok = rows_text_array(rows_text(result, row, 1), &channels, &size, &n) &&
		     catalog_load_path(load, rows_text(result, row, 0), channels, n);
	}
	free(channels);
	return ok;
}

bool definitions_take_namespaces(struct catalog_load *load, const PGresult *result)
{
	char path[NAMESPACE_PATH_MAX_BYTES];
	struct text *channels = NULL;
	size_t size = 0, n;
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		struct text name = rows_text(result, row, 0);
		int len =
			snprintf(path, sizeof path, CATALOG_NAMESPACE_PATH "%.*s", name.len > 1 ? (int)name.len : 0, name.bytes);
		ok = len > 0 && (size_t)len < sizeof path && rows_text_array(rows_text(result, row, 1), &channels, &size, &n) &&
		     catalog_load_path(load, (struct text){path, (size_t)len}, channels, n);
	}
	free(channels);
	return ok;
}

bool definitions_take_event_names(struct catalog_load *load, const PGresult *result)
{
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		ok = catalog_load_event_name(load, rows_text(result, row, 0), rows_text(result, row, 1),
		                             rows_text(result, row, 2));
	}
	return ok;
}

bool definitions_take_commands(struct catalog_load *load, const PGresult *result)
{
	struct text *roles = NULL;
	size_t size = 0, n;
	bool ok = true;
	for (int row = 0; ok && row < PQntuples(result); row++) {
		ok = rows_text_array(rows_text(result, row, 1), &roles, &size, &n) &&
		     catalog_load_command(load, rows_text(result, row, 0), roles, n);
	}
	free(roles);
	return ok;
}

bool definitions_take_keys(struct access *access, const PGresult *result)
{
	int n = PQntuples(result);
	struct access_own_key *keys = calloc((size_t)n + 1, sizeof *keys);
	if (!keys) {
		return false;
	}
	for (int row = 0; row < n; row++) {
		keys[row].kid = rows_text(result, row, 0);
		keys[row].secret = rows_text(result, row, 1);
	}
	bool ok = access_set_own_keys(access, keys, (size_t)n);
	free(keys);
	return ok;
}

void definitions_take_revocations(struct hub *hub, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++) {
		hub_take_revocation(hub, rows_text(result, row, 0), rows_text(result, row, 1), rows_text(result, row, 2),
		                    rows_int8(result, row, 3));
	}
}
