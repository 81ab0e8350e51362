/*
 * backoff.c - how long to wait before the next try (backoff.h).
 */
#include "backoff.h"

#define TRIES_MAX 30 /* counted no further: max_ms is reached long before */

uint32_t backoff_next_ms(struct backoff *backoff)
{
	uint64_t ms = (uint64_t)backoff->first_ms << backoff->tries;
	if (ms > backoff->max_ms) {
		ms = backoff->max_ms;
	}
	if (backoff->tries < TRIES_MAX) {
		backoff->tries++;
	}
	backoff->random ^= backoff->random << 13; /* xorshift */
	backoff->random ^= backoff->random >> 7;
	backoff->random ^= backoff->random << 17;
	return (uint32_t)(ms / 2 + backoff->random % (ms / 2 + 1));
}

void backoff_reset(struct backoff *backoff)
{
	backoff->tries = 0;
}
