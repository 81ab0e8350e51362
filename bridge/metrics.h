/*
 * metrics.h - counters of this process. One struct of plain numbers that the rooms add to; what /metrics prints comes with them (a later issue).
 */
#ifndef LIVEFEED_METRICS_H
#define LIVEFEED_METRICS_H

#include <stdint.h>

struct metrics {
	uint64_t sessions_opened, sessions_closed;
	uint64_t subscriptions; /* now */
	uint64_t events_read;
	uint64_t frames_sent, bytes_sent;
	uint64_t queue_overflows;
	uint64_t resumes_memory, resumes_log, resumes_refused;
	uint64_t auth_failures;
	uint64_t messages_received, messages_bad;
	uint64_t database_reconnects;
	int64_t tail_head;
};
extern struct metrics metrics;

#endif
