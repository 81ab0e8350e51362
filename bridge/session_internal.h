/*
 * session_internal.h - what the files of the session room share: hub.c, session.c, admission.c, authority.c,
 * outbox.c, asked.c, subscribe.c, row_wait.c, deferred.c, subscription.c, recheck.c, deliver.c, replay.c, merge.c, page.c,
 * past.c, call.c, snapshot.c, presence.c.
 *
 * Words
 *   subscription  a session's hold on one channel. It stands in the route from `subscribed` on; it is live
 *                 (gets each event as it comes) while it has no replay.
 *   replay        what a subscription needs until it is live: a position (`after`: all up to that id has been
 *                 sent) that moves through pages of the log, then through the history, to its end.
 *   snapshot      the rows of a channel as one statement saw them; for all who wait for it when it is asked for.
 *   seen          what that statement saw of the ticks after the one that its cursor names: these events are in the
 *                 snapshot, and whoever got it is not sent them.
 *   attempt       a subscribe that waits for an answer of the database. There is one at most for a channel of
 *                 a session; what comes for that channel meanwhile is deferred, and done in order.
 *   request       anything asked of the backend: an attempt, a page of the log, a recheck of a row, a token.
 *   token, rights who a token says that its user is; and what counts: the same, or what the authorizer said of it.
 *   authority     what the authorizer says, or is being asked, of one user's claims; for all tokens that say the same.
 *   doubted       a session whose rights are being asked for again: nothing is sent or granted by them meanwhile.
 *
 * Invariants
 *   1. A live subscription has been sent, has no right to, or holds in its snapshot every event up to the history's head.
 *   2. Nothing is appended to an outbox after a gap: who cannot take a frame is CLOSING.
 *   3. Subscriptions are ended by one function, and only the transport ends a session's memory (session_gone,
 *      then hub_sweep): a loop over a channel never meets a freed session.
 */
#ifndef LIVEFEED_SESSION_INTERNAL_H
#define LIVEFEED_SESSION_INTERNAL_H

#include "jsontext.h"
#include "latest.h"
#include "message.h"
#include "presence.h"
#include "revoke.h"
#include "route.h"
#include "seen.h"
#include "session.h"
#include "text.h"
#include "user_index.h"
#include "user_rates.h"
#include "users.h"
#include "value.h"

/* Bounds of this room; see where each is used for what happens at it. */
#define PAGES_IN_FLIGHT_MAX 4
#define PAGES_KEPT_MAX_BYTES (32u << 20)
#define PAGES_CACHED_MAX 64
#define PAGES_CACHED_MAX_BYTES (16u << 20)
#define PAGES_CACHED_MS 5000
#define VOUCHED_MS 1000
#define REPLAYS_QUEUED_MAX_BYTES (64u << 20)
#define REPLAY_THIN_BYTES 16384
#define FRAME_EXTRA_BYTES 64 /* what a frame adds to body and names, at most */
#define RECHECKS_IN_FLIGHT_MAX 16
#define SNAPSHOTS_IN_FLIGHT_MAX 4
#define SNAPSHOTS_PER_SESSION_MAX 2 /* in flight on its behalf, or waiting for room in its outbox */
#define SNAPSHOTS_HELD_MAX 64 /* larger than --max-queue, and not yet taken by all who get them */
#define SNAPSHOTS_HELD_MAX_BYTES (64u << 20)
#define SNAPSHOT_TRIES_MAX 5
#define DEFERRED_MAX 64
#define ROW_ASKS_MAX 3
#define CURSOR_ASKS_MAX 3
#define RETRY_MS 1000
#define KEYS_ASK_EVERY_MS 200
#define FEEDS_ASK_EVERY_MS 1000
#define TOKEN_WAIT_MAX_MS 20000
#define HELD_MAX_BYTES (128u << 10)
#define HELD_ALL_MAX_BYTES (64u << 20)
#define REVOKE_MAX_BYTES (128u << 20)
#define AUTHORITIES_MAX 20000
#define AUTHORITIES_MAX_BYTES (64u << 20)
#define AUTHORITY_RESULT_MAX_BYTES (1u << 20)
#define AUTHORIZES_IN_FLIGHT_MAX 64
#define AUTHORIZE_TRIES_MAX 3
#define REFUSAL_KEPT_MS 1000
#define REAUTHORIZED_KEPT 1024
#define SHOWN_KEPT 4096
#define PUMP_COST_MAX_NS 1000000
#define DEADLINES_SLICE 4096
#define OUTBOX_KEEP_SLOTS 16
#define OUTBOX_THIN_FRAMES 64
#define STALLED_MAX_MS 500
#define REPLAY_STALLED_MAX_MS 10000
#define CONTROL_RESERVE_BYTES 16384
#define ROW_WAITER_BUCKETS 256
#define EPOCH_MAX_BYTES 17
#define DISCONNECT_REASON_MAX_BYTES 123 /* what a close frame takes */

