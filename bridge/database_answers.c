/*
 * database_answers.c - what queries of the pool returned, as answers for the hub (database_internal.h). Each job is
 * answered exactly once, and freed.
 */
#include "database_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "rows.h"

#define AUTHORIZE_COMPLAIN_MS 1000 /* one line in the log for all errors of the authorizer in that time */
#define PAGE_ROWS_MAX 500

bool database_usable(const char *what, const PGresult *result, int columns)
{
	if (!result) {
		return false; /* lost says why */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQnfields(result) != columns) {
		log_warn("%s failed: %s", what, connection_error(result));
		return false;
	}
	return true;
}

static void answer_row(struct database *database, struct job *job, const PGresult *result)
{
	if (strncmp(connection_sqlstate(result), "22", 2) == 0) {
		/* Not UTF-8, say: what the client wrote is no value. */
		job->row = ROW_SPELLING;
		database_give_up(database, job);
		return;
	}
	if (!database_usable("livefeed.row_scope", result, 3) || PQntuples(result) != 1 || !database->hub) {
		database_give_up(database, job);
		return;
	}
	struct text status = rows_text(result, 0, 0);
	struct row_access row = {.unit = rows_text(result, 0, 1)};
	struct text *users = NULL;
	size_t size = 0;
	if (status.len == 6 && memcmp(status.bytes, "absent", 6) == 0) {
		hub_answer_row(database->hub, job->request, ROW_ABSENT, NULL);
	} else if (status.len == 8 && memcmp(status.bytes, "spelling", 8) == 0) {
		hub_answer_row(database->hub, job->request, ROW_SPELLING, NULL);
	} else if (rows_text_array(rows_text(result, 0, 2), &users, &size, &row.n_users)) {
		row.users = users;
		hub_answer_row(database->hub, job->request, ROW_FOUND, &row);
	} else {
		database_give_up(database, job);
		job = NULL;
	}
	free(users);
	if (job) {
		database_free_job(job);
	}
}

static void answer_cursor(struct database *database, struct job *job, const PGresult *result)
{
	if (!database_usable("livefeed.check_cursor", result, 2) || PQntuples(result) != 1 || !database->hub) {
		database_give_up(database, job);
		return;
	}
	struct text status = rows_text(result, 0, 0);
	int64_t head = rows_int8(result, 0, 1);
	enum cursor_status cursor = CURSOR_EPOCH;
	if (status.len == 2 && memcmp(status.bytes, "ok", 2) == 0) {
		cursor = CURSOR_OK;
	} else if (status.len == 6 && memcmp(status.bytes, "pruned", 6) == 0) {
		cursor = CURSOR_PRUNED;
	} else if (status.len == 14 && memcmp(status.bytes, "transient_lost", 14) == 0) {
		cursor = CURSOR_TRANSIENT_LOST;
	}
	if (database->head) {
		database->head(database->head_arg, head);
	}
	hub_answer_cursor(database->hub, job->request, cursor, head);
	database_free_job(job);
}

/* The page's rows as events; returns how many, -1 where a row is malformed or memory is out. */
static int decode_page(const PGresult *result, struct event **events)
{
	struct rows_scratch scratch = {0};
	int n = PQntuples(result) - 1;
	for (int row = 0; row < n; row++) {
		struct event event;
		if (!rows_event(result, row, &scratch, &event) || !(events[row] = event_new(&event))) {
			while (row-- > 0) {
				event_unref(events[row]);
			}
			n = -1;
		}
	}
	rows_scratch_free(&scratch);
	return n;
}

static void answer_page(struct database *database, struct job *job, const PGresult *result)
{
	struct rows_mark mark;
	static struct event *events[PAGE_ROWS_MAX];
	int n = 0;
	if (!result || !database->hub) {
		database_give_up(database, job);
		return;
	}
	if (!rows_mark(result, &mark) || PQntuples(result) - 1 > PAGE_ROWS_MAX || (n = decode_page(result, events)) < 0) {
		log_warn("livefeed.read failed: %s",
		         PQresultStatus(result) == PGRES_FATAL_ERROR ? connection_error(result) : "malformed page");
		database_give_up(database, job);
		return;
	}
	hub_answer_page(database->hub, job->request, mark.flags & EVENT_PRUNED ? CURSOR_PRUNED : CURSOR_OK, mark.epoch,
	                events, (size_t)n, mark.id);
	for (int i = 0; i < n; i++) {
		event_unref(events[i]);
	}
	database_free_job(job);
}

/*
 * An error of the application's function: said with its SQLSTATE and message (never the claims), but not for each of ten
 * thousand tokens.
 */
static void complain(struct database *database, const PGresult *result)
{
	uint64_t now_ms = uv_now(database->loop);
	if (database->complained_ms && now_ms - database->complained_ms < AUTHORIZE_COMPLAIN_MS) {
		database->unsaid++;
		return;
	}
	log_warn("the authorizer failed (%llu more since this was last said): %s", (unsigned long long)database->unsaid,
	         connection_error(result));
	database->complained_ms = now_ms;
	database->unsaid = 0;
}

/* Errors that say nothing of the claims: asked again, the answer may be another. */
static bool is_passing(const char *sqlstate)
{
	return strncmp(sqlstate, "40", 2) == 0 || strncmp(sqlstate, "53", 2) == 0 || strncmp(sqlstate, "57", 2) == 0;
}

static void answer_authorize(struct database *database, struct job *job, const PGresult *result)
{
	enum authorize_status status = AUTHORIZE_OK;
	struct text json = {NULL, 0};
	if (!result || !database->hub) {
		database_give_up(database, job);
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 || PQnfields(result) != 1) {
		complain(database, result);
		metrics.query_failures[METRIC_QUERY_AUTHORIZER]++;
		status = is_passing(connection_sqlstate(result)) ? AUTHORIZE_UNAVAILABLE : AUTHORIZE_FAILED;
	} else {
		json = rows_text(result, 0, 0);
	}
	hub_answer_authorize(database->hub, job->request, status, json);
	database_free_job(job);
}

enum answer_status database_outcome(const PGresult *result, int columns, struct answer_error *error)
{
	static const char odd[] = "not the one row that was expected";
	if (!result) {
		return ANSWER_UNAVAILABLE;
	}
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQnfields(result) == columns && PQntuples(result) == 1) {
		return ANSWER_OK;
	}
	const char *sqlstate = connection_sqlstate(result);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
	error->message = message ? (struct text){message, strlen(message)} : (struct text){odd, sizeof odd - 1};
	/* The server goes down, or takes nobody in: 57014, a statement that took too long, is none of these. */
	return strncmp(sqlstate, "57P", 3) == 0 ? ANSWER_UNAVAILABLE : ANSWER_FAILED;
}

void database_answer(struct database *database, struct job *job, const PGresult *result)
{
	if (job->kind == JOB_ROW) {
		answer_row(database, job, result);
	} else if (job->kind == JOB_CURSOR) {
		answer_cursor(database, job, result);
	} else if (job->kind == JOB_AUTHORIZE) {
		answer_authorize(database, job, result);
	} else if (job->kind == JOB_SNAPSHOT) {
		database_answer_snapshot(database, job, result);
	} else if (job->kind == JOB_VALUE) {
		database_answer_value(database, job, result);
	} else if (job->kind == JOB_CALL) {
		database_answer_call(database, job, result);
	} else if (job->kind == JOB_SESSIONS) {
		database_answer_sessions(database, job, result);
	} else {
		answer_page(database, job, result);
	}
}
