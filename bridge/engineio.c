/*
 * engineio.c - see engineio.h.
 */
#include "engineio.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/* How long a client has for its pong, as a share of the interval: of the usual 25 s, 20. */
#define TIMEOUT_PERCENT 80

void engineio_begin(struct engineio *engineio, enum engineio_way way, int64_t heartbeat_ms, int64_t now_ms)
{
	*engineio = (struct engineio){.way = way, .interval_ms = heartbeat_ms};
	engineio->timeout_ms = heartbeat_ms * TIMEOUT_PERCENT / 100;
#ifdef LIVEFEED_ECHO /* what the public test suites expect; never in what is installed */
	engineio->interval_ms = 300;
	engineio->timeout_ms = 200;
#endif
	engineio->due_ms = now_ms + engineio->interval_ms;
}

static enum engineio_verdict take_probe(struct engineio *engineio, struct text packet)
{
	if (text_equal(packet, text_of("2probe"))) {
		engineio->probed = true;
		return ENGINEIO_PROBED;
	}
	if (text_equal(packet, text_of("5")) && engineio->probed) {
		engineio->way = ENGINEIO_WEBSOCKET;
		engineio->probed = false;
		return ENGINEIO_UPGRADED;
	}
	return ENGINEIO_BROKEN;
}

enum engineio_verdict engineio_take(struct engineio *engineio, enum engineio_way by, struct text packet, int64_t now_ms,
                                    struct text *message)
{
	if (by != engineio->way)
		return by == ENGINEIO_WEBSOCKET ? take_probe(engineio, packet) : ENGINEIO_BROKEN;
	if (packet.len == 0)
		return ENGINEIO_BROKEN;
	switch (packet.bytes[0]) {
	case '1':
		return packet.len == 1 ? ENGINEIO_CLOSED : ENGINEIO_BROKEN;
	case '3':
		if (engineio->asked) {
			engineio->asked = false;
			engineio->due_ms = now_ms + engineio->interval_ms;
		}
		return ENGINEIO_NOTHING;
	case '4':
		*message = (struct text){packet.bytes + 1, packet.len - 1};
		return ENGINEIO_DELIVER;
	case '6':
		return ENGINEIO_NOTHING;
	case 'b':
		return by == ENGINEIO_POLLING ? ENGINEIO_BINARY : ENGINEIO_BROKEN;
	default: /* 0 and 2 are the server's, 5 came too late or twice */
		return ENGINEIO_BROKEN;
	}
}

void engineio_probe_lost(struct engineio *engineio)
{
	engineio->probed = false;
}

enum engineio_due engineio_look(struct engineio *engineio, int64_t now_ms)
{
	if (now_ms < engineio->due_ms)
		return ENGINEIO_IDLE;
	if (engineio->asked)
		return ENGINEIO_DEAD;
	engineio->asked = true;
	engineio->due_ms = now_ms + engineio->timeout_ms;
	return ENGINEIO_PING;
}

size_t engineio_open(const struct engineio *engineio, const char *sid, int64_t max_payload, char *to, size_t size)
{
	int n = snprintf(
		to, size, "0{\"sid\":\"%s\",\"upgrades\":[%s],\"pingInterval\":%lld,\"pingTimeout\":%lld,\"maxPayload\":%lld}",
		sid, engineio->way == ENGINEIO_POLLING ? "\"websocket\"" : "", (long long)engineio->interval_ms,
		(long long)engineio->timeout_ms, (long long)max_payload);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

bool engineio_split(struct text *payload, struct text *packet)
{
	if (payload->bytes == NULL)
		return false;
	const char *end = payload->len > 0 ? memchr(payload->bytes, ENGINEIO_SEPARATOR, payload->len) : NULL;
	size_t len = end != NULL ? (size_t)(end - payload->bytes) : payload->len;
	*packet = (struct text){payload->bytes, len};
	*payload = end != NULL ? (struct text){end + 1, payload->len - len - 1} : (struct text){NULL, 0};
	return true;
}