enum session_state { SESSION_GREETING, SESSION_OPEN, SESSION_CLOSING, SESSION_CLOSED };

struct subscription {
	struct session *session;
	struct channel *channel;
	struct subscription *next; /* of the session */
	struct replay *replay; /* NULL: live */
	uint32_t slot; /* in the channel */
	struct seen *seen; /* by its snapshot; NULL: nothing that is still to come */
	uint32_t rules; /* fingerprint of the feed's access rules when it was judged */
	bool by_role; /* a row channel that was granted whatever the row */
	/* of a query's channel: which result and which error it has (0: none), and the head when it came */
	uint64_t value_serial, error_serial;
	int64_t joined_id;
};

struct session_path { /* what it came by, until it is known who asks */
	char *path, *since;
	bool snapshot;
};

struct held { /* a message that waits for the token before it to be judged */
	struct held *next;
	size_t len;
	char text[];
};

struct session {
	struct hub *hub;
	const struct session_transport *transport;
	void *connection;
	struct session *prev, *next;
	struct principal *token; /* until when, of which sid; NULL while GREETING */
	struct principal *principal; /* its rights: the token's own, or those of an authority */
	struct user_link by_token_user, by_user; /* the latter where the rights are another user's than the token's */
	struct authority *doubt; /* whose answer it waits for while doubted */
	struct session *doubt_prev, *doubt_next;
	struct subscription *subscriptions;
	struct request *attempts;
	struct call *calls; /* in order; the first is being done */
	struct request *token_waits; /* a token that cannot be judged yet; NULL: none */
	struct held *held_first, *held_last;
	size_t held_bytes;
	struct session *noted_prev, *noted_next; /* of whom the database is to be told */
	uint64_t number; /* its name there; 0: none yet */
	struct session_path *path;
	const char *close_reason;
	char *close_text; /* close_reason, where it is no static string */
	char *address; /* of the client, for the log; NULL: not known */

	struct frame **ring; /* the outbox: capacity is a power of two; NULL until needed */
	uint32_t capacity, first, n_frames;
	uint32_t n_latest, thin_at; /* frames that may be replaced; when there are so many they are looked through */
	uint32_t node; /* deliver.c: which set of channels, while mark is the current event */
	uint64_t queued_bytes;
	uint64_t mark;
	int64_t passed_id; /* merged: what covered it when the transport took a frame; -1: not known */

