/*-------------------------------------------------------------------------
 *
 * livefeed.c
 *	  The module: settings, and what is set up when the library is loaded.
 *
 * The way of a change through the writer's backend, room by room:
 *
 *	1. An AFTER ROW trigger, made by livefeed.watch(), calls capture.c with OLD
 *	   and NEW. What the table publishes stands in the trigger's argument;
 *	   watch.c parses it once per backend and keeps it until the table changes.
 *	2. capture.c decides which events the change makes (created, updated,
 *	   deleted; moved out of and into a unit or a user's view) and render.c
 *	   writes the JSON that browsers will get, once.
 *	3. journal.c inserts the event into the log, in the writer's transaction:
 *	   a rollback takes it along. There is no SPI on this path, no lock beyond
 *	   the one every INSERT takes, and no NOTIFY where a bridge is registered.
 *	4. When the transaction commits, wake.c sets the latch of the ticker, which
 *	   puts the events into the one order that all clients see (tick.c).
 *
 * The library need not be preloaded: it is loaded by the first trigger or
 * function of ours that a backend calls.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "journal.h"
#include "livefeed.h"
#include "render.h"
#include "watch.h"

PG_MODULE_MAGIC;

char	   *livefeed_actor = NULL;
char	   *livefeed_action = NULL;
bool		livefeed_enabled = true;
bool		livefeed_strict = false;
int			livefeed_notify = LIVEFEED_NOTIFY_AUTO;
int			livefeed_max_events_per_transaction = 10000;
int			livefeed_max_bytes_per_transaction_kb = 64 * 1024;
int			livefeed_max_event_bytes = 256 * 1024;
int			livefeed_retention_s = 24 * 60 * 60;
int			livefeed_retention_events = -1;
int			livefeed_snapshot_rows = 1000;
int			livefeed_token_max_age_s = 90 * 24 * 60 * 60;

static const struct config_enum_entry notify_options[] = {
	{"auto", LIVEFEED_NOTIFY_AUTO, false},
	{"always", LIVEFEED_NOTIFY_ALWAYS, false},
	{"never", LIVEFEED_NOTIFY_NEVER, false},
	{NULL, 0, false}
};

void		_PG_init(void);

Oid
livefeed_relation(const char *name)
{
	Oid			schema = get_namespace_oid(LIVEFEED_SCHEMA, true);
	Oid			relation = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", LIVEFEED_SCHEMA, name),
				 errhint("Run CREATE EXTENSION livefeed in this database.")));
	return relation;
}

/* What an application sets for its own session or transaction. */
static void
define_session_settings(void)
{
	DefineCustomStringVariable("livefeed.actor",
							   "Whom events name in updated_by.",
							   "Set it, best with SET LOCAL, where all of the application's users share one role.",
							   &livefeed_actor, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("livefeed.action",
							   "The action of the updates that follow.",
							   "SET LOCAL it where no column tells why a row changes.",
							   &livefeed_action, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("livefeed.enabled",
							 "Whether changes of watched tables make events.",
							 "Switch it off for a bulk load, and call livefeed.resync() after it.",
							 &livefeed_enabled, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("livefeed.strict",
							 "Whether a broken watch makes the write fail.",
							 "Off, a broken watch is a warning and a resync; on is for tests of an application's own migrations.",
							 &livefeed_strict, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("livefeed.notify",
							 "Whether a writer's commit sends NOTIFY itself.",
							 "\"auto\": only in a database that no bridge has ever registered with, since NOTIFY makes commits wait for each other.",
							 &livefeed_notify, LIVEFEED_NOTIFY_AUTO, notify_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

/* Limits: each has a defined behaviour at the bound. */
static void
define_limits(void)
{
	DefineCustomIntVariable("livefeed.max_events_per_transaction",
							"Beyond this number of events a transaction's further ones become one resync for each feed.",
							"Raise it for a bulk change that clients are to see row by row.",
							&livefeed_max_events_per_transaction, 10000, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.max_bytes_per_transaction",
							"Beyond this volume a transaction's further events become one resync for each feed.",
							"It bounds what one transaction adds to the log.",
							&livefeed_max_bytes_per_transaction_kb, 64 * 1024, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.max_event_bytes",
							"An event larger than this is sent without data, as too large.",
							"It bounds what a wide row costs its writer and every client.",
							&livefeed_max_event_bytes, 256 * 1024, 1024, 64 * 1024 * 1024,
							PGC_USERSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.retention",
							"How long events are kept for clients that come back.",
							"The log is no audit trail: clients away for longer are told to refetch.",
							&livefeed_retention_s, 24 * 60 * 60, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.retention_events",
							"How many events are kept at most, roughly; -1: no such limit.",
							"Set it where bursts would make the log grow large within the retention time.",
							&livefeed_retention_events, -1, -1, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.snapshot_rows",
							"The most rows that a default snapshot holds.",
							"Beyond it the newest keys are sent and the snapshot says that it is truncated.",
							&livefeed_snapshot_rows, 1000, 1, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("livefeed.token_max_age",
							"How old a token of a login session (claim \"sid\") may be.",
							"Older ones are refused, so that what was disconnected need not be remembered for ever.",
							&livefeed_token_max_age_s, 90 * 24 * 60 * 60, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_session_settings();
	define_limits();
	compat_reserve_prefix("livefeed");
	render_init();
	watch_init();
	journal_init();
}
