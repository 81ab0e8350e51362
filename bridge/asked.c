/*
 * asked.c - requests: what is asked of the backend for a session or for the hub, from the asking to the answer.
 *
 * In: who asks, and what kind it is; the asker fills in the rest. Out: an entry in the hub's list of all requests, so that a
 * hub that ends frees those that nobody answers any more. A request is owned by whoever answers it: the backend while it is asked,
 * then the hub_answer function, which frees it. While it waits for something else it is owned by the list that it waits in.
 * With a request go its strings, its claims, its call, and the messages that were deferred behind it.
 */
#include <stdlib.h>

#include "session_internal.h"

struct request *request_new(struct hub *hub, enum request_kind kind, struct session *session)
{
	struct request *request = calloc(1, sizeof(*request));
	if (request == NULL)
		return NULL;
	request->hub = hub;
	request->kind = kind;
	request->session = session;
	request->restarts = hub->restarts;
	request->all_next = hub->requests;
	if (hub->requests != NULL)
		hub->requests->all_prev = request;
	hub->requests = request;
	return request;
}

void request_free(struct request *request)
{
	if (request->all_prev != NULL)
		request->all_prev->all_next = request->all_next;
	else
		request->hub->requests = request->all_next;
	if (request->all_next != NULL)
		request->all_next->all_prev = request->all_prev;
	deferred_free(request->deferred_first);
	free(request->ref);
	free(request->channel);
	free(request->token);
	principal_unref(request->claimed);
	call_free(request->hub, request->call);
	free(request);
}
