/*
 * user_index.c - a chained hash table by user (user_index.h). It never fails to take a link: without memory for more
 * buckets its chains grow longer.
 */
#include "user_index.h"

#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "text.h"

#define BUCKETS_MIN 64

struct user_index {
	struct user_link **buckets;
	size_t n_buckets, n; /* a power of two */
};

struct user_index *user_index_new(void)
{
	struct user_index *index = calloc(1, sizeof(*index));
	if (index == NULL)
		return NULL;
	index->n_buckets = BUCKETS_MIN;
	index->buckets = calloc(index->n_buckets, sizeof(struct user_link *));
	if (index->buckets == NULL) {
		free(index);
		return NULL;
	}
	return index;
}

void user_index_free(struct user_index *index)
{
	if (index == NULL)
		return;
	free(index->buckets);
	free(index);
}

static uint64_t hash_of(const char *user)
{
	return channel_hash(text_of(""), SCOPE_USER, text_of(user));
}

static void put(struct user_link **bucket, struct user_link *link)
{
	link->prev = NULL;
	link->next = *bucket;
	if (*bucket != NULL)
		(*bucket)->prev = link;
	*bucket = link;
}

static void grow(struct user_index *index)
{
	size_t n_buckets = index->n_buckets * 2;
	struct user_link **buckets = calloc(n_buckets, sizeof(struct user_link *));
	if (buckets == NULL)
		return;
	for (size_t i = 0; i < index->n_buckets; i++) {
		while (index->buckets[i] != NULL) {
			struct user_link *link = index->buckets[i];
			index->buckets[i] = link->next;
			put(&buckets[link->hash & (n_buckets - 1)], link);
		}
	}
	free(index->buckets);
	index->buckets = buckets;
	index->n_buckets = n_buckets;
}

void user_index_add(struct user_index *index, struct user_link *link, const char *user, void *owner)
{
	if (index->n >= index->n_buckets)
		grow(index);
	link->user = user;
	link->owner = owner;
	link->hash = hash_of(user);
	put(&index->buckets[link->hash & (index->n_buckets - 1)], link);
	index->n++;
}

void user_index_remove(struct user_index *index, struct user_link *link)
{
	if (link->user == NULL)
		return;
	if (link->prev != NULL)
		link->prev->next = link->next;
	else
		index->buckets[link->hash & (index->n_buckets - 1)] = link->next;
	if (link->next != NULL)
		link->next->prev = link->prev;
	*link = (struct user_link){0};
	index->n--;
}

static struct user_link *match(struct user_link *link, uint64_t hash, const char *user)
{
	while (link != NULL && (link->hash != hash || strcmp(link->user, user) != 0))
		link = link->next;
	return link;
}

struct user_link *user_index_first(const struct user_index *index, const char *user)
{
	uint64_t hash = hash_of(user);
	return match(index->buckets[hash & (index->n_buckets - 1)], hash, user);
}

struct user_link *user_index_next(const struct user_link *link)
{
	return match(link->next, link->hash, link->user);
}
