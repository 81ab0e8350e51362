/*
 * test_look.c - what is shown of frames to who looks on, and that he may see all of them. The terminal itself is tested
 * end to end (test/e2e/tail.test.mjs).
 */
#include "look_show.h"

#include <stdlib.h>

#include "access.h"
#include "tap.h"

static const struct look_style plain = {false, false}, coloured = {false, true}, json = {true, false};

static void shows(const char *frame, const struct look_style *style, enum look_kind kind, const char *want,
                  const char *name)
{
	struct json_out out = {0};
	enum look_kind got = look_show(&out, (struct text){frame, strlen(frame)}, style);
	json_put(&out, "", 1);
	is_str(out.bytes, want, "%s", name);
	is_int((int)got, (int)kind, "%s: its kind", name);
	free(out.bytes);
}

static void test_events(void)
{
	static const char event[] =
		"{\"type\":\"request.updated\",\"feed\":\"requests\",\"action\":\"sent_back\",\"unit\":\"7\",\"key\":\"12\","
		"\"changed\":[\"status\",\"a\\\"b\"],\"updated_at\":\"2026-11-14T12:34:56.789012Z\",\"updated_by\":\"bob\","
		"\"data\":{\"id\":12},\"id\":1042,\"channels\":[\"requests:unit:7\",\"requests\"]}";
	shows(event, &plain, LOOK_FRAME,
	      "12:34:56.789  1042  request.updated sent_back  key 12  unit 7  by bob  changed status, a\\\"b  > "
	      "requests:unit:7, requests\n    {\"id\":12}\n",
	      "an update");
	shows("{\"type\":\"a.deleted\",\"feed\":\"a\",\"action\":\"deleted\",\"unit\":null,\"key\":\"1\",\"updated_at\":"
	      "\"2026-11-14T12:34:56.789012Z\",\"updated_by\":null,\"data\":null,\"id\":7,\"channels\":[\"a\"]}",
	      &coloured, LOOK_FRAME, "\x1b[2m12:34:56.789  7  \x1b[0m\x1b[31ma.deleted\x1b[0m  key 1\x1b[2m  > a\x1b[0m\n",
	      "a deletion, in colours, without what it does not have");
	shows("{\"type\":\"a.created\",\"feed\":\"a\",\"action\":\"created\",\"key\":\"1\",\"updated_at\":\"2026\","
	      "\"data\":null,"
	      "\"too_large\":true,\"id\":7}",
	      &plain, LOOK_FRAME, "  7  a.created  key 1\n    (its data are too large for an event)\n",
	      "one that is too large, with a time that is none");
	shows(event, &json, LOOK_FRAME,
	      "{\"type\":\"request.updated\",\"feed\":\"requests\",\"action\":\"sent_back\",\"unit\":\"7\",\"key\":\"12\","
	      "\"changed\":[\"status\",\"a\\\"b\"],\"updated_at\":\"2026-11-14T12:34:56.789012Z\",\"updated_by\":\"bob\","
	      "\"data\":{\"id\":12},\"id\":1042,\"channels\":[\"requests:unit:7\",\"requests\"]}\n",
	      "a line of JSON");
}