	int64_t opened_ms, opened_s; /* the latter by the wall clock */
	int64_t progress_ms; /* when the transport last took a frame, or the outbox began to fill */
	int64_t expiry_s;
	int64_t rate_at_ms;
	int64_t rate_credit; /* thousandths of a message */
	uint32_t n_subscriptions, n_attempts, n_blocked;
	uint32_t n_calls, n_held; /* held: results that wait for their events */
	uint16_t bad_messages, n_deferred;
	uint16_t close_code;
	uint8_t state;
	bool woken; /* the transport was told and has not come yet */
	bool used; /* the outbox was, since the last look */
	bool listening; /* the transport waits for the next frame, though it has left some there */
	uint8_t n_snapping; /* snapshots that are being asked for on its behalf ... */
	uint32_t n_unsent; /* ... and that wait for room in its outbox */
	bool paging; /* a page of the log is being read for it */
	bool lagging; /* live events overtook its outbox; until that is empty */
	bool counted; /* in the hub's users */
	bool doubted;
	bool releasing; /* its held messages are being handled */
	bool calling; /* its calls are being begun */
	bool noted, told; /* the database is to be told of it; was */
	bool uncovered; /* merged: frames of a history that is over are in the outbox */
	bool snapshot_queued; /* merged: a snapshot is in the outbox */
};

enum replay_state {
	REPLAY_READY, /* can go on at the next pump */
	REPLAY_BLOCKED, /* the outbox is full enough */
	REPLAY_LOG, /* needs a page of the log */
	REPLAY_AHEAD, /* begins above the head: waits for the history */
	REPLAY_HELD, /* its row's access has to be asked for again */
	REPLAY_CHECKING, /* ... and is being asked for */
	REPLAY_DOUBTED, /* the session's rights are being asked for */
	REPLAY_SNAPSHOT, /* its snapshot has to be asked for */
	REPLAY_SNAPPING, /* ... and is being asked for */
	REPLAY_MERGING, /* stands at its next event, or at the end, until those of the others are as far (merge.c) */
	REPLAY_STATES
};

enum past { /* whose its row was at the place where a replay is (past.c) */
	        PAST_UNKNOWN,
	        PAST_LOOKING, /* for what tells it */
	        PAST_OURS,
	        PAST_OTHERS,
	        PAST_UNSURE /* cannot be told */
};

struct replay {
	struct replay *prev, *next; /* in the list of its state */
	struct subscription *subscription;
	struct page *page; /* of the log, being sent; NULL: none */
	struct request *recheck; /* in flight */
	struct request *snapping; /* in flight; only compared */
	struct snapshot *snapshot; /* the first thing to be sent; NULL: none, or not here yet */
	struct event *found; /* MERGING: its next event, a reference; NULL: it is at the end of the history */
	int64_t wants_ms; /* since when it wants one */
	int64_t after;
	int64_t looked; /* LOOKING: up to here */
	uint64_t look_xid, left_xid; /* ... from an event of this transaction; and of this one, a moved_out ... */
	bool left_ours; /* ... said that the row was ours */
	uint8_t past;
	uint32_t page_index;
	uint8_t state;
	uint8_t snapshot_tries;
	bool wants_snapshot; /* it is not here yet */
	bool elder; /* its cursor is of an earlier epoch that the database vouched for: pages may carry any */
};

struct snapshot { /* on its way to replays */
	uint32_t refs;
	struct frame *frame;
	struct seen *seen;
	int64_t after;
};

struct replay_list {
	struct replay *first, *last;
	size_t n;
};

struct page { /* of the log: the events of one feed in (after, up_to] */
	struct page *next; /* among those that are kept for whoever comes next, the latest first */
	uint32_t refs;
	size_t bytes;
	int64_t after, up_to;
	int64_t read_ms;
	char *feed;
	char epoch[EPOCH_MAX_BYTES];
	uint64_t *filters; /* one an event, as in the history */
	size_t n;
	struct event *events[];
};

enum request_kind {
	REQUEST_SUBSCRIBE,
	REQUEST_PAGE,
	REQUEST_RECHECK,
	REQUEST_TOKEN,
	REQUEST_RELOAD,
	REQUEST_AUTHORIZE,
	REQUEST_SNAPSHOT,
	REQUEST_VALUE,
	REQUEST_CALL
};

enum attempt_wait {
	ATTEMPT_ASKED, /* for an answer of the backend */
	ATTEMPT_PARKED, /* until rights are known again */
	ATTEMPT_FEED /* until definitions were read that may have its feed */
};

