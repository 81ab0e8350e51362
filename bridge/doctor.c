/*
 * doctor.c - a page of advice (doctor.h).
 *
 *   1. The configuration: what may be meant, and may be not.
 *   2. inspect.c: is it a database that this bridge can serve? If not, that is the end of the page.
 *   3. LISTEN: the second connection rings, the first has to hear it.
 *   4. The questions of doctor_checks.c, one after the other.
 *
 * Nothing is changed, in the database or elsewhere.
 */
#include "doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "inspect.h"
#include "rows.h"
#include "terminal.h"

#define HEAR_MS 3000 /* so long may a notification take */
#define TEXT_MAX_BYTES 2048
#define INDENT 11
#define OWN_FILES 512

struct doctor {
	const struct config *config;
	struct inspect inspect;
	uv_timer_t hear;
	bool colour, ended, heard, listening;
	char channel[64];
	size_t check; /* the one that is asked */
	size_t found[SEVERITIES], fine;
};

/* ---- the page */

static void paint(const struct doctor *doctor, enum colour colour)
{
	if (doctor->colour) {
		fputs(terminal_colour(colour), stdout);
	}
}

static void tell(const struct doctor *doctor, enum colour colour, const char *word, const char *topic, const char *text)
{
	fputs("  ", stdout);
	paint(doctor, colour);
	printf("%-*s", INDENT - 2, word);
	paint(doctor, COLOUR_NONE);
	printf("%s: ", topic);
	(void)terminal_puts(stdout, text);
	putchar('\n');
}

static void tell_fine(struct doctor *doctor, const char *topic, const char *text)
{
	doctor->fine++;
	tell(doctor, COLOUR_GREEN, "ok", topic, text);
}

static void tell_finding(struct doctor *doctor, enum severity severity, const char *topic, const char *text,
                         const char *means, const char *cure)
{
	static const struct {
		enum colour colour;
		const char *word;
	} looks[SEVERITIES] = {{COLOUR_CYAN, "note"}, {COLOUR_YELLOW, "warning"}, {COLOUR_RED, "PROBLEM"}};
	doctor->found[severity]++;
	tell(doctor, looks[severity].colour, looks[severity].word, topic, text);
	if (means) {
		(void)terminal_paragraph(stdout, INDENT, means);
	}
	if (cure) { /* in one line, whatever its length: it is there to be copied */
		printf("%*scure: ", INDENT, "");
		(void)terminal_puts(stdout, cure);
		putchar('\n');
	}
}

static void end(struct doctor *doctor)
{
	doctor->ended = true;
	uv_timer_stop(&doctor->hear);
}

static int conclude(const struct doctor *doctor)
{
	const size_t *found = doctor->found;
	printf("\n%zu %s, %zu %s, %zu %s, %zu fine\n", found[SEVERITY_PROBLEM],
	       found[SEVERITY_PROBLEM] == 1 ? "problem" : "problems", found[SEVERITY_WARNING],
	       found[SEVERITY_WARNING] == 1 ? "warning" : "warnings", found[SEVERITY_NOTE],
	       found[SEVERITY_NOTE] == 1 ? "note" : "notes", doctor->fine);
	return found[SEVERITY_PROBLEM] ? DOCTOR_PROBLEMS : found[SEVERITY_WARNING] ? DOCTOR_WARNINGS : DOCTOR_HEALTHY;
}

/* ---- 1. the configuration */

static bool is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0 || strncmp(address, "unix:", 5) == 0 ||
	       strncmp(address, "localhost:", 10) == 0;
}

