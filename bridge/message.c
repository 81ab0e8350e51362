/*
 * message.c - JSON that others wrote: client messages, and the JSON of tokens and key sets. The one room that knows
 * json-c, which sees nothing that json_check (jsontext.c) has not passed; what is looked up here is therefore
 * unambiguous, free of NUL, and valid UTF-8.
 *
 * Numbers that must be exact (a ref, args) are handed on as they were written, never through a number type.
 */
#include "message.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "jsontext.h"

/* 2^53, the largest number of seconds a claim may name. */
#define CLAIM_SECONDS_MAX INT64_C(9007199254740992)
/* A name within the JSON pointer of a claim; keys of one set. */
#define POINTER_PART_MAX_BYTES 256
#define JWKS_KEYS_MAX 256
#define IDEMPOTENCY_KEY_MAX_BYTES 255

/* json-c's tree of one JSON object, or NULL. text has to have passed json_check. */
static json_object *parse_object(const char *text, size_t len)
{
	json_tokener *tokener;
	json_object *tree;

	if (len > INT_MAX)
		return NULL;
	tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2); /* json_check is the stricter of the two */
	if (tokener == NULL)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
	tree = json_tokener_parse_ex(tokener, text, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success || !json_object_is_type(tree, json_type_object)) {
		json_object_put(tree);
		tree = NULL;
	}
	json_tokener_free(tokener);
	return tree;
}

static json_object *checked_object(const char *text, size_t len)
{
	struct json_fault fault;

	return json_check(text, len, NULL, 0, &fault) ? parse_object(text, len) : NULL;
}

/* A copy of a string value, or NULL. */
static char *copy_string(json_object *value)
{
	if (!json_object_is_type(value, json_type_string))
		return NULL;
	return strndup(json_object_get_string(value), (size_t)json_object_get_string_len(value));
}

static char *copy_text(struct text text)
{
	return strndup(text.bytes, text.len);
}

/* ---- client messages */

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
	copy = copy_string(value);
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
	tree = parse_object(text, len);
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

/* ---- tokens */

bool message_parse_header(const char *text, size_t len, struct json_header *out, const char **error)
{
	json_object *tree = checked_object(text, len), *alg = NULL, *kid = NULL;

	memset(out, 0, sizeof *out);
	*error = NULL;
	if (tree == NULL) {
		*error = "token's header is not a valid JSON object";
		return false;
	}
	json_object_object_get_ex(tree, "alg", &alg);
	out->has_crit = json_object_object_get_ex(tree, "crit", NULL);
	if (!json_object_is_type(alg, json_type_string))
		*error = "token's header has no alg";
	else if (json_object_object_get_ex(tree, "kid", &kid) && !json_object_is_type(kid, json_type_string))
		*error = "token's kid is not a string";
	else if ((out->alg = copy_string(alg)) == NULL || (kid != NULL && (out->kid = copy_string(kid)) == NULL))
		*error = "out of memory";
	json_object_put(tree);
	if (*error != NULL)
		message_free_header(out);
	return *error == NULL;
}

void message_free_header(struct json_header *header)
{
	free(header->alg);
	free(header->kid);
	header->alg = header->kid = NULL;
}

/* One reference token of a JSON pointer (RFC 6901), decoded. Moves *pointer past it. False: not one, or too long. */
static bool pointer_part(const char **pointer, char part[POINTER_PART_MAX_BYTES])
{
	size_t len = 0;
	const char *at = *pointer + 1; /* after the slash */

	for (; *at != '\0' && *at != '/'; at++) {
		char c = *at;

		if (c == '~') {
			at++;
			if (*at != '0' && *at != '1')
				return false;
			c = *at == '0' ? '~' : '/';
		}
		if (len == POINTER_PART_MAX_BYTES - 1)
			return false;
		part[len++] = c;
	}
	part[len] = '\0';
	*pointer = at;
	return true;
}

