/*
 * test_socketio_link.c - the namespaces of a connection of Socket.IO: connecting, what comes first, cursors, recovery, acks, ends.
 * Not here: how packets are read and written (test_socketio_packet.c), and carried (test/e2e/socketio.test.mjs).
 */
#include "hub_fixture.h"

#include "socketio_link.h"

static struct socketio_link *link_;
static int wakes;
static char last[70000];

static void note(void *arg)
{
	(void)arg;
	wakes++;
}

static struct socketio_link *new_link(const char *token)
{
	struct socketio_link_settings settings = {.hub = world.hub,
	                                          .catalog = world.catalog,
	                                          .address = "127.0.0.1",
	                                          .token = token,
	                                          .wake = note,
	                                          .max_bad_messages = 3};
	return socketio_link_new(&settings);
}

static void define(void)
{
	struct catalog_load *load = catalog_load_begin();
	for (size_t i = 0; i < sizeof(usual_feeds) / sizeof(usual_feeds[0]); i++)
		catalog_load_feed(load, &usual_feeds[i]);
	struct text board[] = {text("requests:unit:{unit}"), text("notices:user:{user}")};
	struct text forbidden[] = {text("requests:unit:99")};
	catalog_load_command(load, text("move_card"), NULL, 0);
	catalog_load_path(load, text(CATALOG_NAMESPACE_PATH "/board"), board, 2);
	catalog_load_path(load, text(CATALOG_NAMESPACE_PATH "/forbidden"), forbidden, 1);
	catalog_load_event_name(load, text("requests"), text("moved"), text("request_move"));
	catalog_load_commit(world.catalog, load);
}

static void begin(const char *token)
{
	world_begin(1 << 20);
	define();
	link_ = new_link(token);
	wakes = 0;
}

static void end(void)
{
	socketio_link_free(link_);
	hub_sweep(world.hub);
	world_end();
}

static void receive(const char *text_)
{
	socketio_link_receive(link_, text_, strlen(text_));
}

/* CONNECT with a token for unit 7, and more of what stands beside it. */
static void connect(const char *namespace, const char *more)
{
	char packet[2048], *token = token_for("42", "\"units\":[7]");
	snprintf(packet, sizeof packet, "0%s%s{\"token\":\"%s\"%s}", namespace, namespace[0] != '\0' ? "," : "", token,
	         more);
	free(token);
	receive(packet);
}

/* The next packet; NULL: none. */
static const char *out(void)
{
	struct json_out packet = {0};
	bool there = socketio_link_output(link_, &packet);
	snprintf(last, sizeof last, "%.*s", (int)packet.len, packet.len > 0 ? packet.bytes : "");
	free(packet.bytes);
	return there ? last : NULL;
}

static bool begins(const char *packet, const char *with)
{
	bool does = packet != NULL && strncmp(packet, with, strlen(with)) == 0;
	if (!does)
		diag("%s does not begin with %s", packet != NULL ? packet : "nothing", with);
	return does;
}

static bool ends(const char *packet, const char *with)
{
	bool does =
		packet != NULL && strlen(packet) >= strlen(with) && strcmp(packet + strlen(packet) - strlen(with), with) == 0;
	if (!does)
		diag("%s does not end with %s", packet != NULL ? packet : "nothing", with);
	return does;
}

static int closing(void)
{
	const char *reason;
	return socketio_link_closing(link_, &reason);
}

/* What follows CONNECT: welcome, and an answer for each channel. */
static void skip_packets(int n)
{
	for (int i = 0; i < n; i++)
		(void)out();
}

#define MOVED .flags = USUAL_FLAGS, .feed = text("requests"), .unit = text("7"), .key = text("5")
#define BODY "{\"type\":\"request.updated\",\"feed\":\"requests\",\"action\":\"moved\""

static void test_connect(void)
{
	begin(NULL);
	connect("/board", "");
	ok(wakes > 0, "the transport is woken");
	ok(begins(out(), "0/board,{\"sid\":\"") && ends(last, "\"}"), "CONNECT comes first");
	ok(strstr(last, "\"pid\":\"" EPOCH "-100.") != NULL, "with a pid that knows where it began");
	ok(begins(out(), "2/board,[\"welcome\",{") && ends(last, ",\"" EPOCH "-100\"]"), "then the welcome, with a cursor");
	ok(begins(out(), "2/board,[\"subscribed\",") && begins(out(), "2/board,[\"subscribed\","), "and the channels");
	ok(out() == NULL && closing() == 0, "no more");
	emit(.id = 101, MOVED, .body = text(BODY));
	ok(begins(out(), "2/board,[\"request_move\"," BODY ",\"id\":101,") && ends(last, ",\"" EPOCH "-101\"]"),
	   "an event under its name");
	connect("", "");
	ok(begins(out(), "0{\"sid\":\"") && strstr(last, "pid") == NULL,
	   "the main namespace is there, with nothing to recover");
	ok(begins(out(), "2[\"welcome\""), "but for a welcome");
	is_int((int)hub_sessions(world.hub), 2, "each namespace is a session");
	receive("1/board");
	is_int((int)hub_sessions(world.hub), 1, "which ends with its DISCONNECT");
	ok(closing() == 0, "and nothing else");
	connect("", "");
	ok(closing() != 0, "connected twice: a client that counts differently");
	end();
}

