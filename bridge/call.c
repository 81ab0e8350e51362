/*
 * call.c - answers of livefeed.call for sessions.
 */
#include "session_internal.h"

void hub_answer_call(struct hub *hub, struct request *request, const struct call_answer *answer)
{
	(void)hub;
	(void)answer;
	request_free(request);
}
