/*
 * fuzz_claims.c - a token's header and payload, behind the signature (message_token.c), with claims found by name and by JSON
 * pointer.
 *
 * Input: three lines with the names of the claims of user, units and roles, then the JSON. What is taken from it is in
 * bounds; written anew as a plain payload, it is taken again and is the same.
 */
#include "fuzz.h"

#include "config_values.h"
#include "message.h"

#define SECONDS_MAX INT64_C(9007199254740992)

static void put_strings(struct json_out *out, char *const *strings, size_t n)
{
	json_puts(out, "[");
	for (size_t i = 0; i < n; i++) {
		json_puts(out, i > 0 ? "," : "");
		json_put_string(out, strings[i]);
	}
	json_puts(out, "]");
}

static void put_seconds(struct json_out *out, const char *name, int64_t seconds)
{
	if (seconds < 0)
		return;
	json_puts(out, ",\"");
	json_puts(out, name);
	json_puts(out, "\":");
	json_put_int(out, seconds);
}

static struct json_out write_claims(const struct json_claims *claims)
{
	struct json_out out = {0};

	json_puts(&out, "{\"sub\":");
	json_put_string(&out, claims->user);
	put_seconds(&out, "exp", claims->exp_s);
	put_seconds(&out, "nbf", claims->nbf_s);
	put_seconds(&out, "iat", claims->iat_s);
	if (claims->sid != NULL) {
		json_puts(&out, ",\"sid\":");
		json_put_string(&out, claims->sid);
	}
	if (claims->iss != NULL) {
		json_puts(&out, ",\"iss\":");
		json_put_string(&out, claims->iss);
	}
	json_puts(&out, ",\"aud\":");
	put_strings(&out, claims->aud, claims->n_aud);
	json_puts(&out, ",\"roles\":");
	put_strings(&out, claims->roles, claims->n_roles);
	if (claims->has_units) {
		char **units = calloc(claims->n_units + 1, sizeof *units);

		for (size_t i = 0; i < claims->n_units; i++)
			units[i] = claims->units[i].unit;
		json_puts(&out, ",\"units\":");
		put_strings(&out, units, claims->n_units);
		free(units);
	}
	json_puts(&out, "}");
	return out;
}

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_strings(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	for (size_t i = 0; n_a == n_b && i < n_a; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return n_a == n_b;
}

static void check_claims(const struct json_claims *claims)
{
	struct json_out out = write_claims(claims);
	struct json_claims again;
	const char *error;

	MUST(*claims->user != '\0' && utf8_is_valid(claims->user, strlen(claims->user)));
	MUST(claims->exp_s >= 0 && claims->exp_s <= SECONDS_MAX && claims->iat_s >= -1 && claims->iat_s <= SECONDS_MAX);
	MUST(claims->nbf_s >= -1 && claims->nbf_s <= SECONDS_MAX);
	MUST(claims->has_units || claims->n_units == 0);
	MUST(message_parse_claims(out.bytes, out.len, "sub", "units", "roles", &again, &error));
	MUST(same(again.user, claims->user) && same(again.sid, claims->sid) && same(again.iss, claims->iss));
	MUST(again.exp_s == claims->exp_s && again.nbf_s == claims->nbf_s && again.iat_s == claims->iat_s);
	MUST(same_strings(again.aud, again.n_aud, claims->aud, claims->n_aud));
	MUST(same_strings(again.roles, again.n_roles, claims->roles, claims->n_roles));
	MUST(again.has_units == claims->has_units && again.n_units == claims->n_units);
	for (size_t i = 0; i < claims->n_units; i++)
		MUST(same(again.units[i].unit, claims->units[i].unit));
	message_free_claims(&again);
	free(out.bytes);
}

static void check_header(struct text text)
{
	struct json_header header;
	const char *error;

	if (!message_parse_header(text.bytes, text.len, &header, &error)) {
		MUST(error != NULL && is_printable(error) && header.alg == NULL && header.kid == NULL);
		return;
	}
	MUST(json_member(text, "alg").bytes != NULL && header.alg != NULL && error == NULL);
	MUST(header.has_crit == (json_member(text, "crit").bytes != NULL));
	MUST((header.kid != NULL) == (json_member(text, "kid").bytes != NULL));
	message_free_header(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = input_of(data, size);
	char *names[3], *json;
	struct json_claims claims;
	const char *error;
	struct text text;

	for (int i = 0; i < 3; i++)
		names[i] = input_string(input_line(&input));
	text = input_rest(&input);
	json = input_copy(text);
	text.bytes = json;
	if (value_is_claim(names[0]) && value_is_claim(names[1]) && value_is_claim(names[2])) {
		if (message_parse_claims(json, text.len, names[0], names[1], names[2], &claims, &error)) {
			MUST(error == NULL && is_json(json, text.len));
			check_claims(&claims);
			message_free_claims(&claims);
		} else {
			MUST(error != NULL && is_printable(error));
		}
	}
	check_header(text);
	for (int i = 0; i < 3; i++)
		free(names[i]);
	free(json);
	return 0;
}