static void test_refused(void)
{
	begin(NULL);
	connect("/nowhere", "");
	is_str(out(), "4/nowhere,{\"message\":\"Invalid namespace\"}", "an unknown namespace");
	receive("0/board");
	is_str(out(), "4/board,{\"message\":\"bad_token\"}", "no token");
	receive("0/board,{\"token\":\"x.y.z\"}");
	ok(begins(out(), "4/board,{\"message\":\"bad_token\",\"data\":{\"type\":\"error\",\"code\":\"bad_token\""),
	   "a bad token");
	is_int((int)hub_sessions(world.hub), 0, "is no session");
	connect("/forbidden", "");
	ok(begins(out(), "0/forbidden,") && begins(out(), "2/forbidden,[\"welcome\"") &&
	       begins(out(), "2/forbidden,[\"error\",{\"type\":\"error\",\"code\":\"forbidden\""),
	   "who may not have a channel is told, and connected");
	ok(closing() == 0, "the connection goes on");
	for (int i = 0; i < 4; i++)
		receive("2/board,[\"x\"]");
	is_int(closing(), CLOSE_BAD_MESSAGES, "too many packets for namespaces that are not connected");
	end();
	begin(NULL);
	receive("2{}");
	is_int(closing(), CLOSE_BAD_MESSAGES, "what is no packet ends the connection");
	end();
	begin(NULL);
	char namespace[64];
	for (int i = 0; i < 300 && closing() == 0; i++) {
		snprintf(namespace, sizeof namespace, "/n%d", i);
		connect(namespace, "");
	}
	is_int(closing(), CLOSE_LIMIT, "nobody tries names for ever");
	end();
}

static void test_request_token(void)
{
	char *token = token_for("42", "\"units\":[7]");
	world_begin(1 << 20);
	define();
	link_ = new_link(token);
	free(token);
	receive("0/board,{\"token\":\"bad\"}");
	ok(begins(out(), "0/board,{\"sid\":\""), "the request's token counts before the packet's");
	end();
}

static void test_acks(void)
{
	begin(NULL);
	connect("/board", "");
	skip_packets(4);
	receive("2/board,7[\"subscribe\",{\"channel\":\"news\"}]");
	ok(begins(out(), "3/board,7[{\"type\":\"subscribed\",\"ref\":7,\"channel\":\"news\""),
	   "subscribe's answer goes to its ack");
	receive("2/board,[\"subscribe\",{\"channel\":\"requests:unit:8\"}]");
	ok(begins(out(), "2/board,[\"error\",{\"type\":\"error\",\"code\":\"forbidden\"") &&
	       ends(last, ",\"" EPOCH "-100\"]"),
	   "without an ack it is emitted, with a cursor");
	receive("2/board,8[\"unsubscribe\",{\"channel\":\"news\"}]");
	ok(begins(out(), "3/board,8[{\"type\":\"unsubscribed\""), "unsubscribe's too");
	world.at_once = false;
	receive("2/board,9[\"move_card\",{\"id\":1}]");
	ok(out() == NULL && open_asks() == 1, "a command is asked of the database");
	receive("2/board,10[\"subscribe\"]");
	ok(begins(out(), "3/board,10[{\"type\":\"error\",\"code\":\"bad_message\""),
	   "what cannot be a message is refused here");
	receive("51-/board,11[\"x\",{\"_placeholder\":true,\"num\":0}]");
	ok(begins(out(), "3/board,11[{\"type\":\"error\",\"code\":\"bad_message\",\"message\":\"binary"), "so is binary");
	socketio_link_binary(link_);
	is_int(closing(), 0, "with what belongs to it");
	socketio_link_binary(link_);
	socketio_link_binary(link_);
	is_int(closing(), CLOSE_BAD_MESSAGES, "and not without end");
	end();
}

