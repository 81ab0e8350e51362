/*
 * access.c - a token becomes a principal; a principal may have a channel, or an event, or not.
 *
 * A token's way (access_verify): three parts of canonical base64url; the header says alg and kid, no crit; one of our
 * keys, bound to that alg, signed it (access_keys.c); only then is the payload looked at: times, issuer, audience,
 * user, units, roles.
 *
 * What a principal may have (the table of PROTOCOL.md, Words):
 *   firehose     holds a firehose role in the roles claim: unit and row channels and the whole of every feed,
 *                but nobody's user channel.
 *   unit member  the unit is in the token, and of the feed's roles, if it asks for any, one is held there: in
 *                the unit itself, or in the roles claim, which counts in all of the token's units.
 *   role holder  of a feed without unit: one of the feed's roles is in the roles claim, or the feed is for
 *                any signed-in user ('{*}'). A feed without unit that asks for no role has no role holders. Declared
 *                feeds have role holders too, but for events and rows with neither unit nor users.
 * The same rules judge the row that a row channel names, at subscribe, and each event when it is delivered.
 */
#include "access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access_keys.h"
#include "base64url.h"
#include "message.h"
#include "text.h"

#define TOKEN_MAX_BYTES 65536
#define OPERATOR_EXPIRES_S INT64_C(4102444800) /* 2100: longer than anybody looks on */
/*
 * An event for more users than this is not searched again for each of them (that would be quadratic): that it is for the
 * user is known already, because routing found the user's channel by that very list.
 */
#define EVENT_USERS_SEARCHED 256

struct strings {
	char **items;
	size_t n;
};

struct access {
	struct keyring *keyring;
	char *issuer, *audience; /* NULL: not asked */
	int64_t leeway_s;
	char *claim_user, *claim_units, *claim_roles, *claim_db_role;
	struct strings firehose_roles;
};

/* ---- settings */

static void strings_free(struct strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct strings){NULL, 0};
}

static void settings_free(struct access *access)
{
	free(access->issuer);
	free(access->audience);
	free(access->claim_user);
	free(access->claim_units);
	free(access->claim_roles);
	free(access->claim_db_role);
	strings_free(&access->firehose_roles);
}

/* Copies all settings; false: out of memory, and what was copied is for settings_free. */
static bool settings_copy(struct access *to, const struct access_settings *from)
{
	to->leeway_s = from->leeway_s;
	if (!text_duplicate(&to->issuer, from->issuer) || !text_duplicate(&to->audience, from->audience) ||
	    !text_duplicate(&to->claim_user, from->claim_user) || !text_duplicate(&to->claim_units, from->claim_units) ||
	    !text_duplicate(&to->claim_roles, from->claim_roles) ||
	    !text_duplicate(&to->claim_db_role, from->claim_db_role))
		return false;
	to->firehose_roles.items = calloc(from->n_firehose_roles + 1, sizeof *to->firehose_roles.items);
	if (to->firehose_roles.items == NULL)
		return false;
	for (; to->firehose_roles.n < from->n_firehose_roles; to->firehose_roles.n++)
		if (!text_duplicate(&to->firehose_roles.items[to->firehose_roles.n],
		                    from->firehose_roles[to->firehose_roles.n]))
			return false;
	return true;
}

bool access_configure(struct access *access, const struct access_settings *settings, const char **error)
{
	struct access fresh = {.keyring = access->keyring};

	*error = NULL;
	if (settings->claim_user == NULL || settings->claim_units == NULL || settings->claim_roles == NULL ||
	    settings->claim_user[0] == '\0' || settings->claim_units[0] == '\0' || settings->claim_roles[0] == '\0')
		*error = "the claims of user, units and roles need a name each";
	else if (settings->leeway_s < 0)
		*error = "the leeway cannot be negative";
	else if (!settings_copy(&fresh, settings)) {
		*error = "out of memory";
		settings_free(&fresh);
	}
	if (*error != NULL)
		return false;
	settings_free(access);
	*access = fresh;
	return true;
}

struct access *access_new(void)
{
	static const char *const firehose_roles[] = {"admin"};
	static const struct access_settings defaults = {
		.leeway_s = 30,
		.claim_user = "sub",
		.claim_units = "units",
		.claim_roles = "roles",
		.firehose_roles = firehose_roles,
		.n_firehose_roles = 1,
	};
	struct access *access = calloc(1, sizeof *access);
	const char *error;

	if (access == NULL)
		return NULL;
	access->keyring = keyring_new();
	if (access->keyring == NULL || !access_configure(access, &defaults, &error)) {
		access_free(access);
		return NULL;
	}
	return access;
}

