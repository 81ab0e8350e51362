/*
 * users.c - how many sessions each user has: a hash table of counts. It keeps a user's 64-bit hash and not
 * the name; two users that share one share a limit, and that is all.
 */
#include <stdlib.h>

#include "session_internal.h"

#define USERS_MIN_SLOTS 64

struct user_count {
	uint64_t hash;
	uint32_t n; /* 0: free */
};

struct user_counts {
	struct user_count *slots; /* linear probing, at most half full */
	size_t n_slots, n_used;
};

struct user_counts *user_counts_new(void)
{
	struct user_counts *counts = calloc(1, sizeof(*counts));
	if (counts == NULL)
		return NULL;
	counts->n_slots = USERS_MIN_SLOTS;
	counts->slots = calloc(counts->n_slots, sizeof(*counts->slots));
	if (counts->slots == NULL) {
		free(counts);
		return NULL;
	}
	return counts;
}

void user_counts_free(struct user_counts *counts)
{
	if (counts == NULL)
		return;
	free(counts->slots);
	free(counts);
}

static uint64_t user_hash(const char *user)
{
	return channel_hash(text_of(""), SCOPE_USER, text_of(user));
}

/* Where this hash stands, or the free slot where it would. */
static size_t probe(const struct user_counts *counts, uint64_t hash)
{
	size_t i = hash & (counts->n_slots - 1);
	while (counts->slots[i].n > 0 && counts->slots[i].hash != hash)
		i = (i + 1) & (counts->n_slots - 1);
	return i;
}

static bool rehash(struct user_counts *counts, size_t n_slots)
{
	struct user_counts larger = {calloc(n_slots, sizeof(*larger.slots)), n_slots, counts->n_used};
	if (larger.slots == NULL)
		return false;
	for (size_t i = 0; i < counts->n_slots; i++)
		if (counts->slots[i].n > 0)
			larger.slots[probe(&larger, counts->slots[i].hash)] = counts->slots[i];
	free(counts->slots);
	*counts = larger;
	return true;
}

uint32_t user_counts_add(struct user_counts *counts, const char *user)
{
	uint64_t hash = user_hash(user);
	size_t i = probe(counts, hash);
	if (counts->slots[i].n == 0) {
		if ((counts->n_used + 1) * 2 > counts->n_slots) {
			if (!rehash(counts, counts->n_slots * 2))
				return 0;
			i = probe(counts, hash);
		}
		counts->slots[i].hash = hash;
		counts->n_used++;
	}
	return ++counts->slots[i].n;
}

void user_counts_remove(struct user_counts *counts, const char *user)
{
	size_t mask = counts->n_slots - 1;
	size_t hole = probe(counts, user_hash(user));
	if (counts->slots[hole].n == 0 || --counts->slots[hole].n > 0)
		return;
	counts->n_used--;
	/* Moves up what the hole would cut off from where its probing begins. */
	for (size_t i = (hole + 1) & mask; counts->slots[i].n > 0; i = (i + 1) & mask) {
		size_t home = counts->slots[i].hash & mask;
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		counts->slots[hole] = counts->slots[i];
		counts->slots[i].n = 0;
		hole = i;
	}
}
