/*
 * database_internal.h - what database.c (the pool, its queues, its connections), database_definitions.c (loading what the
 * database defines) and database_answers.c, database_snapshot.c, database_value.c, database_call.c (results of queries
 * into answers for the hub) share.
 */
#ifndef LIVEFEED_DATABASE_INTERNAL_H
#define LIVEFEED_DATABASE_INTERNAL_H

#include "backoff.h"
#include "connection.h"
#include "database.h"

/* Jobs wait in a queue of their class; see database.c for how many connections each may have. */
enum job_class { CLASS_LIGHT, CLASS_AUTHORIZE, CLASS_SNAPSHOT, CLASS_VALUE, CLASS_CALL, CLASSES };

enum job_kind {
	JOB_ROW,
	JOB_CURSOR,
	JOB_PAGE,
	JOB_DEFINITIONS,
	JOB_AUTHORIZE,
	JOB_SNAPSHOT,
	JOB_VALUE,
	JOB_CALL,
	JOB_SESSIONS
};

#define JOB_TEXTS_MAX 5

struct job {
	struct job *next;
	enum job_kind kind;
	struct request *request; /* NULL for JOB_DEFINITIONS and JOB_SESSIONS */
	uint64_t queued_ms;
	uint64_t queued_ns, sent_ns; /* sent: 0 while it waits */
	int64_t id; /* cursor's, or where the page begins */
	char *texts[JOB_TEXTS_MAX]; /* the parameters of its statement, NULL for SQL's NULL */
	enum row_status row; /* the answer of a row look-up that got none */
};

struct queue {
	struct job *first, **last;
	size_t n;
	size_t running; /* of this class, on a connection */
	uint64_t moved_ms; /* when one of its jobs was answered by the database */
};

struct slot {
	struct database *database;
	struct connection *connection;
	struct job *job; /* NULL: idle */
	const char *statement_timeout; /* what it is set to */
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
	const char *bridge; /* the name of this process in the database */
	struct slot *slots;
	size_t n_slots, n_connections, queue_max; /* a slot for each connection, and the spare's */
	struct queue queues[CLASSES];
	size_t turn; /* the class that was last given a connection */
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
	size_t load_step;
	struct waiter *loading, *loading_next;
};

/* ---- database.c */
struct job *database_job(enum job_kind kind, struct request *request);
void database_push(struct database *database, struct job *job);
/* Gives waiting jobs to idle connections. */
void database_dispatch(struct database *database);
/* The job of a slot is done: the slot is idle, the caller answers and frees it, and dispatches. */
struct job *database_take_job(struct slot *slot);
/* The answer of a job that got none; frees the job. */
void database_give_up(struct database *database, struct job *job);
void database_free_job(struct job *job);

/* ---- database_definitions.c */
void database_ask_definitions(void *arg, struct request *request);
void database_run_definitions(struct slot *slot);
/* The load is over: whoever waited for it is told. */
void database_definitions_done(struct database *database, bool ok);

/* ---- database_answers.c */
/* True: the result has rows. Otherwise the line for the log was written. */
bool database_usable(const char *what, const PGresult *result, int columns);
/* Gives the hub what the query of a job returned (NULL: the connection was lost), and frees the job. */
void database_answer(struct database *database, struct job *job, const PGresult *result);
/*
 * What became of a statement that runs a function of the application's and returns one row of so many columns. FAILED: the
 * database says no, and *error why; our log is the answer's taker's to write. UNAVAILABLE: nobody can say.
 */
enum answer_status database_outcome(const PGresult *result, int columns, struct answer_error *error);

/* ---- database_snapshot.c, database_value.c, database_call.c, database_sessions.c */
void database_answer_snapshot(struct database *database, struct job *job, const PGresult *result);
void database_answer_value(struct database *database, struct job *job, const PGresult *result);
void database_answer_call(struct database *database, struct job *job, const PGresult *result);
void database_answer_sessions(struct database *database, struct job *job, const PGresult *result);

#endif
