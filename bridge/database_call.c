/*
 * database_call.c - what livefeed.call returned, as an answer for the hub (database_internal.h).
 */
#include "database_internal.h"

#include "metrics.h"
#include "rows.h"

#define CALL_COLUMNS 3

void database_answer_call(struct database *database, struct job *job, const PGresult *result)
{
	struct call_answer answer = {.status = ANSWER_UNAVAILABLE, .sent = job->sent_ns != 0};
	answer.status = database_outcome(result, CALL_COLUMNS, &answer.error);
	metrics.query_failures[METRIC_QUERY_CALL] += answer.status != ANSWER_OK;
	if (answer.status == ANSWER_OK) {
		answer.data = rows_text(result, 0, 0);
		answer.wrote = !PQgetisnull(result, 0, 1);
		answer.xid = (uint64_t)rows_int8(result, 0, 1);
		answer.events = rows_bool(result, 0, 2);
	}
	if (database->hub) {
		hub_answer_call(database->hub, job->request, &answer);
	}
	database_free_job(job);
}
