/*
 * connection.h - one asynchronous libpq connection on the libuv loop: connects,
 * sets up its session, runs one query at a time with a deadline, reports
 * notifications and loss. tail.c and database.c build on it.
 *
 * Nothing here blocks. A query past its deadline closes the connection (PQcancel would block
 * before PostgreSQL 17); all waits are bounded.
 */
#ifndef LIVEFEED_CONNECTION_H
#define LIVEFEED_CONNECTION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct connection;

struct connection_events {
	/* Connected and set up (SETs done): queries may be sent. */
	void (*ready)(struct connection *connection, void *arg);
	/* Lost, refused or timed out; message is one line for the log. The connection may be opened again or freed. */
	void (*lost)(struct connection *connection, const char *message, void *arg);
	/* A notification came in from that backend (NULL: not wanted). */
	void (*notified)(struct connection *connection, int backend_pid, const char *payload, void *arg);
};

/* Can libpq read it? NULL, a database's name, pairs or a URI. */
bool connection_dsn_is_good(const char *dsn);

struct connection *connection_new(uv_loop_t *loop, const char *dsn, const char *application_name,
                                  const struct connection_events *events, void *arg);
/* Starts connecting; ends in ready or lost within connect_timeout_ms, never before it returns. */
void connection_open(struct connection *connection, int64_t connect_timeout_ms);
/* Closes at once without callbacks; may be opened again. */
void connection_close(struct connection *connection);
void connection_free(struct connection *connection); /* safe inside its own callbacks */
bool connection_is_open(const struct connection *connection); /* connecting, or ready */
bool connection_is_ready(const struct connection *connection);
bool connection_is_busy(const struct connection *connection);

/*
 * Sends one query (parameters as text, results binary if binary is set). done gets the result once the server is
 * ready for the next query (never before ReadyForQuery); the result is freed after it returns unless connection_keep_result
 * was called; an SQL error is a result with PQresultStatus PGRES_FATAL_ERROR. Of several results it is the first error, else the
 * last. When the connection is lost first, done is called with NULL and then lost. False: not ready, or busy.
 */
typedef void (*connection_done)(struct connection *connection, PGresult *result, void *arg);
bool connection_query(struct connection *connection, const char *sql, int n_params, const char *const *params,
                      bool binary, int64_t timeout_ms, connection_done done, void *arg);
/* Inside done: the result is the caller's now, who frees it with PQclear. */
void connection_keep_result(struct connection *connection);
/* One line of an error result: SQLSTATE and primary message. Static buffer. */
const char *connection_error(const PGresult *result);
/* The SQLSTATE of an error result, or "". */
const char *connection_sqlstate(const PGresult *result);
int connection_server_version(const struct connection *connection);
/* The server process, as it said so itself; 0 where not connected. A pooler may make up what libpq knows. */
int connection_backend_pid(const struct connection *connection);

#endif
