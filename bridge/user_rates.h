/*
 * user_rates.h - how often each user may do something that has no session of its own to count it in: a token bucket by user.
 */
#ifndef LIVEFEED_USER_RATES_H
#define LIVEFEED_USER_RATES_H

#include <stdbool.h>
#include <stdint.h>

struct user_rates;
struct user_rates *user_rates_new(void);
void user_rates_free(struct user_rates *rates);
/* One more of that user; false: that is too many. per_s 0: any number. */
bool user_rates_take(struct user_rates *rates, const char *user, int64_t now_ms, int64_t per_s, int64_t burst);

#endif
