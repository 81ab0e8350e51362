/*
 * presence.c - who is online: tells the database which sessions are open (the view livefeed.sessions).
 *
 *   1. Whatever changes a session's row there notes it: it opened, its rights or its channels are others, it ended.
 *   2. At most every REPORT_EVERY_MS one report takes those that are noted, up to REPORT_MAX_BYTES; one is under way at
 *      a time.
 *   3. When nobody knows what the database holds (it was away, a report was not answered, this bridge had been taken
 *      for dead), a new round begins: all sessions are told again, and its last report says so; what was left of
 *      earlier rounds is gone. The same where more sessions ended than are remembered one by one.
 *   4. A report that tells nothing, every LOOK_EVERY_MS, asks how many sessions the database has of us; another number
 *      than ours is such a case.
 *
 * Sessions that last for one request only are not told of.
 */
#include "presence.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "log.h"
#include "session_internal.h"

#define REPORT_EVERY_MS 500
#define REPORT_MAX_BYTES (256u << 10) /* the session that reaches it is the last */
#define LOOK_EVERY_MS 10000
#define RETRY_MS_UNKNOWN 1000 /* the database was away, or does not know this bridge yet */
#define RETRY_MS_REFUSED 30000

static bool is_told_of(const struct session *session)
{
	return session->state == SESSION_OPEN && !session->transport->once && session->hub->backend.report_sessions != NULL;
}

static void unlink_noted(struct session *session)
{
	struct presence *presence = &session->hub->presence;
	if (!session->noted)
		return;
	*(session->noted_prev != NULL ? &session->noted_prev->noted_next : &presence->first) = session->noted_next;
	*(session->noted_next != NULL ? &session->noted_next->noted_prev : &presence->last) = session->noted_prev;
	session->noted = false;
}

void presence_note(struct session *session)
{
	struct presence *presence = &session->hub->presence;
	if (session->noted || !is_told_of(session))
		return;
	if (session->number == 0)
		session->number = ++presence->numbers;
	session->noted_prev = presence->last;
	session->noted_next = NULL;
	*(presence->last != NULL ? &presence->last->noted_next : &presence->first) = session;
	presence->last = session;
	session->noted = true;
}

void presence_end(struct session *session)
{
	struct presence *presence = &session->hub->presence;
	unlink_noted(session);
	if (!session->told)
		return;
	session->told = false;
	presence->n_told--;
	if (presence->n_gone < PRESENCE_GONE_MAX)
		presence->gone[presence->n_gone++] = session->number;
	else
		presence->anew = true;
}

void presence_renew(struct hub *hub)
{
	hub->presence.anew = true;
}

/* Rounds grow over restarts of a bridge of the same name, too: by the clock. */
static void begin_round(struct hub *hub)
{
	struct presence *presence = &hub->presence;
	presence->round = hub->wall_s > presence->round ? hub->wall_s : presence->round + 1;
	presence->anew = false;
	presence->opening = true;
	presence->n_gone = presence->n_told = 0;
	for (struct session *session = hub->sessions; session != NULL; session = session->next) {
		session->told = false;
		presence_note(session);
	}
}

/* ---- a report */

static void put_address(struct json_out *out, const char *address)
{
	struct in6_addr parsed;
	bool good =
		address != NULL && (inet_pton(AF_INET, address, &parsed) == 1 || inet_pton(AF_INET6, address, &parsed) == 1);
	json_put_string(out, good ? address : "");
}

static void put_number(struct json_out *out, uint64_t number)
{
	json_puts(out, "\"");
	json_put_int(out, (int64_t)number);
	json_puts(out, "\"");
}