/* The claim of that name or pointer; false: absent. *value NULL is a null. */
static bool find_claim(json_object *tree, const char *claim, json_object **value)
{
	*value = NULL;
	if (claim[0] != '/')
		return json_object_object_get_ex(tree, claim, value);
	while (*claim == '/') {
		char part[POINTER_PART_MAX_BYTES];

		if (!pointer_part(&claim, part))
			return false;
		if (json_object_is_type(tree, json_type_object)) {
			if (!json_object_object_get_ex(tree, part, value))
				return false;
		} else if (json_object_is_type(tree, json_type_array)) {
			char *end;
			unsigned long index = strtoul(part, &end, 10);

			if (part[0] < '0' || part[0] > '9' || (part[0] == '0' && part[1] != '\0') || *end != '\0' ||
			    index >= json_object_array_length(tree))
				return false;
			*value = json_object_array_get_idx(tree, index);
		} else {
			return false;
		}
		tree = *value;
	}
	return true;
}

/*
 * A string as it is, an integer in its canonical form; NULL: neither, or an integer that json-c cannot hold (it
 * would give its own bound instead, the same for all of them).
 */
static char *id_text(json_object *value)
{
	char digits[24];
	int64_t number;

	if (json_object_is_type(value, json_type_string))
		return copy_string(value);
	if (!json_object_is_type(value, json_type_int))
		return NULL;
	number = json_object_get_int64(value);
	if (number == INT64_MAX || number == INT64_MIN)
		return NULL;
	snprintf(digits, sizeof digits, "%" PRId64, number);
	return strdup(digits);
}

static void free_strings(char **strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(strings[i]);
	free(strings);
}

/* The strings of an array. False: not an array of strings, or out of memory; nothing is left allocated. */
static bool string_array(json_object *value, char ***strings, size_t *n)
{
	size_t len;

	*strings = NULL;
	*n = 0;
	if (!json_object_is_type(value, json_type_array))
		return false;
	len = json_object_array_length(value);
	if (len == 0)
		return true;
	*strings = calloc(len, sizeof **strings);
	if (*strings == NULL)
		return false;
	for (; *n < len; (*n)++) {
		(*strings)[*n] = copy_string(json_object_array_get_idx(value, *n));
		if ((*strings)[*n] == NULL) {
			free_strings(*strings, *n);
			*strings = NULL;
			*n = 0;
			return false;
		}
	}
	return true;
}

static const char *take_units(json_object *value, struct json_claims *out)
{
	static const char wrong[] = "token's units are neither an array nor an object of strings and integers";
	bool object = json_object_is_type(value, json_type_object);
	size_t len;

	if (!object && !json_object_is_type(value, json_type_array))
		return wrong;
	len = object ? (size_t)json_object_object_length(value) : json_object_array_length(value);
	out->units = calloc(len + 1, sizeof *out->units);
	if (out->units == NULL)
		return "out of memory";
	if (object) {
		json_object_object_foreach(value, name, roles)
		{
			struct json_unit *unit = &out->units[out->n_units];

			if (!string_array(roles, &unit->roles, &unit->n_roles))
				return "token's units' roles are not arrays of strings";
			out->n_units++;
			if ((unit->unit = strdup(name)) == NULL)
				return "out of memory";
		}
		return NULL;
	}
	for (; out->n_units < len; out->n_units++) {
		out->units[out->n_units].unit = id_text(json_object_array_get_idx(value, out->n_units));
		if (out->units[out->n_units].unit == NULL)
			return wrong;
	}
	return NULL;
}

/* A NumericDate; absent leaves -1. */
static bool take_seconds(json_object *tree, const char *name, bool up, int64_t *seconds)
{
	json_object *value;
	double number;

	*seconds = -1;
	if (!json_object_object_get_ex(tree, name, &value))
		return true;
	if (json_object_is_type(value, json_type_int)) {
		*seconds = json_object_get_int64(value);
		return *seconds >= 0 && *seconds <= CLAIM_SECONDS_MAX;
	}
	if (!json_object_is_type(value, json_type_double))
		return false;
	number = json_object_get_double(value);
	if (!(number >= 0 && number <= (double)CLAIM_SECONDS_MAX))
		return false;
	*seconds = (int64_t)(up ? ceil(number) : floor(number));
	return true;
}

