/*
 * value.c - answers of livefeed.run_query for sessions.
 */
#include "session_internal.h"

void hub_answer_value(struct hub *hub, struct request *request, const struct value_answer *answer)
{
	(void)hub;
	(void)answer;
	request_free(request);
}
