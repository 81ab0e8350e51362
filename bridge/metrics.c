/*
 * metrics.c - the one set of counters of this process, and their text (metrics.h).
 *
 * Each family of the page is one row of the table below: to add a metric is a member in metrics.h, a row here, and a
 * line in docs/operations.md.
 */
#include "metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct metrics metrics;

/* ---- names */

static const char *const limit_names[METRIC_LIMITS] = {
	[METRIC_LIMIT_MAX_CONNECTIONS] = "max-connections",
	[METRIC_LIMIT_MAX_CONNECTIONS_PER_USER] = "max-connections-per-user",
	[METRIC_LIMIT_MAX_CONNECTIONS_PER_ADDRESS] = "max-connections-per-address",
	[METRIC_LIMIT_HANDSHAKE_TIMEOUT] = "handshake-timeout",
	[METRIC_LIMIT_IDLE_AUTH] = "idle-auth",
	[METRIC_LIMIT_MAX_SUBSCRIPTIONS] = "max-subscriptions",
	[METRIC_LIMIT_MAX_MESSAGE] = "max-message",
	[METRIC_LIMIT_RATE] = "rate",
	[METRIC_LIMIT_MAX_BAD_MESSAGES] = "max-bad-messages",
	[METRIC_LIMIT_MAX_QUEUE] = "max-queue",
	[METRIC_LIMIT_MAX_HEADER] = "max-header",
	[METRIC_LIMIT_MAX_BODY] = "max-body",
	[METRIC_LIMIT_MAX_SESSION] = "max-session",
};

static const char *const transport_names[METRIC_TRANSPORTS] = {
	[METRIC_TRANSPORT_WEBSOCKET] = "websocket", [METRIC_TRANSPORT_SSE] = "sse",   [METRIC_TRANSPORT_POLL] = "poll",
	[METRIC_TRANSPORT_SOCKETIO] = "socketio",   [METRIC_TRANSPORT_HTTP] = "http", [METRIC_TRANSPORT_OTHER] = "other",
};

static const char *const snapshot_names[METRIC_SNAPSHOTS] = {
	[METRIC_SNAPSHOT_SENT] = "sent",
	[METRIC_SNAPSHOT_REFUSED] = "refused",
};

static const char *const resume_names[METRIC_RESUMES] = {
	[METRIC_RESUME_MEMORY] = "memory",
	[METRIC_RESUME_LOG] = "log",
	[METRIC_RESUME_RESYNC] = "resync",
};

static const char *const auth_names[METRIC_AUTHS] = {
	[METRIC_AUTH_MISSING] = "missing",       [METRIC_AUTH_MALFORMED] = "malformed",
	[METRIC_AUTH_ALGORITHM] = "algorithm",   [METRIC_AUTH_UNKNOWN_KEY] = "unknown_key",
	[METRIC_AUTH_SIGNATURE] = "signature",   [METRIC_AUTH_CRIT] = "crit",
	[METRIC_AUTH_EXPIRED] = "expired",       [METRIC_AUTH_NOT_YET_VALID] = "not_yet_valid",
	[METRIC_AUTH_ISSUER] = "issuer",         [METRIC_AUTH_AUDIENCE] = "audience",
	[METRIC_AUTH_CLAIMS] = "claims",         [METRIC_AUTH_REVOKED] = "revoked",
	[METRIC_AUTH_AUTHORIZER] = "authorizer", [METRIC_AUTH_OTHER_USER] = "other_user",
	[METRIC_AUTH_OTHER] = "other",
};

static const char *const query_names[METRIC_QUERIES] = {
	[METRIC_QUERY_ROW] = "row",
	[METRIC_QUERY_CURSOR] = "cursor",
	[METRIC_QUERY_PAGE] = "page",
	[METRIC_QUERY_DEFINITIONS] = "definitions",
	[METRIC_QUERY_AUTHORIZER] = "authorizer",
	[METRIC_QUERY_SNAPSHOT] = "snapshot",
	[METRIC_QUERY_VALUE] = "value",
	[METRIC_QUERY_CALL] = "command",
	[METRIC_QUERY_SESSIONS] = "sessions",
};