static void test_recovery(void)
{
	char pid[96], more[256];
	begin(NULL);
	connect("/board", "");
	(void)out();
	const char *at = strstr(last, "\"pid\":\"") + 7;
	snprintf(pid, sizeof pid, "%.*s", (int)(strchr(at, '"') - at), at);
	socketio_link_free(link_);
	link_ = new_link(NULL);
	emit(.id = 101, MOVED, .body = text(BODY));
	emit(.id = 102, MOVED, .body = text(BODY));
	snprintf(more, sizeof more, ",\"pid\":\"%s\",\"offset\":\"" EPOCH "-101\"", pid);
	connect("/board", more);
	pump();
	ok(begins(out(), "0/board,") && strstr(last, pid) != NULL,
	   "who comes back with its pid and a cursor gets the same pid");
	skip_packets(3);
	ok(begins(out(), "2/board,[\"request_move\"," BODY ",\"id\":102,") && out() == NULL, "and what it missed");
	socketio_link_free(link_);
	link_ = new_link(NULL);
	snprintf(more, sizeof more, ",\"pid\":\"%s\"", pid);
	connect("/board", more);
	pump();
	ok(begins(out(), "0/board,") && strstr(last, pid) != NULL, "without a cursor that of the pid counts");
	skip_packets(3);
	ok(begins(out(), "2/board,[\"request_move\"," BODY ",\"id\":101,"), "from where it began");
	socketio_link_free(link_);
	link_ = new_link(NULL);
	snprintf(more, sizeof more, ",\"pid\":\"%s\",\"offset\":\"0000bbbb-7\"", pid);
	connect("/board", more);
	pump();
	ok(begins(out(), "0/board,") && strstr(last, pid) == NULL, "a cursor of another history: another pid");
	ok(strstr(last, "\"pid\":\"" EPOCH "-102.") != NULL, "which knows where it begins");
	ok(begins(out(), "2/board,[\"welcome\"") && ends(last, "\"" EPOCH "-102\"]"), "as do the cursors");
	socketio_link_free(link_);
	link_ = new_link(NULL);
	connect("/board", ",\"pid\":\"nonsense\",\"offset\":\"more of it\"");
	ok(begins(out(), "0/board,") && strstr(last, "nonsense") == NULL, "what is none is not looked at");
	socketio_link_free(link_);
	link_ = new_link(NULL);
	world.down = true;
	snprintf(more, sizeof more, ",\"pid\":\"%s\",\"offset\":\"" EPOCH "-50\"", pid);
	connect("/board", more);
	pump();
	ok(out() == NULL, "while nobody can say whether a cursor is good, nothing is lost by going on without");
	is_int(closing(), CLOSE_TRY_LATER, "the client comes again");
	end();
}

static void test_waits(void)
{
	begin(NULL);
	struct text row[] = {text("orders:row:5"), text("requests:unit:{unit}")};
	struct catalog_load *load = catalog_load_begin();
	for (size_t i = 0; i < sizeof(usual_feeds) / sizeof(usual_feeds[0]); i++)
		catalog_load_feed(load, &usual_feeds[i]);
	catalog_load_path(load, text(CATALOG_NAMESPACE_PATH "/slow"), row, 2);
	catalog_load_commit(world.catalog, load);
	world.rows[world.n_rows++] = (struct row){"orders", "5", ROW_FOUND, "7", "42"};
	world.at_once = false;
	connect("/slow", "");
	ok(out() == NULL, "nothing goes out while a channel is not live yet");
	emit(.id = 101, MOVED, .body = text(BODY));
	ok(out() == NULL, "not even events of the others");
	while (answer_next())
		;
	ok(begins(out(), "0/slow,"), "then CONNECT");
	ok(begins(out(), "2/slow,[\"welcome\"") && begins(out(), "2/slow,[\"subscribed\""), "and all that came, in order");
	ok(begins(out(), "2/slow,[\"request.updated\"") && ends(last, ",\"" EPOCH "-101\"]"), "the event with its cursor");
	ok(begins(out(), "2/slow,[\"subscribed\"") && out() == NULL, "and the channel that was late");
	end();
}

static void test_ends(void)
{
	begin(NULL);
	connect("/board", "");
	connect("", "");
	skip_packets(6);
	set_clock(3700 * 1000);
	hub_check_deadlines(world.hub);
	pump();
	bool error = false, told = false;
	while (out() != NULL) {
		error = error || strstr(last, "[\"error\",{\"type\":\"error\",\"code\":\"bad_token\"") != NULL;
		told = told || strstr(last, "[\"closing\",{\"type\":\"closing\",\"code\":4401,") != NULL;
	}
	ok(error && told, "a token that expires is told");
	is_int(closing(), CLOSE_TOKEN, "and ends the connection");
	end();

	begin(NULL);
	connect("/board", "");
	connect("", "");
	skip_packets(6);
	hub_drain(world.hub, 0);
	while (out() != NULL)
		;
	is_int(closing(), CLOSE_GOING_AWAY, "so does a shutdown");
	connect("/other", "");
	ok(out() == NULL, "nothing more is taken");
	end();
}

int main(void)
{
	test_connect();
	test_refused();
	test_request_token();
	test_acks();
	test_recovery();
	test_waits();
	test_ends();
	return tap_done();
}
