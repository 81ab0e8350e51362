/*
 * test_revoke.c - revoke.c and user_index.c: which tokens are refused, what is kept and what is let go, the bound; links by
 * user. Does not test what becomes of sessions (test_authority.c).
 */
#include "revoke.h"

#include <stdlib.h>

#include "tap.h"
#include "user_index.h"

#define ROOM (1 << 20)
#define MANY 3000

static const struct text all = {NULL, 0};

static struct text text(const char *string)
{
	return (struct text){string, strlen(string)};
}

static void disconnect(struct revoke *revoke, const char *user, const char *sid, int64_t before_s)
{
	ok(revoke_add(revoke, REVOCATION_DISCONNECT, text(user), sid != NULL ? text(sid) : all, before_s),
	   "%s %s is disconnected", user, sid != NULL ? sid : "(all)");
}

static void test_rules(void)
{
	struct revoke *revoke = revoke_new(ROOM);
	is_int(revoke_find(revoke, "42", NULL, -1, false), REVOCATION_NONE,
	       "nothing is refused at first, not even without iat");
	disconnect(revoke, "42", NULL, 1000);
	is_int(revoke_find(revoke, "42", NULL, 999, false), REVOCATION_DISCONNECT, "an older token");
	is_int(revoke_find(revoke, "42", NULL, 1000, false), REVOCATION_DISCONNECT, "one of the very second");
	is_int(revoke_find(revoke, "42", NULL, 1001, false), REVOCATION_NONE, "a later one passes");
	is_int(revoke_find(revoke, "42", NULL, -1, false), REVOCATION_DISCONNECT, "one without iat counts as older");
	is_int(revoke_find(revoke, "42", "s", 1000, true), REVOCATION_DISCONNECT,
	       "with any sid, and where the authorizer answers");
	is_int(revoke_find(revoke, "43", NULL, 999, false), REVOCATION_NONE, "nobody else's");
	is_int(revoke_find(revoke, "4", NULL, 999, false), REVOCATION_NONE, "nor one whose name is its beginning");
	disconnect(revoke, "42", NULL, 900);
	is_int(revoke_find(revoke, "42", NULL, 1000, false), REVOCATION_DISCONNECT, "an earlier one takes nothing back");
	disconnect(revoke, "42", NULL, 1100);
	is_int(revoke_find(revoke, "42", NULL, 1050, false), REVOCATION_DISCONNECT, "a later one moves it on");
	is_int(revoke_count(revoke), 1, "and is no second entry");
	revoke_free(revoke);
	revoke_free(NULL);
}

static void test_sids(void)
{
	struct revoke *revoke = revoke_new(ROOM);
	disconnect(revoke, "42", "phone", 1000);
	is_int(revoke_find(revoke, "42", "phone", 1000, false), REVOCATION_DISCONNECT, "that login session");
	is_int(revoke_find(revoke, "42", "phone", -1, false), REVOCATION_DISCONNECT, "also without iat");
	is_int(revoke_find(revoke, "42", "desk", 10, false), REVOCATION_NONE, "no other one");
	is_int(revoke_find(revoke, "42", NULL, 10, false), REVOCATION_NONE, "nor a token without sid");
	is_int(revoke_find(revoke, "7", "phone", 10, false), REVOCATION_NONE, "nor another user's of that name");
	is_int(revoke_find(revoke, "42p", "hone", 10, false), REVOCATION_NONE, "names do not run into each other");

	disconnect(revoke, "42", "desk", 2000);
	disconnect(revoke, "9", NULL, 500);
	revoke_age(revoke, 1000);
	is_int(revoke_count(revoke), 3, "what is too old to matter went, and left a mark");
	is_int(revoke_find(revoke, "42", "phone", 1000, false), REVOCATION_NONE,
	       "its own tokens are too old for another reason");
	is_int(revoke_find(revoke, "42", "phone", -1, false), REVOCATION_DISCONNECT, "one without iat is refused still");
	is_int(revoke_find(revoke, "42", NULL, -1, false), REVOCATION_NONE,
	       "not one without sid, which it never concerned");
	is_int(revoke_find(revoke, "42", "", -1, false), REVOCATION_NONE, "nor one with an empty sid");
	is_int(revoke_find(revoke, "42", "desk", 2000, false), REVOCATION_DISCONNECT, "a younger one stays");
	is_int(revoke_find(revoke, "9", NULL, 500, false), REVOCATION_DISCONNECT, "and so do users'");
	revoke_age(revoke, 1000);
	is_int(revoke_count(revoke), 3, "once more changes nothing");
	revoke_free(revoke);
}

