/*
 * database_sessions.c - what livefeed.report_sessions returned, as an answer for the hub (database_internal.h).
 */
#include "database_internal.h"

#include "metrics.h"
#include "rows.h"

#define SESSIONS_COLUMNS 1

void database_answer_sessions(struct database *database, struct job *job, const PGresult *result)
{
	struct sessions_answer answer = {.status = ANSWER_UNAVAILABLE};
	answer.status = database_outcome(result, SESSIONS_COLUMNS, &answer.error);
	metrics.query_failures[METRIC_QUERY_SESSIONS] += answer.status != ANSWER_OK;
	if (answer.status == ANSWER_OK) {
		answer.known = !PQgetisnull(result, 0, 0);
		answer.n = answer.known ? rows_int8(result, 0, 0) : 0;
	}
	if (database->hub) {
		hub_answer_sessions(database->hub, &answer);
	}
	database_free_job(job);
}
