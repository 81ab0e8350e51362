/*
 * test_socketio_packet.c - packets of Socket.IO read and written; the names that events have; what of the catalog is for Socket.IO.
 * Not here: namespaces and their sessions (test_socketio_link.c).
 */
#include "socketio_packet.h"

#include <stdlib.h>

#include "access.h"
#include "catalog.h"
#include "channel.h"
#include "tap.h"
#include "text.h"

static struct socketio_packet packet;
static const char *why;

static bool parse(const char *text)
{
	return socketio_parse(text_of(text), &packet, &why);
}

/* Frees; valid until the next call. */
static const char *written(struct json_out *out)
{
	static char text[4096];
	snprintf(text, sizeof text, "%.*s", (int)out->len, out->len > 0 ? out->bytes : "");
	free(out->bytes);
	*out = (struct json_out){0};
	return text;
}

static void is_text(struct text got, const char *want, const char *name)
{
	if (want == NULL)
		ok(got.bytes == NULL, "%s", name);
	else
		is_mem(got.bytes != NULL ? got.bytes : "", got.len, want, strlen(want), "%s", name);
}

static void test_parse(void)
{
	ok(parse("0") && packet.type == SOCKETIO_CONNECT && packet.data.bytes == NULL, "CONNECT without data");
	is_text(packet.namespace, "/", "of the main namespace");
	ok(parse("0/board") && packet.type == SOCKETIO_CONNECT, "CONNECT to another");
	is_text(packet.namespace, "/board", "without a comma");
	ok(parse("0/board?token=x,{}"), "CONNECT with a query");
	is_text(packet.namespace, "/board", "which does not count");
	ok(parse("1/board,") && packet.type == SOCKETIO_DISCONNECT, "DISCONNECT");
	ok(parse("2/board,17[\"move_card\",{\"id\":1}]") && packet.type == SOCKETIO_EVENT, "EVENT");
	is_text(packet.namespace, "/board", "its namespace");
	is_text(packet.ack, "17", "its ack");
	is_text(packet.data, "[\"move_card\",{\"id\":1}]", "its arguments");
	ok(parse("2[\"x\"]") && packet.ack.bytes == NULL, "EVENT without an ack");
	ok(parse("352[1]") && packet.type == SOCKETIO_ACK, "ACK");
	ok(parse("51-[\"x\",{\"_placeholder\":true,\"num\":0}]") && packet.type == SOCKETIO_BINARY_EVENT &&
	       packet.attachments == 1,
	   "BINARY_EVENT and its attachments");
	const char *const bad[] = {"",
	                           "abc",
	                           "7",
	                           "4{}",
	                           "2",
	                           "2{}",
	                           "2[]",
	                           "2[1]",
	                           "2abc[\"x\"]",
	                           "2[\"x\"",
	                           "2[\"x\"]]",
	                           "0[]",
	                           "0\"x\"",
	                           "1{}",
	                           "3[1]",
	                           "5[\"x\"]",
	                           "5-[\"x\"]",
	                           "51[\"x\"]",
	                           "2/b[\"x\"]",
	                           "2 [\"x\"",
	                           "2[\"\\ud800\"]",
	                           "21234567890123456[\"x\"]",
	                           "2[\"a\",{\"b\":1,\"b\":2}]"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ok(!parse(bad[i]) && why != NULL, "not a packet: %s", bad[i]);
}

static void test_auth(void)
{
	struct socketio_auth auth;
	ok(parse(
		   "0{\"pid\":\"p\", \"offset\" : \"6f-1\",\"token\":\"a.b.c\",\"more\":{\"token\":\"no\"},\"snapshot\":true}"),
	   "CONNECT with what a client that comes back says");
	socketio_auth(&packet, &auth);
	is_text(auth.token, "a.b.c", "token");
	is_text(auth.pid, "p", "pid");
	is_text(auth.offset, "6f-1", "offset");
	ok(auth.snapshot, "snapshot");
	ok(parse("0{\"token\":7,\"pid\":\"a\\u0062\"}"), "CONNECT with what is no token");
	socketio_auth(&packet, &auth);
	ok(auth.token.bytes == NULL && auth.pid.bytes == NULL && !auth.snapshot, "has none");
}

static const char *message(const char *text)
{
	static char refused[200];
	struct json_out out = {0};
	struct json_fault fault;
	if (!parse(text))
		return "no packet";
	if (!socketio_message(&packet, &out, &why)) {
		free(out.bytes);
		snprintf(refused, sizeof refused, "refused: %s", why);
		return refused;
	}
	if (!json_check(out.bytes, out.len, NULL, 0, &fault))
		diag("%s: %.*s", fault.what, (int)out.len, out.bytes);
	return written(&out);
}

static void test_message(void)
{
	is_str(message("2/"
	               "b,3[\"subscribe\",{\"channel\":\"a:unit:7\",\"since\":\"6f-1\",\"snapshot\":true,\"type\":\"auth\","
	               "\"ref\":9}]"),
	       "{\"type\":\"subscribe\",\"ref\":3,\"channel\":\"a:unit:7\",\"since\":\"6f-1\",\"snapshot\":true}",
	       "subscribe, with what belongs to it and nothing else");
	is_str(message("2[\"unsubscribe\",{\"channel\":\"a\"}]"), "{\"type\":\"unsubscribe\",\"channel\":\"a\"}",
	       "unsubscribe");
	is_str(message("20012[\"move_card\",{\"id\":1,\"to\":[1,{\"a\":\"]}\\\"\"}]}]"),
	       "{\"type\":\"call\",\"ref\":12,\"name\":\"move_card\",\"args\":{\"id\":1,\"to\":[1,{\"a\":\"]}\\\"\"}]}}",
	       "a command with its arguments");
	is_str(message("2[\"move_card\"]"), "{\"type\":\"call\",\"name\":\"move_card\"}", "a command without");
	is_str(message("2[\"move_card\",{},{\"idempotency_key\":\"k\",\"name\":\"other\"}]"),
	       "{\"type\":\"call\",\"name\":\"move_card\",\"args\":{},\"idempotency_key\":\"k\"}", "a command with a key");
	ok(strncmp(message("2[\"subscribe\"]"), "refused", 7) == 0, "subscribe without a channel");
	ok(strncmp(message("2[\"subscribe\",\"a\"]"), "refused", 7) == 0, "subscribe with a string");
	ok(strncmp(message("2[\"move_card\",1]"), "refused", 7) == 0, "arguments that are no object");
	ok(strncmp(message("2[\"move_card\",{},{},{}]"), "refused", 7) == 0, "too many arguments");
}

static const char *frame(const char *namespace, const char *text, const struct event_names *names)
{
	struct json_out out = {0};
	socketio_put_frame(&out, text_of(namespace), text_of(text), names, "6f-9");
	return written(&out);
}

#define CARD(action)                                                                                                   \
	"{\"type\":\"card.updated\",\"feed\":\"cards\",\"action\":\"" action "\",\"unit\":\"7\",\"data\":{\"ref\":1}}"

static void test_frames(void)
{
	struct event_names names = {0};
	ok(event_names_add(&names, text_of("cards"), text_of(""), text_of("card_update")) &&
	       event_names_add(&names, text_of("cards"), text_of("mo\"ved"), text_of("card \"move\"")) &&
	       event_names_add(&names, text_of("pending"), (struct text){NULL, 0}, text_of("pending_count")),
	   "names");
	is_str(frame("/", CARD("x"), &names), "2[\"card_update\"," CARD("x") ",\"6f-9\"]",
	       "an event under the name of all actions");
	is_str(frame("/board", CARD("mo\\\"ved"), &names), "2/board,[\"card \\\"move\\\"\"," CARD("mo\\\"ved") ",\"6f-9\"]",
	       "... of its action, in a namespace");
	event_names_free(&names);
	is_str(frame("/", CARD("x"), &names), "2[\"card.updated\"," CARD("x") ",\"6f-9\"]", "... under its type");
	const char *value = "{\"type\":\"value\",\"channel\":\"pending:unit:7\",\"cursor\":\"6f-8\",\"data\":[3,\"}\"]}";
	is_str(frame("/", value, &names), "2[\"value\",[3,\"}\"],\"pending:unit:7\",\"6f-9\"]", "a value is bare");
	ok(event_names_add(&names, text_of("pending"), (struct text){NULL, 0}, text_of("pending_count")), "with a name");
	is_str(frame("/", value, &names), "2[\"pending_count\",[3,\"}\"],\"pending:unit:7\",\"6f-9\"]", "under it");
	event_names_free(&names);
	const char *subscribed =
		"{\"type\":\"subscribed\",\"ref\":12,\"channel\":\"a\",\"cursor\":\"6f-1\",\"recovered\":false}";
	char want[256];
	snprintf(want, sizeof want, "3/b,12[%s]", subscribed);
	is_str(frame("/b", subscribed, &names), want, "an answer goes to its ack");
	struct socketio_frame look;
	socketio_look(text_of(subscribed), &look);
	is_text(look.recovered, "false", "what else a frame says: recovered");
	socketio_look(text_of("{\"type\":\"welcome\",\"protocol\":1,\"user\":\"4\\\"2\",\"epoch\":\"6f\",\"cursor\":\"6f-"
	                      "1041\",\"heartbeat\":25}"),
	              &look);
	is_text(look.cursor, "6f-1041", "... a cursor");
	socketio_look(text_of("{\"type\":\"error\",\"ref\":null,\"code\":\"forbidden\",\"message\":\"no\"}"), &look);
	is_text(look.code, "forbidden", "... a code");
}

static void test_out(void)
{
	struct json_out out = {0};
	socketio_put_connect(&out, text_of("/"), "s", (struct text){NULL, 0});
	is_str(written(&out), "0{\"sid\":\"s\"}", "the answer to CONNECT");
	socketio_put_connect(&out, text_of("/b"), "s", text_of("6f-1.p"));
	is_str(written(&out), "0/b,{\"sid\":\"s\",\"pid\":\"6f-1.p\"}", "with a pid");
	socketio_put_connect_error(&out, text_of("/b"), "Invalid namespace", (struct text){NULL, 0});
	is_str(written(&out), "4/b,{\"message\":\"Invalid namespace\"}", "CONNECT_ERROR");
	socketio_put_error(&out, text_of("/"), text_of("7"), "bad_message", "a \"b\"", "6f-1");
	is_str(written(&out), "37[{\"type\":\"error\",\"code\":\"bad_message\",\"message\":\"a \\\"b\\\"\"}]",
	       "an error to an ack");
	socketio_put_error(&out, text_of("/"), (struct text){NULL, 0}, "bad_message", "x", "6f-1");
	is_str(written(&out), "2[\"error\",{\"type\":\"error\",\"code\":\"bad_message\",\"message\":\"x\"},\"6f-1\"]",
	       "as an event");
}

static void collect(struct text channel, void *arg)
{
	strncat(arg, channel.bytes, channel.len);
	strcat(arg, " ");
}

static void test_catalog(void)
{
	static char one[] = "1", two[] = "2", user[] = "a,b";
	static struct unit_grant units[] = {{.unit = one}, {.unit = two}};
	const struct principal principal = {.user = user, .units = units, .n_units = 2};
	struct text channels[] = {text_of("cards:unit:{unit}"), text_of("mine:user:{user}")};
	char all[256] = "";
	struct catalog *catalog = catalog_new();
	struct catalog_load *load = catalog_load_begin();
	ok(catalog_load_path(load, text_of(CATALOG_NAMESPACE_PATH "/board"), channels, 2) &&
	       catalog_load_event_name(load, text_of("cards"), text_of("moved"), text_of("card_move")),
	   "a namespace and a name");
	catalog_load_commit(catalog, load);
	ok(catalog_has_path(catalog, text_of(CATALOG_NAMESPACE_PATH "/board")), "the namespace is there");
	ok(!catalog_has_path(catalog, text_of(CATALOG_NAMESPACE_PATH)), "and no other");
	(void)catalog_match_path(catalog, text_of(CATALOG_NAMESPACE_PATH "/board"), &principal, collect, all);
	is_str(all, "cards:unit:1 cards:unit:2 mine:user:a%2Cb ", "its channels");
	is_text(event_names_find(catalog_event_names(catalog), text_of("cards"), text_of("moved")), "card_move",
	        "the name");
	catalog_load_commit(catalog, catalog_load_begin());
	is_text(event_names_find(catalog_event_names(catalog), text_of("cards"), text_of("moved")), NULL,
	        "gone with the definitions");
	catalog_free(catalog);
}

int main(void)
{
	test_parse();
	test_auth();
	test_message();
	test_frames();
	test_out();
	test_catalog();
	return tap_done();
}
