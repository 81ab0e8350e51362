/*
 * seat.c - how many connections that last there may be, of all and of one address: WebSockets, streams and polls together.
 * What a refused one is told is its transport's business.
 */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "metrics.h"
#include "users.h"

/* False: its address has as many as it may have. */
static bool count_address(struct server *server, struct client *client, const char *address)
{
	client->address = strdup(address);
	if (!client->address) {
		return false;
	}
	uint32_t n = user_counts_add(server->addresses, address);
	if (n == 0) {
		free(client->address);
		client->address = NULL;
	}
	return n > 0 && n <= server->settings.config->max_connections_per_address;
}

const char *seat_take(struct server *server, struct client *client, const char *address)
{
	if (server->websockets + server->streams > (size_t)server->settings.config->max_connections) {
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS]++;
		log_bounded(LOG_TOPIC_SESSION, NULL, "too many connections: --max-connections is reached");
		return "too many connections";
	}
	if (!count_address(server, client, address)) {
		struct log_field fields[] = {{"address", address}, {NULL, NULL}};
		metrics.limits[METRIC_LIMIT_MAX_CONNECTIONS_PER_ADDRESS]++;
		log_bounded(LOG_TOPIC_SESSION, fields, "too many connections from this address");
		return "too many connections from this address";
	}
	return NULL;
}

void seat_leave(struct server *server, struct client *client)
{
	if (client->address) {
		user_counts_remove(server->addresses, client->address);
		free(client->address);
		client->address = NULL;
	}
}
