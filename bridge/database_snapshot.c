/*
 * database_snapshot.c - what livefeed.snapshot returned, as an answer for the hub (database_internal.h).
 */
#include "database_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "rows.h"

#define SNAPSHOT_COLUMNS 12

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

/* Columns of the row's access, absent but for scope 'row'. users: memory for its users. False: malformed. */
static bool read_access(const PGresult *result, struct snapshot_answer *answer, struct text **users)
{
	size_t size = 0;
	if (PQgetisnull(result, 0, 9)) {
		return true;
	}
	answer->row = status_is(rows_text(result, 0, 9), "found") ? ROW_FOUND : ROW_ABSENT;
	answer->row_access.unit = rows_text(result, 0, 10);
	if (!rows_text_array(rows_text(result, 0, 11), users, &size, &answer->row_access.n_users)) {
		return false;
	}
	answer->row_access.users = *users;
	return true;
}

/* The row of a snapshot that was made. False: malformed. */
static bool read_row(const PGresult *result, struct snapshot_answer *answer, struct text **columns, struct text **users)
{
	size_t size = 0;
	answer->found = found_of(rows_text(result, 0, 0));
	answer->after = rows_int8(result, 0, 1);
	answer->tick = rows_int8(result, 0, 2);
	answer->epoch = rows_text(result, 0, 3);
	answer->seen = rows_text(result, 0, 4);
	answer->data = rows_text(result, 0, 6);
	answer->truncated = rows_bool(result, 0, 7);
	answer->keys = rows_text(result, 0, 8);
	if (answer->found != SNAPSHOT_FOUND) {
		return true;
	}
	if (!answer->data.bytes || !answer->seen.bytes || !answer->epoch.bytes || !read_access(result, answer, users)) {
		return false;
	}
	if (!PQgetisnull(result, 0, 5)) {
		if (!rows_text_array(rows_text(result, 0, 5), columns, &size, &answer->n_key_columns)) {
			return false;
		}
		answer->key_columns = *columns;
	}
	return true;
}

/* Whose function or table failed is in the message; a thousand clients that ask again do not fill the log. */
static void complain(const struct job *job, const struct answer_error *error)
{
	char channel[256], cause[512];
	snprintf(channel, sizeof channel, "%s, scope %s, value %s", job->texts[0], job->texts[1],
	         job->texts[2] ? job->texts[2] : "none");
	snprintf(cause, sizeof cause, "%s: %.*s", error->sqlstate, (int)error->message.len,
	         error->message.bytes ? error->message.bytes : "");
	struct log_field fields[] = {{"channel", channel}, {"error", cause}, {NULL, NULL}};
	log_bounded(LOG_TOPIC_QUERY, fields, "a snapshot failed");
}

void database_answer_snapshot(struct database *database, struct job *job, const PGresult *result)
{
	struct snapshot_answer answer = {.row = ROW_ABSENT};
	struct text *columns = NULL, *users = NULL;
	answer.status = database_outcome(result, SNAPSHOT_COLUMNS, &answer.error);
	if (answer.status == ANSWER_OK && !read_row(result, &answer, &columns, &users)) {
		log_warn("livefeed.snapshot returned a malformed row");
		answer = (struct snapshot_answer){.status = ANSWER_UNAVAILABLE};
	}
	if (answer.status == ANSWER_FAILED) {
		complain(job, &answer.error);
	}
	metrics.query_failures[METRIC_QUERY_SNAPSHOT] += answer.status != ANSWER_OK;
	if (database->hub) {
		hub_answer_snapshot(database->hub, job->request, &answer);
	}
	free(columns);
	free(users);
	database_free_job(job);
}