enum authority_state { AUTHORITY_DUE, AUTHORITY_LATER, AUTHORITY_ASKED, AUTHORITY_KNOWN, AUTHORITY_STATES };

struct authority {
	struct authority *prev, *next; /* in the list of its state; of those KNOWN, the longest unused first */
	struct user_link by_token_user, by_user;
	struct principal *token; /* of one who has these claims */
	struct principal *rights; /* KNOWN; NULL: refused */
	struct request *request; /* ASKED */
	struct request *waiters; /* tokens */
	struct session *doubted;
	int64_t known_ms, retry_ms; /* since KNOWN; until DUE */
	uint64_t asked_at; /* after so many reauthorizes */
	size_t bytes;
	uint8_t state, tries;
	bool stale; /* ASKED, but of another authorizer or another stream: the answer does not count */
	bool busy; /* being handed out */
};

struct authority_list {
	struct authority *first, *last;
	size_t n;
};

struct deferred { /* a message for a channel that has an attempt under way */
	struct deferred *next;
	char *ref, *since;
	bool subscribe, snapshot;
};

struct request {
	struct request *all_prev, *all_next;
	struct hub *hub;
	struct session *session; /* NULL: gone, or nobody wants the answer any more */
	enum request_kind kind;

	/* a subscribe */
	struct request *next; /* of the session's attempts; of the tokens that wait */
	struct request *feed_next; /* of those that wait for definitions */
	uint8_t wait;
	char *ref;
	char *channel; /* of a page: the feed */
	struct cursor since;
	const char *refused; /* why the cursor cannot be resumed; NULL: it can */
	bool has_since, snapshot;
	bool transient; /* its channel may bring transient events */
	bool cursor_known; /* asked for and answered, in this many-eth restart of the hub */
	bool reloaded; /* definitions were read again for it */
	uint8_t cursor_asks, row_asks;
	uint64_t restarts;
	struct deferred *deferred_first, *deferred_last;
	/* ... while its row is asked for: an event may take the right away meanwhile */
	struct request *row_prev, *row_next;
	uint64_t row_hash;
	bool row_waiting, row_doubt;

	/* a token: the answer is that to a REQUEST_RELOAD or REQUEST_AUTHORIZE */
	char *token; /* where its key is not known; else ... */
	struct principal *claimed; /* who it says it is for */
	int64_t since_ms;
	struct authority *authority; /* of REQUEST_AUTHORIZE */
	int64_t after; /* a page */
	struct replay *replay; /* a recheck; NULL: no longer wanted */
	struct call *call; /* REQUEST_CALL; its answer frees both where the session is gone */
	struct value *value; /* a run of it; NULL: no longer wanted */
	bool value_slow; /* it was thought to be */
};

struct shown { /* a transaction that the stream showed, and its last event so far */
	uint64_t xid;
	int64_t id;
};

struct match { /* one of an event's channels that has subscribers */
	struct channel *channel;
	bool check; /* each session's right to this event is asked for */
	bool row; /* whose right to this row ends with it */
};

struct node { /* one distinct set of an event's channels: its parent's and one more */
	struct frame *frame;
	uint32_t parent, match;
	uint32_t child, child_match; /* the set with one more, of the match that is being looked at */
};

struct hub {
	struct access *access;
	struct catalog *catalog;
	struct history *history;
	struct latest_map *latest;
	struct route *route;
	struct session_limits limits;
	struct session_backend backend;
	int64_t now_ms, wall_s;
	bool begun, live;

	struct session *sessions; /* all but CLOSED */
	struct session *closed; /* to be freed, linked by next */
	size_t n_sessions;
	struct session *deadline_cursor; /* where the look at time-outs goes on; NULL: none under way */
	struct user_counts *users;

	bool draining;
	int64_t drain_from_ms, drain_ms;
	size_t drain_total, drained;

	struct request *requests; /* all there are */
	struct request *row_waiters[ROW_WAITER_BUCKETS];
	uint64_t restarts;