static void look_at_config(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	struct rlimit files;
	char text[TEXT_MAX_BYTES];
	tell_fine(doctor, "configuration", "good");
	for (size_t i = 0; !config->tls_cert && i < config->listen.n; i++) {
		if (!is_loopback(config->listen.items[i])) {
			snprintf(text, sizeof text, "%s is open to other machines, without TLS", config->listen.items[i]);
			tell_finding(doctor, SEVERITY_WARNING, "configuration", text,
			             "Tokens and data would travel in clear. Give --tls-cert and --tls-key, or listen on the "
			             "loopback address behind a proxy.",
			             "livefeed-bridge --listen 127.0.0.1:8090");
		}
	}
	for (size_t i = 0; i < config->allowed_origins.n; i++) {
		if (strcmp(config->allowed_origins.items[i], "*") == 0) {
			tell_finding(doctor, SEVERITY_NOTE, "configuration",
			             "pages of any origin may connect (--allowed-origins *)",
			             "They still need a token, and cookies are never read. Name the origins of your pages, if you "
			             "know them.",
			             "livefeed-bridge --allowed-origins https://app.example");
		}
	}
	rlim_t wanted = (rlim_t)config->max_connections + OWN_FILES;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max != RLIM_INFINITY && files.rlim_max < wanted) {
		snprintf(text, sizeof text, "--max-connections is %lld, but only %llu files can be open here",
		         (long long)config->max_connections, (unsigned long long)files.rlim_max);
		tell_finding(doctor, SEVERITY_NOTE, "configuration", text,
		             "A session is a socket. The sample unit sets LimitNOFILE; a shell has a limit of its own.",
		             "systemctl edit livefeed-bridge   # [Service] LimitNOFILE=65536");
	}
}

/* ---- 4. the questions */

static void on_lost(struct inspect *inspect, const char *message)
{
	struct doctor *doctor = inspect->arg;
	tell_finding(doctor, SEVERITY_PROBLEM, "database", message, "The connection was lost while it was looked at.",
	             NULL);
	end(doctor);
}

static void ask(struct doctor *doctor);

static void answered(struct connection *connection, PGresult *result, void *arg)
{
	struct doctor *doctor = arg;
	const struct doctor_check *check = &doctor_checks[doctor->check];
	char text[TEXT_MAX_BYTES], cure[2 * TEXT_MAX_BYTES];
	(void)connection;
	if (!result) {
		return; /* lost follows */
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		tell_finding(doctor, SEVERITY_WARNING, check->topic, connection_error(result),
		             "This could not be looked at; the rest could.", NULL);
	} else if (PQntuples(result) == 0 && check->fine) {
		tell_fine(doctor, check->topic, check->fine);
	}
	for (int row = 0; PQresultStatus(result) == PGRES_TUPLES_OK && row < PQntuples(result); row++) {
		struct text said = rows_text(result, row, 0), helps = rows_text(result, row, 1);
		int severity = PQnfields(result) > 2 ? rows_int4(result, row, 2) : (int)check->severity;
		snprintf(text, sizeof text, "%.*s", (int)said.len, said.bytes ? said.bytes : "");
		snprintf(cure, sizeof cure, "%.*s", (int)helps.len, helps.bytes ? helps.bytes : "");
		tell_finding(doctor, severity >= 0 && severity < SEVERITIES ? (enum severity)severity : check->severity,
		             check->topic, text, check->means, helps.bytes ? cure : NULL);
	}
	doctor->check++;
	ask(doctor);
}

