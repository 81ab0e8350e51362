/*
 * users.h - how many there are of each: sessions of a user, connections of an address. Counts by name; see users.c for
 * what it keeps of that.
 */
#ifndef LIVEFEED_USERS_H
#define LIVEFEED_USERS_H

#include <stdint.h>

struct user_counts;
struct user_counts *user_counts_new(void);
void user_counts_free(struct user_counts *counts);
/* One more; returns how many there are now, 0: out of memory. */
uint32_t user_counts_add(struct user_counts *counts, const char *user);
void user_counts_remove(struct user_counts *counts, const char *user);

#endif