	struct request *tokens; /* that wait for the keys to be read, and ... */
	struct request *feed_waiters; /* ... attempts that wait for definitions to be read ... */
	struct request *tokens_asked, *feeds_asked; /* ... by this reload */
	struct request *reload;
	int64_t keys_asked_ms, feeds_asked_ms; /* 0: never */
	size_t held_bytes; /* in all sessions */

	bool authority_known; /* revocations and the authorizer's name are those of this stream */
	struct request *tokens_early; /* tokens that came before */
	char *authorizer; /* its fingerprint; NULL: there is none */
	int64_t token_max_age_s; /* 0: not known */
	struct revoke *revoked;
	size_t revoked_age_at; /* when there are so many, old ones are let go */
	struct user_index *by_user; /* sessions */
	struct user_index *authorities_by_user;
	struct authority_list authorities[AUTHORITY_STATES];
	size_t authorities_bytes; /* of those KNOWN */
	uint64_t reauthorized[REAUTHORIZED_KEPT]; /* hashes of users, a ring */
	uint64_t reauthorizes;

	struct replay_list replays[REPLAY_STATES];
	struct request *pages[PAGES_IN_FLIGHT_MAX];
	size_t n_pages, n_rechecks;
	int64_t page_retry_ms, recheck_retry_ms, snapshot_retry_ms;
	struct request *snapshots[SNAPSHOTS_IN_FLIGHT_MAX];
	size_t n_snapshots;
	bool snapshots_due; /* something changed since snapshot_pump last found nothing to ask for */
	struct frame *held_frames[SNAPSHOTS_HELD_MAX]; /* large snapshots, a reference each */
	size_t n_held, held_frames_bytes;
	bool pages_due; /* something changed since page_pump last found nothing to ask for */
	size_t page_bytes; /* of all there are */
	struct page *cached;
	size_t n_cached, cached_bytes;
	struct vouched {
		int64_t id; /* a cursor of the history's epoch that the database vouched for: so all from there on are good */
		int64_t at_ms;
		uint64_t restarts;
		bool set;
	} vouched[2]; /* [1]: for transient events, too */
	uint64_t queued_bytes; /* in all outboxes */
	struct values values;
	struct presence presence;

	struct call *calls_due, *calls_held; /* to be asked again; whose results wait for their events */
	size_t calls_bytes; /* of all calls */
	struct user_rates *rates; /* of calls that have no session of their own */
	struct shown shown[SHOWN_KEPT]; /* a ring */
	uint64_t n_shown, chance;
	bool whole; /* of each transaction shown, all events were */

	/* deliver.c's scratch: kept, so that an event costs no allocation but its frames */
	uint64_t serial;
	struct match *matches;
	struct node *nodes;
	struct session **touched;
	struct text *names;
	size_t max_matches, max_nodes, max_touched, max_names;
};

/* ---- outbox.c */
/* Appends; takes a reference of its own. NULL is a frame that could not be made: the session closes. */
void session_send(struct session *session, struct frame *frame);
/* For what can wait: it takes this without filling more than half of its bound. */
bool outbox_has_room(const struct session *session, const struct frame *frame);
/* The same for a live event: who has no room for it lags from here on (replay_lag). */
void session_send_event(struct session *session, struct frame *frame, int64_t id);
/* Has a session that lags stalled, too? Then it is closed. */
void outbox_check(struct session *session);
/* The same, and gives up the caller's reference. */
void session_reply(struct session *session, struct frame *frame);
void outbox_wake(struct session *session);
void outbox_trim(struct session *session); /* frees the ring of a session that has sent nothing for a while */
void outbox_clear(struct session *session);

/* ---- session_log.c */
void session_log_opened(const struct session *session);
void session_log_refused(const struct session *session, const char *reason);
void session_log_shut(const struct session *session);
void session_log_gone(const struct session *session);

