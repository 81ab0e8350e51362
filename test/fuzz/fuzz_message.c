/*
 * fuzz_message.c - what clients send (message.c), and what is answered to it (message_out.c).
 *
 * Input: a message. It is taken, or an error says why not, in words that may be sent back. What was taken, written anew,
 * is taken again and means the same; whatever a client wrote, the answers that repeat its ref and channel are JSON
 * and say just that.
 */
#include "fuzz.h"

#include "message.h"

static void put_member(struct json_out *out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	json_puts(out, ",\"");
	json_puts(out, name);
	json_puts(out, "\":");
	json_put_string(out, value);
}

static struct json_out write_message(const struct message *message)
{
	static const char *const types[] = {"auth", "subscribe", "unsubscribe", "call", "ping"};
	struct json_out out = {0};

	json_puts(&out, "{\"type\":");
	json_put_string(&out, types[message->type]);
	put_member(&out, "token", message->token);
	put_member(&out, "channel", message->channel);
	put_member(&out, "since", message->since);
	put_member(&out, "name", message->name);
	put_member(&out, "idempotency_key", message->idempotency_key);
	if (message->snapshot)
		json_puts(&out, ",\"snapshot\":true");
	if (message->args != NULL) {
		json_puts(&out, ",\"args\":");
		json_puts(&out, message->args);
	}
	if (message->ref != NULL) {
		json_puts(&out, ",\"ref\":");
		json_puts(&out, message->ref);
	}
	json_puts(&out, "}");
	return out;
}

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void check_taken(const struct message *message)
{
	struct json_out again = write_message(message);
	const char *error;
	char *ref;
	struct message *second = message_parse(again.bytes, again.len, &error, &ref);

	MUST(second != NULL && error == NULL);
	MUST(second->type == message->type && second->snapshot == message->snapshot);
	MUST(same(second->ref, message->ref) && same(second->token, message->token));
	MUST(same(second->channel, message->channel) && same(second->since, message->since));
	MUST(same(second->name, message->name) && same(second->args, message->args));
	MUST(same(second->idempotency_key, message->idempotency_key));
	message_free(second);
	free(ref);
	free(again.bytes);

	MUST((message->type == MESSAGE_AUTH) == (message->token != NULL));
	MUST(message->token == NULL || strlen(message->token) == message->token_len);
	MUST((message->type == MESSAGE_SUBSCRIBE || message->type == MESSAGE_UNSUBSCRIBE) == (message->channel != NULL));
	MUST((message->type == MESSAGE_CALL) == (message->name != NULL && message->args != NULL));
	MUST(message->args == NULL || is_json(message->args, strlen(message->args)));
}

static void check_answer(struct frame *frame, const char *ref, const char *channel)
{
	struct text json = frame_json(frame), value;

	value = json_member(json, "ref");
	MUST((ref == NULL) == (value.bytes == NULL));
	MUST(ref == NULL || (value.len == strlen(ref) && memcmp(value.bytes, ref, value.len) == 0));
	MUST(channel == NULL || json_member_is(json, "channel", channel));
	MUST(memchr(json.bytes, '\n', json.len) == NULL || (ref != NULL && strchr(ref, '\n') != NULL));
	frame_unref(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = input_copy((struct text){(const char *)data, size}), *ref;
	const char *error;
	struct message *message = message_parse(text, size, &error, &ref);

	MUST((message == NULL) == (error != NULL));
	if (ref != NULL)
		MUST((*ref == '"' || *ref == '-' || (*ref >= '0' && *ref <= '9')) && is_json(ref, strlen(ref)));
	if (message == NULL) {
		MUST(*error != '\0' && strlen(error) < 160 && is_printable(error));
		check_answer(message_error(ref, "bad_message", error, NULL), ref, NULL);
	} else {
		const char *channel = message->channel;

		MUST(is_json(text, size));
		MUST(same(ref, message->ref));
		check_taken(message);
		check_answer(message_pong(ref, "6f3a91c2", 7, true), ref, NULL);
		if (channel != NULL) {
			check_answer(message_subscribed(ref, channel, "6f3a91c2", 7, 0, "epoch"), ref, channel);
			check_answer(message_unsubscribed(ref, channel, NULL), ref, channel);
			check_answer(message_error(ref, "unknown_channel", "no", channel), ref, channel);
			check_answer(message_resync(channel, "6f3a91c2", 7, "pruned"), NULL, channel);
		}
		message_free(message);
	}
	free(ref);
	free(text);
	return 0;
}