static const char *const command_names[METRIC_COMMANDS] = {
	[METRIC_COMMAND_OK] = "ok",
	[METRIC_COMMAND_REFUSED] = "refused",
	[METRIC_COMMAND_ERROR] = "error",
	[METRIC_COMMAND_FORBIDDEN] = "forbidden",
	[METRIC_COMMAND_UNKNOWN] = "unknown",
	[METRIC_COMMAND_UNAVAILABLE] = "unavailable",
	[METRIC_COMMAND_RATE_LIMITED] = "rate_limited",
};

static const char *const close_names[METRIC_CLOSES] = {
	[METRIC_CLOSE_CLIENT] = "client", [METRIC_CLOSE_1001] = "1001", [METRIC_CLOSE_1002] = "1002",
	[METRIC_CLOSE_1003] = "1003",     [METRIC_CLOSE_1007] = "1007", [METRIC_CLOSE_1009] = "1009",
	[METRIC_CLOSE_1011] = "1011",     [METRIC_CLOSE_1013] = "1013", [METRIC_CLOSE_4400] = "4400",
	[METRIC_CLOSE_4401] = "4401",     [METRIC_CLOSE_4403] = "4403", [METRIC_CLOSE_4408] = "4408",
	[METRIC_CLOSE_4409] = "4409",     [METRIC_CLOSE_4429] = "4429", [METRIC_CLOSE_OTHER] = "other",
};

static const char *const status_names[METRIC_STATUSES] = {
	[METRIC_STATUS_200] = "200", [METRIC_STATUS_204] = "204", [METRIC_STATUS_304] = "304",
	[METRIC_STATUS_400] = "400", [METRIC_STATUS_401] = "401", [METRIC_STATUS_403] = "403",
	[METRIC_STATUS_404] = "404", [METRIC_STATUS_405] = "405", [METRIC_STATUS_411] = "411",
	[METRIC_STATUS_413] = "413", [METRIC_STATUS_426] = "426", [METRIC_STATUS_429] = "429",
	[METRIC_STATUS_431] = "431", [METRIC_STATUS_503] = "503", [METRIC_STATUS_OTHER] = "other",
};

static int find(const char *const *names, int n, const char *name, int otherwise)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return otherwise;
}

enum metric_transport metrics_transport(const char *name)
{
	return (enum metric_transport)find(transport_names, METRIC_TRANSPORTS, name, METRIC_TRANSPORT_OTHER);
}

enum metric_close metrics_close(int code)
{
	char name[16];
	if (code == 0)
		return METRIC_CLOSE_CLIENT;
	snprintf(name, sizeof name, "%d", code);
	return (enum metric_close)find(close_names, METRIC_CLOSES, name, METRIC_CLOSE_OTHER);
}

enum metric_status metrics_status(int status)
{
	char name[16];
	snprintf(name, sizeof name, "%d", status);
	return (enum metric_status)find(status_names, METRIC_STATUSES, name, METRIC_STATUS_OTHER);
}

