/*
 * revoke.c - revocations in a hash table (revoke.h): one entry for each user, sid and kind.
 *
 * Entries hold the names themselves, not only their hashes: a user who could choose a name of another's hash would end
 * the other's sessions by logging out.
 */
#include "revoke.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

#define BUCKETS_MIN 64
#define ONLY_WITHOUT_IAT (-1) /* as livefeed.revocation has it: tokens with a sid and without iat */
#define NO_FLOOR INT64_MIN

struct entry {
	struct entry *next; /* in the bucket */
	uint64_t hash;
	int64_t before_s;
	enum revocation kind;
	size_t user_len, sid_len; /* sid_len 0: all of the user's tokens */
	char names[]; /* user, sid */
};

struct revoke {
	struct entry **buckets;
	size_t n_buckets; /* a power of two */
	size_t n, bytes, max_bytes;
	int64_t floor_s[REVOCATIONS];
};

struct revoke *revoke_new(size_t max_bytes)
{
	struct revoke *revoke = calloc(1, sizeof(*revoke));
	if (revoke == NULL)
		return NULL;
	revoke->n_buckets = BUCKETS_MIN;
	revoke->buckets = calloc(revoke->n_buckets, sizeof(struct entry *));
	if (revoke->buckets == NULL) {
		free(revoke);
		return NULL;
	}
	revoke->max_bytes = max_bytes;
	for (size_t kind = 0; kind < REVOCATIONS; kind++)
		revoke->floor_s[kind] = NO_FLOOR;
	return revoke;
}

void revoke_free(struct revoke *revoke)
{
	if (revoke == NULL)
		return;
	for (size_t i = 0; i < revoke->n_buckets; i++) {
		while (revoke->buckets[i] != NULL) {
			struct entry *entry = revoke->buckets[i];
			revoke->buckets[i] = entry->next;
			free(entry);
		}
	}
	free(revoke->buckets);
	free(revoke);
}

size_t revoke_count(const struct revoke *revoke)
{
	return revoke->n;
}

static void mix(uint64_t *hash, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	*hash = (*hash ^ 0xff) * UINT64_C(1099511628211); /* a byte that UTF-8 does not have ends a name */
}

static uint64_t hash_of(enum revocation kind, struct text user, struct text sid)
{
	uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)kind;
	mix(&hash, user.bytes, user.len);
	mix(&hash, sid.bytes, sid.len);
	return hash ^ hash >> 32;
}

static struct entry *find(const struct revoke *revoke, uint64_t hash, enum revocation kind, struct text user,
                          struct text sid)
{
	struct entry *entry = revoke->buckets[hash & (revoke->n_buckets - 1)];
	for (; entry != NULL; entry = entry->next)
		if (entry->hash == hash && entry->kind == kind && entry->user_len == user.len && entry->sid_len == sid.len &&
		    memcmp(entry->names, user.bytes, user.len) == 0 &&
		    (sid.len == 0 || memcmp(entry->names + user.len, sid.bytes, sid.len) == 0))
			return entry;
	return NULL;
}

/* Without memory for more buckets the chains grow longer, and that is all. */
static void grow(struct revoke *revoke)
{
	size_t n_buckets = revoke->n_buckets * 2;
	struct entry **buckets = calloc(n_buckets, sizeof(struct entry *));
	if (buckets == NULL)
		return;
	for (size_t i = 0; i < revoke->n_buckets; i++) {
		while (revoke->buckets[i] != NULL) {
			struct entry *entry = revoke->buckets[i];
			revoke->buckets[i] = entry->next;
			entry->next = buckets[entry->hash & (n_buckets - 1)];
			buckets[entry->hash & (n_buckets - 1)] = entry;
		}
	}
	free(revoke->buckets);
	revoke->buckets = buckets;
	revoke->n_buckets = n_buckets;
}

static size_t size_of(size_t user_len, size_t sid_len)
{
	return sizeof(struct entry) + sizeof(struct entry *) + user_len + sid_len;
}

