/*
 * fuzz_stream.c - what /events and /poll are asked for (stream.c).
 *
 * Input: a first byte 'b', then a body; or arguments, a line each, the last of which may be a Last-Event-ID after "last ". Whatever is
 * taken makes one message for each channel, each of them JSON; and of arguments, one that a session takes, of just that channel.
 */
#include "fuzz.h"

#include "message.h"
#include "stream.h"

static void check_messages(const struct stream_ask *ask, bool plain)
{
	MUST(ask->wait_ms >= 0 && ask->wait_ms <= STREAM_WAIT_MAX_MS);
	MUST(ask->n_channels <= STREAM_CHANNELS_MAX);
	for (size_t i = 0; i < ask->n_channels && i < 8; i++) {
		struct json_wanted wanted[] = {{.name = "channel"}, {.name = "type"}};
		struct json_fault fault;
		const char *error;
		size_t len;
		char *ref, *text = stream_ask_message(ask, i, &len);
		MUST(text != NULL);
		MUST(json_check(text, len, wanted, 2, &fault)); /* values are no deeper than they were */
		MUST(wanted[0].value.len == strlen(ask->channels[i]));
		struct message *message = message_parse(text, len, &error, &ref);
		MUST(message != NULL || !plain);
		MUST(message == NULL || (message->type == MESSAGE_SUBSCRIBE && message->snapshot == ask->snapshot));
		message_free(message);
		free(ref);
		free(text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream_ask ask;
	const char *error = NULL;
	struct text input = {(const char *)data, size};
	stream_ask_begin(&ask);
	if (size > 0 && data[0] == 'b') {
		bool taken = stream_ask_body(&ask, (struct text){input.bytes + 1, size - 1}, &error);
		MUST(taken || error != NULL);
		if (taken)
			check_messages(&ask, false);
	} else {
		bool taken = true;
		for (size_t at = 0; at < size && taken;) {
			const char *end = memchr(input.bytes + at, '\n', size - at);
			size_t len = end != NULL ? (size_t)(end - input.bytes) - at : size - at;
			if (len >= 5 && memcmp(input.bytes + at, "last ", 5) == 0)
				stream_ask_last_id(&ask, (struct text){input.bytes + at + 5, len - 5});
			else
				taken = stream_ask_argument(&ask, (struct text){input.bytes + at, len}, &error);
			at += len + 1;
		}
		MUST(taken || error != NULL);
		if (taken)
			check_messages(&ask, true);
	}
	stream_ask_end(&ask);
	return 0;
}
