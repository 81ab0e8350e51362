/*
 * user_index.h - what belongs to a user: a hash table of links that stand in the things themselves. Plain C without I/O.
 */
#ifndef LIVEFEED_USER_INDEX_H
#define LIVEFEED_USER_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct user_link { /* zeroed at first */
	struct user_link *prev, *next; /* in the bucket */
	const char *user; /* owned by the thing, for as long as it is linked; NULL: not linked */
	void *owner;
	uint64_t hash;
};

struct user_index;

struct user_index *user_index_new(void);
void user_index_free(struct user_index *index); /* what is linked still is left alone */
void user_index_add(struct user_index *index, struct user_link *link, const char *user, void *owner);
/* Nothing if it is not linked. */
void user_index_remove(struct user_index *index, struct user_link *link);
/* All links of this user: the first, and the one after; NULL: no more. Between the two calls only `link` itself may be removed, after next was asked for. */
struct user_link *user_index_first(const struct user_index *index, const char *user);
struct user_link *user_index_next(const struct user_link *link);

#endif
