/*
 * latest.c - a hash table of what events of latest_only feeds are about.
 *
 * It holds what some event or frame still refers to, and nothing else: an entry goes with its last reference. So it is bounded by
 * the history and the outboxes, which are. The identity of an event is written out as bytes and compared whole: whoever can
 * choose keys must not be able to hide another row's update behind an equal hash.
 */
#include "latest.h"

#include <stdlib.h>
#include <string.h>

#define LATEST_MIN_BUCKETS 64
#define LATEST_IDENTITY_MAX_BYTES 4096

struct latest {
	struct latest *next; /* in its bucket */
	struct latest_map *map; /* NULL: gone */
	uint64_t hash;
	int64_t id;
	uint32_t refs;
	uint32_t len;
	char identity[];
};

struct latest_map {
	struct latest **buckets; /* a power of two */
	size_t n_buckets, n;
};

struct identity {
	size_t len; /* beyond the bound: there is none */
	char bytes[LATEST_IDENTITY_MAX_BYTES];
};

struct latest_map *latest_map_new(void)
{
	struct latest_map *map = calloc(1, sizeof(*map));
	if (map == NULL)
		return NULL;
	map->n_buckets = LATEST_MIN_BUCKETS;
	map->buckets = calloc(map->n_buckets, sizeof(*map->buckets));
	if (map->buckets == NULL) {
		free(map);
		return NULL;
	}
	return map;
}

void latest_map_free(struct latest_map *map)
{
	if (map == NULL)
		return;
	for (size_t i = 0; i < map->n_buckets; i++)
		for (struct latest *latest = map->buckets[i]; latest != NULL; latest = latest->next)
			latest->map = NULL;
	free(map->buckets);
	free(map);
}

size_t latest_map_size(const struct latest_map *map)
{
	return map->n;
}

/* ---- what an event is about */

static void put(struct identity *identity, const void *bytes, size_t len)
{
	if (identity->len + len <= sizeof(identity->bytes) && len > 0)
		memcpy(identity->bytes + identity->len, bytes, len);
	identity->len += len;
}

/* With its length, so that no two lists of texts look alike. */
static void put_text(struct identity *identity, struct text text)
{
	size_t len = text.bytes != NULL ? text.len : SIZE_MAX;
	put(identity, &len, sizeof(len));
	put(identity, text.bytes, text.len);
}

static void put_users(struct identity *identity, const struct text *users, uint32_t n)
{
	uint32_t count = users != NULL ? n : UINT32_MAX;
	put(identity, &count, sizeof(count));
	for (uint32_t i = 0; users != NULL && i < n && identity->len <= sizeof(identity->bytes); i++)
		put_text(identity, users[i]);
}

static bool identify(const struct event *event, struct identity *identity)
{
	identity->len = 0;
	if (!(event->flags & EVENT_UPDATED) || event->key.bytes == NULL)
		return false;
	put(identity, &event->flags, sizeof(event->flags));
	put_text(identity, event->feed);
	put_text(identity, event->key);
	put_text(identity, event->unit);
	put_text(identity, event->parent_feed);
	put_text(identity, event->parent_key);
	put_users(identity, event->users, event->n_users);
	put_users(identity, event->to_users, event->n_to_users);
	return identity->len <= sizeof(identity->bytes);
}

static uint64_t hash_bytes(const char *bytes, size_t len)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	return hash ^ hash >> 32;
}

/* ---- the table */

/* Out of memory leaves the table as it is: slower, not wrong. */
static void resize(struct latest_map *map, size_t n_buckets)
{
	struct latest **buckets = calloc(n_buckets, sizeof(*buckets));
	if (buckets == NULL)
		return;
	for (size_t i = 0; i < map->n_buckets; i++) {
		struct latest *next;
		for (struct latest *latest = map->buckets[i]; latest != NULL; latest = next) {
			next = latest->next;
			struct latest **bucket = &buckets[latest->hash & (n_buckets - 1)];
			latest->next = *bucket;
			*bucket = latest;
		}
	}
	free(map->buckets);
	map->buckets = buckets;
	map->n_buckets = n_buckets;
}

static struct latest *add(struct latest_map *map, const struct identity *identity, uint64_t hash)
{
	struct latest *latest = malloc(sizeof(*latest) + identity->len);
	if (latest == NULL)
		return NULL;
	if (map->n >= map->n_buckets)
		resize(map, map->n_buckets * 2);
	struct latest **bucket = &map->buckets[hash & (map->n_buckets - 1)];
	*latest = (struct latest){.next = *bucket, .map = map, .hash = hash, .len = (uint32_t)identity->len};
	memcpy(latest->identity, identity->bytes, identity->len);
	*bucket = latest;
	map->n++;
	return latest;
}

void latest_note(struct latest_map *map, struct event *event)
{
	struct identity identity;
	if (event->latest != NULL || !identify(event, &identity))
		return;
	uint64_t hash = hash_bytes(identity.bytes, identity.len);
	struct latest *latest = map->buckets[hash & (map->n_buckets - 1)];
	while (latest != NULL && (latest->hash != hash || latest->len != identity.len ||
	                          memcmp(latest->identity, identity.bytes, identity.len) != 0))
		latest = latest->next;
	if (latest == NULL) {
		latest = add(map, &identity, hash);
		if (latest == NULL)
			return;
		event->size += sizeof(*latest) + identity.len; /* counts where the event does */
	}
	latest->id = event->id;
	event->latest = latest_ref(latest);
}

struct latest *latest_ref(struct latest *latest)
{
	if (latest != NULL)
		latest->refs++;
	return latest;
}

void latest_unref(struct latest *latest)
{
	if (latest == NULL || --latest->refs > 0)
		return;
	struct latest_map *map = latest->map;
	if (map != NULL) {
		struct latest **link = &map->buckets[latest->hash & (map->n_buckets - 1)];
		while (*link != latest)
			link = &(*link)->next;
		*link = latest->next;
		map->n--;
		if (map->n_buckets > LATEST_MIN_BUCKETS && map->n < map->n_buckets / 8)
			resize(map, map->n_buckets / 2);
	}
	free(latest);
}

bool latest_is_stale(const struct latest *latest, int64_t id)
{
	return latest != NULL && latest->id > id;
}
