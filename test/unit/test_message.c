/*
 * test_message.c - the strict JSON check, client messages, control messages, claims, cursors.
 * Not here: signatures (test_access.c), what a session does with a message (test_session.c).
 */
#include "message.h"

#include <stdlib.h>

#include "jsontext.h"
#include "tap.h"

/* A text with its length, so that it may hold NUL. */
#define TEXT(literal)                                                                                                  \
	{                                                                                                                  \
		literal, sizeof literal - 1                                                                                    \
	}

static const struct text good_json[] = {
	TEXT("0"),
	TEXT("-0"),
	TEXT("1"),
	TEXT("-1.5e+10"),
	TEXT("1E400"),
	TEXT("0.0"),
	TEXT("0e1"),
	TEXT("123456789012345678901234567890"),
	TEXT(" \t\r\n1 \t\r\n"),
	TEXT("null"),
	TEXT("true"),
	TEXT("false"),
	TEXT("\"\""),
	TEXT("\"a\""),
	TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
	TEXT("\"\\u0001\\u00e9\\uFFFF\""),
	TEXT("\"\\ud83d\\ude00\""),
	TEXT("\"\\uD83D\\uDE00x\""),
	TEXT("\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""),
	TEXT("\"\xef\xbf\xbf\""),
	TEXT("\"\xf4\x8f\xbf\xbf\""),
	TEXT("\"\x7f\""),
	TEXT("[]"),
	TEXT("[ ]"),
	TEXT("[1,2 , 3]"),
	TEXT("[[],{},\"\",null]"),
	TEXT("{}"),
	TEXT("{ }"),
	TEXT("{\"\":1}"),
	TEXT("{\"a\":1,\"b\":2}"),
	TEXT("{ \"a\" : { \"a\" : { \"a\" : 1 } } , \"b\" : [ { \"a\" : 1 } , { \"a\" : 1 } ] }"),
	TEXT("{\"a\":1,\"A\":2}"),
	TEXT("{\"ab\":1,\"a\":2,\"\":3}"),
	TEXT("{\"\\u0061\":1,\"\\u0062\":2}"),
	TEXT("{\"a\":[{\"x\":1,\"y\":2}],\"x\":1,\"y\":{\"a\":0,\"x\":0}}"),
	TEXT("{\"\\u00e9\":1,\"e\":2}"),
};

static const struct text bad_json[] = {
	TEXT(""),
	TEXT(" "),
	TEXT("\0"),
	TEXT("1\0"),
	TEXT("{}\0"),
	TEXT("{}\0{}"),
	TEXT("\xef\xbb\xbf{}"),
	TEXT("{} x"),
	TEXT("{}{}"),
	TEXT("1 2"),
	TEXT("[1]]"),
	TEXT("nul"),
	TEXT("nulll"),
	TEXT("NULL"),
	TEXT("True"),
	TEXT("tru"),
	TEXT("undefined"),
	TEXT("NaN"),
	TEXT("-NaN"),
	TEXT("Infinity"),
	TEXT("-Infinity"),
	TEXT("inf"),
	TEXT("+1"),
	TEXT("01"),
	TEXT("-01"),
	TEXT("00"),
	TEXT("1."),
	TEXT(".5"),
	TEXT("-"),
	TEXT("-.5"),
	TEXT("1e"),
	TEXT("1e+"),
	TEXT("1.e1"),
	TEXT("1.5.5"),
	TEXT("0x10"),
	TEXT("1_000"),
	TEXT("--1"),
	TEXT("1a"),
	TEXT("'a'"),
	TEXT("{'a':1}"),
	TEXT("{a:1}"),
	TEXT("\""),
	TEXT("\"a"),
	TEXT("\"a\\\""),
	TEXT("\"\\"),
	TEXT("\"\\x41\""),
	TEXT("\"\\'\""),
	TEXT("\"\\a\""),
	TEXT("\"\\0\""),
	TEXT("\"\\U0041\""),
	TEXT("\"\\u\""),
	TEXT("\"\\u12\""),
	TEXT("\"\\u123\""),
	TEXT("\"\\u123g\""),
	TEXT("\"\\u+123\""),
	TEXT("\"\\u 123\""),
	TEXT("\"\\u12"),
	TEXT("\"\\u0000\""),
	TEXT("\"a\\u0000b\""),
	TEXT("{\"unit\\u0000x\":1}"),
	TEXT("\"\\ud800\""),
	TEXT("\"\\udc00\""),
	TEXT("\"\\ud800x\""),
	TEXT("\"\\ud800\\n\""),
	TEXT("\"\\ud800\\u0041\""),
	TEXT("\"\\ud800\\ud800\""),
	TEXT("\"\\ude00\\ud83d\""),
	TEXT("\"\\ud83d\\u\""),
	TEXT("\"\\ud83d"),
	TEXT("\"\\ud83d\\"),
	TEXT("\"a\0b\""),
	TEXT("\"a\nb\""),
	TEXT("\"a\tb\""),
	TEXT("\"\x1f\""),
	TEXT("\"\x80\""),
	TEXT("\"\xbf\""),
	TEXT("\"\xc0\x80\""),
	TEXT("\"\xc1\xbf\""),
	TEXT("\"\xc3\""),
	TEXT("\"\xc3("),
	TEXT("\"\xe2\x82\""),
	TEXT("\"\xe0\x80\xaf\""),
	TEXT("\"\xed\xa0\x80\""),
	TEXT("\"\xed\xbf\xbf\""),
	TEXT("\"\xf0\x80\x80\xaf\""),
	TEXT("\"\xf0\x9f\x98\""),
	TEXT("\"\xf4\x90\x80\x80\""),
	TEXT("\"\xf5\x80\x80\x80\""),
	TEXT("\"\xfe\""),
	TEXT("\"\xff\""),
	TEXT("\"\xe9t\xe9\""),
	TEXT("["),
	TEXT("]"),
	TEXT("[,]"),
	TEXT("[1,]"),
	TEXT("[1 2]"),
	TEXT("[1}"),
	TEXT("[1"),
	TEXT("[1,"),
	TEXT("{"),
	TEXT("}"),
	TEXT("{,}"),
	TEXT("{\"a\"}"),
	TEXT("{\"a\":}"),
	TEXT("{\"a\":1,}"),
	TEXT("{\"a\" 1}"),
	TEXT("{\"a\":1 \"b\":2}"),
	TEXT("{\"a\":1]"),
	TEXT("{\"a\":1"),
	TEXT("{\"a\":"),
	TEXT("{\"a\""),
	TEXT("{1:1}"),
	TEXT("{null:1}"),
	TEXT("{\"a\":1,\"a\":2}"),
	TEXT("{\"a\":1,\"\\u0061\":2}"),
	TEXT("{\"\\u0061\":1,\"a\":2}"),
	TEXT("{\"\\u00E9\":1,\"\\u00e9\":2}"),
	TEXT("{\"\xc3\xa9\":1,\"\\u00e9\":2}"),
	TEXT("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}"),
	TEXT("{\"\\/\":1,\"/\":2}"),
	TEXT("{\"\":1,\"\":2}"),
	TEXT("{\"a\":{\"b\":1,\"b\":1}}"),
	TEXT("[{\"x\":1,\"y\":1,\"x\":1}]"),
	TEXT("{\"a\":{\"x\":1},\"b\":{\"y\":1},\"a\":1}"),
	TEXT("/* c */ 1"),
	TEXT("1 // c"),
	TEXT("{\"a\":1 /* c */}"),
	TEXT("# 1"),
	TEXT("\x0b"
         "1"),
	TEXT("\x0c"
         "1"),
	TEXT("\xc2\xa0"
         "1"),
};

static bool check(struct text text)
{
	struct json_fault fault;
	/* In a block of its own size, so that the sanitizers see a read beyond it. */
	char *exact = malloc(text.len > 0 ? text.len : 1);
	bool good;

	memcpy(exact, text.bytes, text.len);
	good = json_check(exact, text.len, NULL, 0, &fault);
	free(exact);
	if (!good && (fault.what == NULL || fault.at > text.len))
		diag("a refusal without a reason");
	return good && fault.what == NULL;
}

static void test_json_tables(void)
{
	for (size_t i = 0; i < sizeof good_json / sizeof *good_json; i++)
		ok(check(good_json[i]), "JSON: %s", good_json[i].bytes);
	for (size_t i = 0; i < sizeof bad_json / sizeof *bad_json; i++)
		ok(!check(bad_json[i]), "not JSON (%zu): %s", i, bad_json[i].bytes);
}

static char *repeat(const char *open, const char *middle, const char *close, size_t n)
{
	char *text = malloc(n * (strlen(open) + strlen(close)) + strlen(middle) + 1), *to = text;

	for (size_t i = 0; i < n; i++)
		to = stpcpy(to, open);
	to = stpcpy(to, middle);
	for (size_t i = 0; i < n; i++)
		to = stpcpy(to, close);
	return text;
}

static void test_json_depth(void)
{
	static const struct {
		const char *open, *middle, *close;
		size_t n;
		bool good;
	} cases[] = {
		{"[", "", "]", 32, true},
		{"[", "", "]", 33, false},
		{"[", "1", "]", 32, true},
		{"{\"a\":", "1", "}", 32, true},
		{"{\"a\":", "1", "}", 33, false},
		{"[{\"a\":", "1", "}]", 16, true},
		{"[{\"a\":", "[]", "}]", 16, false},
		{"[", "", "]", 100000, false},
		{"[", "", "", 100000, false},
		{"{\"a\":", "", "", 100000, false},
		{"[[],", "1", "]", 31, true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = repeat(cases[i].open, cases[i].middle, cases[i].close, cases[i].n);

		ok(check((struct text){text, strlen(text)}) == cases[i].good, "%zu times %s%s", cases[i].n, cases[i].open,
		   cases[i].close);
		free(text);
	}
}

/* An object of n names; twice: which one stands again at its end, or -1. */
static bool check_names(int n, int twice, bool escaped)
{
	char *text = malloc((size_t)n * 32 + 64), *to = text;
	bool good;

	to += sprintf(to, "{");
	for (int i = 0; i < n; i++)
		to += sprintf(to, "\"n%d\":{\"n0\":1,\"n1\":2},", i);
	to += escaped ? sprintf(to, "\"\\u006e%d\"", twice) : sprintf(to, "\"n%d\"", twice);
	to += sprintf(to, ":1}");
	good = check((struct text){text, (size_t)(to - text)});
	free(text);
	return good;
}

static void test_json_names(void)
{
	static const int sizes[] = {1, 2, 15, 16, 17, 47, 48, 49, 100, 1000, 2000};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int n = sizes[i];

		ok(check_names(n, -1, false), "%d names, each once", n);
		ok(!check_names(n, 0, false), "%d names, the first twice", n);
		ok(!check_names(n, n - 1, false), "%d names, the last twice", n);
		ok(!check_names(n, n / 2, true), "%d names, one again with an escape", n);
	}
}

static void test_wanted(void)
{
	struct json_wanted wanted[] = {{.name = "ref"}, {.name = "args"}, {.name = "none"}};
	static const char text[] = "{\"x\":{\"ref\":1}, \"r\\u0065f\" : 1e400 ,\"args\":{ \"ref\" : [ 1 ] } }";
	struct json_fault fault;

	ok(json_check(text, sizeof text - 1, wanted, 3, &fault), "checked");
	is_mem(wanted[0].value.bytes, wanted[0].value.len, "1e400", 5,
	       "a wanted value as it is written, under an escaped name");
	is_mem(wanted[1].value.bytes, wanted[1].value.len, "{ \"ref\" : [ 1 ] }", 17, "an object as it is written");
	ok(wanted[2].value.bytes == NULL, "absent");
	ok(json_check("[{\"ref\":1}]", 11, wanted, 3, &fault) && wanted[0].value.bytes == NULL, "not below the top");
}

/* ---- client messages */

struct message_case {
	const char *text;
	const char *error; /* how it begins; NULL: it is a message */
	const char *ref;
};

static const struct message_case messages[] = {
	{"{\"type\":\"ping\"}", NULL, NULL},
	{"{\"type\":\"ping\",\"ref\":4}", NULL, "4"},
	{"{\"type\":\"ping\",\"ref\":-0}", NULL, "-0"},
	{"{\"type\":\"ping\",\"ref\":1e400}", NULL, "1e400"},
	{"{\"type\":\"ping\",\"ref\":123456789012345678901234567890}", NULL, "123456789012345678901234567890"},
	{"{\"type\":\"ping\",\"ref\":0.1000}", NULL, "0.1000"},
	{"{\"type\":\"ping\",\"ref\":\"\"}", NULL, "\"\""},
	{"{\"type\":\"ping\",\"ref\":\"a\\n\\u00e9\\\"\"}", NULL, "\"a\\n\\u00e9\\\"\""},
	{"{\"ref\":\"x\",\"other\":[1,{}],\"type\":\"ping\"}", NULL, "\"x\""},
	{"{\"type\":\"ping\",\"ref\":null}", "ref must be", NULL},
	{"{\"type\":\"ping\",\"ref\":true}", "ref must be", NULL},
	{"{\"type\":\"ping\",\"ref\":[1]}", "ref must be", NULL},
	{"{\"type\":\"ping\",\"ref\":{}}", "ref must be", NULL},
	{"", "not valid JSON", NULL},
	{"ping", "not valid JSON", NULL},
	{"{'type':'ping'}", "not valid JSON", NULL},
	{"{\"type\":\"ping\"}x", "not valid JSON", NULL},
	{"{\"type\":\"ping\",\"type\":\"ping\"}", "not valid JSON: an object has a name twice", NULL},
	{"{\"type\":\"ping\",\"ref\":NaN}", "not valid JSON", NULL},
	{"{\"type\\u0000\":\"ping\"}", "not valid JSON: \\u0000", NULL},
	{"[]", "a message must be", NULL},
	{"\"ping\"", "a message must be", NULL},
	{"12", "a message must be", NULL},
	{"null", "a message must be", NULL},
	{"{}", "type must be", NULL},
	{"{\"ref\":7}", "type must be", "7"},
	{"{\"type\":\"Ping\",\"ref\":7}", "type must be", "7"},
	{"{\"type\":\"\",\"ref\":7}", "type must be", "7"},
	{"{\"type\":1,\"ref\":\"r\"}", "type must be", "\"r\""},
	{"{\"type\":null}", "type must be", NULL},
	{"{\"type\":[\"ping\"]}", "type must be", NULL},
	{"{\"type\":\"auth\",\"token\":\"a.b.c\"}", NULL, NULL},
	{"{\"type\":\"auth\"}", "token must be", NULL},
	{"{\"type\":\"auth\",\"token\":null}", "token must be", NULL},
	{"{\"type\":\"auth\",\"token\":5,\"ref\":1}", "token must be", "1"},
	{"{\"type\":\"auth\",\"token\":\"a\\u0000b\"}", "not valid JSON", NULL},
	{"{\"type\":\"subscribe\",\"ref\":1,\"channel\":\"a\"}", NULL, "1"},
	{"{\"type\":\"subscribe\",\"ref\":1}", "channel must be", "1"},
	{"{\"type\":\"subscribe\",\"ref\":1,\"channel\":null}", "channel must be", "1"},
	{"{\"type\":\"subscribe\",\"ref\":1,\"channel\":[\"a\"]}", "channel must be", "1"},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"since\":\"e-1\"}", NULL, NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"since\":null,\"snapshot\":null}", NULL, NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"since\":12}", "since must be", NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"since\":{}}", "since must be", NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"snapshot\":true}", NULL, NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"snapshot\":1}", "snapshot must be", NULL},
	{"{\"type\":\"subscribe\",\"channel\":\"a\",\"snapshot\":\"true\"}", "snapshot must be", NULL},
	{"{\"type\":\"unsubscribe\",\"channel\":\"a\",\"since\":5}", NULL, NULL},
	{"{\"type\":\"unsubscribe\"}", "channel must be", NULL},
	{"{\"type\":\"call\",\"name\":\"f\"}", NULL, NULL},
	{"{\"type\":\"call\",\"name\":\"f\",\"args\":{\"big\":123456789012345678901234567890}}", NULL, NULL},
	{"{\"type\":\"call\"}", "name must be", NULL},
	{"{\"type\":\"call\",\"name\":5}", "name must be", NULL},
	{"{\"type\":\"call\",\"name\":\"f\",\"idempotency_key\":5}", "idempotency_key must be", NULL},
	{"{\"type\":\"call\",\"name\":\"f\",\"args\":{\"a\":1,\"a\":2}}", "not valid JSON", NULL},
};

