/*
 * metrics.h - what this process counts. One struct of plain numbers that the rooms add to where things happen, and its
 * text for Prometheus. Plain C without I/O.
 *
 * A counter is one line where the thing happens (metrics.events_read++). Labels are small enums, so that there is a
 * bound to what is counted: nothing that a client sends becomes a label. metrics.c's table says what each is called.
 */
#ifndef LIVEFEED_METRICS_H
#define LIVEFEED_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "jsontext.h"

/* The settings that bound something: how often each said no. */
enum metric_limit {
	METRIC_LIMIT_MAX_CONNECTIONS,
	METRIC_LIMIT_MAX_CONNECTIONS_PER_USER,
	METRIC_LIMIT_MAX_CONNECTIONS_PER_ADDRESS,
	METRIC_LIMIT_HANDSHAKE_TIMEOUT,
	METRIC_LIMIT_IDLE_AUTH,
	METRIC_LIMIT_MAX_SUBSCRIPTIONS,
	METRIC_LIMIT_MAX_MESSAGE,
	METRIC_LIMIT_RATE,
	METRIC_LIMIT_MAX_BAD_MESSAGES,
	METRIC_LIMIT_MAX_QUEUE,
	METRIC_LIMIT_MAX_HEADER,
	METRIC_LIMIT_MAX_BODY,
	METRIC_LIMIT_MAX_SESSION,
	METRIC_LIMITS
};

enum metric_transport {
	METRIC_TRANSPORT_WEBSOCKET,
	METRIC_TRANSPORT_SOCKETIO,
	METRIC_TRANSPORT_SSE,
	METRIC_TRANSPORT_POLL,
	METRIC_TRANSPORT_HTTP,
	METRIC_TRANSPORT_OTHER,
	METRIC_TRANSPORTS
};

/* Where what a client had missed came from; RESYNC: it was told that some is gone. */
enum metric_resume { METRIC_RESUME_MEMORY, METRIC_RESUME_LOG, METRIC_RESUME_RESYNC, METRIC_RESUMES };

/* What became of the snapshots that were asked for. */
enum metric_snapshot { METRIC_SNAPSHOT_SENT, METRIC_SNAPSHOT_REFUSED, METRIC_SNAPSHOTS };

/* Why a token was refused. */
enum metric_auth {
	METRIC_AUTH_MISSING, /* none came in time, or something else came first */
	METRIC_AUTH_MALFORMED,
	METRIC_AUTH_ALGORITHM,
	METRIC_AUTH_UNKNOWN_KEY,
	METRIC_AUTH_SIGNATURE,
	METRIC_AUTH_CRIT,
	METRIC_AUTH_EXPIRED,
	METRIC_AUTH_NOT_YET_VALID,
	METRIC_AUTH_ISSUER,
	METRIC_AUTH_AUDIENCE,
	METRIC_AUTH_CLAIMS,
	METRIC_AUTH_REVOKED,
	METRIC_AUTH_AUTHORIZER,
	METRIC_AUTH_OTHER_USER,
	METRIC_AUTH_OTHER,
	METRIC_AUTHS
};

/* What the pool of connections asks the database. */
enum metric_query {
	METRIC_QUERY_ROW,
	METRIC_QUERY_CURSOR,
	METRIC_QUERY_PAGE,
	METRIC_QUERY_DEFINITIONS,
	METRIC_QUERY_AUTHORIZER,
	METRIC_QUERY_SNAPSHOT,
	METRIC_QUERY_VALUE,
	METRIC_QUERY_CALL,
	METRIC_QUERY_SESSIONS,
	METRIC_QUERIES
};

/* What became of calls. */
enum metric_command {
	METRIC_COMMAND_OK,
	METRIC_COMMAND_REFUSED, /* by the function: its message was passed on */
	METRIC_COMMAND_ERROR, /* any other error */
	METRIC_COMMAND_FORBIDDEN,
	METRIC_COMMAND_UNKNOWN,
	METRIC_COMMAND_UNAVAILABLE,
	METRIC_COMMAND_RATE_LIMITED,
	METRIC_COMMANDS
};

