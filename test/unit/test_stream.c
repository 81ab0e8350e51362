/*
 * test_stream.c - stream.c: what /events and /poll are asked for, in queries and bodies, and what of a session's frames their clients
 * get. Does not test sessions (test_merge.c) and answers (test/e2e/sse.test.mjs, poll.test.mjs).
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "tap.h"

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static struct stream_ask ask;
static const char *error;

static bool argue(const char *argument)
{
	error = NULL;
	return stream_ask_argument(&ask, text(argument), &error);
}

static bool body(const char *json)
{
	stream_ask_end(&ask);
	stream_ask_begin(&ask);
	error = NULL;
	return stream_ask_body(&ask, text(json), &error);
}

static void is_message(size_t i, const char *wanted)
{
	size_t len;
	char *message = stream_ask_message(&ask, i, &len);
	char *copy = strndup(message, len);
	is_str(copy, wanted, "the subscribe of channel %zu", i);
	free(copy);
	free(message);
}

static void test_query(void)
{
	stream_ask_begin(&ask);
	ok(!stream_ask_check(&ask, &error), "a channel is needed");
	ok(argue("channel=a:unit:7") && argue("channel=a:unit:\"\\") && argue("token=secret") && argue("flag"), "taken");
	is_int((int64_t)ask.n_channels, 2, "two channels");
	is_message(0, "{\"type\":\"subscribe\",\"ref\":0,\"channel\":\"a:unit:7\"}");
	ok(argue("since=0a-1") && argue("snapshot=1"), "more");
	is_message(
		1, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"a:unit:\\\"\\\\\",\"since\":\"0a-1\",\"snapshot\":true}");
	ok(argue("snapshot=0") && !ask.snapshot, "none");
	ok(!argue("channel=\xff") && error != NULL, "not UTF-8");
	ok(!argue("since=\xff") && error != NULL, "nor that");
	is_int(ask.wait_ms, 25000, "wait: the default");
	ok(argue("wait=0") && ask.wait_ms == 0, "none");
	ok(argue("wait=1.25") && ask.wait_ms == 1250, "parts of seconds");
	ok(argue("wait=99999999999999999999999") && ask.wait_ms == 55000, "the most");
	ok(!argue("wait=") && !argue("wait=-1") && !argue("wait=.5") && !argue("wait=1e3") && !argue("wait=1.2.3"),
	   "none of these");
	stream_ask_end(&ask);
}

static void test_body(void)
{
	ok(body(" {\"channel\":\"a\"} ") && ask.n_channels == 1, "one channel");
	is_str(ask.channels[0], "\"a\"", "as it was written");
	ok(body("{\"channel\":[ \"a\" , \"b,]\\\"\",[1,{\"x\":2}] ,3 ],\"since\":\"0a-1\",\"snapshot\":true,\"wait\":2}"),
	   "several");
	is_int((int64_t)ask.n_channels, 4, "all of them");
	is_message(1, "{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"b,]\\\"\",\"since\":\"0a-1\",\"snapshot\":true}");
	is_message(2, "{\"type\":\"subscribe\",\"ref\":2,\"channel\":[1,{\"x\":2}],\"since\":\"0a-1\",\"snapshot\":true}");
	is_int(ask.wait_ms, 2000, "wait");
	ok(body("{\"channel\":[],\"since\":null}") && !stream_ask_check(&ask, &error) && ask.since == NULL, "no channel");
	ok(!body("") && !body("[]") && !body("{") && !body("\"channel\"") && !body("{\"channel\":\"a\"}x"), "no object");
	ok(!body("{\"snapshot\":1}") && !body("{\"wait\":\"1\"}") && !body("{\"wait\":true}"), "other types");
	static char many[STREAM_CHANNELS_MAX * 3 + 64];
	strcpy(many, "{\"channel\":[1");
	for (int i = 0; i < STREAM_CHANNELS_MAX; i++)
		strcat(many + strlen(many), ",1");
	strcat(many, "]}");
	ok(!body(many) && error != NULL, "too many channels");
	stream_ask_end(&ask);
}

static const char *after(const char *since, const char *last)
{
	static char found[64];
	stream_ask_begin(&ask);
	if (since != NULL) {
		snprintf(found, sizeof(found), "since=%s", since);
		argue(found);
	}
	stream_ask_last_id(&ask, text(last));
	snprintf(found, sizeof(found), "%s", ask.since != NULL ? ask.since : "none");
	stream_ask_end(&ask);
	return found;
}

static void test_last_id(void)
{
	is_str(after(NULL, "0a-5"), "\"0a-5\"", "alone");
	is_str(after("0a-4", "0a-5"), "\"0a-5\"", "later");
	is_str(after("0a-6", "0a-5"), "\"0a-6\"", "earlier");
	is_str(after("0b-6", "0a-5"), "\"0a-5\"", "of another history: it is what the client has seen");
	is_str(after("0a-6", "x"), "\"0a-6\"", "none of ours");
	is_str(after("x", "0a-6"), "\"0a-6\"", "but that");
	is_str(after("0a-6", ""), "\"0a-6\"", "empty");
	is_str(after(NULL, "\xff"), "none", "not UTF-8");
}

/* What a client gets of a frame; "" nothing. Frees it. */
static const char *sent(struct frame *frame, struct stream_answers *answers)
{
	static char shown[512];
	bool failed;
	stream_look(answers, frame);
	struct frame *made = stream_frame(frame, &failed);
	snprintf(shown, sizeof(shown), "%.*s", made != NULL ? (int)made->len : 0, made != NULL ? frame_text(made) : "");
	if (made != NULL)
		frame_unref(made);
	frame_unref(frame);
	return shown;
}

