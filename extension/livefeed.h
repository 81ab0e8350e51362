/*-------------------------------------------------------------------------
 *
 * livefeed.h
 *	  The settings, and where the extension's own relations are found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_H
#define LIVEFEED_H

#include "postgres.h"

#define LIVEFEED_SCHEMA "livefeed"
#define LIVEFEED_CHANNEL "livefeed" /* of NOTIFY */

/* A name of a feed, an entity: [a-z][a-z0-9_]*. */
#define LIVEFEED_NAME_MAX_BYTES 63

typedef enum LivefeedNotify
{
	LIVEFEED_NOTIFY_AUTO,		/* where no bridge has ever registered */
	LIVEFEED_NOTIFY_ALWAYS,
	LIVEFEED_NOTIFY_NEVER,
} LivefeedNotify;

extern char *livefeed_actor;
extern char *livefeed_action;
extern bool livefeed_enabled;
extern bool livefeed_strict;
extern int	livefeed_notify;
extern int	livefeed_max_events_per_transaction;
extern int	livefeed_max_bytes_per_transaction_kb;
extern int	livefeed_max_event_bytes;
extern int	livefeed_retention_s;
extern int	livefeed_retention_events;	/* -1: no limit */
extern int	livefeed_snapshot_rows;
extern int	livefeed_token_max_age_s;

/* The oid of a relation of ours; an error if the extension is not there. */
extern Oid	livefeed_relation(const char *name);

#endif							/* LIVEFEED_H */
