/*
 * seen.c - pg_snapshot as text, read and asked (seen.h).
 */
#include "seen.h"

#include <stdlib.h>

/* A number at *at, which moves behind it. False: none there, or too large. */
static bool read_xid(const char **at, const char *end, uint64_t *xid)
{
	const char *begin = *at;
	*xid = 0;
	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
		if (__builtin_mul_overflow(*xid, 10, xid) || __builtin_add_overflow(*xid, (uint64_t)(**at - '0'), xid))
			return false;
	return *at > begin;
}

static bool read_colon(const char **at, const char *end)
{
	if (*at == end || **at != ':')
		return false;
	(*at)++;
	return true;
}

/* The list of those that were running, from at to end. False: none, or not in order. */
static bool read_running(struct seen *seen, const char *at, const char *end)
{
	if (at == end)
		return true;
	for (;;) {
		uint64_t xid;
		if (!read_xid(&at, end, &xid) || (seen->n_running > 0 && xid <= seen->running[seen->n_running - 1]))
			return false;
		seen->running[seen->n_running++] = xid;
		if (at == end)
			return true;
		if (*at++ != ',')
			return false;
	}
}

struct seen *seen_new(struct text text, int64_t tick)
{
	uint64_t xmin, xmax;
	if (text.bytes == NULL)
		return NULL;
	const char *at = text.bytes, *end = at + text.len;
	if (!read_xid(&at, end, &xmin) || !read_colon(&at, end) || !read_xid(&at, end, &xmax) || !read_colon(&at, end))
		return NULL;
	size_t n = at < end;
	for (const char *comma = at; comma < end; comma++)
		n += *comma == ',';
	struct seen *seen = n <= SEEN_RUNNING_MAX ? calloc(1, sizeof(*seen) + n * sizeof(seen->running[0])) : NULL;
	if (seen == NULL)
		return NULL;
	seen->refs = 1;
	seen->tick = tick;
	seen->xmin = xmin;
	seen->xmax = xmax;
	if (!read_running(seen, at, end)) {
		free(seen);
		return NULL;
	}
	return seen;
}

struct seen *seen_ref(struct seen *seen)
{
	seen->refs++;
	return seen;
}

void seen_unref(struct seen *seen)
{
	if (seen != NULL && --seen->refs == 0)
		free(seen);
}

bool seen_is_past(const struct seen *seen, int64_t tick)
{
	return tick > seen->tick + SEEN_TICKS;
}

static bool is_running(const struct seen *seen, uint64_t xid)
{
	size_t low = 0, high = seen->n_running;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (seen->running[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < seen->n_running && seen->running[low] == xid;
}

bool seen_holds(const struct seen *seen, int64_t tick, uint64_t xid)
{
	if (tick <= seen->tick)
		return true;
	if (seen_is_past(seen, tick) || xid >= seen->xmax)
		return false;
	return xid < seen->xmin || !is_running(seen, xid);
}
