/*
 * database_snapshot.c - what livefeed.snapshot returned, as an answer for the hub (database_internal.h).
 */
#include "database_internal.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "rows.h"

#define SNAPSHOT_COLUMNS 9

static bool status_is(struct text status, const char *word)
{
	return status.len == strlen(word) && memcmp(status.bytes, word, status.len) == 0;
}

static enum snapshot_found found_of(struct text status)
{
	return status_is(status, "ok")         ? SNAPSHOT_FOUND
	       : status_is(status, "spelling") ? SNAPSHOT_SPELLING
	       : status_is(status, "no_scope") ? SNAPSHOT_NO_SCOPE
	                                       : SNAPSHOT_NO_FEED;
}

void database_answer_snapshot(struct database *database, struct job *job, const PGresult *result)
{
	struct snapshot_answer answer = {.status = ANSWER_UNAVAILABLE};
	struct text *columns = NULL;
	size_t size = 0;
	answer.status = database_outcome(result, SNAPSHOT_COLUMNS, &answer.error);
	metrics.query_failures[METRIC_QUERY_SNAPSHOT] += answer.status != ANSWER_OK;
	if (answer.status == ANSWER_OK) {
		answer.found = found_of(rows_text(result, 0, 0));
		answer.after = rows_int8(result, 0, 1);
		answer.tick = rows_int8(result, 0, 2);
		answer.epoch = rows_text(result, 0, 3);
		answer.seen = rows_text(result, 0, 4);
		answer.data = rows_text(result, 0, 6);
		answer.truncated = rows_bool(result, 0, 7);
		answer.keys = rows_text(result, 0, 8);
		if (!PQgetisnull(result, 0, 5)) {
			if (!rows_text_array(rows_text(result, 0, 5), &columns, &size, &answer.n_key_columns)) {
				log_warn("livefeed.snapshot returned a malformed row");
				answer = (struct snapshot_answer){.status = ANSWER_UNAVAILABLE};
			}
			answer.key_columns = columns;
		}
	}
	if (database->hub) {
		hub_answer_snapshot(database->hub, job->request, &answer);
	}
	free(columns);
	database_free_job(job);
}