/* How sessions ended: our close codes, or the client's own doing. */
enum metric_close {
	METRIC_CLOSE_CLIENT, /* it left, or its connection broke */
	METRIC_CLOSE_1001,
	METRIC_CLOSE_1002,
	METRIC_CLOSE_1003,
	METRIC_CLOSE_1007,
	METRIC_CLOSE_1009,
	METRIC_CLOSE_1011,
	METRIC_CLOSE_1013,
	METRIC_CLOSE_4400,
	METRIC_CLOSE_4401,
	METRIC_CLOSE_4403,
	METRIC_CLOSE_4408,
	METRIC_CLOSE_4409,
	METRIC_CLOSE_4429,
	METRIC_CLOSE_OTHER,
	METRIC_CLOSES
};

/* Answers to plain HTTP requests, and to handshakes that are refused. */
enum metric_status {
	METRIC_STATUS_200,
	METRIC_STATUS_204,
	METRIC_STATUS_304,
	METRIC_STATUS_400,
	METRIC_STATUS_401,
	METRIC_STATUS_403,
	METRIC_STATUS_404,
	METRIC_STATUS_405,
	METRIC_STATUS_411,
	METRIC_STATUS_413,
	METRIC_STATUS_426,
	METRIC_STATUS_429,
	METRIC_STATUS_431,
	METRIC_STATUS_503,
	METRIC_STATUS_OTHER,
	METRIC_STATUSES
};

/* Buckets of every histogram: their bounds stand in metrics.c; the last one has none. */
#define METRIC_BUCKETS 17

struct metric_histogram {
	uint64_t buckets[METRIC_BUCKETS]; /* each alone, not the sums that the text wants */
	uint64_t sum_us;
};

struct metrics {
	/* sessions */
	uint64_t sessions[METRIC_TRANSPORTS]; /* now */
	uint64_t sessions_opened[METRIC_TRANSPORTS];
	uint64_t sessions_closed[METRIC_CLOSES];
	uint64_t subscriptions; /* now */
	uint64_t messages_received, messages_bad;
	uint64_t auth_failures[METRIC_AUTHS];
	uint64_t limits[METRIC_LIMITS];
	uint64_t resumes[METRIC_RESUMES];
	uint64_t snapshots[METRIC_SNAPSHOTS];
	uint64_t replays; /* now: subscriptions that are not live yet, or lag */
	uint64_t peers_lost; /* connections that answered no ping */

	/* the stream */
	uint64_t events_read;
	uint64_t frames_sent, bytes_sent;
	struct metric_histogram delivery; /* metrics_delivered, metrics_flushed */
	uint64_t history_bytes, history_events;
	int64_t tail_head; /* all up to this id was read */
	int64_t database_head; /* what the database is known to have */
	int64_t tail_lag_us;
	uint64_t database_reconnects;
	uint64_t database_live, ticker; /* 0 or 1 */

	/* what sessions ask of the database */
	struct metric_histogram queries[METRIC_QUERIES]; /* from sending to the answer */
	struct metric_histogram query_waits; /* for a free connection */
	uint64_t query_failures[METRIC_QUERIES];
	uint64_t queries_waiting; /* now */

	uint64_t commands[METRIC_COMMANDS];
	uint64_t command_retries;
	struct metric_histogram command_durations; /* from the call to its result, or error */

	/* the process */
	uint64_t connections; /* of clients: sessions, HTTP, handshakes */
	uint64_t http_answers[METRIC_STATUSES];
	uint64_t origins_refused;
	uint64_t log_lines_dropped;
	uint64_t reloads, reloads_refused;
	uint64_t cpu_us, resident_bytes, open_files, max_open_files;
	int64_t started_us; /* since 1970 */
};
extern struct metrics metrics;

/* By the names and numbers that the rooms have: what is not known counts as other. */
enum metric_transport metrics_transport(const char *name);
enum metric_auth metrics_auth(const char *reason); /* as access.h and session.c word it */
enum metric_close metrics_close(int code); /* 0: the client's own doing */
enum metric_status metrics_status(int status);

/* Negative durations, which a clock that was set back can give, count as 0. */
void metrics_observe(struct metric_histogram *histogram, int64_t us);

/*
 * From an event to its writing: metrics_delivered when it was put into an outbox, metrics_flushed once the outboxes were
 * written to. at_us: the event's own clock. Between two flushes METRIC_DELIVERIES_MAX are looked at, more are not.
 */
#define METRIC_DELIVERIES_MAX 1024
void metrics_delivered(int64_t at_us);
bool metrics_delivering(void); /* is there something for metrics_flushed? */
void metrics_flushed(int64_t now_us);

/* The whole page, Prometheus' text format 0.0.4. */
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
void metrics_render(struct json_out *out);

#endif