/* ---- session.c */
void session_shut(struct session *session, enum close_code code, const char *reason);
void session_error(struct session *session, const char *ref, const char *code, const char *text, const char *channel);
/* Ends it, with all that waits in its outbox, if its token's time is over: looked at before anything is sent. */
void session_check_expiry(struct session *session);
/* `disconnect`: closes 4403; reason is copied and may be anything. */
void session_disconnect(struct session *session, struct text reason);
/* The first token was good (takes no reference): welcome, and what the path it came by asks for. */
void session_admit(struct session *session, const char *ref);
void session_welcome(struct session *session, const char *ref);
/* Time-outs of one session. */
void session_check_deadline(struct session *session);
/* The token that they waited for was judged: handles the messages that were held, in order. */
void session_release_held(struct session *session);

/* ---- admission.c */
void session_judge_token(struct session *session, const char *token, size_t len, const char *ref);
void session_refuse_token(struct session *session, const char *ref, const char *reason);
/* Without the database, a refusal would send the client for a token that is no better. */
void session_token_unavailable(struct session *session, const char *ref);
/*
 * Token and rights are known: lets the session in, or goes on with these. Takes both references. welcome: it brought the token
 * now, and waits for an answer.
 */
void session_settle(struct session *session, struct principal *token, struct principal *rights, const char *ref,
                    bool welcome);
/* Why this token, with these rights, does not count any more; NULL: it does. */
const char *token_refusal(const struct hub *hub, const struct principal *token, const struct principal *rights,
                          enum revocation *revocation);
int64_t token_expiry_s(const struct hub *hub, const struct principal *token);
/* A token that cannot be judged yet: no other message counts before it was. NULL: out of memory. */
struct request *token_wait(struct session *session, const char *ref);
/* Nobody waits for it any more; whoever answers frees it. */
void token_wait_end(struct session *session);
/* Revocations are here: tokens that came too early are judged. */
void admission_begin(struct hub *hub);
/* Reads the definitions for those who wait for keys or feeds, if that is due. */
void admission_pump(struct hub *hub);
void admission_answer(struct hub *hub, struct request *reload, bool answered);

/* ---- authority.c */
bool authority_begin(struct hub *hub);
void authority_end(struct hub *hub);
/* Asks the authorizer, or remembers, who that token is for; settles the session then. Takes the reference. */
void authority_ask(struct session *session, struct principal *token, const char *ref);
void authority_pump(struct hub *hub);
void authority_forget_session(struct session *session);

/* ---- asked.c */
struct request *request_new(struct hub *hub, enum request_kind kind, struct session *session);
void request_free(struct request *request);

/* ---- subscribe.c */
void session_subscribe(struct session *session, const char *ref, const char *channel, const char *since, bool snapshot);
void session_unsubscribe(struct session *session, const char *ref, const char *channel);
void attempt_judge(struct request *attempt);
/* Rights are known again: attempts that were parked go on. */
void attempts_unpark(struct session *session);
/* Definitions are new: attempts whose feed is there now go on. */
void attempts_find_feeds(struct hub *hub);
/* The definitions were read for these attempts. */
void attempts_answer_feeds(struct request *attempts, bool answered);
/* A session is gone: its subscriptions and what it asked for. */
void session_forget(struct session *session);
/* The lowest id that an attempt's own cursor asks for, or up_to. */
int64_t attempts_position(const struct session *session, int64_t up_to);

/* ---- row_wait.c */
void row_wait_begin(struct request *attempt, uint64_t row_hash);
/* The answer is here, or nobody waits for it; also of one that does not wait. */
void row_wait_end(struct request *attempt);
/* Attempts whose row this event takes away are asked for again. feed: its definition; NULL: there is none. */
void row_wait_doubt(struct hub *hub, const struct event *event, const struct feed *feed);
/* All are: events were not seen one by one. */
void row_wait_doubt_all(struct hub *hub);

/* ---- deferred.c */
/* Copies the message behind the attempt. since: of a subscribe; NULL: none. */
void deferred_add(struct request *attempt, const char *ref, const char *since, bool subscribe, bool snapshot);
/* Does them, and frees them; the attempt that they waited behind is none of the session's any more. */
void deferred_run(struct session *session, const char *channel, struct deferred *deferred);
void deferred_free(struct deferred *deferred);