/* The first that is part of the reason counts. */
enum metric_auth metrics_auth(const char *reason)
{
	static const struct {
		const char *part;
		enum metric_auth auth;
	} parts[] = {
		{"first message", METRIC_AUTH_MISSING},
		{"came in time", METRIC_AUTH_MISSING},
		{"names another user", METRIC_AUTH_OTHER_USER},
		{"authorizer", METRIC_AUTH_AUTHORIZER},
		{"revoked", METRIC_AUTH_REVOKED},
		{"disconnected", METRIC_AUTH_REVOKED},
		{"is expired", METRIC_AUTH_EXPIRED},
		{"not valid yet", METRIC_AUTH_NOT_YET_VALID},
		{"issuer", METRIC_AUTH_ISSUER},
		{"audience", METRIC_AUTH_AUDIENCE},
		{"crit", METRIC_AUTH_CRIT},
		{"not signed", METRIC_AUTH_ALGORITHM},
		{"alg is not", METRIC_AUTH_ALGORITHM},
		{"kid names no", METRIC_AUTH_UNKNOWN_KEY},
		{"signature", METRIC_AUTH_SIGNATURE},
		{"is empty", METRIC_AUTH_MALFORMED},
		{"too long", METRIC_AUTH_MALFORMED},
		{"three parts", METRIC_AUTH_MALFORMED},
		{"base64url", METRIC_AUTH_MALFORMED},
		{"JSON", METRIC_AUTH_MALFORMED},
		{"has no alg", METRIC_AUTH_MALFORMED},
		{"kid is not", METRIC_AUTH_MALFORMED},
		{"has no exp", METRIC_AUTH_CLAIMS},
		{"token's", METRIC_AUTH_CLAIMS},
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (strstr(reason, parts[i].part))
			return parts[i].auth;
	return METRIC_AUTH_OTHER;
}

/* ---- durations */

static const struct {
	int64_t us;
	const char *text; /* seconds */
} bounds[METRIC_BUCKETS] = {
	{500, "0.0005"}, {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},     {25000, "0.025"},
	{50000, "0.05"}, {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},      {2500000, "2.5"},
	{5000000, "5"},  {10000000, "10"}, {30000000, "30"}, {60000000, "60"}, {INT64_MAX, "+Inf"},
};

void metrics_observe(struct metric_histogram *histogram, int64_t us)
{
	int i = 0;
	if (us < 0)
		us = 0;
	while (us > bounds[i].us)
		i++;
	histogram->buckets[i]++;
	histogram->sum_us += (uint64_t)us;
}

static struct {
	int64_t at_us[METRIC_DELIVERIES_MAX];
	size_t n;
} deliveries;

void metrics_delivered(int64_t at_us)
{
	if (deliveries.n < METRIC_DELIVERIES_MAX)
		deliveries.at_us[deliveries.n++] = at_us;
}

bool metrics_delivering(void)
{
	return deliveries.n > 0;
}

void metrics_flushed(int64_t now_us)
{
	for (size_t i = 0; i < deliveries.n; i++)
		metrics_observe(&metrics.delivery, now_us - deliveries.at_us[i]);
	deliveries.n = 0;
}

/* ---- the page */

enum family_kind { COUNTER, GAUGE, COUNTER_US, GAUGE_US, HISTOGRAM };

struct family {
	enum family_kind kind;
	const char *name, *help;
	size_t offset; /* in struct metrics: of one value, or of n_labels of them */
	const char *label;
	const char *const *labels;
	int n_labels; /* 0: without a label */
};

#define AT(member) offsetof(struct metrics, member), NULL, NULL, 0
#define BY(member, label, names, n) offsetof(struct metrics, member), label, names, n

static const struct family families[] = {
	{GAUGE, "livefeed_sessions", "Sessions open now.", BY(sessions, "transport", transport_names, METRIC_TRANSPORTS)},
	{COUNTER, "livefeed_sessions_opened_total", "Sessions opened.",
     BY(sessions_opened, "transport", transport_names, METRIC_TRANSPORTS)},
	{COUNTER, "livefeed_sessions_closed_total",
     "Sessions that ended, by the close code they were given; client: they left, or their connection broke.",
     BY(sessions_closed, "code", close_names, METRIC_CLOSES)},
	{GAUGE, "livefeed_connections", "Connections of clients open now: sessions, HTTP requests, handshakes.",
     AT(connections)},
	{GAUGE, "livefeed_subscriptions", "Subscriptions of all sessions now.", AT(subscriptions)},
	{GAUGE, "livefeed_replays", "Subscriptions that are being sent what they missed, or lag behind a burst, now.",
     AT(replays)},
	{COUNTER, "livefeed_messages_received_total", "Messages from clients.", AT(messages_received)},
	{COUNTER, "livefeed_messages_bad_total",
     "Messages from clients that were not understood, or were too many a second.", AT(messages_bad)},
	{COUNTER, "livefeed_auth_failures_total", "Tokens refused, by reason; missing: none came.",
     BY(auth_failures, "reason", auth_names, METRIC_AUTHS)},
	{COUNTER, "livefeed_limit_total",
     "How often each limit, named as its setting, refused, closed or cut something off.",
     BY(limits, "limit", limit_names, METRIC_LIMITS)},
	{COUNTER, "livefeed_queue_overflows_total", "Sessions closed with 4408 because their client did not read.",
     AT(limits[METRIC_LIMIT_MAX_QUEUE])},
	{COUNTER, "livefeed_peers_lost_total", "Connections ended because nothing answered their ping.", AT(peers_lost)},
	{COUNTER, "livefeed_resumes_total",
     "Subscriptions with a cursor, by where what they missed came from; resync: not all of it could be had, and they "
     "were "
     "told so.",
     BY(resumes, "outcome", resume_names, METRIC_RESUMES)},
	{COUNTER, "livefeed_snapshots_total",
     "Snapshots that subscriptions asked for, by whether they were sent; many share one query.",
     BY(snapshots, "outcome", snapshot_names, METRIC_SNAPSHOTS)},
	{COUNTER, "livefeed_events_read_total", "Events read from the database.", AT(events_read)},
	{COUNTER, "livefeed_frames_sent_total", "Frames written to clients.", AT(frames_sent)},
	{COUNTER, "livefeed_bytes_sent_total", "Bytes of frames written to clients, before TLS and compression.",
     AT(bytes_sent)},
	{HISTOGRAM, "livefeed_delivery_seconds",
     "From the clock of an event, read when its transaction made it, to its first writing to clients; so the rest of "
     "the "
     "transaction counts, its commit, and the difference of the clocks. Live events that somebody was subscribed to.",
     AT(delivery)},
	{GAUGE, "livefeed_history_bytes", "Bytes of events kept in memory.", AT(history_bytes)},
	{GAUGE, "livefeed_history_events", "Events kept in memory.", AT(history_events)},
	{GAUGE, "livefeed_tail_id", "All events up to this id were read.", AT(tail_head)},
	{GAUGE, "livefeed_database_id", "The last id that the database is known to have given out.", AT(database_head)},
	{GAUGE_US, "livefeed_tail_lag_seconds",
     "0 while everything the database is known to have was read; else for how long it has not been, a database that is "
     "away included.",
     AT(tail_lag_us)},
	{GAUGE, "livefeed_database_up", "1 while connected to the database and reading.", AT(database_live)},
	{GAUGE, "livefeed_ticker", "1 while this bridge is the one that makes the ticks.", AT(ticker)},
	{COUNTER, "livefeed_database_reconnects_total", "Times that the connection to the database was lost.",
     AT(database_reconnects)},
	{HISTOGRAM, "livefeed_query_seconds", "What was asked of the database for sessions, from sending to the answer.",
     BY(queries, "query", query_names, METRIC_QUERIES)},
	{HISTOGRAM, "livefeed_query_wait_seconds", "How long a query waited for one of --db-connections.", AT(query_waits)},
	{COUNTER, "livefeed_query_failures_total",
     "Queries without an answer: failed, late, or none of the connections free.",
     BY(query_failures, "query", query_names, METRIC_QUERIES)},
	{GAUGE, "livefeed_queries_waiting", "Queries that wait for one of --db-connections now.", AT(queries_waiting)},
	{COUNTER, "livefeed_commands_total",
     "Commands that clients called, by what became of them; refused: by the function, whose message was passed on.",
     BY(commands, "outcome", command_names, METRIC_COMMANDS)},
	{COUNTER, "livefeed_command_retries_total",
     "Commands that were asked of the database again: after a deadlock, a serialization failure or a lost connection.",
     AT(command_retries)},
	{HISTOGRAM, "livefeed_command_seconds",
     "From a command's call to its result, until which the stream has shown its events, or to its error.",
     AT(command_durations)},
	{COUNTER, "livefeed_http_answers_total", "Answers to HTTP requests and refused handshakes.",
     BY(http_answers, "code", status_names, METRIC_STATUSES)},
	{COUNTER, "livefeed_origins_refused_total", "Requests and handshakes from pages of an origin that is not allowed.",
     AT(origins_refused)},
	{COUNTER, "livefeed_log_lines_dropped_total", "Lines of which there were too many a second to be logged.",
     AT(log_lines_dropped)},
	{COUNTER, "livefeed_reloads_total", "Configurations taken on SIGHUP.", AT(reloads)},
	{COUNTER, "livefeed_reloads_refused_total", "Configurations refused on SIGHUP.", AT(reloads_refused)},
	{COUNTER_US, "process_cpu_seconds_total", "User and system CPU time.", AT(cpu_us)},
	{GAUGE, "process_resident_memory_bytes", "Resident memory.", AT(resident_bytes)},
	{GAUGE, "process_open_fds", "Open file descriptors.", AT(open_files)},
	{GAUGE, "process_max_fds", "How many there may be.", AT(max_open_files)},
	{GAUGE_US, "process_start_time_seconds", "When this process began, in seconds since 1970.", AT(started_us)},
};

static void put_seconds(struct json_out *out, int64_t us)
{
	char text[40];
	snprintf(text, sizeof text, "%s%" PRId64 ".%06" PRId64, us < 0 ? "-" : "", us < 0 ? -(us / 1000000) : us / 1000000,
	         us < 0 ? -(us % 1000000) : us % 1000000);
	json_puts(out, text);
}

/* In HELP, backslash and newline are escaped; in a label's value the quote, too. */
static void put_escaped(struct json_out *out, const char *text, bool label)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			json_puts(out, "\\n");
		else if (*text == '\\' || (label && *text == '"'))
			json_put(out, (char[]){'\\', *text}, 2);
		else
			json_put(out, text, 1);
	}
}

