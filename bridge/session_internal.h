/*
 * session_internal.h - what the files of the session room share: hub.c,
 * session.c, outbox.c, subscribe.c, recheck.c, deliver.c, replay.c, page.c.
 *
 * Words
 *   subscription  a session's hold on one channel. It stands in the route from `subscribed` on; it is live
 *                 (gets each event as it comes) while it has no replay.
 *   replay        what a subscription needs until it is live: a position (`after`: all up to that id has been
 *                 sent) that moves through pages of the log, then through the history, to its end.
 *   attempt       a subscribe that waits for an answer of the database. There is one at most for a channel of
 *                 a session; what comes for that channel meanwhile is deferred, and done in order.
 *   request       anything asked of the backend: an attempt, a page of the log, a recheck of a row.
 *
 * Invariants
 *   1. A live subscription has been sent, or has no right to, every event up to the history's head.
 *   2. Nothing is appended to an outbox after a gap: who cannot take a frame is CLOSING.
 *   3. Subscriptions are ended by one function, and only the transport ends a session's memory (session_gone,
 *      then hub_sweep): a loop over a channel never meets a freed session.
 */
#ifndef LIVEFEED_SESSION_INTERNAL_H
#define LIVEFEED_SESSION_INTERNAL_H

#include "message.h"
#include "route.h"
#include "session.h"
#include "text.h"
#include "users.h"

/* Bounds of this room; see where each is used for what happens at it. */
#define PAGES_IN_FLIGHT_MAX 4
#define PAGES_KEPT_MAX_BYTES (32u << 20)
#define PAGES_CACHED_MAX 64
#define PAGES_CACHED_MAX_BYTES (16u << 20)
#define PAGES_CACHED_MS 5000
#define VOUCHED_MS 1000
#define REPLAYS_QUEUED_MAX_BYTES (64u << 20)
#define REPLAY_THIN_BYTES 16384
#define RECHECKS_IN_FLIGHT_MAX 16
#define DEFERRED_MAX 64
#define ROW_ASKS_MAX 3
#define CURSOR_ASKS_MAX 3
#define RETRY_MS 1000
#define KEYS_ASK_EVERY_MS 200
#define PUMP_COST_MAX_NS 1000000
#define DEADLINES_SLICE 4096
#define OUTBOX_KEEP_SLOTS 16
#define STALLED_MAX_MS 500
#define REPLAY_STALLED_MAX_MS 10000
#define CONTROL_RESERVE_BYTES 16384
#define ROW_WAITER_BUCKETS 256
#define EPOCH_MAX_BYTES 17

enum session_state { SESSION_GREETING, SESSION_OPEN, SESSION_CLOSING, SESSION_CLOSED };

struct subscription {
	struct session *session;
	struct channel *channel;
	struct subscription *next; /* of the session */
	struct replay *replay; /* NULL: live */
	uint32_t slot; /* in the channel */
	uint32_t rules; /* fingerprint of the feed's access rules when it was judged */
	bool by_role; /* a row channel that was granted whatever the row */
};

struct session_path { /* what it came by, until it is known who asks */
	char *path, *since;
	bool snapshot;
};

struct session {
	struct hub *hub;
	const struct session_transport *transport;
	void *connection;
	struct session *prev, *next;
	struct principal *principal;
	struct subscription *subscriptions;
	struct request *attempts;
	struct request *token_waits; /* a token whose key is being asked for; NULL: none */
	struct session_path *path;
	const char *close_reason;

	struct frame **ring; /* the outbox: capacity is a power of two; NULL until needed */
	uint32_t capacity, first, n_frames;
	uint32_t node; /* deliver.c: which set of channels, while mark is the current event */
	uint64_t queued_bytes;
	uint64_t mark;

	int64_t opened_ms;
	int64_t progress_ms; /* when the transport last took a frame, or the outbox began to fill */
	int64_t expiry_s;
	int64_t rate_at_ms;
	int64_t rate_credit; /* thousandths of a message */
	uint32_t n_subscriptions, n_attempts, n_blocked;
	uint16_t bad_messages, n_deferred;
	uint16_t close_code;
	uint8_t state;
	bool woken; /* the transport was told and has not come yet */
	bool used; /* the outbox was, since the last look */
	bool paging; /* a page of the log is being read for it */
	bool lagging; /* live events overtook its outbox; until that is empty */
};

enum replay_state {
	REPLAY_READY, /* can go on at the next pump */
	REPLAY_BLOCKED, /* the outbox is full enough */
	REPLAY_LOG, /* needs a page of the log */
	REPLAY_AHEAD, /* begins above the head: waits for the history */
	REPLAY_HELD, /* its row's access has to be asked for again */
	REPLAY_CHECKING, /* ... and is being asked for */
	REPLAY_STATES
};

struct replay {
	struct replay *prev, *next; /* in the list of its state */
	struct subscription *subscription;
	struct page *page; /* of the log, being sent; NULL: none */
	struct request *recheck; /* in flight */
	int64_t after;
	uint32_t page_index;
	uint8_t state;
	bool elder; /* its cursor is of an earlier epoch that the database vouched for: pages may carry any */
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

enum request_kind { REQUEST_SUBSCRIBE, REQUEST_PAGE, REQUEST_RECHECK, REQUEST_TOKEN, REQUEST_KEYS };

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
	char *ref;
	char *channel; /* of a page: the feed */
	struct cursor since;
	const char *refused; /* why the cursor cannot be resumed; NULL: it can */
	bool has_since, snapshot;
	bool cursor_known; /* asked for and answered, in this many-eth restart of the hub */
	bool reloaded; /* definitions were read again for it */
	uint8_t cursor_asks, row_asks;
	uint64_t restarts;
	struct deferred *deferred_first, *deferred_last;
	/* ... while its row is asked for: an event may take the right away meanwhile */
	struct request *row_prev, *row_next;
	uint64_t row_hash;
	bool row_waiting, row_doubt;

