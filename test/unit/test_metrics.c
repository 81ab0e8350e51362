/*
 * test_metrics.c - what is counted, and the text that Prometheus reads. Not here: that the rooms count (end-to-end tests),
 * and a parser of others for the text (test/e2e/metrics.test.mjs).
 */
#include "metrics.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static char *page(void)
{
	struct json_out out = {0};
	metrics_render(&out);
	json_put(&out, "", 1);
	ok(!out.failed, "rendered");
	return out.bytes;
}

static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);
	for (const char *at = text; (at = strstr(at, line)) != NULL; at += len)
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

static void test_names(void)
{
	is_int(metrics_transport("websocket"), METRIC_TRANSPORT_WEBSOCKET, "a transport");
	is_int(metrics_transport("pigeon"), METRIC_TRANSPORT_OTHER, "another");
	is_int(metrics_close(0), METRIC_CLOSE_CLIENT, "the client's own doing");
	is_int(metrics_close(4408), METRIC_CLOSE_4408, "a close code");
	is_int(metrics_close(4999), METRIC_CLOSE_OTHER, "another");
	is_int(metrics_status(403), METRIC_STATUS_403, "a status");
	is_int(metrics_status(418), METRIC_STATUS_OTHER, "another");
}

/* The reasons as access.c, access_keys.c, message_token.c and session.c word them. */
static void test_reasons(void)
{
	static const struct {
		const char *reason;
		enum metric_auth auth;
	} reasons[] = {
		{"no token came in time", METRIC_AUTH_MISSING},
		{"the first message must be auth", METRIC_AUTH_MISSING},
		{"token is empty", METRIC_AUTH_MALFORMED},
		{"token is too long", METRIC_AUTH_MALFORMED},
		{"token has not three parts", METRIC_AUTH_MALFORMED},
		{"token is not canonical base64url", METRIC_AUTH_MALFORMED},
		{"token's header is not a valid JSON object", METRIC_AUTH_MALFORMED},
		{"token's header has no alg", METRIC_AUTH_MALFORMED},
		{"token's kid is not a string", METRIC_AUTH_MALFORMED},
		{"token's payload is not a valid JSON object", METRIC_AUTH_MALFORMED},
		{"token is not signed", METRIC_AUTH_ALGORITHM},
		{"token's alg is not supported", METRIC_AUTH_ALGORITHM},
		{"token's alg is not one of the key's", METRIC_AUTH_ALGORITHM},
		{"token's kid names no known key", METRIC_AUTH_UNKNOWN_KEY},
		{"token's signature is wrong", METRIC_AUTH_SIGNATURE},
		{"token's header has crit", METRIC_AUTH_CRIT},
		{"token is expired", METRIC_AUTH_EXPIRED},
		{"token is not valid yet", METRIC_AUTH_NOT_YET_VALID},
		{"token is of another issuer", METRIC_AUTH_ISSUER},
		{"token is for another audience", METRIC_AUTH_AUDIENCE},
		{"token has no exp", METRIC_AUTH_CLAIMS},
		{"token's exp is not a number from 0 to 2^53", METRIC_AUTH_CLAIMS},
		{"token's units are neither an array nor an object of strings and integers", METRIC_AUTH_CLAIMS},
		{"token's user claim is not a string or an integer", METRIC_AUTH_CLAIMS},
		{"token's sid is neither a string nor an integer", METRIC_AUTH_CLAIMS},
		{"token is revoked", METRIC_AUTH_REVOKED},
		{"refused by the authorizer", METRIC_AUTH_AUTHORIZER},
		{"token names another user", METRIC_AUTH_OTHER_USER},
		{"out of memory", METRIC_AUTH_OTHER},
	};
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		is_int(metrics_auth(reasons[i].reason), reasons[i].auth, "%s", reasons[i].reason);
}

static void test_histogram(void)
{
	metrics_observe(&metrics.query_waits, -5);
	metrics_observe(&metrics.query_waits, 0);
	metrics_observe(&metrics.query_waits, 500);
	metrics_observe(&metrics.query_waits, 501);
	metrics_observe(&metrics.query_waits, 1234567);
	metrics_observe(&metrics.query_waits, 61000000);
	char *text = page();
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"0.0005\"} 3"), "a bound belongs to its bucket");
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"0.001\"} 4"), "buckets are sums");
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"1\"} 4"), "of all below");
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"2.5\"} 5"), "the next");
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"60\"} 5"), "the last with a bound");
	ok(has_line(text, "livefeed_query_wait_seconds_bucket{le=\"+Inf\"} 6"), "and all");
	ok(has_line(text, "livefeed_query_wait_seconds_count 6"), "their number");
	ok(has_line(text, "livefeed_query_wait_seconds_sum 62.235568"), "their sum, in seconds");
	free(text);
}

