/*
 * session.h - one client: its states, subscriptions, replays, and its bounded outbox.
 *
 * A session knows neither sockets nor the database. A transport feeds it
 * whole text messages and takes frames out of its outbox; what it has to
 * ask of the database goes through struct session_backend and comes back
 * by the answer functions. Everything runs on the one loop; nothing blocks.
 *
 * States: GREETING (no token yet) -> OPEN -> CLOSING (close code set; what is in the outbox
 * still goes out, then the transport closes) -> CLOSED. One function moves it (session.c).
 */
#ifndef LIVEFEED_SESSION_H
#define LIVEFEED_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "catalog.h"
#include "event.h"
#include "frame.h"
#include "history.h"

enum close_code {
	CLOSE_GOING_AWAY = 1001,
	CLOSE_PROTOCOL = 1002, /* a frame that breaks RFC 6455 */
	CLOSE_NOT_TEXT = 1003,
	CLOSE_NOT_UTF8 = 1007,
	CLOSE_TOO_LARGE = 1009,
	CLOSE_INTERNAL = 1011, /* out of memory for this session: it resumes */
	CLOSE_TRY_LATER = 1013, /* came before the database was there */
	CLOSE_BAD_MESSAGES = 4400,
	CLOSE_TOKEN = 4401,
	CLOSE_DISCONNECTED = 4403,
	CLOSE_TOO_SLOW = 4408,
	CLOSE_MAX_SESSION = 4409,
	CLOSE_LIMIT = 4429
};

struct session;
struct hub; /* all sessions, the routes, the history */

struct session_limits { /* from config.h; may change on reload */
	int64_t max_subscriptions, max_bad_messages, max_queue_bytes, max_message_bytes;
	int64_t idle_auth_ms, heartbeat_ms, max_session_ms; /* max_session: 0 none */
	int64_t rate_per_s; /* messages; burst: rate + max_subscriptions; 0: none */
	int64_t max_sessions_per_user; /* 0: none */
};

/*
 * What a session asks of the database. Each request is answered exactly once by the hub_answer function named,
 * with the same request pointer, also on failure and time-out; a session that is gone by then just frees it.
 */
struct request;
struct call_ask { /* copied by the backend */
	const char *name, *args, *claims; /* args and claims: JSON */
	const char *role, *key; /* NULL: none */
};
struct session_backend {
	void *arg;
	size_t queries_at_once; /* run_query: no more than these are asked at the same time; 0 counts as 1 */
	/* row_scope(feed, key) -> hub_answer_row */
	void (*row_scope)(void *arg, struct request *request, const char *feed, const char *key, size_t key_len);
	/* look(): the database's head -> tail reads up to it; check_cursor(epoch, id, transient) -> hub_answer_cursor */
	void (*check_cursor)(void *arg, struct request *request, const char *epoch, int64_t id, bool transient);
	/* read(after_id, max, feed): one page of the events of feed or with it as parent_feed -> hub_answer_page */
	void (*read_page)(void *arg, struct request *request, int64_t after_id, const char *feed);
	/* reload the definitions now (a channel names an unknown feed) -> hub_answer_definitions. Coalesced by the backend. */
	void (*reload_definitions)(void *arg, struct request *request);
	/* authorize(claims): what the authorizer says of these claims (JSON) -> hub_answer_authorize */
	void (*authorize)(void *arg, struct request *request, struct text claims);
	/* snapshot(feed, scope, value): the rows of a channel; value: plain, NULL for scope 'all' -> hub_answer_snapshot */
	void (*snapshot)(void *arg, struct request *request, const char *feed, const char *scope, const char *value);
	/* run_query(name, value): value plain, NULL for a query of scope 'all' -> hub_answer_value */
	void (*run_query)(void *arg, struct request *request, const char *name, const char *value);
	/* call(name, args, claims, role, key) -> hub_answer_call */
	void (*call)(void *arg, struct request *request, const struct call_ask *ask);
	/* report_sessions(changes): JSON, copied -> hub_answer_sessions, never inside the asking; one at a time. NULL: nobody is told */
	void (*report_sessions)(void *arg, const char *changes);
};

