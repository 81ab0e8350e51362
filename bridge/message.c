/*
 * message.c - client messages. In: the JSON text of one, from anybody. Out: a message, which is the caller's, or what is wrong with
 * it. Parsed as a tree once json_check (jsontext.c) has passed it (message_tree.h).
 *
 * Numbers that must be exact (a ref, args) are handed on as they were written, never through a number type.
 */
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsontext.h"
#include "message_tree.h"

#define IDEMPOTENCY_KEY_MAX_BYTES 255

static char *copy_text(struct text text)
{
	return strndup(text.bytes, text.len);
}

static _Thread_local char error_text[160];

static const char *const type_names[] = {
	[MESSAGE_AUTH] = "auth", [MESSAGE_SUBSCRIBE] = "subscribe", [MESSAGE_UNSUBSCRIBE] = "unsubscribe",
	[MESSAGE_CALL] = "call", [MESSAGE_PING] = "ping",
};

static bool find_type(json_object *tree, enum message_type *type)
{
	json_object *value;

	if (!json_object_object_get_ex(tree, "type", &value) || !json_object_is_type(value, json_type_string))
		return false;
	for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++) {
		if (strcmp(json_object_get_string(value), type_names[i]) == 0) {
			*type = (enum message_type)i;
			return true;
		}
	}
	return false;
}

/* Takes a string member; NULL with *error where it is of another type, or absent though required. */
static char *take_string(json_object *tree, const char *name, bool required, const char **error)
{
	json_object *value = NULL;
	char *copy;

	json_object_object_get_ex(tree, name, &value);
	if (value == NULL && !required)
		return NULL; /* absent, or null */
	if (!json_object_is_type(value, json_type_string)) {
		snprintf(error_text, sizeof error_text, "%s must be a string", name);
		*error = error_text;
		return NULL;
	}
	copy = message_copy_string(value);
	if (copy == NULL)
		*error = "out of memory";
	return copy;
}

static void take_subscribe(json_object *tree, struct message *message, const char **error)
{
	json_object *value = NULL;

	message->since = take_string(tree, "since", false, error);
	if (*error != NULL)
		return;
	json_object_object_get_ex(tree, "snapshot", &value);
	if (value != NULL && !json_object_is_type(value, json_type_boolean))
		*error = "snapshot must be true or false";
	else
		message->snapshot = value != NULL && json_object_get_boolean(value);
}

static void take_call(json_object *tree, struct text args, struct message *message, const char **error)
{
	message->name = take_string(tree, "name", true, error);
	if (*error == NULL)
		message->idempotency_key = take_string(tree, "idempotency_key", false, error);
	if (*error != NULL)
		return;
	if (message->idempotency_key != NULL &&
	    (message->idempotency_key[0] == '\0' || strlen(message->idempotency_key) > IDEMPOTENCY_KEY_MAX_BYTES)) {
		*error = "idempotency_key must have 1 to 255 bytes";
		return;
	}
	if (args.bytes != NULL && args.len == 4 && memcmp(args.bytes, "null", 4) == 0)
		args.bytes = NULL;
	if (args.bytes != NULL && args.bytes[0] != '{') {
		*error = "args must be an object";
		return;
	}
	message->args = args.bytes == NULL ? strdup("{}") : copy_text(args);
	if (message->args == NULL)
		*error = "out of memory";
}

static void take_fields(json_object *tree, struct text args, struct message *message, const char **error)
{
	switch (message->type) {
	case MESSAGE_AUTH:
		message->token = take_string(tree, "token", true, error);
		message->token_len = message->token != NULL ? strlen(message->token) : 0;
		break;
	case MESSAGE_SUBSCRIBE:
	case MESSAGE_UNSUBSCRIBE:
		message->channel = take_string(tree, "channel", true, error);
		if (*error == NULL && message->type == MESSAGE_SUBSCRIBE)
			take_subscribe(tree, message, error);
		break;
	case MESSAGE_CALL:
		take_call(tree, args, message, error);
		break;
	case MESSAGE_PING:
		break;
	}
}

/* ref as it was written. Of the values, only a string begins with a quote and only a number with a digit or minus. */
static bool take_ref(struct text written, char **ref, const char **error)
{
	if (written.bytes == NULL)
		return true;
	if (strchr("\"-0123456789", written.bytes[0]) == NULL) {
		*error = "ref must be a number or a string";
		return false;
	}
	*ref = copy_text(written);
	if (*ref == NULL)
		*error = "out of memory";
	return *ref != NULL;
}

struct message *message_parse(const char *text, size_t len, const char **error, char **ref_out)
{
	struct json_wanted wanted[] = {{.name = "ref"}, {.name = "args"}};
	struct json_fault fault;
	struct message *message;
	json_object *tree;

	*error = NULL;
	*ref_out = NULL;
	if (!json_check(text, len, wanted, 2, &fault)) {
		snprintf(error_text, sizeof error_text, "not valid JSON: %s (byte %zu)", fault.what, fault.at);
		*error = error_text;
		return NULL;
	}
	tree = message_tree(text, len);
	if (tree == NULL) {
		*error = "a message must be a JSON object";
		return NULL;
	}
	message = calloc(1, sizeof *message);
	if (message == NULL)
		*error = "out of memory";
	else if (take_ref(wanted[0].value, &message->ref, error)) {
		if (!find_type(tree, &message->type))
			*error = "type must be auth, subscribe, unsubscribe, call or ping";
		else
			take_fields(tree, wanted[1].value, message, error);
		if (message->ref != NULL)
			*ref_out = strdup(message->ref);
	}
	json_object_put(tree);
	if (*error == NULL)
		return message;
	message_free(message);
	return NULL;
}

void message_free(struct message *message)
{
	if (message == NULL)
		return;
	free(message->ref);
	free(message->token);
	free(message->channel);
	free(message->since);
	free(message->name);
	free(message->args);
	free(message->idempotency_key);
	free(message);
}
