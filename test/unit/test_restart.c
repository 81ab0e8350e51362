/*
 * test_restart.c - what was on its way when the history began anew, or when the log lost what a replay needs: values whose
 * result is ahead of the stream, snapshots, rights to rows, results of commands. Nobody waits for ever, and nothing of the old history counts in
 * the new. Does not test what live subscriptions are told (test_deliver.c).
 */
#include "snapshot_fixture.h"

#define OF_CHILD                                                                                                       \
	.flags = 0, .feed = text("comments"), .key = text("1"), .parent_feed = text("orders"), .parent_key = text("5")

static void begin_anew(int64_t head)
{
	snprintf(world.epoch, sizeof(world.epoch), "%s", "0000bbbb");
	begin_stream("0000bbbb", head, "epoch");
}

/* What is asked next; it stays open. */
static const struct ask *first_ask(void)
{
	return open_asks() > 0 ? &world.asks[world.first_ask % ASK_MAX] : NULL;
}

/* ---- values */

static void define_unread(void)
{
	struct text notices = text("notices");
	struct query_template unread = {
		.name = text("unread"), .scope = text("user"), .feeds = &notices, .n_feeds = 1, .debounce_ms = 50};
	struct catalog_load *load = catalog_load_begin();
	for (size_t i = 0; i < sizeof(usual_feeds) / sizeof(usual_feeds[0]); i++)
		catalog_load_feed(load, &usual_feeds[i]);
	if (!catalog_load_query(load, query_new(&unread)))
		abort();
	catalog_load_commit(world.catalog, load);
	hub_definitions_changed(world.hub);
}

static void answer_ahead(const struct ask *ask, struct value_answer *answer)
{
	(void)ask;
	answer->data = text("1");
	answer->after = log_head() + 10;
}

static void test_value_ahead(void)
{
	struct client a;
	struct text user = text("5");
	begin();
	world.value = answer_ahead;
	world.at_once = false;
	define_unread();
	enter(&a, "5", "");
	subscribe(&a, "unread:user:5");
	pump();
	skip(&a);
	emit(.id = 101, .feed = text("notices"), .key = text("1"), .flags = USUAL_FLAGS, .users = &user, .n_users = 1);
	pump();
	answer_next();
	pump();
	ok(next(&a) == NULL && open_asks() == 0, "touched while it ran, and its result is ahead: it waits for the stream");
	begin_anew(50);
	set_clock(1000);
	pump();
	const struct ask *ask = first_ask();
	ok(ask != NULL && ask->kind == ASK_VALUE, "which begins anew: it is run again");
	leave(&a);
	world_end();
}

/* ---- snapshots */

/* A row's subscription with a snapshot that stands at `after`, behind events of its children. */
static void wait_behind_children(struct client *client, int64_t after)
{
	begin();
	world.at_once = false;
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	says.row = ROW_FOUND;
	says.unit = "7";
	says.after = after;
	enter(client, "42", "\"units\":[7]");
	subscribe_snapshot(client, "orders:row:5");
	answer_next(); /* the row's rights */
	pump();
	skip(client);
}

static void expect_new_snapshot(struct client *client, const char *when)
{
	set_clock(RETRY_MS);
	pump();
	while (open_asks() > 0 && first_ask()->kind != ASK_SNAPSHOT) {
		answer_next();
		pump();
	}
	ok(strstr(next(client), "\"type\":\"resync\"") != NULL, "%s: told that the history began anew", when);
	says.after = 0;
	answer_all();
	pump();
	const char *frame = next(client);
	ok(frame != NULL && strstr(frame, "\"type\":\"snapshot\"") != NULL && strstr(frame, "0000bbbb-200") != NULL,
	   "%s: and sent its snapshot, a new one", when);
	is_int((int64_t)metrics.replays, 0, "%s: live", when);
}

static void test_snapshot_ahead(void)
{
	struct client a;
	wait_behind_children(&a, 110);
	answer_next();
	pump();
	is_int((int64_t)world.hub->replays[REPLAY_AHEAD].n, 1,
	       "a snapshot of what the stream has not brought waits for it");
	begin_anew(200);
	expect_new_snapshot(&a, "ahead");
	leave(&a);
	world_end();
}

/* Its children stand in the log alone. */
static void wait_for_log(struct client *client)
{
	wait_behind_children(client, 140);
	history_limit(world.history, 1000);
	for (int64_t id = 101; id <= 150; id++)
		emit(.id = id, OF_CHILD, .tick = id, .xid = (uint64_t)id);
	answer_next();
	pump();
	ok(first_ask() != NULL && first_ask()->kind == ASK_PAGE, "what comes before the snapshot is read from the log");
}

static void test_snapshot_log(void)
{
	struct client a;
	wait_for_log(&a);
	begin_anew(200);
	expect_new_snapshot(&a, "reading the log");
	leave(&a);
	world_end();
}

static void test_snapshot_pruned(void)
{
	struct client a;
	wait_for_log(&a);
	world.kept = 145;
	answer_all();
	pump();
	const char *frame = next(&a);
	ok(frame != NULL && strstr(frame, "\"reason\":\"pruned\"") != NULL, "the log has let go of the children: told");
	ok(has_snapshot(&a), "the snapshot comes all the same");
	answer_all();
	pump();
	skip(&a);
	emit(.id = 151, OF_CHILD, .tick = 200, .xid = 200);
	ok(has_event(&a, 151), "and the stream goes on");
	leave(&a);
	world_end();
}