void access_free(struct access *access)
{
	if (access == NULL)
		return;
	settings_free(access);
	keyring_free(access->keyring);
	free(access);
}

bool access_set_secret(struct access *access, const void *bytes, size_t len, const char **error)
{
	return keyring_set_secret(access->keyring, bytes, len, error);
}

bool access_set_public_key(struct access *access, const char *pem, size_t len, const char **error)
{
	return keyring_set_pem(access->keyring, pem, len, error);
}

bool access_set_jwks(struct access *access, const char *json, size_t len, const char **error)
{
	return keyring_set_jwks(access->keyring, json, len, error);
}

bool access_set_own_keys(struct access *access, const struct access_own_key *keys, size_t n)
{
	return keyring_set_own(access->keyring, keys, n);
}

/* ---- principals */

struct principal *principal_ref(struct principal *principal)
{
	principal->refs++;
	return principal;
}

void principal_unref(struct principal *principal)
{
	if (principal != NULL && --principal->refs == 0)
		free(principal);
}

static int compare_units(const void *left, const void *right)
{
	return strcmp(((const struct json_unit *)left)->unit, ((const struct json_unit *)right)->unit);
}

/* What the principal's one allocation is filled from: strings grow from its end of the pointers on. */
struct packing {
	char **pointer;
	char *string;
};

static char *pack_string(struct packing *packing, const char *string)
{
	size_t size = strlen(string) + 1;
	char *copied = memcpy(packing->string, string, size);

	packing->string += size;
	return copied;
}

static char **pack_strings(struct packing *packing, char *const *strings, size_t n)
{
	char **pointers = packing->pointer;

	for (size_t i = 0; i < n; i++)
		*packing->pointer++ = pack_string(packing, strings[i]);
	return pointers;
}

static size_t strings_size(char *const *strings, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += sizeof *strings + strlen(strings[i]) + 1;
	return size;
}

/* The payload and, of a token without units, its key, behind all else in the principal's allocation. */
static void pack_claims(struct principal *principal, char *to, struct text payload)
{
	memcpy(to, payload.bytes, payload.len);
	principal->claims = (struct text){to, payload.len};
	to += payload.len;
	if (principal->has_units_claim)
		return;
	principal->claims_key = (struct text){to, message_claims_key(payload.bytes, payload.len, to)};
}

/*
 * Units sorted, each once with the roles of all its mentions; '' is nobody's unit. Sorts claims->units. payload: bytes
 * NULL where there is none.
 */
static struct principal *principal_new(struct json_claims *claims, struct text payload)
{
	size_t size = sizeof(struct principal) + strlen(claims->user) + 1 + strings_size(claims->roles, claims->n_roles) +
	              (claims->has_units ? 1 : 2) * payload.len;
	struct principal *principal;
	struct packing packing;

	if (claims->sid != NULL)
		size += strlen(claims->sid) + 1;
	for (size_t i = 0; i < claims->n_units; i++)
		size += sizeof(struct unit_grant) + strlen(claims->units[i].unit) + 1 +
		        strings_size(claims->units[i].roles, claims->units[i].n_roles);
	principal = calloc(1, size);
	if (principal == NULL)
		return NULL;
	if (claims->n_units > 1)
		qsort(claims->units, claims->n_units, sizeof *claims->units, compare_units);

	principal->refs = 1;
	principal->size = size;
	principal->exp_s = claims->exp_s;
	principal->iat_s = claims->iat_s;
	principal->has_units_claim = claims->has_units;
	principal->units = (struct unit_grant *)(principal + 1);
	packing.pointer = (char **)(principal->units + claims->n_units);
	packing.string = (char *)(packing.pointer + claims->n_roles);
	for (size_t i = 0; i < claims->n_units; i++)
		packing.string += claims->units[i].n_roles * sizeof(char *);

	principal->user = pack_string(&packing, claims->user);
	principal->sid = claims->sid != NULL ? pack_string(&packing, claims->sid) : NULL;
	principal->roles = pack_strings(&packing, claims->roles, claims->n_roles);
	principal->n_roles = claims->n_roles;
	for (size_t i = 0; i < claims->n_units; i++) {
		const struct json_unit *from = &claims->units[i];
		struct unit_grant *last = principal->n_units > 0 ? &principal->units[principal->n_units - 1] : NULL;
		char **roles;

		if (from->unit[0] == '\0')
			continue;
		roles = pack_strings(&packing, from->roles, from->n_roles);
		if (last != NULL && strcmp(last->unit, from->unit) == 0)
			last->n_roles += from->n_roles; /* right behind those it has */
		else
			principal->units[principal->n_units++] =
				(struct unit_grant){pack_string(&packing, from->unit), roles, from->n_roles};
	}
	if (payload.bytes != NULL)
		pack_claims(principal, packing.string, payload);
	return principal;
}

