/*
 * route.c - a hash table of channels, chained, its size a power of two that follows the number of channels.
 *
 * A channel is one allocation with its name and, where that differs, its plain value; while it has a single subscription (every
 * user's own channel) that needs no array of its own.
 */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

#define ROUTE_MIN_BUCKETS 64

struct route {
	struct channel **buckets;
	size_t n_buckets, n_channels;
};

struct route *route_new(void)
{
	struct route *route = calloc(1, sizeof(*route));
	if (route == NULL)
		return NULL;
	route->n_buckets = ROUTE_MIN_BUCKETS;
	route->buckets = calloc(route->n_buckets, sizeof(*route->buckets));
	if (route->buckets == NULL) {
		free(route);
		return NULL;
	}
	return route;
}

static void channel_free(struct channel *channel)
{
	if (channel->subscriptions != &channel->only)
		free(channel->subscriptions);
	free(channel);
}

void route_free(struct route *route)
{
	if (route == NULL)
		return;
	for (size_t i = 0; i < route->n_buckets; i++) {
		struct channel *next;
		for (struct channel *channel = route->buckets[i]; channel != NULL; channel = next) {
			next = channel->next;
			channel_free(channel);
		}
	}
	free(route->buckets);
	free(route);
}

/* Out of memory leaves the table as it is: slower, not wrong. */
static void resize(struct route *route, size_t n_buckets)
{
	struct channel **buckets = calloc(n_buckets, sizeof(*buckets));
	if (buckets == NULL)
		return;
	for (size_t i = 0; i < route->n_buckets; i++) {
		struct channel *next;
		for (struct channel *channel = route->buckets[i]; channel != NULL; channel = next) {
			next = channel->next;
			struct channel **bucket = &buckets[channel->hash & (n_buckets - 1)];
			channel->next = *bucket;
			*bucket = channel;
		}
	}
	free(route->buckets);
	route->buckets = buckets;
	route->n_buckets = n_buckets;
}

static struct channel *find(const struct route *route, uint64_t hash, struct text feed, enum scope scope,
                            struct text value)
{
	struct channel *channel = route->buckets[hash & (route->n_buckets - 1)];
	for (; channel != NULL; channel = channel->next)
		if (channel->hash == hash && channel->scope == scope && text_equal(channel->feed, feed) &&
		    (scope == SCOPE_FEED || text_equal(channel->value, value)))
			return channel;
	return NULL;
}

struct channel *route_find(const struct route *route, struct text feed, enum scope scope, struct text value)
{
	return find(route, channel_hash(feed, scope, value), feed, scope, value);
}

static size_t plain_value(const struct channel_name *parsed, char *buf)
{
	switch (parsed->scope) {
	case SCOPE_UNIT:
	case SCOPE_USER:
		return channel_decode(parsed->value, buf);
	case SCOPE_ROW:
		return channel_key(parsed->value, buf);
	case SCOPE_FEED:
		break;
	}
	return 0;
}

static struct channel *channel_new(const char *name, size_t len, const struct channel_name *parsed, struct text value,
                                   uint64_t hash)
{
	bool plain = value.len == parsed->value.len; /* decoding only ever shortens */
	struct channel *channel = calloc(1, sizeof(*channel) + len + (plain ? 0 : value.len));
	if (channel == NULL)
		return NULL;
	char *bytes = (char *)(channel + 1);
	memcpy(bytes, name, len);
	channel->name = (struct text){bytes, len};
	channel->feed = (struct text){bytes, parsed->feed.len};
	channel->scope = parsed->scope;
	channel->hash = hash;
	if (parsed->scope != SCOPE_FEED) {
		channel->value = (struct text){plain ? bytes + len - value.len : bytes + len, value.len};
		if (!plain)
			memcpy(bytes + len, value.bytes, value.len);
	}
	channel->subscriptions = &channel->only;
	channel->capacity = 1;
	return channel;
}

static bool channel_resize(struct channel *channel, uint32_t capacity)
{
	struct subscription **array;
	if (channel->subscriptions == &channel->only) {
		array = malloc(capacity * sizeof(*array));
		if (array != NULL)
			array[0] = channel->only;
	} else {
		array = realloc(channel->subscriptions, capacity * sizeof(*array));
	}
	if (array == NULL)
		return false;
	channel->subscriptions = array;
	channel->capacity = capacity;
	return true;
}

struct channel *route_add(struct route *route, const char *name, size_t len, const struct channel_name *parsed,
                          struct subscription *subscription, uint32_t *slot)
{
	char buf[CHANNEL_NAME_MAX_BYTES];
	if (len > sizeof(buf))
		return NULL;
	struct text value = {buf, plain_value(parsed, buf)};
	uint64_t hash = channel_hash(parsed->feed, parsed->scope, value);
	struct channel *channel = find(route, hash, parsed->feed, parsed->scope, value);
	if (channel == NULL) {
		channel = channel_new(name, len, parsed, value, hash);
		if (channel == NULL)
			return NULL;
		if (route->n_channels >= route->n_buckets)
			resize(route, route->n_buckets * 2);
		struct channel **bucket = &route->buckets[hash & (route->n_buckets - 1)];
		channel->next = *bucket;
		*bucket = channel;
		route->n_channels++;
	} else if (channel->n == channel->capacity && !channel_resize(channel, channel->capacity * 2)) {
		return NULL;
	}
	*slot = channel->n;
	channel->subscriptions[channel->n++] = subscription;
	return channel;
}

static void drop_channel(struct route *route, struct channel *channel)
{
	struct channel **link = &route->buckets[channel->hash & (route->n_buckets - 1)];
	while (*link != channel)
		link = &(*link)->next;
	*link = channel->next;
	channel_free(channel);
	route->n_channels--;
	if (route->n_buckets > ROUTE_MIN_BUCKETS && route->n_channels < route->n_buckets / 8)
		resize(route, route->n_buckets / 2);
}

struct subscription *route_remove(struct route *route, struct channel *channel, uint32_t slot)
{
	struct subscription *moved = NULL;
	channel->n--;
	if (slot < channel->n) {
		moved = channel->subscriptions[channel->n];
		channel->subscriptions[slot] = moved;
	}
	if (channel->n == 0)
		drop_channel(route, channel);
	else if (channel->capacity > 8 && channel->n < channel->capacity / 4)
		(void)channel_resize(channel, channel->capacity / 2); /* fails: stays as large as it is */
	return moved;
}

void route_each(const struct route *route, struct text feed, void (*each)(struct channel *channel, void *arg),
                void *arg)
{
	for (size_t i = 0; i < route->n_buckets; i++)
		for (struct channel *channel = route->buckets[i]; channel != NULL; channel = channel->next)
			if (feed.bytes == NULL || text_equal(channel->feed, feed))
				each(channel, arg);
}

size_t route_channels(const struct route *route)
{
	return route->n_channels;
}