/* ---- subscription.c */
struct subscription *subscription_find(const struct session *session, const char *channel);
/* Live, from the head on. NULL: out of memory. */
struct subscription *subscription_new(struct session *session, const char *channel, const struct channel_name *name);
/* Ends it. frame: what its session is told, or NULL; the caller's reference stays the caller's. */
void subscription_end(struct subscription *subscription, struct frame *frame);
void subscription_end_told(struct subscription *subscription, const char *reason);
/* Its session is gone: ends all of its subscriptions, and nobody is told. */
void subscriptions_forget_session(struct session *session);

/* ---- call.c */
void session_call(struct session *session, const struct message *message);
/* Rights are known again. */
void calls_unpark(struct session *session);
void calls_forget_session(struct session *session);
/* The definitions were read for a call of an unknown name. */
void call_answer_definitions(struct request *request, bool answered);
bool call_is_known(const struct request *request);
/* The history begins anew: what the stream showed counts no more. */
void calls_restart(struct hub *hub);
/* The stream showed an event, control events included. */
void calls_show(struct hub *hub, const struct event *event);
void calls_pump(struct hub *hub);
/* When it has something to do, if nothing happens before; INT64_MAX: nothing. */
int64_t calls_due_ms(const struct hub *hub);
void call_free(struct hub *hub, struct call *call);

/* ---- recheck.c */
/* A fingerprint of its access rules. */
uint32_t feed_rules(const struct feed *feed);
/* The principal (or, if definitions is set, a definition) changed: ends what is no longer covered. */
void session_recheck(struct session *session, bool definitions);
/* Of a row's channel: events that may have taken the row away were not seen one by one. Until it is known, nothing is sent. */
void subscription_recheck_row(struct subscription *subscription);
void recheck_pump(struct hub *hub);
void recheck_answer(struct hub *hub, struct request *request, enum row_status status, const struct row_access *row);

/* ---- deliver.c */
/* The reason of a RESYNC event, NUL-terminated. */
#define RESYNC_REASON_MAX_BYTES 64
void resync_reason(const struct event *event, char reason[RESYNC_REASON_MAX_BYTES]);
void hub_deliver(struct hub *hub, const struct event *event);
/* An update of a feed in which a newer one may replace it. */
bool feed_is_latest_only(const struct hub *hub, const struct event *event);
/* May transient events go to channels of this scope of a feed? */
bool feed_is_lossy(const struct feed *feed, enum scope scope);
/* Does this event go to that channel? *by_parent: as a child's event on the parent's row channel. */
bool event_matches(const struct event *event, const struct channel *channel, bool *by_parent);
/* A new `resync` for that channel; NULL: out of memory. */
struct frame *resync_frame(const struct channel *channel, const char *epoch, int64_t id, const char *reason);

/* ---- replay.c */
/* What is live in this session goes on as a replay of what comes after this id. False: out of memory. */
bool replay_lag(struct session *session, int64_t after);
bool replay_start(struct subscription *subscription, int64_t after, bool elder);
/* Stops the replay until the row's access was asked for again. False: out of memory. */
bool replay_hold(struct subscription *subscription);
void replay_release(struct replay *replay);
/* Stops it until the session's rights are known again, and goes on. False: out of memory. */
bool replay_doubt(struct subscription *subscription);
void replay_undoubt(struct session *session);
/* The subscription is live from here on, or ends. */
void replay_drop(struct subscription *subscription);
void replay_move(struct hub *hub, struct replay *replay, enum replay_state state);
/* The outbox has room again. */
void replay_unblock(struct session *session);
/* The history reached head. */
void replay_advance(struct hub *hub);
bool replay_pump(struct hub *hub);
/* How an event of the past concerns a subscription. */
enum concern {
	CONCERN_NONE,
	CONCERN_RESYNC,
	CONCERN_LOST,
	CONCERN_EVENT,
	CONCERN_UNSURE, /* a child's, left out, to be told by a resync */
	CONCERN_UNKNOWN /* a child's, and whose the row was is to be looked for */
};
enum concern replay_concern(struct hub *hub, struct subscription *subscription, const struct feed *feed,
                            const struct event *event, bool *by_parent);
