/*
 * test_rights.c - what an authorizer returns becomes a principal (message_parse_rights, access_rights), and what tokens that
 * say the same have in common (message_claims_key). Does not test when it is asked (test_authority.c).
 */
#include <stdlib.h>

#include "access.h"
#include "message.h"
#include "tap.h"

static char user_5[] = "5";
static const struct principal token_of_5 = {.refs = 1, .user = user_5, .exp_s = 99, .iat_s = 7};

static struct principal *rights(const char *json)
{
	const char *wrong = NULL;
	struct principal *principal = access_rights(&token_of_5, json, strlen(json), &wrong);
	ok((principal == NULL) == (wrong != NULL), "%s: rights, or what is wrong", json);
	return principal;
}

static void test_good(void)
{
	struct principal *principal =
		rights("{\"user\":\"alice\",\"units\":{\"9\":[\"approver\"],\"7\":[]},\"roles\":[\"admin\"]}");
	is_str(principal->user, "alice", "another user");
	is_int(principal->n_units, 2, "units");
	is_str(principal->units[1].roles[0], "approver", "with roles");
	is_str(principal->roles[0], "admin", "roles");
	is_int(principal->exp_s, 0, "the end is the token's alone");
	is_int(principal->iat_s, -1, "and so is the beginning");
	ok(principal->claims.bytes == NULL, "no claims to ask by");
	principal_unref(principal);

	principal = rights(" {\"units\":[7,\"x\"],\"more\":[1,{}]} ");
	is_str(principal->user, "5", "the token's user");
	is_int(principal->n_units, 2, "units as an array; what else is there does not count");
	principal_unref(principal);

	principal = rights("{\"user\":null,\"units\":null,\"roles\":null}");
	is_str(principal->user, "5", "null is as absent: the user");
	is_int(principal->n_units + principal->n_roles, 0, "units (jsonb_agg of no rows) and roles");
	principal_unref(principal);

	principal = rights("{\"user\":12}");
	is_str(principal->user, "12", "an integer user");
	principal_unref(principal);
}

static void test_bad(void)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"\"alice\"",
		"7",
		"true",
		"{",
		"{} x",
		"{\"user\":\"\"}",
		"{\"user\":{}}",
		"{\"user\":1.5}",
		"{\"user\":true}",
		"{\"user\":\"a\\u0000b\"}",
		"{\"user\":\"a\",\"user\":\"b\"}",
		"{\"user\":99999999999999999999}",
		"{\"units\":7}",
		"{\"units\":\"7\"}",
		"{\"units\":[null]}",
		"{\"units\":[[7]]}",
		"{\"units\":{\"7\":\"approver\"}}",
		"{\"units\":{\"7\":null}}",
		"{\"units\":{\"7\":[1]}}",
		"{\"units\":[1.5]}",
		"{\"roles\":\"admin\"}",
		"{\"roles\":{}}",
		"{\"roles\":[1]}",
		"{\"roles\":[null]}",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		principal_unref(rights(bad[i]) == NULL ? NULL : (fail("%s was taken", bad[i]), NULL));
}

static const char *key_of(const char *claims)
{
	static char keys[2][256];
	static int turn;
	char *key = keys[turn = !turn];
	key[message_claims_key(claims, strlen(claims), key)] = '\0';
	return key;
}

static void test_keys(void)
{
	is_str(key_of("{\"user_id\":5,\"exp\":123,\"iat\":45.5,\"nbf\":1,\"jti\":\"a\\\"b\"}"), "{\"user_id\":5}",
	       "what differs from token to token is left out");
	is_str(key_of("{\"jti\":{\"a\":[1,2]},\"x\":\"exp\",\"y\":{\"exp\":7}}"), "{\"x\":\"exp\",\"y\":{\"exp\":7}}",
	       "only there, and whatever it is");
	is_str(key_of("{\"exp\":1,\"iat\":2,\"a\":\",,\",\"nbf\":3}"), "{\"a\":\",,\"}", "wherever they stand");
	is_str(key_of("{\"a\":1,\"iat\":2,\"exp\":3}"), "{\"a\":1}", "at the end");
	is_str(key_of("{\"iat\":2,\"a\":1,\"exp\":3,\"b\":[]}"), "{\"a\":1,\"b\":[]}", "in between");
	is_str(key_of("{ \"\\u0065xp\" : 1 , \"iat\" :2 ,\"jti\": \"\\\"\" }"), "{     }", "however they are written");
	is_str(key_of("{\"exp\":1,\"iat\":2}"), "{}", "nothing but those");
	ok(strcmp(key_of("{\"a\":99999999999999999998}"), key_of("{\"a\":99999999999999999999}")) != 0,
	   "numbers stay as they were written");
	is_str(key_of("{}"), "{}", "of nothing, nothing");
	is_str(key_of("{"), "", "of what is no JSON, none");
}

int main(void)
{
	test_good();
	test_bad();
	test_keys();
	return tap_done();
}
