/*
 * query.c - the definition of an exposed query (query.h).
 */
#include "query.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

#define DEBOUNCE_MAX_MS 86400000
#define REFRESH_MIN_MS 100

uint64_t query_feed_hash(struct text feed)
{
	return channel_hash(feed, SCOPE_FEED, (struct text){NULL, 0});
}

static char **copy_list(const struct text *items, size_t n)
{
	char **list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list != NULL && i < n; i++) {
		list[i] = strndup(items[i].bytes, items[i].len);
		if (list[i] == NULL) {
			while (i-- > 0)
				free(list[i]);
			free(list);
			return NULL;
		}
	}
	return list;
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; list != NULL && i < n; i++)
		free(list[i]);
	free(list);
}

static bool scope_of(struct text word, enum scope *scope)
{
	static const struct {
		const char *word;
		enum scope scope;
	} scopes[] = {{"unit", SCOPE_UNIT}, {"user", SCOPE_USER}, {"row", SCOPE_ROW}, {"all", SCOPE_FEED}};
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++)
		if (text_equal(word, text_of(scopes[i].word))) {
			*scope = scopes[i].scope;
			return true;
		}
	return false;
}

static bool copy_text(char **to, struct text from)
{
	*to = from.bytes != NULL ? strndup(from.bytes, from.len) : NULL;
	return from.bytes == NULL || *to != NULL;
}

struct query *query_new(const struct query_template *from)
{
	struct query *query = calloc(1, sizeof(*query));
	if (query == NULL)
		return NULL;
	query->refs = 1;
	query->feeds = copy_list(from->feeds, from->n_feeds);
	query->n_feeds = query->feeds != NULL ? from->n_feeds : 0;
	query->feed_hashes = calloc(from->n_feeds + 1, sizeof(*query->feed_hashes));
	query->rules.roles = copy_list(from->roles, from->n_roles);
	query->rules.n_roles = query->rules.roles != NULL ? from->n_roles : 0;
	if (!scope_of(from->scope, &query->scope) || !copy_text(&query->name, from->name) || query->name == NULL ||
	    !copy_text(&query->access_feed, from->access_feed) || !copy_text(&query->function, from->function) ||
	    query->feeds == NULL || query->feed_hashes == NULL || query->rules.roles == NULL) {
		query_unref(query);
		return NULL;
	}
	for (size_t i = 0; i < query->n_feeds; i++)
		query->feed_hashes[i] = query_feed_hash(from->feeds[i]);
	query->debounce_ms = from->debounce_ms < 0 ? 0 : from->debounce_ms;
	if (query->debounce_ms > DEBOUNCE_MAX_MS)
		query->debounce_ms = DEBOUNCE_MAX_MS;
	query->refresh_ms = from->refresh_ms;
	if (query->refresh_ms > 0 && query->refresh_ms < REFRESH_MIN_MS)
		query->refresh_ms = REFRESH_MIN_MS;
	query->rules.name = query->name;
	query->rules.query = query;
	query->rules.has_unit = query->scope == SCOPE_UNIT;
	query->rules.has_users = query->scope == SCOPE_USER;
	query->rules.any_user = query->scope == SCOPE_FEED && query->rules.n_roles == 0;
	return query;
}

struct query *query_ref(struct query *query)
{
	query->refs++;
	return query;
}

void query_unref(struct query *query)
{
	if (query == NULL || --query->refs > 0)
		return;
	free_list(query->feeds, query->n_feeds);
	free_list(query->rules.roles, query->rules.n_roles);
	free(query->feed_hashes);
	free(query->name);
	free(query->access_feed);
	free(query->function);
	free(query);
}

bool query_reads(const struct query *query, struct text feed, uint64_t hash)
{
	for (size_t i = 0; i < query->n_feeds; i++)
		if (query->feed_hashes[i] == hash && text_equal(text_of(query->feeds[i]), feed))
			return true;
	return false;
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool query_same(const struct query *a, const struct query *b)
{
	if (a->scope != b->scope || a->n_feeds != b->n_feeds || !same_text(a->function, b->function) ||
	    !same_text(a->access_feed, b->access_feed))
		return false;
	for (size_t i = 0; i < a->n_feeds; i++)
		if (strcmp(a->feeds[i], b->feeds[i]) != 0)
			return false;
	return true;
}

bool rules_have(const struct feed *rules, const struct channel_name *name)
{
	if (rules->query != NULL && rules->query->scope != name->scope)
		return false;
	return name->scope != SCOPE_ROW || channel_key_columns(name->value) == (size_t)rules->n_key_columns;
}