static void test_messages(void)
{
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
		const struct message_case *c = &messages[i];
		const char *error;
		char *ref, *exact = strdup(c->text);
		/* Without its NUL: the length counts. */
		struct message *message = message_parse(exact, strlen(exact), &error, &ref);

		free(exact);
		if (c->error == NULL) {
			ok(message != NULL && error == NULL, "a message: %s", c->text);
			is_str(message != NULL ? message->ref : NULL, c->ref, "its ref");
			is_str(ref, c->ref, "and the caller's copy");
		} else {
			ok(message == NULL && error != NULL && strncmp(error, c->error, strlen(c->error)) == 0,
			   "no message: %s (%s)", c->text, error != NULL ? error : "no error");
			is_str(ref, c->ref, "its ref");
		}
		free(ref);
		message_free(message);
	}
}

static void test_message_fields(void)
{
	static const char subscribe[] =
		"{\"type\":\"subscribe\",\"ref\":\"r\",\"channel\":\"a:unit:\\u00e9\\ud83d\\ude00\","
		"\"since\":\"6f3a91c2-1041\",\"snapshot\":true}";
	static const char call[] = "{\"type\":\"call\",\"name\":\"move\",\"args\":{ \"n\" : 1.10, "
							   "\"b\":18446744073709551616 },\"idempotency_key\":\"k\"}";
	const char *error;
	char *ref;
	struct message *message = message_parse(subscribe, sizeof subscribe - 1, &error, &ref);

	is_int(message->type, MESSAGE_SUBSCRIBE, "subscribe");
	is_str(message->channel, "a:unit:\xc3\xa9\xf0\x9f\x98\x80", "its channel, decoded");
	is_str(message->since, "6f3a91c2-1041", "its since");
	ok(message->snapshot, "its snapshot");
	message_free(message);
	free(ref);

	message = message_parse(call, sizeof call - 1, &error, &ref);
	is_int(message->type, MESSAGE_CALL, "call");
	is_str(message->name, "move", "its name");
	is_str(message->args, "{ \"n\" : 1.10, \"b\":18446744073709551616 }", "its args as they were written");
	is_str(message->idempotency_key, "k", "its idempotency key");
	message_free(message);

	message = message_parse("{\"type\":\"call\",\"name\":\"f\"}", 26, &error, &ref);
	is_str(message->args, "{}", "no args are an empty object");
	message_free(message);

	message = message_parse("{\"type\":\"auth\",\"token\":\"a.b.c\"}XXXX", 31, &error, &ref);
	is_str(message->token, "a.b.c", "a token; bytes beyond the length are not read");
	is_int(message->token_len, 5, "its length");
	message_free(message);
	message_free(NULL);
}