/* FAILED: the function raised an error, which is in our log. */
enum authorize_status { AUTHORIZE_OK, AUTHORIZE_FAILED, AUTHORIZE_UNAVAILABLE };
enum row_status { ROW_FOUND, ROW_ABSENT, ROW_SPELLING, ROW_UNAVAILABLE };
/* What became of a function of the application's. FAILED: the database refused, see the error; it is not logged yet. */
enum answer_status { ANSWER_OK, ANSWER_FAILED, ANSWER_UNAVAILABLE };
struct answer_error {
	char sqlstate[6]; /* "" where the database raised none */
	struct text message; /* its primary message */
};
enum snapshot_found { SNAPSHOT_FOUND, SNAPSHOT_SPELLING, SNAPSHOT_NO_SCOPE, SNAPSHOT_NO_FEED };
struct snapshot_answer { /* all of it borrowed */
	enum answer_status status;
	struct answer_error error; /* FAILED */
	enum snapshot_found found; /* OK, as are all that follow */
	int64_t after, tick;
	struct text epoch, seen; /* seen: pg_current_snapshot() as text */
	const struct text *key_columns; /* NULL: none */
	size_t n_key_columns;
	struct text data, keys; /* JSON arrays; keys.bytes NULL: none */
	bool truncated;
	enum row_status row; /* of scope 'row': who may see it, as the same statement saw it */
	struct row_access row_access; /* where that is ROW_FOUND */
};
struct value_answer { /* borrowed */
	enum answer_status status;
	struct answer_error error;
	struct text data, epoch; /* data: JSON */
	int64_t after;
};
struct call_answer { /* borrowed */
	enum answer_status status;
	struct answer_error error;
	bool sent; /* UNAVAILABLE: it was sent, so it may have happened */
	struct text data; /* JSON */
	uint64_t xid;
	bool wrote, events; /* wrote: xid is set */
};
struct sessions_answer { /* borrowed */
	enum answer_status status;
	struct answer_error error;
	bool known; /* the database knows this bridge, and has n sessions of it */
	int64_t n;
};
/* TRANSIENT_LOST: only where the channel may bring transient events. */
enum cursor_status { CURSOR_OK, CURSOR_PRUNED, CURSOR_EPOCH, CURSOR_TRANSIENT_LOST, CURSOR_UNAVAILABLE };

/* Transport: told that a session has output, or is to close. */
struct session_transport {
	const char *name; /* "websocket" */
	/*
	 * The outbox is no longer empty, or the state is CLOSING: call session_output before the loop sleeps. Called once
	 * until then. It may only take a note: session and hub must not be called from inside it.
	 */
	void (*wake)(struct session *session, void *connection);
	bool once; /* a session for each request: what a user may do a second is counted over all of his */
	bool rated; /* to open one counts as that */
	/*
	 * Its client has one cursor for all channels (session_cursor). Events leave in growing id over all of them, in replays as well:
	 * live ones wait until every replay and snapshot of the session is done, and one that is for several channels is one frame.
	 * Only a subscribe with an older `since` that comes later goes back.
	 */
	bool merged;
	/* Its client takes an error for the last word (EventSource): a token that comes before the database was reached waits. */
	bool patient;
};

/* ---- the hub */
struct hub *hub_new(struct access *access, struct catalog *catalog, struct history *history,
                    const struct session_limits *limits, const struct session_backend *backend);
/* Requests not answered yet are freed with it: the backend must not answer them any more. */
void hub_free(struct hub *hub);
void hub_set_limits(struct hub *hub, const struct session_limits *limits);
/* Milliseconds of a monotonic clock and seconds of the wall clock; main sets both at each turn of the loop and at least once a second. */
void hub_tick_clock(struct hub *hub, int64_t now_ms, int64_t wall_s);
/* Time-outs: tokens that expired, idle GREETING sessions, max_session. Call about once a second. */
void hub_check_deadlines(struct hub *hub);
/* Continues replays whose sessions have room; called each turn of the loop. True: more can be done at once. */
bool hub_pump(struct hub *hub);
/* Milliseconds until hub_pump has something to do, if nothing happens before; -1: nothing. */
int64_t hub_wait_ms(const struct hub *hub);
/* There is more for hub_pump to do at once: ask after the transports have flushed, which gives blocked replays room. */
bool hub_busy(const struct hub *hub);
/* Frees sessions that are CLOSED: the one point of the loop where that happens. */
void hub_sweep(struct hub *hub);

/* The stream, from tail.c: events in order; the hub appends to the history and delivers. */
void hub_event(struct hub *hub, struct event *event);
void hub_advance(struct hub *hub, int64_t head); /* everything up to head was given */
/* Of every transaction that events were given of, all were: results that waited for theirs are sent. */
void hub_whole(struct hub *hub);
/* The history changed (other epoch, or went back, or was pruned below what is needed): all subscriptions get resync with this reason; begins at head. */
void hub_restart(struct hub *hub, const char *epoch, int64_t head, const char *reason);
/* The database was lost or came back: `status` to all, pong's live. */
void hub_live(struct hub *hub, bool live);
/* A control event of the stream, in its order: disconnect and reauthorize. Others are not looked at. */
void hub_control(struct hub *hub, const struct event *event);
/*
 * Who answers for tokens without units, and for how long tokens with a sid count. Told with every load of the definitions,
 * before hub_definitions_changed. authorizer: a fingerprint, NULL where none is set. revocations: they were loaded as
 * well (hub_take_revocation), because hub_wants_revocations said so when the load began: the stream began, or began anew.
 */