static void ask(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	char value[64];
	const char *params[] = {value};
	if (doctor->check == n_doctor_checks) {
		end(doctor);
		return;
	}
	const struct doctor_check *check = &doctor_checks[doctor->check];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	switch (check->asks) {
	case ASKS_CONNECTIONS:
		snprintf(value, sizeof value, "%lld", (long long)config->db_connections);
		break;
	case ASKS_ISSUERS:
		snprintf(value, sizeof value, "%s",
		         config->jwt_secret_file || config->jwt_public_key || config->jwks ? "true" : "false");
		break;
	case ASKS_CLOCK:
		snprintf(value, sizeof value, "%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
		break;
	case ASKS_NOTHING:
		break;
	}
	if (!connection_query(doctor->inspect.first, check->sql, check->asks == ASKS_NOTHING ? 0 : 1, params, true,
	                      INSPECT_QUERY_TIMEOUT_MS, answered, doctor)) {
		on_lost(&doctor->inspect, "the connection cannot be used any more");
	}
}

/* ---- 3. LISTEN */

static void listened(struct doctor *doctor, bool heard)
{
	uv_timer_stop(&doctor->hear);
	if (heard) {
		tell_fine(doctor, "LISTEN", "notifications arrive");
	} else {
		tell_finding(doctor, SEVERITY_PROBLEM, "LISTEN", "a notification that was sent did not arrive",
		             "Something between here and the server lends out connections, or drops what the server says "
		             "unasked. A bridge there hears of changes only when it looks, once a second. Connect directly, or "
		             "through session pooling.",
		             "livefeed-bridge --dsn 'host=SERVER port=5432 dbname=DATABASE'   # the server's own address");
	}
	ask(doctor);
}

static void on_deaf(uv_timer_t *timer)
{
	struct doctor *doctor = timer->data;
	doctor->heard = true; /* too late from here on */
	listened(doctor, false);
}

static void rung(struct connection *connection, PGresult *result, void *arg)
{
	(void)connection, (void)result, (void)arg; /* that the first hears it is what counts */
}

static void listens(struct connection *connection, PGresult *result, void *arg)
{
	struct doctor *doctor = arg;
	char sql[128];
	(void)connection;
	if (!result) {
		return; /* lost follows */
	}
	snprintf(sql, sizeof sql, "NOTIFY %s", doctor->channel);
	if (!connection_query(doctor->inspect.second, sql, 0, NULL, true, INSPECT_QUERY_TIMEOUT_MS, rung, doctor)) {
		doctor->heard = true;
		listened(doctor, false);
		return;
	}
	uv_timer_start(&doctor->hear, on_deaf, HEAR_MS, 0);
}

static void on_notified(struct inspect *inspect, int backend_pid, const char *payload)
{
	struct doctor *doctor = inspect->arg;
	(void)payload;
	if (!doctor->heard && backend_pid == connection_backend_pid(inspect->second)) {
		doctor->heard = true;
		listened(doctor, true);
	}
}

static void on_whole(struct inspect *inspect)
{
	struct doctor *doctor = inspect->arg;
	char sql[128];
	snprintf(doctor->channel, sizeof doctor->channel, "livefeed_doctor_%d", (int)getpid());
	snprintf(sql, sizeof sql, "LISTEN %s", doctor->channel);
	connection_query(inspect->first, sql, 0, NULL, true, INSPECT_QUERY_TIMEOUT_MS, listens, doctor);
}

/* ---- 2. the database */

static void on_found(struct inspect *inspect, bool good, const char *topic, const char *text, const char *cure)
{
	struct doctor *doctor = inspect->arg;
	if (good) {
		tell_fine(doctor, topic, text);
		return;
	}
	tell_finding(doctor, SEVERITY_PROBLEM, topic, text,
	             "A bridge with this configuration cannot serve; the rest can be looked at once this is cured.",
	             cure ? cure
	                  : "psql \"$LIVEFEED_DSN\"   # with what --print-config shows as dsn, as the bridge's user");
	end(doctor);
}

int doctor_run(const struct config *config)
{
	static const struct inspect_events events = {on_found, on_whole, on_notified, on_lost};
	uv_loop_t loop;
	struct doctor doctor = {.config = config, .colour = terminal_has_colour(stdout)};
	doctor.inspect = (struct inspect){
		.events = &events, .arg = &doctor, .loop = &loop, .dsn = config->dsn, .program = "livefeed-bridge doctor"};
	uv_loop_init(&loop);
	uv_timer_init(&loop, &doctor.hear);
	doctor.hear.data = &doctor;
	printf("livefeed-bridge %s doctor\n\n", LIVEFEED_VERSION);
	look_at_config(&doctor);
	if (!inspect_start(&doctor.inspect)) {
		tell_finding(&doctor, SEVERITY_PROBLEM, "database", "out of memory", NULL, NULL);
		end(&doctor);
	}
	while (!doctor.ended && uv_run(&loop, UV_RUN_ONCE)) {
	}
	inspect_end(&doctor.inspect);
	uv_close((uv_handle_t *)&doctor.hear, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return conclude(&doctor);
}