static void put_session(struct json_out *out, const struct session *session)
{
	const struct principal *principal = session->principal;
	json_puts(out, "{\"session\":");
	put_number(out, session->number);
	json_puts(out, ",\"user\":");
	json_put_string(out, principal->user);
	json_puts(out, ",\"units\":[");
	for (size_t i = 0; i < principal->n_units; i++) {
		json_puts(out, i > 0 ? "," : "");
		json_put_string(out, principal->units[i].unit);
	}
	json_puts(out, "],\"transport\":");
	json_put_string(out, session->transport->name);
	json_puts(out, ",\"address\":");
	put_address(out, session->address);
	json_puts(out, ",\"connected_at\":");
	json_put_int(out, session->opened_s * 1000);
	json_puts(out, ",\"channels\":[");
	for (const struct subscription *s = session->subscriptions; s != NULL; s = s->next) {
		json_puts(out, s != session->subscriptions ? "," : "");
		json_put_text(out, s->channel->name);
	}
	json_puts(out, "]}");
}

static void put_report(struct hub *hub, struct json_out *out)
{
	struct presence *presence = &hub->presence;
	json_puts(out, "{\"round\":");
	json_put_int(out, presence->round);
	json_puts(out, ",\"gone\":[");
	for (size_t i = 0; i < presence->n_gone; i++) {
		json_puts(out, i > 0 ? "," : "");
		put_number(out, presence->gone[i]);
	}
	presence->n_gone = 0;
	json_puts(out, "],\"set\":[");
	for (bool more = false; presence->first != NULL && out->len < REPORT_MAX_BYTES && !out->failed; more = true) {
		struct session *session = presence->first;
		unlink_noted(session);
		json_puts(out, more ? "," : "");
		put_session(out, session);
		presence->n_told += !session->told;
		session->told = true;
	}
	if (presence->opening && presence->first == NULL) {
		presence->opening = false;
		json_puts(out, "],\"last\":true}");
	} else {
		json_puts(out, "]}");
	}
	json_put(out, "", 1);
}

static bool has_news(const struct presence *presence)
{
	return presence->anew || presence->opening || presence->first != NULL || presence->n_gone > 0;
}

void presence_pump(struct hub *hub)
{
	struct presence *presence = &hub->presence;
	if (presence_due_ms(hub) > hub->now_ms)
		return;
	if (presence->anew)
		begin_round(hub);
	struct json_out out = {0};
	put_report(hub, &out);
	presence->due_ms = hub->now_ms + REPORT_EVERY_MS;
	presence->look_ms = hub->now_ms + LOOK_EVERY_MS;
	presence->expected = presence->n_told;
	if (out.failed) {
		presence->anew = true;
	} else {
		presence->asked = true;
		hub->backend.report_sessions(hub->backend.arg, out.bytes);
	}
	free(out.bytes);
}

int64_t presence_due_ms(const struct hub *hub)
{
	const struct presence *presence = &hub->presence;
	if (hub->backend.report_sessions == NULL || presence->asked || !hub->live)
		return INT64_MAX;
	if (has_news(presence))
		return presence->due_ms;
	return presence->look_ms > presence->due_ms ? presence->look_ms : presence->due_ms;
}

void hub_answer_sessions(struct hub *hub, const struct sessions_answer *answer)
{
	struct presence *presence = &hub->presence;
	presence->asked = false;
	if (answer->status == ANSWER_OK && answer->known) {
		presence->complained[0] = '\0';
		if (!presence->opening && answer->n != (int64_t)presence->expected)
			presence->anew = true;
		return;
	}
	presence->anew = true;
	presence->due_ms = hub->now_ms + (answer->status == ANSWER_FAILED ? RETRY_MS_REFUSED : RETRY_MS_UNKNOWN);
	if (answer->status == ANSWER_FAILED && strcmp(presence->complained, answer->error.sqlstate) != 0)
		log_warn("livefeed.report_sessions failed: %s %.*s", answer->error.sqlstate, (int)answer->error.message.len,
		         answer->error.message.bytes);
	memcpy(presence->complained, answer->error.sqlstate, sizeof(presence->complained));
}
