/*
 * snapshot_fixture.h - a database that says what snapshots a test wants, and what their tests look for in frames.
 */
#ifndef LIVEFEED_SNAPSHOT_FIXTURE_H
#define LIVEFEED_SNAPSHOT_FIXTURE_H

#include "hub_fixture.h"

#define SEEN_ALL "900:900:"

/* What the database says: the usual answer, and what a test changes of it. */
static struct {
	size_t asked;
	const char *seen, *data;
	int64_t tick, after; /* after 0: the head */
	enum answer_status status;
	enum snapshot_found found;
	enum row_status row;
	const char *unit, *epoch;
	char last[160]; /* feed, scope and value of what was asked last */
} says;

static void say(const struct ask *ask, struct snapshot_answer *answer)
{
	static const struct text id = {"id", 2};
	says.asked++;
	snprintf(says.last, sizeof(says.last), "%s %s %s", ask->feed, ask->scope, ask->no_key ? "-" : ask->key);
	answer->status = says.status;
	answer->error = (struct answer_error){"P0001", {"no", 2}};
	answer->found = says.found;
	answer->tick = says.tick;
	if (says.after != 0)
		answer->after = says.after;
	if (says.epoch != NULL)
		answer->epoch = text(says.epoch);
	answer->seen = text(says.seen);
	answer->key_columns = &id;
	answer->n_key_columns = 1;
	answer->data = text(says.data);
	answer->row = says.row;
	answer->row_access = (struct row_access){text(says.unit), NULL, 0};
}

TAP_UNUSED static void begin(void)
{
	world_begin(1 << 20);
	world.snapshot = say;
	memset(&says, 0, sizeof(says));
	says.seen = SEEN_ALL;
	says.data = "[{\"id\":1}]";
	says.row = ROW_ABSENT;
}

#define SUBSCRIBED(channel)                                                                                            \
	"{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"" channel "\",\"cursor\":\"" EPOCH "-100\"}"
#define SNAPSHOT(channel, id)                                                                                          \
	"{\"type\":\"snapshot\",\"channel\":\"" channel "\",\"cursor\":\"" EPOCH "-" #id                                   \
	"\",\"key_columns\":[\"id\"],\"data\":[{\"id\":1}],\"truncated\":false}"
#define UNIT7 .flags = EVENT_TO_UNIT, .feed = text("requests"), .unit = text("7")

static void subscribe_snapshot(struct client *client, const char *channel)
{
	char message[256];
	snprintf(message, sizeof(message), "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"%s\",\"snapshot\":true}",
	         channel);
	send_text(client, message);
}

TAP_UNUSED static bool is_error(struct client *client, const char *code)
{
	const char *frame = next(client);
	char part[64];
	snprintf(part, sizeof(part), "\"code\":\"%s\"", code);
	return frame != NULL && strncmp(frame, "{\"type\":\"error\"", 15) == 0 && strstr(frame, part) != NULL;
}

/* Takes the next frame, which must be a snapshot. */
TAP_UNUSED static bool has_snapshot(struct client *client)
{
	const char *frame = next(client);
	return frame != NULL && strncmp(frame, "{\"type\":\"snapshot\"", 18) == 0;
}

TAP_UNUSED static bool has_event(struct client *client, int64_t id)
{
	char part[32];
	snprintf(part, sizeof(part), "\"id\":%lld,", (long long)id);
	const char *frame = next(client);
	return frame != NULL && strstr(frame, part) != NULL;
}

#endif