/* Of concern RESYNC, LOST or UNSURE. */
void replay_send_resync(struct subscription *subscription, const struct event *event, const char *epoch);
bool replay_has_room(const struct session *session, size_t len);
/* The history begins anew at head, and so does what it has not sent, a snapshot included. A right in question stays so. */
void replay_restart(struct replay *replay, int64_t head);
/* The log cannot give what it needs: told, and live from the head (behind its snapshot, if it has one). */
void replay_lose(struct replay *replay, const char *reason);
/* Goes on with that page. False: it is none of its history, the replay was lost. */
bool replay_take_page(struct hub *hub, struct replay *replay, struct page *page);

/* What it reads next is behind this id. */
static inline int64_t replay_reads_after(const struct replay *replay)
{
	return replay->past == PAST_LOOKING ? replay->looked : replay->after;
}

/* ---- past.c */
/* The replay comes to this event. */
void past_note(struct replay *replay, const struct feed *feed, const struct event *event);
/* EVENT, NONE, UNSURE or UNKNOWN, for an event of a child of the subscription's row. */
enum concern past_concern(const struct subscription *subscription);
/* Begins to look for whose the row was when this one was made. */
void past_look_from(struct replay *replay, const struct event *event);
/* Goes on looking in its page. True: it is done with the page. */
bool past_look_page(struct replay *replay, const struct feed *feed, int64_t head, int64_t *budget_ns);
/* ... in the history, whose end is the end of the look. */
void past_look_history(struct replay *replay, const struct feed *feed, int64_t *budget_ns);

/* ---- merge.c */
/* Is its order that of all its session's channels? */
bool subscription_is_merged(const struct subscription *subscription);
/* A subscription of a merged session is not live any more, or one is to come that will begin before the head: nor are the others. False: out of memory. */
bool merge_hold(struct session *session);
/* This one is new, with a replay or without. False: out of memory. */
bool merge_join(struct subscription *subscription);
/* Something that others may have waited for is over. */
void merge_kick(struct session *session);
/* A replay has come to stand: goes on if all do. */
void merge_step(struct session *session);
/* All live subscriptions have been sent everything up to here. */
int64_t session_position(const struct session *session);
/* The outbox is empty. */
void session_passed(struct session *session);
/* The history began anew. */
void session_restarted(struct session *session);

/* ---- snapshot.c */
/* The subscription is new: its stream begins with a snapshot. False: out of memory. */
bool snapshot_want(struct subscription *subscription);
void snapshot_pump(struct hub *hub);
/* The replay has sent its snapshot, or will not. */
void snapshot_let_go(struct replay *replay);
void snapshot_forget_session(struct session *session);
void snapshot_forget(struct hub *hub);
/* Of one that has a snapshot (seen): is the event in it? Asked of its events in order: what cannot matter any more is let go of. */
bool subscription_has_seen(struct subscription *subscription, const struct event *event);
void subscription_forget_seen(struct subscription *subscription);

/* ---- page.c */
void page_pump(struct hub *hub);
void page_unref(struct hub *hub, struct page *page);
void page_forget_session(struct session *session);
/* A page that was read a moment ago and goes on from there; NULL: none. */
struct page *page_find(const struct hub *hub, struct text feed, int64_t after);
/* Lets go of those kept for too long, or all. */
void page_forget(struct hub *hub, bool all);
/* A cursor that is known to be good without asking; the database has just said so of one. */
bool cursor_is_vouched(const struct hub *hub, const struct cursor *cursor, bool transient);
void cursor_vouch(struct hub *hub, const struct cursor *cursor, bool transient);

#endif