/* Every prefix, and every change of one byte, is taken or refused without harm. */
static void test_mutations(void)
{
	static const char text[] = "{\"type\":\"subscribe\",\"ref\":\"\\ud83d\\ude00\",\"channel\":\"a:row:7\",\"since\":"
							   "\"e-1\",\"n\":[1.5e2,{\"\\u0061\":"
							   "null}]}";
	static const unsigned char bytes[] = {0, '"', '\\', '{', '}', ',', 'u', '0', 0x80, 0xff};
	size_t taken = 0, n = 0;

	for (size_t len = 0; len < sizeof text - 1; len++) {
		char *exact = malloc(len + 1), *ref;
		const char *error;
		struct message *message;

		memcpy(exact, text, len);
		message = message_parse(exact, len, &error, &ref);
		taken += message != NULL;
		message_free(message);
		free(ref);
		free(exact);
	}
	is_int(taken, 0, "no prefix of a message is one");
	for (size_t at = 0; at < sizeof text - 1; at++) {
		for (size_t b = 0; b < sizeof bytes; b++, n++) {
			char *exact = malloc(sizeof text - 1), *ref;
			const char *error;
			struct message *message;

			memcpy(exact, text, sizeof text - 1);
			exact[at] = (char)bytes[b];
			message = message_parse(exact, sizeof text - 1, &error, &ref);
			if ((message == NULL) != (error != NULL))
				fail("byte %zu changed: neither message nor error", at);
			message_free(message);
			free(ref);
			free(exact);
		}
	}
	ok(true, "%zu changed messages survived", n);
}

