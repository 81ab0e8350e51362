/*
 * test_snapshot_fit.c - seen.c and its use: from a snapshot the stream goes on without a gap or a repeat. The last test lets
 * a random database commit, make ticks late, and be asked for snapshots in between.
 */
#include "snapshot_fixture.h"

/* ---- pg_snapshot as text */

static void test_seen(void)
{
	struct seen *seen = seen_new(text("10:20:12,15"), 5);
	ok(seen != NULL && seen->n_running == 2, "a pg_snapshot");
	ok(seen_holds(seen, 6, 9) && seen_holds(seen, 6, 11) && seen_holds(seen, 7, 19), "saw what had ended");
	ok(!seen_holds(seen, 6, 12) && !seen_holds(seen, 6, 15), "but not what was running");
	ok(!seen_holds(seen, 6, 20) && !seen_holds(seen, 7, 1000), "nor what began later");
	ok(seen_holds(seen, 5, 1000), "and all of the ticks up to its own");
	ok(!seen_holds(seen, 8, 9) && seen_is_past(seen, 8) && !seen_is_past(seen, 7), "two ticks are looked at");
	seen_unref(seen);
	seen = seen_new(text("3:3:"), 1);
	ok(seen != NULL && seen->n_running == 0 && seen_holds(seen, 2, 2) && !seen_holds(seen, 2, 3), "an empty list");
	seen_unref(seen);
	seen = seen_new(text("10:18446744073709551615:18446744073709551614"), 1);
	ok(seen != NULL && !seen_holds(seen, 2, UINT64_MAX - 1) && seen_holds(seen, 2, UINT64_MAX - 2), "any xid8");
	seen_unref(seen);
	static const char *const bad[] = {"",          "10",          "10:20",     ":20:",         "10::",     "10:20:12,",
	                                  "10:20:,12", "10:20:15,12", "10:20:a",   "10:20:12 ",    "-1:20:",   " 10:20:",
	                                  "10:20:12:", "10:20:12,12", "10:20:12x", "x10:20:12,15", "0x1:0x2:", "1e1:20:"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(seen_new(text(bad[i]), 1) == NULL, "none: '%s'", bad[i]);
	ok(seen_new(text(NULL), 1) == NULL, "nor is NULL");
	ok(seen_new(text("1:99999999999999999999:"), 1) == NULL, "nor a number that is too large");
}

/* ---- exactness */

static void test_fit(void)
{
	struct client a;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	skip(&a);
	emit(.id = 101, UNIT7, .tick = 10, .xid = 500);
	ok(next(&a) == NULL, "nothing comes before the snapshot");
	/* It sees tick 11, up to id 103, and of the later ones transactions below 600, but not 550. */
	says.tick = 11;
	says.after = 103;
	says.seen = "550:600:550";
	answer_all();
	pump();
	is_str(next(&a), SNAPSHOT("requests:unit:7", 103), "its cursor may be above what was read");
	emit(.id = 102, UNIT7, .tick = 11, .xid = 501);
	emit(.id = 103, UNIT7, .tick = 11, .xid = 550);
	pump();
	ok(next(&a) == NULL, "what it holds is not sent");
	emit(.id = 104, UNIT7, .tick = 12, .xid = 560);
	emit(.id = 105, UNIT7, .tick = 12, .xid = 550);
	emit(.id = 106, .flags = EVENT_RESYNC, .feed = text("requests"), .body = text("folded"), .tick = 12, .xid = 560);
	emit(.id = 107, UNIT7, .tick = 13, .xid = 599);
	emit(.id = 108, UNIT7, .tick = 13, .xid = 600);
	pump();
	ok(has_event(&a, 105) && has_event(&a, 108), "of the next two ticks, what it did not see");
	ok(next(&a) == NULL, "and no more");
	ok(a.session->subscriptions->seen != NULL, "this stays known");
	emit(.id = 109, UNIT7, .tick = 14, .xid = 560);
	ok(has_event(&a, 109), "of the third tick everything");
	ok(a.session->subscriptions->seen == NULL, "and is let go of");
	world_end();
}

static void test_fit_late(void)
{
	struct client a;
	begin();
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	pump();
	says.tick = 10;
	says.after = 101;
	says.seen = "550:600:550";
	/* All of it was read before the answer came. */
	emit(.id = 101, UNIT7, .tick = 10, .xid = 500);
	emit(.id = 102, UNIT7, .tick = 11, .xid = 560);
	emit(.id = 103, UNIT7, .tick = 12, .xid = 550);
	emit(.id = 104, UNIT7, .tick = 13, .xid = 560);
	answer_all();
	pump();
	next(&a);
	ok(has_snapshot(&a) && has_event(&a, 103) && has_event(&a, 104) && next(&a) == NULL, "the same from memory");
	subscribe(&a, "requests:unit:7");
	ok(a.session->subscriptions->seen == NULL, "to subscribe again ends it");
	world_end();
}

#define OF_ROW .flags = USUAL_FLAGS, .feed = text("orders"), .unit = text("7"), .key = text("5")
#define OF_CHILD                                                                                                       \
	.flags = 0, .feed = text("comments"), .key = text("1"), .parent_feed = text("orders"), .parent_key = text("5")

/* A row's children are not in its snapshot: nothing of them may be missed from `subscribed` on. */
static void test_children(void)
{
	struct client a;
	begin();
	world.at_once = false;
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", NULL};
	says.row = ROW_FOUND;
	says.unit = "7";
	enter(&a, "42", "\"units\":[7]");
	for (int late = 0; late < 2; late++) { /* late: the answer is above what was read */
		int64_t at = history_head(world.hub->history);
		subscribe_snapshot(&a, "orders:row:5");
		answer_all();
		pump(); /* the row's rights */
		skip(&a);
		says.tick = 11 + 10 * late;
		says.after = at + 3;
		says.seen = "550:600:550";
		if (late)
			answer_all();
		emit(.id = at + 1, OF_CHILD, .tick = says.tick, .xid = 500);
		emit(.id = at + 2, OF_ROW, .tick = says.tick, .xid = 501);
		pump();
		ok(next(&a) == NULL, "nothing comes before it is known where the snapshot stands");
		emit(.id = at + 3, OF_CHILD, .tick = says.tick, .xid = 502);
		emit(.id = at + 4, OF_CHILD, .tick = says.tick + 1, .xid = 560);
		emit(.id = at + 5, OF_ROW, .tick = says.tick + 1, .xid = 561);
		emit(.id = at + 6, OF_ROW, .tick = says.tick + 1, .xid = 550);
		answer_all();
		pump();
		ok(has_event(&a, at + 1) && has_event(&a, at + 3), "children until then, and nothing that it holds");
		ok(has_snapshot(&a), "then the snapshot");
		ok(has_event(&a, at + 4) && has_event(&a, at + 6),
		   "then children that its statement might have seen, and what it did not");
		ok(next(&a) == NULL, "and no more");
		is_int((int64_t)metrics.replays, 0, "it is live");
	}
	world_end();
}

/* ---- a random database */

enum { TXNS = 400, KEYS = 8 };

static struct {
	int64_t values[KEYS]; /* what is committed: the last transaction of each key */
	struct {
		uint64_t xid;
		int key;
		int64_t tick;
	} done[TXNS]; /* committed; tick 0: none has it yet */
	int n_done;
	uint64_t next_xid;
	int64_t tick, head;
	bool ticking; /* a tick's snapshot is taken: those before `cut` are its */
	int cut;
	char data[512], seen[64];
} db;

static int random_below(int n)
{
	static uint32_t state = 12345;
	state = state * 1664525u + 1013904223u;
	return (int)((state >> 8) % (uint32_t)n);
}

static void db_commit(void)
{
	if (db.n_done == TXNS)
		return;
	int key = random_below(KEYS);
	db.values[key] = (int64_t)db.next_xid;
	db.done[db.n_done].xid = db.next_xid++;
	db.done[db.n_done].key = key;
	db.done[db.n_done++].tick = 0;
}

/* A tick takes its snapshot, and becomes visible some time later: then its events come. */
static void db_tick(void)
{
	if (!db.ticking) {
		db.ticking = true;
		db.cut = db.n_done;
		return;
	}
	db.ticking = false;
	db.tick++;
	for (int i = 0; i < db.cut; i++) {
		if (db.done[i].tick != 0)
			continue;
		char key[8], body[64];
		db.done[i].tick = db.tick;
		snprintf(key, sizeof(key), "%d", db.done[i].key);
		snprintf(body, sizeof(body), "{\"x\":%llu", (unsigned long long)db.done[i].xid);
		emit(.id = ++db.head, UNIT7, .key = text(key), .tick = db.tick, .xid = db.done[i].xid, .body = text(body));
	}
}

static void db_say(const struct ask *ask, struct snapshot_answer *answer)
{
	(void)ask;
	size_t len = 0;
	for (int key = 0; key < KEYS; key++)
		len += (size_t)snprintf(db.data + len, sizeof(db.data) - len, "%c%lld", key == 0 ? '[' : ',',
		                        (long long)db.values[key]);
	snprintf(db.data + len, sizeof(db.data) - len, "]");
	snprintf(db.seen, sizeof(db.seen), "%llu:%llu:", (unsigned long long)db.next_xid, (unsigned long long)db.next_xid);
	answer->status = ANSWER_OK;
	answer->tick = db.tick;
	answer->after = db.head;
	answer->seen = text(db.seen);
	answer->data = text(db.data);
}

/* Each transaction makes one event: the client must hold each key's last one, and get none that it holds. */
static void test_random(void)
{
	struct client a;
	int64_t holds[KEYS] = {0}, last_xid = 0;
	int repeats = 0, wrong = 0, snapshots = 0;
	begin();
	memset(&db, 0, sizeof(db));
	db.next_xid = 100;
	db.head = HEAD;
	db.tick = 5;
	world.snapshot = db_say;
	world.at_once = false;
	enter(&a, "42", "\"units\":[7]");
	subscribe_snapshot(&a, "requests:unit:7");
	for (int step = 0; step < 3000; step++) {
		switch (random_below(8)) {
		case 0:
		case 1:
			db_commit();
			break;
		case 2:
		case 3:
			db_tick();
			break;
		case 4:
			answer_next();
			break;
		case 5:
			if (random_below(10) == 0)
				subscribe_snapshot(&a, "requests:unit:7");
			break;
		default:
			pump();
		}
		for (const char *frame; (frame = next(&a)) != NULL;) {
			const char *at = strstr(frame, "\"data\":[");
			if (at != NULL) {
				at += strlen("\"data\":");
				for (int key = 0; key < KEYS; key++) {
					holds[key] = strtoll(at + 1, (char **)&at, 10);
					last_xid = holds[key] > last_xid ? holds[key] : last_xid;
				}
				snapshots++;
			} else if ((at = strstr(frame, "\"x\":")) != NULL && snapshots > 0) {
				int64_t xid = atoll(at + 4);
				for (int i = 0; i < db.n_done; i++)
					if ((int64_t)db.done[i].xid == xid)
						holds[db.done[i].key] = xid;
				repeats += xid <= last_xid;
				last_xid = xid;
			}
		}
	}
	db_tick();
	db_tick();
	db_tick();
	pump();
	answer_all();
	pump();
	for (const char *frame; (frame = next(&a)) != NULL;) {
		const char *at = strstr(frame, "\"x\":");
		int64_t xid = at != NULL ? atoll(at + 4) : 0;
		for (int i = 0; i < db.n_done; i++)
			if ((int64_t)db.done[i].xid == xid)
				holds[db.done[i].key] = xid;
		if ((at = strstr(frame, "\"data\":[")) != NULL) {
			at += strlen("\"data\":");
			for (int key = 0; key < KEYS; key++)
				holds[key] = strtoll(at + 1, (char **)&at, 10);
		}
	}
	for (int key = 0; key < KEYS; key++)
		wrong += holds[key] != db.values[key];
	ok(snapshots > 10 && db.n_done > 300, "%d snapshots, %d transactions", snapshots, db.n_done);
	is_int(repeats, 0, "none comes that a snapshot held");
	is_int(wrong, 0, "and none is missing");
	world_end();
}

int main(void)
{
	test_seen();
	test_fit();
	test_fit_late();
	test_children();
	test_random();
	return tap_done();
}