static const char *take_times(json_object *tree, struct json_claims *out)
{
	if (!take_seconds(tree, "exp", false, &out->exp_s))
		return "token's exp is not a number from 0 to 2^53";
	if (out->exp_s < 0)
		return "token has no exp";
	if (!take_seconds(tree, "nbf", true, &out->nbf_s))
		return "token's nbf is not a number from 0 to 2^53";
	if (!take_seconds(tree, "iat", false, &out->iat_s))
		return "token's iat is not a number from 0 to 2^53";
	return NULL;
}

/* iss, aud and sid. An iss or aud of another type equals nothing: refused where one is asked for. */
static const char *take_origin(json_object *tree, struct json_claims *out)
{
	json_object *value = NULL;

	if (json_object_object_get_ex(tree, "iss", &value))
		out->iss = copy_string(value);
	if (json_object_object_get_ex(tree, "aud", &value)) {
		if (json_object_is_type(value, json_type_string)) {
			if ((out->aud = calloc(1, sizeof *out->aud)) == NULL || (out->aud[0] = copy_string(value)) == NULL)
				return "out of memory";
			out->n_aud = 1;
		} else {
			(void)string_array(value, &out->aud, &out->n_aud);
		}
	}
	if (json_object_object_get_ex(tree, "sid", &value) && value != NULL && (out->sid = id_text(value)) == NULL)
		return "token's sid is neither a string nor an integer"; /* it could not be logged out */
	return NULL;
}

bool message_parse_claims(const char *text, size_t len, const char *claim_user, const char *claim_units,
                          const char *claim_roles, struct json_claims *out, const char **error)
{
	json_object *tree = checked_object(text, len), *value;

	memset(out, 0, sizeof *out);
	*error = NULL;
	if (tree == NULL) {
		*error = "token's payload is not a valid JSON object";
		return false;
	}
	*error = take_times(tree, out);
	if (*error == NULL)
		*error = take_origin(tree, out);
	if (*error == NULL) {
		out->user = find_claim(tree, claim_user, &value) ? id_text(value) : NULL;
		if (out->user == NULL || out->user[0] == '\0')
			*error = "token's user claim is not a string or an integer";
	}
	if (*error == NULL && find_claim(tree, claim_units, &value)) {
		out->has_units = true;
		*error = take_units(value, out);
	}
	/* Roles of another form, which another issuer may mean otherwise, are none: they give nothing. */
	if (*error == NULL && find_claim(tree, claim_roles, &value))
		(void)string_array(value, &out->roles, &out->n_roles);
	json_object_put(tree);
	if (*error != NULL)
		message_free_claims(out);
	return *error == NULL;
}

void message_free_claims(struct json_claims *claims)
{
	free(claims->user);
	for (size_t i = 0; i < claims->n_units; i++) {
		free(claims->units[i].unit);
		free_strings(claims->units[i].roles, claims->units[i].n_roles);
	}
	free(claims->units);
	free_strings(claims->roles, claims->n_roles);
	free(claims->iss);
	free_strings(claims->aud, claims->n_aud);
	free(claims->sid);
	memset(claims, 0, sizeof *claims);
}

char *message_claim(const char *text, size_t len, const char *claim)
{
	json_object *tree = checked_object(text, len), *value;
	char *found = tree != NULL && find_claim(tree, claim, &value) ? copy_string(value) : NULL;

	json_object_put(tree);
	return found;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0'; /* cut out */
}

/* Cuts out the member whose value stands at `at`: with its name, and a comma, after it or else before it. */
static void cut_member(char *text, size_t len, size_t at, size_t value_len)
{
	size_t begin = at, end = at + value_len, comma;

	while (text[--begin] != '"')
		; /* the end of its name, in which no quote stands */
	while (text[--begin] != '"')
		;
	for (comma = end; comma < len && is_space(text[comma]); comma++)
		;
	if (comma == len || text[comma] != ',')
		for (comma = begin - 1; is_space(text[comma]); comma--)
			;
	memset(text + begin, '\0', end - begin);
	if (text[comma] == ',')
		text[comma] = '\0';
}

