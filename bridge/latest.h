/*
 * latest.h - which update of a latest_only feed has been replaced by a newer one.
 *
 * Events that say the same of the same row (feed, key, and everything that decides who gets them) share a `struct latest`,
 * which knows the id of the last of them. Frames and replays look there: what is stale need not be sent to anybody, since
 * the newer one goes to the same sessions by the same channels, and stands behind it in every outbox and in the history.
 */
#ifndef LIVEFEED_LATEST_H
#define LIVEFEED_LATEST_H

#include <stdbool.h>
#include <stdint.h>

#include "event.h"

struct latest;
struct latest_map;

/* NULL: out of memory. */
struct latest_map *latest_map_new(void);
/* Events and frames may outlive it. */
void latest_map_free(struct latest_map *map);
/*
 * This is the newest of its kind, in the order of ids. Other than .updated events with a key, and those whose addressees take too
 * many bytes, are never replaced; nor is anything when memory is out.
 */
void latest_note(struct latest_map *map, struct event *event);
size_t latest_map_size(const struct latest_map *map);

struct latest *latest_ref(struct latest *latest);
void latest_unref(struct latest *latest);
/* latest may be NULL. */
bool latest_is_stale(const struct latest *latest, int64_t id);

#endif
