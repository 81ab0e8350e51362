/*
 * test_presence.c - who is online: what is reported and when, rounds, and what is done about answers that do not come.
 * Does not test what the database does with a report (sql/presence.sql, test/e2e/presence.test.mjs).
 */
#include "hub_fixture.h"

static struct {
	int n;
	char text[1 << 20];
} reports;

static struct client clients[PRESENCE_GONE_MAX + 10];

static void take_report(void *arg, const char *changes)
{
	(void)arg;
	reports.n++;
	snprintf(reports.text, sizeof(reports.text), "%s", changes);
}

static void reply(int64_t n)
{
	hub_answer_sessions(world.hub, &(struct sessions_answer){.status = ANSWER_OK, .known = true, .n = n});
	pump();
}

static void later(int64_t ms)
{
	set_clock(ms);
	pump();
}

static void begin(void)
{
	world_begin(1 << 20);
	memset(&reports, 0, sizeof(reports));
	world.hub->backend.report_sessions = take_report;
	later(1000);
}

#define ROUND(text) "{\"round\":1700000002," text
#define USER(number, user, channels)                                                                                   \
	"{\"session\":\"" number "\",\"user\":\"" user                                                                     \
	"\",\"units\":[\"7\",\"8\"],\"transport\":\"note\",\"address\":\"\","                                              \
	"\"connected_at\":1700000002000,\"channels\":[" channels "]}"
#define UNITS "\"units\":[8,7]"

static void test_report(void)
{
	begin();
	is_int(reports.n, 1, "the first report");
	is_str(reports.text, ROUND("\"gone\":[],\"set\":[],\"last\":true}"), "says that there is nobody");
	reply(0);
	enter(&clients[0], "a", UNITS);
	pump();
	is_int(reports.n, 1, "the next one waits");
	later(500);
	is_int(reports.n, 2, "half a second");
	is_str(reports.text, ROUND("\"gone\":[],\"set\":[" USER("1", "a", "") "]}"), "and tells who came");
	subscribe(&clients[0], "requests:unit:7");
	later(500);
	is_int(reports.n, 2, "none before the last was answered");
	reply(1);
	is_int(reports.n, 3, "then at once");
	is_str(reports.text, ROUND("\"gone\":[],\"set\":[" USER("1", "a", "\"requests:unit:7\"") "]}"), "a channel more");
	reply(1);
	enter(&clients[1], "b", UNITS);
	leave(&clients[1]);
	later(500);
	is_int(reports.n, 3, "who came and left in between was not there");
	leave(&clients[0]);
	pump();
	is_int(reports.n, 4, "who left");
	is_str(reports.text, ROUND("\"gone\":[\"1\"],\"set\":[]}"), "is gone");
	reply(0);
	is_int(hub_wait_ms(world.hub), 10000, "nothing else for ten seconds");
	later(10000);
	is_str(reports.text, ROUND("\"gone\":[],\"set\":[]}"), "then a question");
	world_end();
}

static void test_rounds(void)
{
	begin();
	reply(0);
	enter(&clients[0], "a", UNITS);
	later(500);
	reply(0);
	is_int(reports.n, 2, "the database has another number of sessions than we:");
	later(500);
	ok(strncmp(reports.text, "{\"round\":1700000003,", 20) == 0, "all are told in a new round");
	ok(strstr(reports.text, USER("1", "a", "") "],\"last\":true}") != NULL, "which is whole");
	hub_answer_sessions(world.hub, &(struct sessions_answer){.status = ANSWER_UNAVAILABLE});
	later(500);
	is_int(reports.n, 3, "no answer:");
	later(500);
	is_int(reports.n, 4, "a second later");
	ok(strncmp(reports.text, "{\"round\":1700000004,", 20) == 0, "a new round");
	hub_answer_sessions(world.hub, &(struct sessions_answer){.status = ANSWER_OK});
	later(1000);
	is_int(reports.n, 5, "the same where the database does not know us");
	reply(1);
	hub_live(world.hub, false);
	enter(&clients[1], "b", UNITS);
	later(20000);
	is_int(reports.n, 5, "it is away: nothing is reported");
	hub_live(world.hub, true);
	pump();
	is_int(reports.n, 6, "it is back");
	ok(strstr(reports.text, "\"user\":\"a\"") != NULL && strstr(reports.text, "\"user\":\"b\"") != NULL &&
	       strstr(reports.text, "\"last\":true") != NULL,
	   "all are told");
	hub_answer_sessions(world.hub, &(struct sessions_answer){.status = ANSWER_FAILED, .error = {"42501", text("no")}});
	later(29000);
	is_int(reports.n, 6, "what the database refuses");
	later(1000);
	is_int(reports.n, 7, "is tried again after half a minute");
	world_end();
}

static void test_many(void)
{
	const int n = PRESENCE_GONE_MAX + 10;
	begin();
	reply(0);
	for (int i = 0; i < n; i++)
		enter(&clients[i], "a", UNITS);
	later(500);
	ok(strstr(reports.text, "\"last\"") == NULL && world.hub->presence.first != NULL, "not all fit into a report");
	int sent = 1;
	for (; world.hub->presence.first != NULL && sent < 100; sent++) {
		reply((int64_t)world.hub->presence.n_told);
		later(500);
	}
	reply(n);
	is_int((int64_t)world.hub->presence.n_told, n, "but all into %d", sent);
	for (int i = 0; i < n; i++)
		leave(&clients[i]);
	later(500);
	is_str(strchr(reports.text, ',') + 1, "\"gone\":[],\"set\":[],\"last\":true}",
	       "more are gone than are remembered: a new round");
	world_end();
}

int main(void)
{
	test_report();
	test_rounds();
	test_many();
	return tap_done();
}
