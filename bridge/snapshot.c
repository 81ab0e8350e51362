/*
 * snapshot.c - answers of livefeed.snapshot for sessions.
 */
#include "session_internal.h"

void hub_answer_snapshot(struct hub *hub, struct request *request, const struct snapshot_answer *answer)
{
	(void)hub;
	(void)answer;
	request_free(request);
}