	char *token; /* of REQUEST_TOKEN; its answer is that to a REQUEST_KEYS */
	int64_t after; /* a page */
	struct replay *replay; /* a recheck; NULL: no longer wanted */
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

	struct request *tokens; /* that wait for the keys to be asked for, and ... */
	struct request *tokens_asked; /* ... for the answer of keys_request */
	struct request *keys_request;
	int64_t keys_asked_ms;

	struct replay_list replays[REPLAY_STATES];
	struct request *pages[PAGES_IN_FLIGHT_MAX];
	size_t n_pages, n_rechecks;
	int64_t page_retry_ms, recheck_retry_ms;
	bool pages_due; /* something changed since page_pump last found nothing to ask for */
	size_t page_bytes; /* of all there are */
	struct page *cached;
	size_t n_cached, cached_bytes;
	struct vouched {
		int64_t id; /* a cursor of the history's epoch that the database vouched for: so all from there on are good */
		int64_t at_ms;
		uint64_t restarts;
		bool set;
	} vouched;
	uint64_t queued_bytes; /* in all outboxes */

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
/* The same for a live event: who has no room for it lags from here on (replay_lag). */
void session_send_event(struct session *session, struct frame *frame, int64_t id);
/* Has a session that lags stalled, too? Then it is closed. */
void outbox_check(struct session *session);
/* The same, and gives up the caller's reference. */
void session_reply(struct session *session, struct frame *frame);
void outbox_wake(struct session *session);
void outbox_trim(struct session *session); /* frees the ring of a session that has sent nothing for a while */
void outbox_clear(struct session *session);

/* ---- session.c */
void session_shut(struct session *session, enum close_code code, const char *reason);
void session_error(struct session *session, const char *ref, const char *code, const char *text, const char *channel);
/* Ends it, with all that waits in its outbox, if its token's time is over: looked at before anything is sent. */
void session_check_expiry(struct session *session);
/* Time-outs of one session. */
void session_check_deadline(struct session *session);
/* Asks for the keys that tokens wait for, if that is due. */
void session_pump_keys(struct hub *hub);
void session_answer_keys(struct hub *hub, struct request *request, bool answered);

/* ---- subscribe.c */
void session_subscribe(struct session *session, const char *ref, const char *channel, const char *since, bool snapshot);
void session_unsubscribe(struct session *session, const char *ref, const char *channel);
/* Ends it. frame: what its session is told, or NULL; the caller's reference stays the caller's. */
void subscription_end(struct subscription *subscription, struct frame *frame);
void subscription_end_told(struct subscription *subscription, const char *reason);
/* A session is gone: its subscriptions and what it asked for. */
void session_forget(struct session *session);
/* Attempts whose row this event takes away are asked for again. */
void attempts_doubt(struct hub *hub, const struct event *event, const struct feed *feed);
/* The lowest id that an attempt's own cursor asks for, or up_to. */
int64_t attempts_position(const struct session *session, int64_t up_to);
struct request *request_new(struct hub *hub, enum request_kind kind, struct session *session);
void request_free(struct request *request);
uint32_t feed_rules(const struct feed *feed);

/* ---- recheck.c */
/* The principal (or, if definitions is set, a definition) changed: ends what is no longer covered. */
void session_recheck(struct session *session, bool definitions);
void recheck_pump(struct hub *hub);
void recheck_answer(struct hub *hub, struct request *request, enum row_status status, const struct row_access *row);

/* ---- deliver.c */
/* The reason of a RESYNC event, NUL-terminated. */
#define RESYNC_REASON_MAX_BYTES 64
void resync_reason(const struct event *event, char reason[RESYNC_REASON_MAX_BYTES]);
void hub_deliver(struct hub *hub, const struct event *event);
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
/* The subscription is live from here on, or ends. */
void replay_drop(struct subscription *subscription);
void replay_move(struct hub *hub, struct replay *replay, enum replay_state state);
/* The outbox has room again. */
void replay_unblock(struct session *session);
/* The history reached head. */
void replay_advance(struct hub *hub);
bool replay_pump(struct hub *hub);
/* The log cannot give what it needs: told, and live from the head. */
void replay_lose(struct replay *replay, const char *reason);
/* Goes on with that page. False: it is none of its history, the replay was lost. */
bool replay_take_page(struct hub *hub, struct replay *replay, struct page *page);

/* ---- page.c */
void page_pump(struct hub *hub);
void page_unref(struct hub *hub, struct page *page);
void page_forget_session(struct session *session);
/* A page that was read a moment ago and goes on from there; NULL: none. */
struct page *page_find(const struct hub *hub, struct text feed, int64_t after);
/* Lets go of those kept for too long, or all. */
void page_forget(struct hub *hub, bool all);
/* A cursor that is known to be good without asking; the database has just said so of one. */
bool cursor_is_vouched(const struct hub *hub, const struct cursor *cursor);
void cursor_vouch(struct hub *hub, const struct cursor *cursor);

#endif