/* strcmp for a text, which may hold anything, NUL included. */
static int compare_text(struct text text, const char *string)
{
	size_t len = strlen(string);
	int order = memcmp(text.bytes, string, text.len < len ? text.len : len);

	if (order != 0)
		return order;
	return text.len < len ? -1 : text.len > len;
}

static const struct unit_grant *find_unit(const struct principal *principal, struct text unit)
{
	size_t low = 0, high = principal->n_units;

	if (unit.bytes == NULL || unit.len == 0)
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_text(unit, principal->units[middle].unit);

		if (order == 0)
			return &principal->units[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool principal_in_unit(const struct principal *principal, struct text unit)
{
	return find_unit(principal, unit) != NULL;
}

/* ---- tokens */

struct token_parts {
	struct text header, payload, signature; /* as they stand in the token */
	uint8_t *decoded;
};

static bool split(const char *token, size_t len, struct token_parts *parts)
{
	const char *first = memchr(token, '.', len), *second, *end = token + len;

	if (first == NULL)
		return false;
	second = memchr(first + 1, '.', (size_t)(end - first - 1));
	if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
		return false;
	parts->header = (struct text){token, (size_t)(first - token)};
	parts->payload = (struct text){first + 1, (size_t)(second - first - 1)};
	parts->signature = (struct text){second + 1, (size_t)(end - second - 1)};
	return parts->header.len > 0 && parts->payload.len > 0;
}

/* Decodes a part to *to on, which then stands behind it. */
static bool decode(struct text part, uint8_t **to, struct text *decoded)
{
	size_t len;

	if (!base64url_decode(part.bytes, part.len, *to, &len))
		return false;
	*decoded = (struct text){(const char *)*to, len};
	*to += len;
	return true;
}

static const char *check_signature(struct access *access, const char *token, const struct token_parts *parts,
                                   struct text header, struct text signature, bool *own)
{
	struct json_header fields;
	const char *wrong;

	if (!message_parse_header(header.bytes, header.len, &fields, &wrong))
		return wrong;
	if (fields.has_crit)
		wrong = "token's header has crit";
	else
		wrong = keyring_verify(access->keyring,
		                       &(struct signed_token){
								   .alg = fields.alg,
								   .kid = fields.kid,
								   .text = token,
								   .text_len = parts->header.len + 1 + parts->payload.len,
								   .signature = (const uint8_t *)signature.bytes,
								   .signature_len = signature.len,
							   },
		                       own);
	message_free_header(&fields);
	return wrong;
}

static bool names_audience(const struct json_claims *claims, const char *audience)
{
	for (size_t i = 0; i < claims->n_aud; i++)
		if (strcmp(claims->aud[i], audience) == 0)
			return true;
	return false;
}

static const char *check_claims(const struct access *access, const struct json_claims *claims, bool own, int64_t now_s)
{
	if (now_s >= claims->exp_s + access->leeway_s)
		return "token is expired";
	if (claims->nbf_s >= 0 && now_s + access->leeway_s < claims->nbf_s)
		return "token is not valid yet";
	if (own)
		return NULL;
	if (access->issuer != NULL && (claims->iss == NULL || strcmp(claims->iss, access->issuer) != 0))
		return "token is of another issuer";
	if (access->audience != NULL && !names_audience(claims, access->audience))
		return "token is for another audience";
	return NULL;
}

struct principal *access_verify(struct access *access, const char *token, size_t len, int64_t now_s,
                                const char **reason)
{
	struct token_parts parts = {.decoded = NULL};
	struct text header, payload, signature;
	struct json_claims claims;
	struct principal *principal = NULL;
	uint8_t *to;
	bool own = false;

	*reason = NULL;
	if (len == 0)
		*reason = "token is empty";
	else if (len > TOKEN_MAX_BYTES)
		*reason = "token is too long";
	else if (!split(token, len, &parts))
		*reason = "token has not three parts";
	else if ((parts.decoded = malloc(BASE64URL_ROOM(len) + 6)) == NULL)
		*reason = "out of memory";
	if (*reason != NULL)
		return NULL;

	to = parts.decoded;
	if (!decode(parts.header, &to, &header) || !decode(parts.payload, &to, &payload) ||
	    !decode(parts.signature, &to, &signature))
		*reason = "token is not canonical base64url";
	else
		*reason = check_signature(access, token, &parts, header, signature, &own);
	if (*reason == NULL && message_parse_claims(payload.bytes, payload.len, own ? "sub" : access->claim_user,
	                                            own ? "units" : access->claim_units,
	                                            own ? "roles" : access->claim_roles, &claims, reason)) {
		*reason = check_claims(access, &claims, own, now_s);
		if (*reason == NULL && (principal = principal_new(&claims, payload)) == NULL)
			*reason = "out of memory";
		message_free_claims(&claims);
	}
	free(parts.decoded);
	return principal;
}

struct principal *access_rights(const struct principal *token, const char *json, size_t len, const char **wrong)
{
	struct json_claims rights;
	struct principal *principal = NULL;

	if (!message_parse_rights(json, len, &rights, wrong))
		return NULL;
	if (rights.user != NULL || (rights.user = strdup(token->user)) != NULL)
		principal = principal_new(&rights, (struct text){NULL, 0});
	message_free_claims(&rights);
	if (principal == NULL) {
		*wrong = "out of memory";
		return NULL;
	}
	principal->iat_s = -1;
	return principal;
}

struct principal *access_operator(void)
{
	char user[] = "livefeed-bridge";
	struct json_claims claims = {
		.user = user, .has_units = true, .exp_s = OPERATOR_EXPIRES_S, .iat_s = OPERATOR_EXPIRES_S};
	struct principal *principal = principal_new(&claims, (struct text){NULL, 0});

	if (principal != NULL)
		principal->is_operator = true;
	return principal;
}

bool access_db_role(const struct access *access, const struct principal *token, char **role)
{
	*role = NULL;
	if (access->claim_db_role == NULL)
		return true;
	*role = message_claim(token->claims.bytes, token->claims.len, access->claim_db_role);
	if (*role != NULL && **role == '\0') {
		free(*role);
		*role = NULL;
	}
	return *role != NULL;
}

bool access_lacks_key(const struct access *access, const char *token, size_t len)
{
	struct token_parts parts = {.decoded = NULL};
	struct json_header fields;
	struct text header;
	const char *wrong;
	uint8_t *to;
	bool lacks = false;

	if (len > TOKEN_MAX_BYTES || !split(token, len, &parts) ||
	    (parts.decoded = malloc(BASE64URL_ROOM(len) + 6)) == NULL)
		return false;
	to = parts.decoded;
	if (decode(parts.header, &to, &header) && message_parse_header(header.bytes, header.len, &fields, &wrong)) {
		lacks = fields.kid != NULL && !keyring_has(access->keyring, fields.kid);
		message_free_header(&fields);
	}
	free(parts.decoded);
	return lacks;
}

int64_t access_expiry_s(const struct access *access, const struct principal *principal)
{
	return principal->exp_s + access->leeway_s; /* of at most 2^53: no overflow */
}

/* ---- rights */

static bool share(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	for (size_t i = 0; i < n_a; i++)
		for (size_t j = 0; j < n_b; j++)
			if (strcmp(a[i], b[j]) == 0)
				return true;
	return false;
}

bool access_is_firehose(const struct access *access, const struct principal *principal)
{
	return principal->is_operator ||
	       share(principal->roles, principal->n_roles, access->firehose_roles.items, access->firehose_roles.n);
}

static bool is_unit_member(const struct principal *principal, const struct feed *feed, struct text unit)
{
	const struct unit_grant *grant = find_unit(principal, unit);

	if (grant == NULL)
		return false;
	if (feed->n_roles == 0 || feed->any_user)
		return true;
	return share(grant->roles, grant->n_roles, feed->roles, feed->n_roles) ||
	       share(principal->roles, principal->n_roles, feed->roles, feed->n_roles);
}

/* Of a feed that counts as without unit; what it may see of a declared feed is asked besides. */
static bool is_role_holder(const struct principal *principal, const struct feed *feed)
{
	if (feed->has_unit && !feed->declared)
		return false;
	return feed->any_user || share(principal->roles, principal->n_roles, feed->roles, feed->n_roles);
}

static bool is_user_of(const struct principal *principal, const struct text *users, size_t n_users)
{
	size_t len = strlen(principal->user);

	for (size_t i = 0; i < n_users; i++)
		if (users[i].len == len && memcmp(users[i].bytes, principal->user, len) == 0)
			return true;
	return false;
}

/* A row, or an event, that a declared feed has for nobody in particular. */
static bool is_for_all(const struct feed *feed, const struct row_access *row)
{
	return !feed->declared || ((row->unit.bytes == NULL || row->unit.len == 0) && row->n_users == 0);
}

bool access_may_see_row(const struct access *access, const struct principal *principal, const struct feed *feed,
                        const struct row_access *row)
{
	return is_unit_member(principal, feed, row->unit) || is_user_of(principal, row->users, row->n_users) ||
	       (is_for_all(feed, row) && is_role_holder(principal, feed)) || access_is_firehose(access, principal);
}

/* The unit is named as the client wrote it: encoded, so nothing in it needs care. */
static const char *why_not_unit(const struct principal *principal, const struct channel_name *name, struct text unit)
{
	static _Thread_local char why[128];
	int shown = name->value.len < 64 ? (int)name->value.len : 64;

	if (principal_in_unit(principal, unit))
		snprintf(why, sizeof why, "you hold none of the feed's roles in unit %.*s", shown, name->value.bytes);
	else
		snprintf(why, sizeof why, "unit %.*s is not in your token", shown, name->value.bytes);
	return why;
}

enum verdict access_may_subscribe(const struct access *access, const struct principal *principal,
                                  const struct feed *feed, const struct channel_name *name, const char **why)
{
	char plain[CHANNEL_NAME_MAX_BYTES];
	struct text value = {plain, 0};

	*why = NULL;
	if (name->scope != SCOPE_FEED) {
		if (name->value.len == 0 || name->value.len > sizeof plain)
			return ACCESS_UNKNOWN;
		if (name->scope == SCOPE_ROW)
			return ACCESS_ASK_ROW;
		value.len = channel_decode(name->value, plain);
	}
	switch (name->scope) {
	case SCOPE_UNIT:
		if (!feed->has_unit && !feed->declared)
			return ACCESS_UNKNOWN;
		if (is_unit_member(principal, feed, value) || access_is_firehose(access, principal))
			return ACCESS_GRANTED;
		*why = why_not_unit(principal, name, value);
		return ACCESS_FORBIDDEN;
	case SCOPE_USER:
		if (!feed->has_users && !feed->declared)
			return ACCESS_UNKNOWN;
		if (principal->is_operator || is_user_of(principal, &value, 1))
			return ACCESS_GRANTED;
		*why = "that channel is another user's";
		return ACCESS_FORBIDDEN;
	case SCOPE_FEED:
		if (is_role_holder(principal, feed) || access_is_firehose(access, principal))
			return ACCESS_GRANTED;
		*why = "your roles do not cover the whole feed";
		return ACCESS_FORBIDDEN;
	case SCOPE_ROW:
		break;
	}
	return ACCESS_ASK_ROW;
}

static bool is_feed(struct text name, const struct feed *feed)
{
	return name.bytes != NULL && compare_text(name, feed->name) == 0;
}

bool access_may_receive(const struct access *access, const struct principal *principal, const struct feed *feed,
                        enum scope scope, const struct event *event)
{
	const struct row_access row = {event->unit, event->users, event->n_users};

	if (event->flags & EVENT_CONTROL)
		return false;
	if (event->flags & EVENT_RESYNC)
		return true; /* to each channel of the feed, and it tells of no row */
	/* On the row channel of its parent feed an event is for whoever holds that. */
	if (scope == SCOPE_ROW && event->parent_feed.bytes != NULL && is_feed(event->parent_feed, feed) &&
	    !is_feed(event->feed, feed))
		return true;
	switch (scope) {
	case SCOPE_UNIT:
		return (event->flags & EVENT_TO_UNIT) != 0 &&
		       (is_unit_member(principal, feed, event->unit) || access_is_firehose(access, principal));
	case SCOPE_USER: {
		const struct text *users = event->to_users != NULL ? event->to_users : event->users;
		size_t n_users = event->to_users != NULL ? event->n_to_users : event->n_users;

		return (event->flags & EVENT_TO_USERS) != 0 &&
		       (principal->is_operator || n_users > EVENT_USERS_SEARCHED || is_user_of(principal, users, n_users));
	}
	case SCOPE_ROW:
		return (event->flags & EVENT_TO_ROW) != 0 && access_may_see_row(access, principal, feed, &row);
	case SCOPE_FEED:
		return (event->flags & EVENT_TO_FEED) != 0 &&
		       ((is_for_all(feed, &row) && is_role_holder(principal, feed)) || access_is_firehose(access, principal));
	}
	return false;
}
