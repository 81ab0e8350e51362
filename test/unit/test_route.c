/*
 * test_route.c - route.c and users.c: finding channels, slots that stay true, tables that grow and shrink. Does not test rights.
 */
#include "route.h"

#include <stdlib.h>

#include "session_internal.h"
#include "tap.h"

#define MANY 5000

/* The route never looks into a subscription; these are only addresses. */
static struct subscription subscriptions[MANY];

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static struct channel *add(struct route *route, const char *name, struct subscription *subscription, uint32_t *slot)
{
	struct channel_name parsed;
	if (!channel_parse(name, strlen(name), &parsed))
		return NULL;
	return route_add(route, name, strlen(name), &parsed, subscription, slot);
}

static void test_names(void)
{
	struct route *route = route_new();
	uint32_t slot;
	struct channel *unit = add(route, "orders:unit:north%20wing", &subscriptions[0], &slot);
	struct channel *row = add(route, "stock:row:7,A%2F1", &subscriptions[1], &slot);
	struct channel *feed = add(route, "orders", &subscriptions[2], &slot);
	struct channel *plain = add(route, "orders:row:%2C", &subscriptions[3], &slot);
	is_int(route_channels(route), 4, "four channels");
	ok(route_find(route, text("orders"), SCOPE_UNIT, text("north wing")) == unit, "a unit by its plain value");
	ok(route_find(route, text("stock"), SCOPE_ROW, text("7,A%2F1")) == row, "a composite key as events carry it");
	ok(route_find(route, text("orders"), SCOPE_ROW, text(",")) == plain, "a plain key that is a comma");
	ok(route_find(route, text("orders"), SCOPE_FEED, (struct text){NULL, 0}) == feed, "the whole feed");
	ok(route_find(route, text("orders"), SCOPE_USER, text("north wing")) == NULL, "another scope is another channel");
	ok(route_find(route, text("orders"), SCOPE_UNIT, text("north%20wing")) == NULL, "nor by its encoded value");
	ok(route_find(route, text("order"), SCOPE_UNIT, text("north wing")) == NULL, "nor another feed");
	is_mem(unit->name.bytes, unit->name.len, "orders:unit:north%20wing", 24, "named as the client wrote it");
	ok(route_remove(route, unit, 0) == NULL && route_remove(route, row, 0) == NULL &&
	       route_remove(route, feed, 0) == NULL && route_remove(route, plain, 0) == NULL,
	   "the last ones leave");
	is_int(route_channels(route), 0, "and the channels go");
	route_free(route);
	route_free(NULL);
}

static void test_slots(void)
{
	struct route *route = route_new();
	static uint32_t slots[MANY];
	struct channel *channel = NULL;
	for (int i = 0; i < MANY; i++)
		channel = add(route, "orders:unit:7", &subscriptions[i], &slots[i]);
	is_int(route_channels(route), 1, "one channel");
	is_int(channel->n, MANY, "all in it");
	int wrong = 0;
	for (int i = 0; i < MANY; i++) { /* in an order that is neither first nor last */
		int at = (int)((i * 2654435761u) % MANY);
		while (slots[at] == UINT32_MAX)
			at = (at + 1) % MANY;
		if (channel->subscriptions[slots[at]] != &subscriptions[at])
			wrong++;
		struct subscription *moved = route_remove(route, channel, slots[at]);
		if (moved != NULL)
			slots[moved - subscriptions] = slots[at];
		slots[at] = UINT32_MAX;
	}
	is_int(wrong, 0, "each stood at its slot when it left");
	is_int(route_channels(route), 0, "none left");
	route_free(route);
}

static void count_channel(struct channel *channel, void *arg)
{
	(void)channel;
	++*(int *)arg;
}

static void test_many(void)
{
	struct route *route = route_new();
	static struct channel *channels[MANY];
	uint32_t slot;
	int lost = 0, all = 0, orders = 0;
	char name[32], value[16];
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%s:unit:%d", i % 2 ? "orders" : "cards", i);
		channels[i] = add(route, name, &subscriptions[i], &slot);
	}
	route_each(route, (struct text){NULL, 0}, count_channel, &all);
	route_each(route, text("orders"), count_channel, &orders);
	is_int(all, MANY, "each visits all");
	is_int(orders, MANY / 2, "or those of a feed");
	for (int i = 0; i < MANY; i++) {
		snprintf(value, sizeof(value), "%d", i);
		lost += route_find(route, text(i % 2 ? "orders" : "cards"), SCOPE_UNIT, text(value)) != channels[i];
	}
	is_int(lost, 0, "all are found");
	for (int i = 0; i < MANY - 1; i++)
		route_remove(route, channels[i], 0);
	snprintf(value, sizeof(value), "%d", MANY - 1);
	ok(route_find(route, text("orders"), SCOPE_UNIT, text(value)) == channels[MANY - 1],
	   "the last is found in a table that shrank");
	route_free(route);
}

static void test_users(void)
{
	struct user_counts *counts = user_counts_new();
	is_int(user_counts_add(counts, "42"), 1, "a user's first");
	is_int(user_counts_add(counts, "42"), 2, "and second");
	user_counts_remove(counts, "nobody");
	char user[16];
	int wrong = 0;
	for (int i = 100; i < 3000; i++) {
		snprintf(user, sizeof(user), "%d", i);
		wrong += user_counts_add(counts, user) != 1;
	}
	for (int i = 100; i < 3000; i += 2) {
		snprintf(user, sizeof(user), "%d", i);
		user_counts_remove(counts, user);
	}
	for (int i = 100; i < 3000; i++) {
		snprintf(user, sizeof(user), "%d", i);
		wrong += user_counts_add(counts, user) != (i % 2 ? 2u : 1u);
	}
	is_int(wrong, 0, "thousands come, half go, all are counted right");
	user_counts_remove(counts, "42");
	is_int(user_counts_add(counts, "42"), 2, "one of two had left");
	user_counts_free(counts);
	user_counts_free(NULL);
}

int main(void)
{
	test_names();
	test_slots();
	test_many();
	test_users();
	return tap_done();
}
