/*
 * test_engineio.c - Engine.IO: what each packet means in each state, when pings are due, the open packet, payloads.
 * Not here: carrying them (test/e2e/socketio.test.mjs).
 */
#include "engineio.h"

#include "jsontext.h"
#include "tap.h"
#include "text.h"

static struct text message;

static enum engineio_verdict take(struct engineio *engineio, enum engineio_way by, const char *packet)
{
	message = (struct text){NULL, 0};
	return engineio_take(engineio, by, text_of(packet), 0, &message);
}

static void test_packets(void)
{
	struct engineio engineio;
	engineio_begin(&engineio, ENGINEIO_POLLING, 25000, 0);
	is_int(take(&engineio, ENGINEIO_POLLING, "40{}"), ENGINEIO_DELIVER, "a message is delivered");
	is_mem(message.bytes, message.len, "0{}", 3, "without its type");
	is_int(take(&engineio, ENGINEIO_POLLING, "4"), ENGINEIO_DELIVER, "an empty message too");
	is_int(take(&engineio, ENGINEIO_POLLING, "3"), ENGINEIO_NOTHING, "a pong that nobody asked for is nothing");
	is_int(take(&engineio, ENGINEIO_POLLING, "6"), ENGINEIO_NOTHING, "a noop is nothing");
	is_int(take(&engineio, ENGINEIO_POLLING, "bAQID"), ENGINEIO_BINARY, "binary is told apart");
	is_int(take(&engineio, ENGINEIO_POLLING, "1"), ENGINEIO_CLOSED, "close");
	const char *const bad[] = {"", "0{}", "2", "2probe", "5", "7", "abc", "11", " 4x"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		is_int(take(&engineio, ENGINEIO_POLLING, bad[i]), ENGINEIO_BROKEN, "broken: '%s'", bad[i]);
	engineio_begin(&engineio, ENGINEIO_WEBSOCKET, 25000, 0);
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "bAQID"), ENGINEIO_BROKEN, "base64 is for polling alone");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "5"), ENGINEIO_BROKEN, "nothing to upgrade from");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "2probe"), ENGINEIO_BROKEN, "nor to probe");
}

static void test_upgrade(void)
{
	struct engineio engineio;
	engineio_begin(&engineio, ENGINEIO_POLLING, 25000, 0);
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "5"), ENGINEIO_BROKEN, "no upgrade without a probe");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "4x"), ENGINEIO_BROKEN, "no message before the upgrade");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "2probe"), ENGINEIO_PROBED, "a probe");
	is_int(take(&engineio, ENGINEIO_POLLING, "4x"), ENGINEIO_DELIVER, "polling goes on meanwhile");
	engineio_probe_lost(&engineio);
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "5"), ENGINEIO_BROKEN, "the next WebSocket has to probe anew");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "2probe"), ENGINEIO_PROBED, "it does");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "5"), ENGINEIO_UPGRADED, "and upgrades");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "4x"), ENGINEIO_DELIVER, "messages come by it");
	is_int(take(&engineio, ENGINEIO_POLLING, "4x"), ENGINEIO_BROKEN, "and no longer by polling");
	is_int(take(&engineio, ENGINEIO_WEBSOCKET, "5"), ENGINEIO_BROKEN, "once");
}

static void test_heartbeat(void)
{
	struct engineio engineio;
	engineio_begin(&engineio, ENGINEIO_POLLING, 25000, 1000);
	is_int(engineio.timeout_ms, 20000, "the time-out follows from the interval");
	is_int(engineio_look(&engineio, 25999), ENGINEIO_IDLE, "nothing is due before the interval is over");
	is_int(engineio_look(&engineio, 26000), ENGINEIO_PING, "then a ping");
	is_int(engineio_look(&engineio, 45999), ENGINEIO_IDLE, "the client has its time");
	(void)engineio_take(&engineio, ENGINEIO_POLLING, text_of("3"), 30000, &message);
	is_int(engineio_look(&engineio, 54999), ENGINEIO_IDLE, "its pong begins the next interval");
	is_int(engineio_look(&engineio, 55000), ENGINEIO_PING, "the next ping");
	is_int(take(&engineio, ENGINEIO_POLLING, "4x"), ENGINEIO_DELIVER, "a message is no pong");
	is_int(engineio_look(&engineio, 75000), ENGINEIO_DEAD, "without one it is dead");
}

static void test_open(void)
{
	char to[256];
	struct json_fault fault;
	struct engineio engineio;
	engineio_begin(&engineio, ENGINEIO_POLLING, 25000, 0);
	size_t len = engineio_open(&engineio, "abcdefghijklmnopqrst", 65536, to, sizeof to);
	is_str(
		to,
		"0{\"sid\":\"abcdefghijklmnopqrst\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,"
		"\"maxPayload\":65536}",
		"the open packet has these five keys");
	ok(json_check(to + 1, len - 1, NULL, 0, &fault), "and is JSON");
	engineio_begin(&engineio, ENGINEIO_WEBSOCKET, 25000, 0);
	len = engineio_open(&engineio, "x", 1, to, sizeof to);
	ok(memmem(to, len, "\"upgrades\":[],", 14) != NULL, "a WebSocket is upgraded to nothing");
	is_int(engineio_open(&engineio, "x", 1, to, 20), 0, "no room");
}

static void test_payload(void)
{
	struct text payload = text_of("4a\x1e\x1e"
	                              "4b"),
				packet;
	ok(engineio_split(&payload, &packet) && packet.len == 2, "the first packet of a payload");
	ok(engineio_split(&payload, &packet) && packet.len == 0, "an empty one between two separators");
	ok(engineio_split(&payload, &packet) && packet.len == 2 && packet.bytes[1] == 'b', "the last");
	ok(!engineio_split(&payload, &packet), "and no more");
	payload = text_of("4a\x1e");
	ok(engineio_split(&payload, &packet) && engineio_split(&payload, &packet) && packet.len == 0 &&
	       !engineio_split(&payload, &packet),
	   "behind a separator at the end stands an empty one");
}

int main(void)
{
	test_packets();
	test_upgrade();
	test_heartbeat();
	test_open();
	test_payload();
	return tap_done();
}
