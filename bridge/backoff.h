/*
 * backoff.h - how long to wait before the next try: doubling from first to max, of that a random half to whole, so
 * that bridges do not come back in step.
 */
#ifndef LIVEFEED_BACKOFF_H
#define LIVEFEED_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint32_t first_ms, max_ms;
	uint32_t tries; /* since the last success */
	uint64_t random; /* any seed but 0 */
};

uint32_t backoff_next_ms(struct backoff *backoff);
void backoff_reset(struct backoff *backoff);

#endif