static void test_frames(void)
{
	struct stream_answers answers = {0};
	is_str(sent(message_welcome(NULL, "1", "0a", 5, 100, 25), &answers), "", "no welcome");
	is_str(sent(message_subscribed("0", "a", "0a", 5, 1, NULL), &answers), "", "no subscribed");
	is_str(sent(message_subscribed("1", "a", "0a", 5, -1, NULL), &answers), "", "nor that");
	ok(!answers.something && answers.answered == 2 && answers.refused == 0, "but they are answers");
	is_str(sent(message_subscribed("2", "a\"", "0a", 5, 0, "pruned"), &answers),
	       "{\"type\":\"resync\",\"channel\":\"a\\\"\",\"cursor\":\"0a-5\",\"reason\":\"pruned\"}",
	       "not recovered: resync");
	ok(answers.something && answers.answered == 3, "which is something");
	answers = (struct stream_answers){0};
	is_str(sent(message_value(text("q"), "0a", 5, text("1")), &answers),
	       "{\"type\":\"value\",\"channel\":\"q\",\"cursor\":\"0a-5\",\"data\":1}", "a value");
	ok(answers.value && !answers.something, "is but a value");
	is_str(sent(message_error(NULL, "unavailable", "x", "a"), &answers),
	       "{\"type\":\"error\",\"code\":\"unavailable\",\"message\":\"x\",\"channel\":\"a\"}", "an error of its own");
	ok(answers.answered == 0 && !answers.unavailable && answers.refusal != NULL, "is no answer");
	is_str(sent(message_error("17", "unavailable", "x", "a"), &answers),
	       "{\"type\":\"error\",\"code\":\"unavailable\",\"message\":\"x\",\"channel\":\"a\"}",
	       "a refusal loses its ref");
	ok(answers.answered == 1 && answers.refused == 1 && answers.unavailable, "is one");
	is_str(sent(message_error("18", "forbidden", "\"code\":\"unavailable\"", "a"), &answers),
	       "{\"type\":\"error\",\"code\":\"forbidden\",\"message\":\"\\\"code\\\":\\\"unavailable\\\"\",\"channel\":"
	       "\"a\"}",
	       "another");
	ok(answers.answered == 2 && answers.refused == 2, "counted");
	struct frame *event = frame_copy("{\"type\":\"subscribed\",\"ref\":1}", 29);
	event->id = 7;
	is_str(sent(event, &answers), "{\"type\":\"subscribed\",\"ref\":1}", "an event is what it is");
	is_int((int64_t)answers.answered, 2, "and no answer");
	struct frame *closing = stream_closing(4401, "a\"b");
	is_str(sent(closing, &answers), "{\"type\":\"closing\",\"code\":4401,\"reason\":\"a\\\"b\"}", "the last");
}

int main(void)
{
	test_query();
	test_body();
	test_last_id();
	test_frames();
	return tap_done();
}
