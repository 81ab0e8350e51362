/*
 * message_token.c - the JSON of tokens, of what an authorizer returns, and of key sets, for access.c. In: a text, from anybody. Out:
 * its claims, rights or keys, which are the caller's, or what is wrong with it, in words without any of the token. Parsed as a tree
 * once json_check (jsontext.c) has passed it (message_tree.h).
 */
#include "message.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsontext.h"
#include "message_tree.h"

/* 2^53, the largest number of seconds a claim may name. */
#define CLAIM_SECONDS_MAX INT64_C(9007199254740992)
/* A name within the JSON pointer of a claim; keys of one set. */
#define POINTER_PART_MAX_BYTES 256
#define JWKS_KEYS_MAX 256

/* ---- tokens */

bool message_parse_header(const char *text, size_t len, struct json_header *out, const char **error)
{
	json_object *tree = message_checked_tree(text, len), *alg = NULL, *kid = NULL;

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
	else if ((out->alg = message_copy_string(alg)) == NULL ||
	         (kid != NULL && (out->kid = message_copy_string(kid)) == NULL))
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
		return message_copy_string(value);
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
		(*strings)[*n] = message_copy_string(json_object_array_get_idx(value, *n));
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
		out->iss = message_copy_string(value);
	if (json_object_object_get_ex(tree, "aud", &value)) {
		if (json_object_is_type(value, json_type_string)) {
			if ((out->aud = calloc(1, sizeof *out->aud)) == NULL || (out->aud[0] = message_copy_string(value)) == NULL)
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
	json_object *tree = message_checked_tree(text, len), *value;

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
	json_object *tree = message_checked_tree(text, len), *value;
	char *found = tree != NULL && find_claim(tree, claim, &value) ? message_copy_string(value) : NULL;

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
	json_object *tree = message_checked_tree(text, len), *value;

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

	return json_object_object_get_ex(key, name, &value) ? message_copy_string(value) : NULL;
}

bool message_parse_jwks(const char *text, size_t len, struct json_key **keys, size_t *n_keys, const char **error)
{
	json_object *tree = message_checked_tree(text, len), *array = NULL;

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