size_t message_claims_key(const char *text, size_t len, char *key)
{
	struct json_wanted varying[] = {{.name = "exp"}, {.name = "iat"}, {.name = "nbf"}, {.name = "jti"}};
	struct json_fault fault;
	size_t n = 0;

	if (!json_check(text, len, varying, sizeof varying / sizeof *varying, &fault))
		return 0;
	memcpy(key, text, len);
	for (size_t i = 0; i < sizeof varying / sizeof *varying; i++)
		if (varying[i].value.bytes != NULL)
			cut_member(key, len, (size_t)(varying[i].value.bytes - text), varying[i].value.len);
	for (size_t at = 0; at < len; at++)
		if (key[at] != '\0')
			key[n++] = key[at];
	return n;
}

/* The member of that name; false: absent, or null. */
static bool find_member(json_object *tree, const char *name, json_object **value)
{
	return json_object_object_get_ex(tree, name, value) && *value != NULL;
}

bool message_parse_rights(const char *text, size_t len, struct json_claims *out, const char **error)
{
	json_object *tree = checked_object(text, len), *value;

	memset(out, 0, sizeof *out);
	*error = NULL;
	if (tree == NULL) {
		*error = "it is not a JSON object";
		return false;
	}
	if (find_member(tree, "user", &value)) {
		out->user = id_text(value);
		if (out->user == NULL || out->user[0] == '\0')
			*error = "its user is neither a non-empty string nor an integer";
	}
	if (*error == NULL && find_member(tree, "units", &value)) {
		out->has_units = true;
		if (take_units(value, out) != NULL)
			*error = "its units are neither an array of strings and integers nor an object of arrays of roles";
	}
	if (*error == NULL && find_member(tree, "roles", &value) && !string_array(value, &out->roles, &out->n_roles))
		*error = "its roles are not an array of strings";
	json_object_put(tree);
	if (*error != NULL)
		message_free_claims(out);
	return *error == NULL;
}

/* ---- key sets */

static char *take_member(json_object *key, const char *name)
{
	json_object *value;

	return json_object_object_get_ex(key, name, &value) ? copy_string(value) : NULL;
}

bool message_parse_jwks(const char *text, size_t len, struct json_key **keys, size_t *n_keys, const char **error)
{
	json_object *tree = checked_object(text, len), *array = NULL;

	*keys = NULL;
	*n_keys = 0;
	*error = NULL;
	if (tree == NULL)
		*error = "it is not a valid JSON object";
	else if (!json_object_object_get_ex(tree, "keys", &array) || !json_object_is_type(array, json_type_array))
		*error = "it has no array \"keys\"";
	else if (json_object_array_length(array) > JWKS_KEYS_MAX)
		*error = "it has too many keys";
	else if ((*keys = calloc(json_object_array_length(array) + 1, sizeof **keys)) == NULL)
		*error = "out of memory";
	for (size_t i = 0; *error == NULL && i < json_object_array_length(array); i++) {
		json_object *key = json_object_array_get_idx(array, i);

		if (!json_object_is_type(key, json_type_object)) {
			*error = "a key of it is not an object";
			break;
		}
		(*keys)[(*n_keys)++] = (struct json_key){
			.kty = take_member(key, "kty"),
			.kid = take_member(key, "kid"),
			.alg = take_member(key, "alg"),
			.use = take_member(key, "use"),
			.crv = take_member(key, "crv"),
			.n = take_member(key, "n"),
			.e = take_member(key, "e"),
			.x = take_member(key, "x"),
			.y = take_member(key, "y"),
			.k = take_member(key, "k"),
		};
	}
	json_object_put(tree);
	if (*error != NULL) {
		message_free_jwks(*keys, *n_keys);
		*keys = NULL;
		*n_keys = 0;
	}
	return *error == NULL;
}

void message_free_jwks(struct json_key *keys, size_t n_keys)
{
	for (size_t i = 0; i < n_keys; i++) {
		char **members[] = {&keys[i].kty, &keys[i].kid, &keys[i].alg, &keys[i].use, &keys[i].crv,
		                    &keys[i].n,   &keys[i].e,   &keys[i].x,   &keys[i].y,   &keys[i].k};

		for (size_t m = 0; m < sizeof members / sizeof *members; m++)
			free(*members[m]);
	}
	free(keys);
}