/* ---- control messages */

static void is_frame(struct frame *frame, const char *want, const char *name)
{
	struct json_fault fault;

	is_mem(frame_text(frame), frame->len, want, strlen(want), "%s", name);
	ok(json_check(frame_text(frame), frame->len, NULL, 0, &fault), "%s is strict JSON", name);
	frame_unref(frame);
}

static void test_control(void)
{
	is_frame(message_welcome(NULL, "42", "6f3a91c2", 1041, 1794661200, 25),
	         "{\"type\":\"welcome\",\"protocol\":1,\"user\":\"42\",\"epoch\":\"6f3a91c2\",\"cursor\":\"6f3a91c2-1041\","
	         "\"expires_at\":\"2026-11-14T13:00:00Z\",\"heartbeat\":25}",
	         "welcome");
	is_frame(message_welcome("7", "a\"\\\n\x01\x1f\t\xc3\xa9", "e", 0, INT64_C(9007199254740992), 1),
	         "{\"type\":\"welcome\",\"ref\":7,\"protocol\":1,\"user\":\"a\\\"\\\\\\n\\u0001\\u001f\\t\xc3\xa9\","
	         "\"epoch\":\"e\","
	         "\"cursor\":\"e-0\",\"expires_at\":\"9999-12-31T23:59:59Z\",\"heartbeat\":1}",
	         "welcome of a user with hostile bytes, and the last expiry there is");
	is_frame(
		message_subscribed("1", "requests:unit:7", "e", 5, 1, NULL),
		"{\"type\":\"subscribed\",\"ref\":1,\"channel\":\"requests:unit:7\",\"cursor\":\"e-5\",\"recovered\":true}",
		"subscribed");
	is_frame(message_subscribed(NULL, "c", "e", 5, 0, "pruned"),
	         "{\"type\":\"subscribed\",\"channel\":\"c\",\"cursor\":\"e-5\",\"recovered\":false,\"reason\":\"pruned\"}",
	         "subscribed, not recovered");
	is_frame(message_subscribed("\"x\"", "c", "e", 5, -1, NULL),
	         "{\"type\":\"subscribed\",\"ref\":\"x\",\"channel\":\"c\",\"cursor\":\"e-5\"}", "subscribed, not asked");
	is_frame(message_unsubscribed(NULL, "orders:row:123", "forbidden"),
	         "{\"type\":\"unsubscribed\",\"channel\":\"orders:row:123\",\"reason\":\"forbidden\"}", "unsubscribed");
	is_frame(message_unsubscribed("2", "c", NULL), "{\"type\":\"unsubscribed\",\"ref\":2,\"channel\":\"c\"}",
	         "unsubscribed as asked");
	is_frame(message_resync("c", "e", 9, "folded"),
	         "{\"type\":\"resync\",\"channel\":\"c\",\"cursor\":\"e-9\",\"reason\":\"folded\"}", "resync");
	is_frame(message_pong("4", "e", 9, true), "{\"type\":\"pong\",\"ref\":4,\"cursor\":\"e-9\",\"live\":true}", "pong");
	is_frame(message_status(false), "{\"type\":\"status\",\"live\":false}", "status");
	is_frame(message_error("3", "forbidden", "unit 9 is not in your token", NULL),
	         "{\"type\":\"error\",\"ref\":3,\"code\":\"forbidden\",\"message\":\"unit 9 is not in your token\"}",
	         "error");
	is_frame(message_error(NULL, "unknown_channel", "x", "a\"b"),
	         "{\"type\":\"error\",\"code\":\"unknown_channel\",\"message\":\"x\",\"channel\":\"a\\\"b\"}",
	         "error of a channel");
}