void hub_set_authority(struct hub *hub, struct text authorizer, int64_t token_max_age_s, bool revocations);
bool hub_wants_revocations(const struct hub *hub);
/* kind: 'disconnect' or 'reauthorize'; session bytes NULL: all of the user's. */
void hub_take_revocation(struct hub *hub, struct text user, struct text session, struct text kind, int64_t before_s);
/* Definitions were reloaded: subscriptions that are no longer allowed end with `unsubscribed`. */
void hub_definitions_changed(struct hub *hub);
/* Closes all with 1001, spread over drain_ms; no new sessions. */
void hub_drain(struct hub *hub, int64_t drain_ms);
size_t hub_sessions(const struct hub *hub);

void hub_answer_row(struct hub *hub, struct request *request, enum row_status status, const struct row_access *row);
void hub_answer_cursor(struct hub *hub, struct request *request, enum cursor_status status, int64_t database_head);
/* events: n of them, borrowed; up_to: all of the feed up to here is in this page; status CURSOR_PRUNED: after_id is no longer kept. */
void hub_answer_page(struct hub *hub, struct request *request, enum cursor_status status, const char *epoch,
                     struct event *const *events, size_t n, int64_t up_to);
void hub_answer_definitions(struct hub *hub, struct request *request, bool ok);
/* json: the result, borrowed; bytes NULL: the authorizer returned NULL. */
void hub_answer_authorize(struct hub *hub, struct request *request, enum authorize_status status, struct text json);
void hub_answer_snapshot(struct hub *hub, struct request *request, const struct snapshot_answer *answer);
void hub_answer_value(struct hub *hub, struct request *request, const struct value_answer *answer);
void hub_answer_call(struct hub *hub, struct request *request, const struct call_answer *answer);
void hub_answer_sessions(struct hub *hub, const struct sessions_answer *answer);

/* ---- a session, for its transport */
/*
 * path: the exposed path it came by, or NULL for the plain endpoint; since, snapshot: the query parameters that apply
 * to the path's subscriptions. NULL: out of memory or draining.
 */
struct session_origin {
	const char *address; /* of the peer, for logs and limits */
	const char *path; /* NULL: none */
	const char *since; /* NULL: none */
	bool snapshot;
};
struct session *session_open(struct hub *hub, const struct session_transport *transport, void *connection,
                             const struct session_origin *origin);
/* A token that came with the handshake (query, header, subprotocol). Same as a first auth message. */
void session_authenticate(struct session *session, const char *token, size_t len);
/* Who looks on with the rights of the database's role (access_operator): no token is asked for. */
void session_let_operator_in(struct session *session);
/* One whole text message. */
void session_receive(struct session *session, const char *text, size_t len);
/* The transport saw something it cannot pass on: answers error and closes with code (1003, 1009...). reason: static. */
void session_close(struct session *session, enum close_code code, const char *reason);
/* The connection is gone: the session must not be used afterwards. */
void session_gone(struct session *session);

/*
 * The outbox: up to max frames into frames[] (borrowed until session_sent); returns how many. Output that
 * a slow socket has not taken yet stays in the transport; the bytes count until session_sent.
 */
size_t session_output(struct session *session, struct frame **frames, size_t max);
/* Frame i of the outbox, borrowed until session_sent: for who has to look at what comes before he takes any. NULL: there is none. */
struct frame *session_frame(const struct session *session, size_t i);
/* The first n of them are on their way: dropped from the outbox. */
void session_sent(struct session *session, size_t n);
bool session_has_output(const struct session *session);
/*
 * Of a merged transport: the cursor that covers all subscriptions of a client that has been given the first n frames of the outbox,
 * and what was sent before. With all of them (n is session_output's, and it gave less than max) it is exact; in between it is
 * the last event's. -1, or false: none at present, the client keeps the one it has. So it is until a snapshot
 * has been sent, or a subscribe is answered that begins before it; and for frames of a history that is over.
 */
#define CURSOR_MAX_BYTES 40
int64_t session_covered(const struct session *session, size_t n);
/* All its subscriptions are live, and none is asked for. */
bool session_caught_up(const struct session *session);
bool session_cursor(const struct session *session, size_t n, char to[CURSOR_MAX_BYTES]);
/* OPEN, and all that it was asked to subscribe to so far is answered: what could be had is live. */
bool session_settled(const struct session *session);
/* The transport has not taken all it was given: it is to be woken once more by the next frame. */
void session_listen(struct session *session);
/* 0: not closing, else the code to close with once the outbox is empty. *reason: text of the close frame. */
int session_closing(const struct session *session, const char **reason);

#endif