static void test_delivery(void)
{
	ok(!metrics_delivering(), "nothing yet");
	metrics_delivered(1000000);
	metrics_delivered(1900000);
	metrics_delivered(5000000); /* a clock ahead of ours */
	ok(metrics_delivering(), "on their way");
	metrics_flushed(2000000);
	ok(!metrics_delivering(), "written");
	metrics_flushed(9000000);
	is_int(metrics.delivery.sum_us, 1100000, "each once; the future counts as now");
	for (int i = 0; i < METRIC_DELIVERIES_MAX + 10; i++)
		metrics_delivered(9000000);
	metrics_flushed(9000000);
	is_int(metrics.delivery.buckets[0], 1 + METRIC_DELIVERIES_MAX, "more than fit are not looked at");
}

static void test_page(void)
{
	metrics.sessions[METRIC_TRANSPORT_WEBSOCKET] = 7;
	metrics.limits[METRIC_LIMIT_MAX_QUEUE] = 3;
	metrics.auth_failures[METRIC_AUTH_EXPIRED] = 2;
	metrics.tail_head = 90;
	metrics.database_head = 100;
	metrics.tail_lag_us = 1500000;
	metrics.started_us = INT64_C(1700000000123456);
	metrics.bytes_sent = UINT64_C(123456789012345);
	metrics_observe(&metrics.queries[METRIC_QUERY_PAGE], 700);
	char *text = page();
	ok(has_line(text, "livefeed_sessions{transport=\"websocket\"} 7"), "a label");
	ok(has_line(text, "livefeed_limit_total{limit=\"max-queue\"} 3"), "a limit");
	ok(has_line(text, "livefeed_limit_total{limit=\"max-session\"} 0"), "one that was never reached is there, too");
	ok(has_line(text, "livefeed_queue_overflows_total 3"), "a member of an array alone");
	ok(has_line(text, "livefeed_auth_failures_total{reason=\"expired\"} 2"), "a reason");
	ok(has_line(text, "livefeed_tail_lag_ids 10"), "lag in ids");
	ok(has_line(text, "livefeed_tail_lag_seconds 1.500000"), "lag in seconds");
	ok(has_line(text, "process_start_time_seconds 1700000000.123456"), "a time");
	ok(has_line(text, "livefeed_bytes_sent_total 123456789012345"), "large numbers as they are");
	ok(has_line(text, "livefeed_query_seconds_bucket{query=\"page\",le=\"0.001\"} 1"), "a histogram with a label");
	ok(has_line(text, "livefeed_query_seconds_count{query=\"row\"} 0"), "an empty one");
	ok(has_line(text, "livefeed_build_info{version=\"" LIVEFEED_VERSION "\"} 1"), "the version");
	ok(has_line(text, "# TYPE livefeed_query_seconds histogram"), "types");
	metrics.tail_head = 101;
	free(text);
	text = page();
	ok(has_line(text, "livefeed_tail_lag_ids 0"), "ahead of what was known is no lag");
	ok(text[strlen(text) - 1] == '\n', "the last line ends");
	free(text);
}

/* Each line is one of the format's, and each family is announced once, with help and type, before its first value. */
static void test_form(void)
{
	char *text = page(), *rest = text, *line;
	char family[128] = "", seen[8192] = "";
	int bad = 0, n = 0;
	while ((line = strtok_r(rest, "\n", &rest)) != NULL) {
		char name[128];
		n++;
		if (sscanf(line, "# HELP %127s", name) == 1) {
			char mark[132];
			snprintf(mark, sizeof mark, " %s ", name);
			bad += strstr(seen, mark) != NULL || strlen(seen) + sizeof mark > sizeof seen;
			strcat(seen, mark);
			strcpy(family, name);
			bad += strlen(line) < strlen("# HELP  .") + strlen(name);
		} else if (sscanf(line, "# TYPE %127s", name) == 1) {
			bad += strcmp(name, family) != 0;
		} else {
			bad += strncmp(line, family, strlen(family)) != 0;
			for (const char *c = line; *c != '\0'; c++)
				bad += (unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f;
		}
	}
	is_int(bad, 0, "every line belongs to the family announced last");
	ok(n > 150, "%d lines", n);
	free(text);
}

int main(void)
{
	test_names();
	test_reasons();
	test_histogram();
	test_delivery();
	test_page();
	test_form();
	return tap_done();
}