static void test_others(void)
{
	shows("{\"type\":\"snapshot\",\"channel\":\"a\",\"cursor\":\"e-1\",\"key_columns\":[\"id\"],\"data\":[ "
	      "{\"x\":\"]},[\\\\\"} "
	      ", [1,[2]],\"]\\\"\",3],\"truncated\":true}",
	      &plain, LOOK_FRAME,
	      "snapshot  a  at e-1  truncated\n    {\"x\":\"]},[\\\\\"} \n    [1,[2]]\n    \"]\\\"\"\n    3\n",
	      "a snapshot, a row a line");
	shows("{\"type\":\"snapshot\",\"channel\":\"a\",\"cursor\":\"e-1\",\"data\":[],\"truncated\":false}", &plain,
	      LOOK_FRAME, "snapshot  a  at e-1\n", "one without rows");
	shows("{\"type\":\"value\",\"channel\":\"n:unit:7\",\"cursor\":\"e-1\",\"data\":{\"n\":3}}", &plain, LOOK_FRAME,
	      "value  n:unit:7  at e-1\n    {\"n\":3}\n", "a value");
	shows("{\"type\":\"welcome\",\"protocol\":1}", &json, LOOK_WELCOME, "", "a welcome is nothing to see");
	shows("{\"type\":\"error\",\"ref\":0,\"code\":\"forbidden\",\"message\":\"no\",\"channel\":\"a\"}", &plain,
	      LOOK_REFUSED, "error  a  forbidden: no\n", "a refusal");
	shows("{\"type\":\"error\",\"code\":\"query_failed\",\"message\":\"no\",\"channel\":\"a\"}", &plain, LOOK_FRAME,
	      "error  a  query_failed: no\n", "an error that ends nothing");
	shows("{\"type\":\"unsubscribed\",\"channel\":\"a\",\"reason\":\"forbidden\"}", &plain, LOOK_ENDED,
	      "unsubscribed  a  forbidden\n", "the end of a channel");
	shows("{\"type\":\"subscribed\",\"ref\":0,\"channel\":\"a\",\"cursor\":\"e-1\",\"recovered\":false,\"reason\":"
	      "\"pruned\"}",
	      &plain, LOOK_FRAME, "subscribed  a  not all since then is there:  pruned  at e-1\n", "too long ago");
	shows("{\"type\":\"status\",\"live\":false}", &plain, LOOK_FRAME, "status  the database is away\n", "a loss");
	shows("{} x\x1b[2J", &plain, LOOK_FRAME, "{} x\\u001b[2J\n", "what is no frame is shown as it is, escaped");
}

/* Longer than what is escaped at a time, of characters of three bytes: none is cut. */
static void test_long(void)
{
	enum { N = 30000 };
	struct json_out out = {0}, frame = {0};
	json_puts(&frame, "{\"type\":\"value\",\"data\":\"");
	for (int i = 0; i < N; i++)
		json_puts(&frame, "\xE2\x82\xAC");
	json_puts(&frame, "\"}");
	(void)look_show(&out, (struct text){frame.bytes, frame.len}, &json);
	is_mem(out.bytes, out.len - 1, frame.bytes, frame.len, "a long frame stays what it is");
	free(out.bytes);
	free(frame.bytes);
}

static void test_operator(void)
{
	static const char *const channels[] = {"a", "a:unit:7", "a:user:42"};
	struct access *access = access_new();
	struct principal *whoever = access_operator();
	struct text other = {"9", 1};
	char feed_name[] = "a";
	struct feed feed = {.name = feed_name, .has_unit = true, .has_users = true, .n_key_columns = 1};
	struct event event = {.flags = EVENT_TO_UNIT | EVENT_TO_USERS | EVENT_TO_ROW | EVENT_TO_FEED,
	                      .feed = {"a", 1},
	                      .unit = {"7", 1},
	                      .users = &other,
	                      .n_users = 1};
	struct channel_name name;
	const char *why;
	for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
		ok(channel_parse(channels[i], strlen(channels[i]), &name), "%s is a channel", channels[i]);
		is_int(access_may_subscribe(access, whoever, &feed, &name, &why), ACCESS_GRANTED, "%s may be looked at",
		       channels[i]);
		ok(access_may_receive(access, whoever, &feed, name.scope, &event), "%s: and its events", channels[i]);
	}
	ok(access_is_firehose(access, whoever), "and rows");
	ok(channel_parse("a:unit:7", 8, &name), "a unit");
	feed.has_unit = false;
	is_int(access_may_subscribe(access, whoever, &feed, &name, &why), ACCESS_UNKNOWN,
	       "but not what the feed does not have");
	ok(access_expiry_s(access, whoever) > 4000000000, "for longer than anybody looks on");
	principal_unref(whoever);
	access_free(access);
}

int main(void)
{
	test_events();
	test_others();
	test_long();
	test_operator();
	return tap_done();
}
