/*
 * session_log.c - what the log says of a session: with its client's address and, once it is known, its user; never with
 * anything of a token.
 *
 * At info what is refused or cut off, so many lines a second of each kind (log.h); at debug each beginning and end.
 */
#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "session_internal.h"

static const char *user_of(const struct session *session)
{
	return session->principal != NULL ? session->principal->user : session->token != NULL ? session->token->user : NULL;
}

void session_log_opened(const struct session *session)
{
	struct log_field fields[] = {{"address", session->address},
	                             {"transport", session->transport->name},
	                             {"path", session->path != NULL ? session->path->path : NULL},
	                             {NULL, NULL}};
	log_with(LOG_LEVEL_DEBUG, fields, "session opened");
}

void session_log_refused(const struct session *session, const char *reason)
{
	struct log_field fields[] = {{"address", session->address}, {"user", user_of(session)}, {NULL, NULL}};
	log_bounded(LOG_TOPIC_TOKEN, fields, "token refused: %s", reason);
}

void session_log_shut(const struct session *session)
{
	char code[8];
	switch (session->close_code) {
	case CLOSE_PROTOCOL:
	case CLOSE_NOT_TEXT:
	case CLOSE_NOT_UTF8:
	case CLOSE_TOO_LARGE:
	case CLOSE_BAD_MESSAGES:
	case CLOSE_DISCONNECTED:
	case CLOSE_TOO_SLOW:
	case CLOSE_LIMIT:
		break;
	default:
		return; /* in the order of things, or told elsewhere */
	}
	snprintf(code, sizeof code, "%d", session->close_code);
	struct log_field fields[] = {
		{"code", code}, {"address", session->address}, {"user", user_of(session)}, {NULL, NULL}};
	log_bounded(LOG_TOPIC_SESSION, fields, "session closed: %s", session->close_reason);
}

void session_log_gone(const struct session *session)
{
	char code[8], seconds[32];
	int64_t age_ms = session->hub->now_ms - session->opened_ms;
	if (!log_enabled(LOG_LEVEL_DEBUG))
		return;
	snprintf(code, sizeof code, "%d", session->close_code);
	snprintf(seconds, sizeof seconds, "%" PRId64 ".%03d", age_ms / 1000, (int)(age_ms % 1000));
	struct log_field fields[] = {{"address", session->address},
	                             {"user", user_of(session)},
	                             {"code", session->close_code != 0 ? code : NULL},
	                             {"reason", session->close_code != 0 ? session->close_reason : NULL},
	                             {"seconds", seconds},
	                             {NULL, NULL}};
	log_with(LOG_LEVEL_DEBUG, fields, "session ended");
}
