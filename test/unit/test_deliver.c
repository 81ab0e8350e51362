/*
 * test_deliver.c - deliver.c: each event to exactly those who may have it, one frame a set of channels. Does not test resume.
 */
#include "hub_fixture.h"

static void row_found(const char *feed, const char *key, const char *unit, const char *user)
{
	world.rows[world.n_rows++] = (struct row){feed, key, ROW_FOUND, unit, user};
}

static void test_one_channel(void)
{
	struct client a, b, c;
	struct frame *first, *second;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[7]");
	enter(&c, "44", "\"units\":[9]");
	subscribe(&a, "requests:unit:7");
	subscribe(&b, "requests:unit:7");
	subscribe(&c, "requests:unit:9");
	skip(&a), skip(&b), skip(&c);
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("1"));
	is_int(session_output(a.session, &first, 1), 1, "one frame");
	is_int(session_output(b.session, &second, 1), 1, "for each");
	ok(first == second, "the same bytes");
	is_int(first->refs, 2, "held by both and nobody else");
	is_str(next(&a), FRAME(101, "\"requests:unit:7\""), "with id and channel");
	ok(next(&c) == NULL, "another unit gets nothing");

	emit(.id = 102, .flags = EVENT_TO_ROW | EVENT_TO_FEED, .feed = text("requests"), .unit = text("7"));
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("requests"));
	emit(.id = 104, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"));
	emit(.id = 105, .flags = USUAL_FLAGS, .feed = text("nothing"), .unit = text("7"));
	emit(.id = 105, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"));
	ok(next(&a) == NULL, "flags, NULL units, other feeds, ids that were there: nothing");
	is_int(metrics.events_read, 5, "events are counted, doubles are not");
	world_end();
}

static void test_sets(void)
{
	struct client a, b, c, d, e;
	struct frame *of_a, *of_b, *of_c;
	world_begin(1 << 20);
	row_found("orders", "5", "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[7]");
	enter(&c, "42", "\"units\":[7]");
	enter(&d, "1", "\"roles\":[\"admin\"]");
	enter(&e, "43", "");
	subscribe(&a, "orders:row:5"), subscribe(&a, "orders:unit:7"), subscribe(&a, "orders:user:42");
	subscribe(&b, "orders:unit:7");
	subscribe(&c, "orders:user:42"), subscribe(&c, "orders:unit:7"), subscribe(&c, "orders:row:5");
	subscribe(&d, "orders"), subscribe(&d, "orders:row:5"), subscribe(&d, "orders:unit:7");
	subscribe(&e, "orders:user:43");
	is_int(skip(&a) + skip(&b) + skip(&c) + skip(&d) + skip(&e), 11, "subscribed");

	struct text users[] = {text("50"), text("42"), text("42"), text("43")};
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5"), .users = users,
	     .n_users = 4);
	session_output(a.session, &of_a, 1);
	session_output(b.session, &of_b, 1);
	session_output(c.session, &of_c, 1);
	ok(of_a == of_c && of_a != of_b, "one frame for each set of channels, whatever the order of subscribing");
	is_str(next(&a), FRAME(101, "\"orders:unit:7\",\"orders:user:42\",\"orders:row:5\""), "unit, user, row");
	ok(next(&a) == NULL, "once");
	is_str(next(&b), FRAME(101, "\"orders:unit:7\""), "unit");
	is_str(next(&d), FRAME(101, "\"orders:unit:7\",\"orders:row:5\",\"orders\""), "unit, row, feed");
	is_str(next(&e), FRAME(101, "\"orders:user:43\""), "user");
	skip(&c);

	struct text to[] = {text("42")};
	emit(.id = 102, .flags = EVENT_TO_USERS, .feed = text("orders"), .unit = text("7"), .key = text("5"),
	     .users = users, .n_users = 4, .to_users = to, .n_to_users = 1);
	is_str(next(&a), FRAME(102, "\"orders:user:42\""), "to_users go before users");
	ok(next(&e) == NULL, "who is not in them gets nothing");
	world_end();
}

