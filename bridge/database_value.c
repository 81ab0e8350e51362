/*
 * database_value.c - what livefeed.run_query returned, as an answer for the hub (database_internal.h).
 */
#include "database_internal.h"

#include "metrics.h"
#include "rows.h"

#define VALUE_COLUMNS 3

void database_answer_value(struct database *database, struct job *job, const PGresult *result)
{
	struct value_answer answer = {.status = ANSWER_UNAVAILABLE};
	answer.status = database_outcome(result, VALUE_COLUMNS, &answer.error);
	metrics.query_failures[METRIC_QUERY_VALUE] += answer.status != ANSWER_OK;
	if (answer.status == ANSWER_OK) {
		answer.data = rows_text(result, 0, 0);
		answer.after = rows_int8(result, 0, 1);
		answer.epoch = rows_text(result, 0, 2);
	}
	if (database->hub) {
		hub_answer_value(database->hub, job->request, &answer);
	}
	database_free_job(job);
}
