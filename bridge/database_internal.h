/*
 * database_internal.h - what database.c (the pool, its queues, its connections) and database_answers.c (results of queries
 * into answers for the hub) share.
 */
#ifndef LIVEFEED_DATABASE_INTERNAL_H
#define LIVEFEED_DATABASE_INTERNAL_H

#include "backoff.h"
#include "connection.h"
#include "database.h"

enum job_kind { JOB_ROW, JOB_CURSOR, JOB_PAGE, JOB_DEFINITIONS, JOB_AUTHORIZE };

struct job {
	struct job *next;
	enum job_kind kind;
	struct request *request; /* NULL for JOB_DEFINITIONS */
	uint64_t queued_ms;
	uint64_t queued_ns, sent_ns; /* for metrics; sent: 0 while it waits */
	int64_t id; /* cursor's, or where the page begins */
	char *first, *second; /* feed and key; epoch; feed; claims */
	enum row_status row; /* the answer of a row look-up that got none */
};

struct queue {
	struct job *first, **last;
	size_t n;
};

struct slot {
	struct database *database;
	struct connection *connection;
	struct job *job; /* NULL: idle */
	bool hasty; /* its statement_timeout is that of the authorizer */
};

struct waiter { /* for definitions */
	struct waiter *next;
	struct request *request; /* NULL: done */
	void (*done)(void *arg, bool ok);
	void *arg;
};

struct database {
	uv_loop_t *loop;
	struct hub *hub;
	struct slot *slots;
	size_t n_slots, queue_max;
	struct queue queue;
	struct queue authorize; /* JOB_AUTHORIZE alone */
	size_t n_authorizing;
	bool authorize_next; /* of one connection: whose turn it is */
	uint64_t complained_ms, unsaid; /* errors of the authorizer */
	bool wants_revocations; /* the load under way brings them */
	PGresult *authority; /* what it has of livefeed.authority() */
	struct queue refused; /* answered without a query, at the next turn of the loop: never inside the asking */
	uv_timer_t *check; /* runs while jobs wait */
	struct backoff backoff;
	uint64_t open_after_ms; /* no connecting before: the last try failed */

	void (*head)(void *arg, int64_t head);
	void *head_arg;

	struct catalog *catalog;
	struct access *access;
	struct catalog_load *load; /* NULL: none under way */
	struct waiter *loading, *loading_next;
};

/* The answer of a job that got none; frees the job. */
void database_give_up(struct database *database, struct job *job);
void database_free_job(struct job *job);

/* True: the result has rows. Otherwise the line for the log was written. */
bool database_usable(const char *what, const PGresult *result, int columns);
/* Gives the hub what the query of a job returned (NULL: the connection was lost), and frees the job. */
void database_answer(struct database *database, struct job *job, const PGresult *result);

#endif