static void test_row_loss(void)
{
	struct client former, both, user, admin;
	world_begin(1 << 20);
	row_found("orders", "5", "7", "42");
	enter(&former, "50", "\"units\":[7]");
	enter(&both, "51", "\"units\":[7,9]");
	enter(&user, "42", "");
	enter(&admin, "1", "\"roles\":[\"admin\"]");
	subscribe(&former, "orders:row:5"), subscribe(&former, "orders:unit:7");
	subscribe(&both, "orders:row:5"), subscribe(&both, "orders:unit:9");
	subscribe(&user, "orders:row:5"), subscribe(&user, "orders:user:42");
	subscribe(&admin, "orders:row:5");
	skip(&former), skip(&both), skip(&user), skip(&admin);

	/* The order moves to unit 9 and away from its user; he is told by his user channel that it moved out. */
	struct text users[] = {text("42")};
	emit(.id = 101, .flags = EVENT_TO_UNIT, .feed = text("orders"), .unit = text("7"), .key = text("5"));
	emit(.id = 102, .flags = EVENT_TO_USERS, .feed = text("orders"), .unit = text("7"), .key = text("5"),
	     .users = users, .n_users = 1);
	emit(.id = 103, .flags = EVENT_TO_ROW | EVENT_TO_FEED, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	is_str(next(&former), FRAME(101, "\"orders:unit:7\""), "moved out of the unit");
	is_str(next(&former), "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:5\",\"reason\":\"forbidden\"}",
	       "who may not see the row any more loses its channel");
	ok(next(&former) == NULL, "and gets none of the event");
	is_str(next(&user), FRAME(102, "\"orders:user:42\""), "moved away from the user");
	ok(strstr(next(&user), "unsubscribed") != NULL && next(&user) == NULL, "who loses it, too");
	is_str(next(&both), FRAME(103, "\"orders:row:5\""), "a member of the new unit keeps it");
	is_str(next(&admin), FRAME(103, "\"orders:row:5\""), "so does a firehose role");

	emit(.id = 104, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5"));
	is_str(next(&former), FRAME(104, "\"orders:unit:7\""), "its other channels go on");
	is_str(next(&both), FRAME(104, "\"orders:row:5\""), "to the other one it comes back");
	emit(.id = 105, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	is_str(next(&both), FRAME(105, "\"orders:unit:9\",\"orders:row:5\""), "and goes");
	emit(.id = 106, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("11"), .key = text("5"));
	ok(strstr(next(&both), "unsubscribed") != NULL, "gone for good");
	world_end();
}

/* Loses and keeps in one channel, with other matching channels: slots move while the event is on its way. */
static void test_row_loss_of_many(void)
{
	enum { MANY = 100 };
	static struct client clients[MANY];
	int told = 0, got = 0, both = 0;
	world_begin(1 << 20);
	row_found("orders", "5", "7", NULL);
	for (int i = 0; i < MANY; i++) {
		enter(&clients[i], "42", i % 3 == 0 ? "\"units\":[7,9]" : "\"units\":[7]");
		subscribe(&clients[i], "orders:row:5");
		if (i % 2 == 0)
			subscribe(&clients[i], "orders:user:42");
		skip(&clients[i]);
	}
	struct text to[] = {text("42")};
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("9"), .key = text("5"), .to_users = to,
	     .n_to_users = 1);
	for (int i = 0; i < MANY; i++) {
		const char *frame;
		while ((frame = next(&clients[i])) != NULL) {
			told += strstr(frame, "unsubscribed") != NULL;
			got += strstr(frame, "[\"orders:row:5\"]") != NULL || strstr(frame, "[\"orders:user:42\"]") != NULL;
			both += strstr(frame, "[\"orders:user:42\",\"orders:row:5\"]") != NULL;
		}
	}
	is_int(told, 66, "two thirds lose the row");
	is_int(both, 17, "a sixth gets it by both channels");
	is_int(got, 33 + 17, "the others by the one they have");
	is_int(metrics.subscriptions, 34 + 50, "what was lost is gone");

	/* What moved to other slots is still found, also when those before it have left. */
	for (int i = 0; i < MANY; i += 6)
		leave(&clients[i]);
	emit(.id = 102, .flags = EVENT_TO_ROW, .feed = text("orders"), .unit = text("9"), .key = text("5"));
	emit(.id = 103, .flags = EVENT_TO_USERS, .feed = text("orders"), .to_users = to, .n_to_users = 1);
	int rows = 0, users = 0;
	for (int i = 0; i < MANY; i++) {
		const char *frame;
		while (clients[i].session != NULL && (frame = next(&clients[i])) != NULL) {
			rows += i % 3 == 0 && strstr(frame, "\"id\":102,") != NULL;
			users += i % 2 == 0 && strstr(frame, "\"id\":103,") != NULL;
		}
	}
	is_int(rows, 17, "all that are left have the row");
	is_int(users, 33, "and their users' channel");
	for (int i = 0; i < MANY; i++)
		if (clients[i].session != NULL)
			leave(&clients[i]);
	is_int(metrics.subscriptions, 0, "slots stayed true");
	is_int(route_channels(world.hub->route), 0, "no channel left");
	world_end();
}

static void test_parent(void)
{
	struct client a, b;
	world_begin(1 << 20);
	row_found("orders", "5", "7", NULL);
	row_found("orders", "6", "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[7]");
	subscribe(&a, "orders:row:5"), subscribe(&a, "comments:unit:7");
	subscribe(&b, "orders:row:6");
	skip(&a), skip(&b);
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("comments"), .unit = text("7"), .key = text("1"),
	     .parent_feed = text("orders"), .parent_key = text("5"));
	is_str(next(&a), FRAME(101, "\"comments:unit:7\",\"orders:row:5\""), "a child's event, the parent's row last");
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("comments"), .unit = text("9"), .key = text("1"),
	     .parent_feed = text("orders"), .parent_key = text("5"));
	is_str(next(&a), FRAME(102, "\"orders:row:5\""), "whose row it is, is not asked of the child");
	emit(.id = 103, .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5"),
	     .parent_feed = text("orders"), .parent_key = text("5"));
	is_str(next(&a), FRAME(103, "\"orders:row:5\""), "a row that is its own parent comes once");
	ok(next(&b) == NULL, "the other row's holder gets nothing");
	emit(.id = 104, .flags = EVENT_RESYNC, .feed = text("comments"), .body = text("folded"),
	     .parent_feed = text("orders"));
	is_int(skip(&a), 2, "folded children are a resync for the parent's rows as well");
	is_int(skip(&b), 1, "for all of them");
	world_end();
}