/* ---- rows */

#define OF_ROW .flags = USUAL_FLAGS, .feed = text("orders"), .key = text("5")
#define LOST "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:5\",\"reason\":\"forbidden\"}"

static void enter_row(struct client *client)
{
	begin();
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	enter(client, "42", "\"units\":[7]");
	subscribe(client, "orders:row:5");
	pump();
	skip(client);
}

static void test_row_lost(void)
{
	struct client a;
	enter_row(&a);
	world.rows[0].unit = "8";
	begin_anew(200);
	emit(.id = 201, OF_CHILD, .tick = 1, .xid = 1);
	pump();
	ok(strstr(next(&a), "\"type\":\"resync\"") != NULL, "who follows a row is told that the history began anew");
	is_str(next(&a), LOST, "a row that was another's by then is lost, before anything of its children is sent");
	ok(next(&a) == NULL, "which is not");
	leave(&a);
	world_end();
}

static void test_row_kept(void)
{
	struct client a;
	enter_row(&a);
	begin_anew(200);
	emit(.id = 201, OF_CHILD, .tick = 1, .xid = 1);
	pump();
	skip(&a);
	emit(.id = 202, OF_ROW, .unit = text("7"), .tick = 2, .xid = 2);
	ok(has_event(&a, 202) && metrics.replays == 0, "a row that is still its own goes on");
	leave(&a);
	world_end();
}

/* Events were folded into one resync: among them may be that which takes a row away. */
static void test_row_folded(void)
{
	struct client a, b;
	enter_row(&a);
	enter(&b, "43", "\"units\":[7]");
	emit(.id = 101, .flags = EVENT_RESYNC, .feed = text("orders"), .body = text("folded"), .tick = 1, .xid = 1);
	emit(.id = 102, OF_CHILD, .tick = 2, .xid = 2);
	pump();
	ok(strstr(next(&a), "\"type\":\"resync\"") != NULL && has_event(&a, 102) && next(&a) == NULL,
	   "events were folded: told, and what it still may have comes");
	world.at_once = false;
	subscribe(&b, "orders:row:5");
	world.rows[0].unit = "8";
	emit(.id = 103, .flags = EVENT_RESYNC, .feed = text("orders"), .body = text("folded"), .tick = 3, .xid = 3);
	emit(.id = 104, OF_CHILD, .tick = 4, .xid = 4);
	pump();
	world.rows[0].unit = "7"; /* the answer to b is older than the resync */
	answer_next();
	world.rows[0].unit = "8";
	answer_all();
	pump();
	ok(strstr(next(&a), "\"type\":\"resync\"") != NULL, "told again");
	is_str(next(&a), LOST, "a row that was another's by then is lost");
	ok(next(&a) == NULL, "and nothing of its children is sent");
	ok(strstr(next(&b), "\"code\":\"forbidden\"") != NULL, "nor is who asked for it just before given it");
	leave(&a);
	leave(&b);
	world_end();
}

/* ---- commands */

static void do_write(const struct ask *ask, struct call_answer *answer)
{
	(void)ask;
	answer->data = text("{}");
	answer->wrote = answer->events = true;
	answer->xid = 77;
}

static void call(struct client *client)
{
	send_text(client, "{\"type\":\"call\",\"ref\":1,\"name\":\"move_card\"}");
}

/* A restore goes back to numbers of transactions that were used already. */
static void test_result_shown(void)
{
	struct client a;
	begin();
	world.call = do_write;
	enter(&a, "5", "\"units\":[7]");
	emit(.id = 101, UNIT7, .tick = 1, .xid = 77);
	hub_whole(world.hub);
	begin_anew(50);
	hub_whole(world.hub);
	call(&a);
	ok(next(&a) == NULL, "an event of the former history is none of a command's of the new");
	emit(.id = 51, UNIT7, .tick = 2, .xid = 77);
	hub_whole(world.hub);
	const char *frame = next(&a);
	ok(frame != NULL && strstr(frame, "\"cursor\":\"0000bbbb-51\"") != NULL, "its own is what it waits for");
	leave(&a);
	world_end();
}

static void test_result_held(void)
{
	struct client a;
	begin();
	world.call = do_write;
	enter(&a, "5", "\"units\":[7]");
	call(&a);
	emit(.id = 101, UNIT7, .tick = 1, .xid = 77);
	ok(next(&a) == NULL, "held until all its events are here");
	begin_anew(50);
	hub_whole(world.hub);
	ok(next(&a) == NULL, "which the new history may not have");
	set_clock(2000);
	pump();
	const char *frame = next(&a);
	ok(frame != NULL && strstr(frame, "\"cursor\":\"0000bbbb-50\"") != NULL,
	   "so it comes in the end, with a cursor of that");
	leave(&a);
	world_end();
}

int main(void)
{
	test_value_ahead();
	test_snapshot_ahead();
	test_snapshot_log();
	test_snapshot_pruned();
	test_row_lost();
	test_row_kept();
	test_row_folded();
	test_result_shown();
	test_result_held();
	return tap_done();
}
