/*
 * sqltime.c - runs a few SQL statements again and again over one connection and
 * says when each was sent and when its answer was there, in nanoseconds of
 * CLOCK_MONOTONIC, so that another process can count from the same clock.
 *
 *   sqltime CONNINFO COUNT FROM EVERY_MS STATEMENT...
 *
 * In STATEMENT, {n} is FROM, FROM+1 and so on. The last statement is the one that
 * is timed; with EVERY_MS > 0 the rounds start that far apart. A line a round: N SENT ANSWERED.
 */
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t at_ns)
{
	struct timespec t = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* {n} filled in; the caller frees it. */
static char *filled(const char *statement, long n)
{
	const char *at = strstr(statement, "{n}");
	char *text;

	if (!at)
		return strdup(statement);
	if (asprintf(&text, "%.*s%ld%s", (int)(at - statement), statement, n, at + 3) < 0)
		abort();
	if (strstr(text, "{n}")) {
		char *more = filled(text, n);

		free(text);
		text = more;
	}
	return text;
}

int main(int argc, char **argv)
{
	PGconn *conn;
	long count, from, every_ms;
	int64_t start;

	if (argc < 6) {
		fprintf(stderr, "usage: sqltime CONNINFO COUNT FROM EVERY_MS STATEMENT...\n");
		return 2;
	}
	count = atol(argv[2]);
	from = atol(argv[3]);
	every_ms = atol(argv[4]);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK) {
		fprintf(stderr, "sqltime: %s", PQerrorMessage(conn));
		return 1;
	}
	start = now_ns();
	for (long i = 0; i < count; i++) {
		int64_t sent = 0;

		if (every_ms > 0)
			sleep_until(start + i * every_ms * 1000000);
		for (int k = 5; k < argc; k++) {
			char *statement = filled(argv[k], from + i);
			PGresult *result;

			sent = now_ns();
			result = PQexec(conn, statement);
			if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
				fprintf(stderr, "sqltime: %s: %s", statement, PQerrorMessage(conn));
				return 1;
			}
			/* The clock is read again below: clearing a result is not the server's time. */
			if (k + 1 == argc)
				printf("%ld %ld %ld\n", from + i, (long)sent, (long)now_ns());
			PQclear(result);
			free(statement);
		}
		fflush(stdout);
	}
	PQfinish(conn);
	return 0;
}