bool revoke_add(struct revoke *revoke, enum revocation kind, struct text user, struct text sid, int64_t before_s)
{
	uint64_t hash = hash_of(kind, user, sid);
	struct entry *entry = find(revoke, hash, kind, user, sid);
	size_t size = size_of(user.len, sid.len);
	if (entry != NULL) {
		entry->before_s = before_s > entry->before_s ? before_s : entry->before_s;
		return true;
	}
	if (before_s <= revoke->floor_s[kind])
		return true; /* said already, to everybody */
	if (revoke->bytes + size <= revoke->max_bytes)
		entry = malloc(sizeof(*entry) + user.len + sid.len);
	if (entry == NULL) {
		revoke->floor_s[kind] = before_s;
		return false;
	}
	if (revoke->n >= revoke->n_buckets)
		grow(revoke);
	*entry = (struct entry){revoke->buckets[hash & (revoke->n_buckets - 1)], hash, before_s, kind, user.len, sid.len};
	memcpy(entry->names, user.bytes, user.len);
	if (sid.len > 0)
		memcpy(entry->names + user.len, sid.bytes, sid.len);
	revoke->buckets[hash & (revoke->n_buckets - 1)] = entry;
	revoke->n++;
	revoke->bytes += size;
	return true;
}

/* What is left of an old login session's end concerns tokens with a sid alone: no other was ever refused for it. */
static bool is_older(int64_t iat_s, int64_t before_s, bool has_sid)
{
	return iat_s <= before_s && (before_s != ONLY_WITHOUT_IAT || has_sid);
}

/* Is there an entry for that user and sid (all: for all of the user's tokens) that refuses the token? */
static bool refuses(const struct revoke *revoke, enum revocation kind, struct text user, struct text sid, int64_t iat_s,
                    bool has_sid)
{
	const struct entry *entry = find(revoke, hash_of(kind, user, sid), kind, user, sid);
	return entry != NULL && is_older(iat_s, entry->before_s, has_sid);
}

enum revocation revoke_find(const struct revoke *revoke, const char *user, const char *sid, int64_t iat_s,
                            bool authorized)
{
	const struct text all = {NULL, 0};
	bool has_sid = sid != NULL && sid[0] != '\0';
	if (is_older(iat_s, revoke->floor_s[REVOCATION_DISCONNECT], has_sid) ||
	    refuses(revoke, REVOCATION_DISCONNECT, text_of(user), all, iat_s, has_sid) ||
	    (has_sid && refuses(revoke, REVOCATION_DISCONNECT, text_of(user), text_of(sid), iat_s, true)))
		return REVOCATION_DISCONNECT;
	if (!authorized && (is_older(iat_s, revoke->floor_s[REVOCATION_REAUTHORIZE], has_sid) ||
	                    refuses(revoke, REVOCATION_REAUTHORIZE, text_of(user), all, iat_s, has_sid)))
		return REVOCATION_REAUTHORIZE;
	return REVOCATION_NONE;
}

void revoke_age(struct revoke *revoke, int64_t before_s)
{
	struct entry *gone = NULL;
	for (size_t i = 0; i < revoke->n_buckets; i++) {
		struct entry **link = &revoke->buckets[i];
		while (*link != NULL) {
			struct entry *entry = *link;
			if (entry->sid_len == 0 || entry->before_s > before_s) {
				link = &entry->next;
				continue;
			}
			*link = entry->next;
			entry->next = gone;
			gone = entry;
		}
	}
	/* Only now: to add may move the buckets. */
	while (gone != NULL) {
		struct entry *entry = gone;
		struct text user = {entry->names, entry->user_len}, all = {NULL, 0};
		gone = entry->next;
		revoke->n--;
		revoke->bytes -= size_of(entry->user_len, entry->sid_len);
		(void)revoke_add(revoke, entry->kind, user, all, ONLY_WITHOUT_IAT); /* the floor says the same at worst */
		free(entry);
	}
}
