/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  What the journal keeps of a transaction until its end.
 *
 * A transaction that makes more events than livefeed.max_events_per_transaction,
 * or more bytes than livefeed.max_bytes_per_transaction, is told in short: the
 * further events of each feed are folded into one resync, written when the
 * transaction ends. Counting follows savepoints: what was rolled back is given
 * back, and a feed that only a rolled-back savepoint folded needs no resync.
 *
 * Everything kept here bears the nesting level of the (sub)transaction it came
 * from. The lists are in the order of levels, so that the end of a savepoint
 * touches their tails alone, and allocates nothing: it may be an abort.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "common/hashfn.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "fold.h"
#include "livefeed.h"
#include "text.h"

/* More feeds and units than this in a transaction ring one bell for all. */
#define MAX_BELLS 300
#define MAX_BELL_ACTIONS 8
/* NOTIFY refuses payloads of 8000 bytes and more. */
#define MAX_BELL_BYTES 7900

/* The counts as they were when a savepoint first wrote. */
typedef struct Mark
{
	int			level;
	int64		events;
	int64		bytes;
} Mark;

typedef struct Resync
{
	int			level;
	char	   *feed;
	const char *reason;			/* a literal */
} Resync;

typedef struct Bell
{
	int			level;
	uint32		hash;
	char	   *feed;
	char	   *unit;			/* NULL: none */
	int64		count;
	int			nactions;
	char	   *actions[MAX_BELL_ACTIONS];
} Bell;

/* All of it lives in TopTransactionContext. */
typedef struct Fold
{
	int64		events;
	int64		bytes;
	int64		written;		/* events ever, also those rolled back */
	int			nmarks;
	int			marks_room;
	Mark	   *marks;
	int			nresyncs;
	int			resyncs_room;
	Resync	   *resyncs;
	int			nbells;
	int			bells_room;
	Bell	   *bells;
	int			many_level;		/* of the outermost one with too many bells; 0: none */
	char	   *last_feed;		/* fold_note_resync() */
	const char *last_reason;
	int64		last_written;
} Fold;

static Fold fold;

/* Makes room for one more element of an array in TopTransactionContext. */
static void *
grow(void *array, int used, int *room, Size size)
{
	if (used < *room)
		return array;
	*room = Max(8, *room * 2);
	return array == NULL
		? MemoryContextAlloc(TopTransactionContext, *room * size)
		: repalloc_huge(array, *room * size);
}

static char *
keep_string(const char *str)
{
	return MemoryContextStrdup(TopTransactionContext, str);
}

void
fold_count(int64 bytes)
{
	int			level = GetCurrentTransactionNestLevel();

	if (level > 1 && (fold.nmarks == 0 || fold.marks[fold.nmarks - 1].level < level))
	{
		fold.marks = grow(fold.marks, fold.nmarks, &fold.marks_room, sizeof(Mark));
		fold.marks[fold.nmarks++] = (Mark)
		{
			level, fold.events, fold.bytes
		};
	}
	fold.events++;
	fold.bytes += bytes;
	fold.written++;
}

bool
fold_is_full(void)
{
	return fold.events >= livefeed_max_events_per_transaction ||
		fold.bytes >= (int64) livefeed_max_bytes_per_transaction_kb * 1024;
}

void
fold_add_resync(const char *feed, const char *reason)
{
	/* Feeds are few, and the last is asked for most often. */
	for (int i = fold.nresyncs - 1; i >= 0; i--)
		if (strcmp(fold.resyncs[i].feed, feed) == 0 && strcmp(fold.resyncs[i].reason, reason) == 0)
			return;

	fold.resyncs = grow(fold.resyncs, fold.nresyncs, &fold.resyncs_room, sizeof(Resync));
	fold.resyncs[fold.nresyncs].feed = keep_string(feed);
	fold.resyncs[fold.nresyncs].reason = reason;
	fold.resyncs[fold.nresyncs].level = GetCurrentTransactionNestLevel();
	fold.nresyncs++;
}

bool
fold_just_resynced(const char *feed, const char *reason)
{
	return fold.last_feed != NULL && fold.last_written == fold.written &&
		strcmp(fold.last_feed, feed) == 0 && strcmp(fold.last_reason, reason) == 0;
}

void
fold_note_resync(const char *feed, const char *reason)
{
	fold.last_feed = keep_string(feed);
	fold.last_reason = reason;
	fold.last_written = fold.written;
}

static void
add_action(Bell *bell, const char *action)
{
	if (action == NULL || bell->nactions == MAX_BELL_ACTIONS)
		return;
	/* A byte that cannot be converted would end every listener's connection. */
	if (!text_is_sendable(action, strlen(action)))
		return;
	for (int i = 0; i < bell->nactions; i++)
		if (strcmp(bell->actions[i], action) == 0)
			return;
	bell->actions[bell->nactions++] = keep_string(action);
}