static void test_quote(void)
{
	char all[256], *quoted;
	struct json_fault fault;

	for (int i = 0; i < 127; i++)
		all[i] = (char)(i + 1);
	quoted = message_quote((struct text){all, 127});
	ok(json_check(quoted, strlen(quoted), NULL, 0, &fault), "all of ASCII, quoted, is JSON");
	free(quoted);
	quoted = message_quote((struct text){"", 0});
	is_str(quoted, "\"\"", "nothing, quoted");
	free(quoted);
}

static void test_cursors(void)
{
	static const struct {
		const char *text;
		int64_t id; /* -1: not one */
	} cases[] = {
		{"6f3a91c2-1042", 1042},
		{"0-0", 0},
		{"e-9007199254740991", INT64_C(9007199254740991)},
		{"e-9007199254740992", -1},
		{"e-99999999999999999999999", -1},
		{"e-01", -1},
		{"e--1", -1},
		{"e-+1", -1},
		{"e-", -1},
		{"-1", -1},
		{"", -1},
		{"e", -1},
		{"e1", -1},
		{"e-1 ", -1},
		{" e-1", -1},
		{"e-1x", -1},
		{"E-1", -1},
		{"6f3a91c2-1-2", -1},
		{"0123456789abcdef0-1", -1},
		{"0123456789abcdef-1", 1},
		{"e\xc3\xa9-1", -1},
		{"e-00", -1},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cursor cursor = {"", -1};

		ok(cursor_parse(cases[i].text, &cursor) == (cases[i].id >= 0), "cursor %s", cases[i].text);
		is_int(cursor.id, cases[i].id, "its id");
	}
}

