/*
 * revoke.h - whose tokens count no more: what livefeed.disconnect and livefeed.reauthorize left, kept by control events
 * in the stream's order, loaded from livefeed.revocations when a stream begins. Plain C without I/O.
 */
#ifndef LIVEFEED_REVOKE_H
#define LIVEFEED_REVOKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

enum revocation { REVOCATION_NONE, REVOCATION_DISCONNECT, REVOCATION_REAUTHORIZE, REVOCATIONS };

struct revoke;

/*
 * max_bytes bounds what is kept. What does not fit raises a floor instead: from then on everybody's tokens of that second and
 * earlier are refused. That asks too many for a fresh token, and lets nobody through.
 */
struct revoke *revoke_new(size_t max_bytes);
void revoke_free(struct revoke *revoke);

/*
 * Tokens of this user (sid: of this login session of theirs; bytes NULL: all) issued at before_s or earlier are refused, and
 * those that do not say when they were issued. Of several the greatest before_s counts. False: it raised the floor.
 */
bool revoke_add(struct revoke *revoke, enum revocation kind, struct text user, struct text sid, int64_t before_s);

/*
 * Is this token refused, and why? sid: NULL where it has none; iat_s: -1 likewise. authorized: the authorizer answers for
 * its user, whom reauthorize then does not concern.
 */
enum revocation revoke_find(const struct revoke *revoke, const char *user, const char *sid, int64_t iat_s,
                            bool authorized);

/*
 * Lets go of what only concerns tokens with a sid that were issued before_s or earlier, which are not taken anyway. That
 * the user's tokens with a sid and without iat are refused stays.
 */
void revoke_age(struct revoke *revoke, int64_t before_s);

size_t revoke_count(const struct revoke *revoke);

#endif
