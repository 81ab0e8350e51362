/*
 * user_rates.c - a token bucket by user (user_rates.h): a table of fixed size, by the user's 64-bit hash.
 *
 * A bucket that is full again says nothing, and its place may be another's. Where all places for a user are taken, the fullest
 * bucket gives way: whoever had it may do a little more than he should, nobody less.
 */
#include <stdlib.h>

#include "session_internal.h"
#include "user_rates.h"

#define SLOTS 16384 /* a power of two */
#define PROBES 8
#define UNIT 1000 /* one of what is counted, in units of credit */

struct bucket {
	uint64_t hash;
	int64_t credit, at_ms;
	bool used;
};

struct user_rates {
	struct bucket slots[SLOTS];
};

struct user_rates *user_rates_new(void)
{
	return calloc(1, sizeof(struct user_rates));
}

void user_rates_free(struct user_rates *rates)
{
	free(rates);
}

static int64_t credit_now(const struct bucket *bucket, int64_t now_ms, int64_t per_s, int64_t burst)
{
	int64_t passed_ms = now_ms - bucket->at_ms, full = burst * UNIT;
	if (!bucket->used || passed_ms >= full)
		return full;
	int64_t credit = bucket->credit + (passed_ms > 0 ? passed_ms * per_s : 0);
	return credit < full ? credit : full;
}

bool user_rates_take(struct user_rates *rates, const char *user, int64_t now_ms, int64_t per_s, int64_t burst)
{
	uint64_t hash = channel_hash(text_of(""), SCOPE_USER, text_of(user));
	struct bucket *found = NULL;
	int64_t most = -1;
	if (per_s <= 0)
		return true;
	for (size_t i = 0; i < PROBES; i++) {
		struct bucket *bucket = &rates->slots[(hash + i) % SLOTS];
		int64_t credit = credit_now(bucket, now_ms, per_s, burst);
		if (bucket->used && bucket->hash == hash) {
			found = bucket;
			break;
		}
		if (credit > most) {
			found = bucket;
			most = credit;
		}
	}
	if (!found->used || found->hash != hash)
		*found = (struct bucket){.hash = hash, .credit = burst * UNIT, .at_ms = now_ms, .used = true};
	found->credit = credit_now(found, now_ms, per_s, burst);
	found->at_ms = now_ms;
	if (found->credit < UNIT)
		return false;
	found->credit -= UNIT;
	return true;
}