static void put_label(struct json_out *out, const char *separator, const char *name, const char *value)
{
	json_puts(out, separator);
	json_puts(out, name);
	json_puts(out, "=\"");
	put_escaped(out, value, true);
	json_puts(out, "\"");
}

static void put_head(struct json_out *out, const char *name, const char *help, const char *type)
{
	json_puts(out, "# HELP ");
	json_puts(out, name);
	json_puts(out, " ");
	put_escaped(out, help, false);
	json_puts(out, "\n# TYPE ");
	json_puts(out, name);
	json_puts(out, " ");
	json_puts(out, type);
	json_puts(out, "\n");
}

/* One line up to its value; le: of a histogram's bucket, or NULL. */
static void put_name(struct json_out *out, const struct family *family, const char *suffix, int label, const char *le)
{
	json_puts(out, family->name);
	json_puts(out, suffix);
	if (family->n_labels > 0)
		put_label(out, "{", family->label, family->labels[label]);
	if (le)
		put_label(out, family->n_labels > 0 ? "," : "{", "le", le);
	json_puts(out, family->n_labels > 0 || le ? "} " : " ");
}

static void put_histogram(struct json_out *out, const struct family *family, int label,
                          const struct metric_histogram *histogram)
{
	uint64_t sum = 0;
	for (int i = 0; i < METRIC_BUCKETS; i++) {
		sum += histogram->buckets[i];
		put_name(out, family, "_bucket", label, bounds[i].text);
		json_put_int(out, (int64_t)sum);
		json_puts(out, "\n");
	}
	put_name(out, family, "_sum", label, NULL);
	put_seconds(out, (int64_t)histogram->sum_us);
	json_puts(out, "\n");
	put_name(out, family, "_count", label, NULL);
	json_put_int(out, (int64_t)sum);
	json_puts(out, "\n");
}