static void test_declared(void)
{
	struct client staff, member, other;
	world_begin(1 << 20);
	enter(&staff, "1", "\"roles\":[\"staff\"]");
	enter(&member, "2", "\"units\":{\"7\":[\"staff\"]}");
	enter(&other, "3", "\"roles\":[\"admin\"]");
	subscribe(&staff, "jobs");
	subscribe(&member, "jobs:unit:7");
	subscribe(&other, "jobs");
	is_int(skip(&staff) + skip(&member) + skip(&other), 3, "subscribed");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("jobs"));
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("jobs"), .unit = text("7"));
	is_str(next(&staff), FRAME(101, "\"jobs\""), "a declared feed's roles get what is nobody's");
	ok(next(&staff) == NULL, "not what has a unit");
	is_str(next(&member), FRAME(102, "\"jobs:unit:7\""), "that is the unit's");
	is_int(skip(&other), 2, "a firehose role gets all");
	world_end();
}

static void test_resync(void)
{
	struct client a, b;
	struct frame *shared, *frames[4];
	world_begin(1 << 20);
	row_found("requests", "5", "7", NULL);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "43", "\"units\":[7]");
	subscribe(&a, "requests:unit:7"), subscribe(&a, "requests:row:5"), subscribe(&a, "news");
	subscribe(&b, "requests:unit:7");
	skip(&a), skip(&b);
	emit(.id = 101, .flags = EVENT_CONTROL, .feed = text("keys"));
	ok(next(&a) == NULL, "control events are not for clients");
	is_int(history_head(world.history), 101, "but they move the head");
	emit(.id = 102, .flags = EVENT_RESYNC, .feed = text("requests"), .body = text("folded"));
	is_int(session_output(b.session, &shared, 1), 1, "a resync");
	is_int(session_output(a.session, frames, 4), 2, "one for each subscription of the feed, none for others");
	ok(frames[0] == shared || frames[1] == shared, "the same bytes for all of a channel");
	is_str(next(&b),
	       "{\"type\":\"resync\",\"channel\":\"requests:unit:7\",\"cursor\":\"0000aaaa-102\",\"reason\":\"folded\"}",
	       "with cursor and reason");
	skip(&a);
	world_end();
}

static void test_closing(void)
{
	struct client a, b;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	enter(&b, "42", "\"units\":[7]");
	subscribe(&a, "requests:unit:7");
	subscribe(&b, "requests:unit:7");
	skip(&a), skip(&b);
	session_close(a.session, CLOSE_MAX_SESSION, "time");
	emit(.id = 101, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"));
	ok(next(&a) == NULL, "a closing session gets nothing more");
	ok(next(&b) != NULL, "others do");
	leave(&a);
	emit(.id = 102, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"));
	ok(next(&b) != NULL, "also when it has gone");
	world_end();
}

static void test_restart(void)
{
	struct client a, b;
	world_begin(1 << 20);
	enter(&a, "42", "\"units\":[7]");
	join(&b);
	subscribe(&a, "requests:unit:7");
	subscribe(&a, "news");
	skip(&a);
	begin_stream("0000bbbb", 50, "epoch");
	int right = 0;
	const char *frame;
	while ((frame = next(&a)) != NULL)
		right +=
			strstr(frame, "\"type\":\"resync\"") && strstr(frame, "\"cursor\":\"0000bbbb-50\",\"reason\":\"epoch\"");
	is_int(right, 2, "each subscription is told where the new history begins");
	ok(next(&b) == NULL, "who has none is not");
	emit(.id = 51, .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"));
	is_str(next(&a), FRAME(51, "\"requests:unit:7\""), "and is live there, at lower ids");
	world_end();
}

int main(void)
{
	test_one_channel();
	test_sets();
	test_row_loss();
	test_row_loss_of_many();
	test_parent();
	test_declared();
	test_resync();
	test_closing();
	test_restart();
	return tap_done();
}