/* ---- claims: what the table of test_access.c, which sees only principals, cannot tell apart */

static bool claims(const char *text, const char *user, const char *units, struct json_claims *out)
{
	const char *error;
	bool good = message_parse_claims(text, strlen(text), user, units, "roles", out, &error);

	if (good == (error != NULL))
		fail("claims: an error and a result");
	return good;
}

static void test_claims(void)
{
	static const char nested[] =
		"{\"exp\":10,\"a\":{\"b/c\":{\"~\":\"u\"},\"\":[\"x\",[\"7\"]]},\"/\":1,\"sub\":\"s\"}";
	struct json_claims out;

	ok(claims("{\"sub\":\"u\",\"exp\":1.9,\"iat\":1.9,\"nbf\":1.1}", "sub", "units", &out), "fractions");
	is_int(out.exp_s, 1, "exp is rounded down");
	is_int(out.iat_s, 1, "iat is rounded down");
	is_int(out.nbf_s, 2, "nbf is rounded up");
	ok(!out.has_units, "no units");
	message_free_claims(&out);

	ok(claims("{\"sub\":-7,\"exp\":1e3,\"units\":[]}", "sub", "units", &out), "an integer user");
	is_str(out.user, "-7", "as text");
	is_int(out.exp_s, 1000, "exp with an exponent");
	is_int(out.iat_s, -1, "no iat");
	ok(out.has_units && out.n_units == 0, "units that are there and empty");
	message_free_claims(&out);

	ok(claims(nested, "/a/b~1c/~0", "/a//1", &out), "JSON pointers, with escapes, an empty name and an index");
	is_str(out.user, "u", "the user they find");
	ok(out.n_units == 1 && strcmp(out.units[0].unit, "7") == 0, "the units they find");
	message_free_claims(&out);
	ok(claims(nested, "/sub", "/a/01", &out) && !out.has_units, "an index or a name that is not there");
	message_free_claims(&out);
	ok(!claims(nested, "/a/nothing", "units", &out), "no user there");
	ok(!claims(nested, "/sub/x", "units", &out), "a pointer into a string");
	ok(!claims(nested, "/a/~2", "units", &out), "a pointer with a bad escape");
	ok(!claims(nested, "//x", "units", &out), "a pointer to an empty name that is not there");

	ok(claims("{\"sub\":\"u\",\"exp\":1,\"aud\":[\"a\",5],\"iss\":5,\"roles\":\"admin\",\"sid\":9}", "sub", "units",
	          &out),
	   "aud, iss and roles of other forms");
	ok(out.n_aud == 0 && out.iss == NULL && out.n_roles == 0, "are none");
	is_str(out.sid, "9", "an integer sid is text");
	message_free_claims(&out);
	ok(!claims("{\"sub\":\"u\",\"exp\":1,\"sid\":{}}", "sub", "units", &out), "a sid that could not be logged out");
}

int main(void)
{
	test_json_tables();
	test_json_depth();
	test_json_names();
	test_wanted();
	test_messages();
	test_message_fields();
	test_mutations();
	test_control();
	test_quote();
	test_cursors();
	test_claims();
	return tap_done();
}