static void put_family(struct json_out *out, const struct family *family)
{
	const char *base = (const char *)&metrics + family->offset;
	bool is_counter = family->kind == COUNTER || family->kind == COUNTER_US;
	put_head(out, family->name, family->help,
	         family->kind == HISTOGRAM ? "histogram"
	         : is_counter              ? "counter"
	                                   : "gauge");
	for (int i = 0; i < family->n_labels || i == 0; i++) {
		int64_t value;
		if (family->kind == HISTOGRAM) {
			put_histogram(out, family, i, (const struct metric_histogram *)(const void *)base + i);
			continue;
		}
		memcpy(&value, base + (size_t)i * sizeof value, sizeof value);
		put_name(out, family, "", i, NULL);
		if (family->kind == COUNTER_US || family->kind == GAUGE_US)
			put_seconds(out, value);
		else
			json_put_int(out, value);
		json_puts(out, "\n");
	}
}

void metrics_render(struct json_out *out)
{
	put_head(out, "livefeed_build_info", "Which version this is.", "gauge");
	json_puts(out, "livefeed_build_info");
	put_label(out, "{", "version", LIVEFEED_VERSION);
	json_puts(out, "} 1\n");
	put_head(out, "livefeed_tail_lag_ids", "Ids between what the database is known to have and what was read.",
	         "gauge");
	json_puts(out, "livefeed_tail_lag_ids ");
	json_put_int(out, metrics.database_head > metrics.tail_head ? metrics.database_head - metrics.tail_head : 0);
	json_puts(out, "\n");
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		put_family(out, &families[i]);
}