static void test_reauthorize(void)
{
	struct revoke *revoke = revoke_new(ROOM);
	ok(revoke_add(revoke, REVOCATION_REAUTHORIZE, text("42"), all, 1000), "rights changed");
	is_int(revoke_find(revoke, "42", NULL, 1000, false), REVOCATION_REAUTHORIZE,
	       "refuses tokens that carry their rights");
	is_int(revoke_find(revoke, "42", NULL, -1, false), REVOCATION_REAUTHORIZE, "also without iat");
	is_int(revoke_find(revoke, "42", NULL, 1000, true), REVOCATION_NONE, "not where the authorizer answers");
	is_int(revoke_find(revoke, "42", NULL, 1001, false), REVOCATION_NONE, "nor later ones");
	disconnect(revoke, "42", NULL, 1000);
	is_int(revoke_find(revoke, "42", NULL, 1000, false), REVOCATION_DISCONNECT, "of both, the disconnect is told");
	revoke_free(revoke);
}

static void test_bound(void)
{
	struct revoke *revoke = revoke_new(200);
	disconnect(revoke, "a", NULL, 1000);
	disconnect(revoke, "b", NULL, 1000);
	int n = 2;
	char user[32];
	while (n < 100 && snprintf(user, sizeof(user), "user%d", n) > 0 &&
	       revoke_add(revoke, REVOCATION_DISCONNECT, text(user), all, 2000))
		n++;
	ok(n < 100, "there is a bound");
	is_int(revoke_find(revoke, user, NULL, 2000, false), REVOCATION_DISCONNECT, "who did not fit is refused");
	is_int(revoke_find(revoke, "z", NULL, 2000, true), REVOCATION_DISCONNECT, "and so is everybody, up to that second");
	is_int(revoke_find(revoke, "z", NULL, 2001, true), REVOCATION_NONE, "a fresh token passes");
	is_int(revoke_find(revoke, "z", NULL, -1, true), REVOCATION_DISCONNECT, "one without iat does not");
	ok(revoke_add(revoke, REVOCATION_DISCONNECT, text("y"), all, 1500), "what the floor says already needs no room");
	ok(!revoke_add(revoke, REVOCATION_REAUTHORIZE, text("y"), all, 3000), "each kind has a floor of its own");
	is_int(revoke_find(revoke, "z", NULL, 2500, false), REVOCATION_REAUTHORIZE, "that refuses as its kind does");
	is_int(revoke_find(revoke, "z", NULL, 2500, true), REVOCATION_NONE, "and whom it does");
	revoke_free(revoke);
}

static void test_many(void)
{
	struct revoke *revoke = revoke_new(ROOM);
	char user[32];
	int kept = 0, wrong = 0;
	for (int i = 0; i < MANY; i++) {
		snprintf(user, sizeof(user), "user-%d", i);
		kept += revoke_add(revoke, REVOCATION_DISCONNECT, text(user), all, i);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(user, sizeof(user), "user-%d", i);
		wrong += revoke_find(revoke, user, NULL, i, false) != REVOCATION_DISCONNECT;
		wrong += revoke_find(revoke, user, NULL, i + 1, false) != REVOCATION_NONE;
	}
	is_int(kept, MANY, "many are kept");
	is_int(wrong, 0, "and each is found");
	revoke_free(revoke);
}

static void test_index(void)
{
	static struct user_link links[MANY];
	static char names[MANY][16];
	struct user_index *index = user_index_new();
	memset(links, 0, sizeof(links));
	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "u%d", i / 3);
		user_index_add(index, &links[i], names[i], &links[i]);
	}
	int n = 0, wrong = 0;
	for (struct user_link *link = user_index_first(index, "u7"); link != NULL; link = user_index_next(link), n++)
		wrong += strcmp(link->user, "u7") != 0 || link->owner != link;
	is_int(n, 3, "all links of a user");
	is_int(wrong, 0, "and no other's");
	ok(user_index_first(index, "nobody") == NULL, "of nobody, none");
	user_index_remove(index, &links[22]);
	user_index_remove(index, &links[22]);
	n = 0;
	for (struct user_link *link = user_index_first(index, "u7"); link != NULL; link = user_index_next(link))
		n++;
	is_int(n, 2, "one that was removed, twice, is gone once");
	for (int i = 0; i < MANY; i++)
		user_index_remove(index, &links[i]);
	ok(user_index_first(index, "u7") == NULL && user_index_first(index, "u0") == NULL, "all of them are gone");
	user_index_free(index);
	user_index_free(NULL);
}

int main(void)
{
	test_rules();
	test_sids();
	test_reauthorize();
	test_bound();
	test_many();
	test_index();
	return tap_done();
}