static bool
same_unit(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

void
fold_add_bell(const LivefeedEvent *event)
{
	int			level = GetCurrentTransactionNestLevel();
	const char *unit = event->unit;
	uint32		hash;
	Bell	   *bell;

	if (fold.many_level > 0)
		return;

	hash = hash_bytes((const unsigned char *) event->feed, strlen(event->feed));
	if (unit != NULL)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) unit, strlen(unit)));

	for (int i = fold.nbells - 1; i >= 0 && fold.bells[i].level == level; i--)
	{
		bell = &fold.bells[i];
		if (bell->hash == hash && strcmp(bell->feed, event->feed) == 0 && same_unit(bell->unit, unit))
		{
			bell->count++;
			add_action(bell, event->action);
			return;
		}
	}

	if (fold.nbells == MAX_BELLS)
	{
		fold.many_level = level;
		return;
	}
	fold.bells = grow(fold.bells, fold.nbells, &fold.bells_room, sizeof(Bell));
	bell = &fold.bells[fold.nbells];
	memset(bell, 0, sizeof(Bell));
	bell->level = level;
	bell->hash = hash;
	bell->feed = keep_string(event->feed);
	bell->unit = unit ? keep_string(unit) : NULL;
	bell->count = 1;
	add_action(bell, event->action);
	fold.nbells++;
}

bool
fold_has_resyncs(void)
{
	return fold.nresyncs > 0;
}

void
fold_each_resync(void (*write) (const char *feed, const char *reason))
{
	int			n = fold.nresyncs;

	fold.nresyncs = 0;
	for (int i = 0; i < n; i++)
		write(fold.resyncs[i].feed, fold.resyncs[i].reason);
}

/* Bells of savepoints that were released stand beside their parent's: add them up. */
static void
merge_bells(void)
{
	int			kept = 0;

	for (int i = 0; i < fold.nbells; i++)
	{
		Bell	   *bell = &fold.bells[i];
		int			j;

		for (j = 0; j < kept; j++)
			if (fold.bells[j].hash == bell->hash &&
				strcmp(fold.bells[j].feed, bell->feed) == 0 &&
				same_unit(fold.bells[j].unit, bell->unit))
				break;
		if (j == kept)
			fold.bells[kept++] = *bell;
		else
		{
			fold.bells[j].count += bell->count;
			for (int k = 0; k < bell->nactions; k++)
				add_action(&fold.bells[j], bell->actions[k]);
		}
	}
	fold.nbells = kept;
}

/* True if the payload fits. */
static bool
bell_payload(StringInfo payload, const Bell *bell, bool with_actions)
{
	resetStringInfo(payload);
	appendStringInfoString(payload, "{\"v\":1,\"feed\":");
	escape_json(payload, bell->feed);
	if (bell->unit != NULL)
	{
		appendStringInfoString(payload, ",\"unit\":");
		escape_json(payload, bell->unit);
	}
	appendStringInfo(payload, ",\"count\":" INT64_FORMAT ",\"actions\":[", bell->count);
	for (int i = 0; with_actions && i < bell->nactions; i++)
	{
		if (i > 0)
			appendStringInfoChar(payload, ',');
		escape_json(payload, bell->actions[i]);
	}
	appendStringInfoString(payload, "]}");
	return payload->len <= MAX_BELL_BYTES;
}

void
fold_ring(void)
{
	StringInfoData payload;
	bool		many = fold.many_level > 0;

	if (fold.nbells == 0 && !many)
		return;

	initStringInfo(&payload);
	merge_bells();
	for (int i = 0; i < fold.nbells && !many; i++)
	{
		if (bell_payload(&payload, &fold.bells[i], true) ||
			bell_payload(&payload, &fold.bells[i], false))
			Async_Notify(LIVEFEED_CHANNEL, payload.data);
		else
			many = true;
	}
	if (many)
		Async_Notify(LIVEFEED_CHANNEL, "{\"v\":1,\"many\":true}");
	pfree(payload.data);
	fold.nbells = 0;
	fold.many_level = 0;
}

void
fold_end_subtransaction(int level, bool commit)
{
	while (fold.nmarks > 0 && fold.marks[fold.nmarks - 1].level >= level)
	{
		Mark	   *mark = &fold.marks[fold.nmarks - 1];

		if (!commit)
		{
			fold.events = mark->events;
			fold.bytes = mark->bytes;
		}
		else if (level > 2 && (fold.nmarks == 1 || mark[-1].level < level - 1))
		{
			/* The parent has none of its own: it inherits this one. */
			mark->level = level - 1;
			break;
		}
		fold.nmarks--;
	}

	if (commit)
	{
		for (int i = fold.nresyncs - 1; i >= 0 && fold.resyncs[i].level >= level; i--)
			fold.resyncs[i].level = level - 1;
		for (int i = fold.nbells - 1; i >= 0 && fold.bells[i].level >= level; i--)
			fold.bells[i].level = level - 1;
		if (fold.many_level >= level)
			fold.many_level = level - 1;
	}
	else
	{
		while (fold.nresyncs > 0 && fold.resyncs[fold.nresyncs - 1].level >= level)
			fold.nresyncs--;
		while (fold.nbells > 0 && fold.bells[fold.nbells - 1].level >= level)
			fold.nbells--;
		if (fold.many_level >= level)
			fold.many_level = 0;
		fold.last_feed = NULL;
	}
}

void
fold_reset(void)
{
	memset(&fold, 0, sizeof(fold));
}
