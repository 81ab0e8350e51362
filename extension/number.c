/*-------------------------------------------------------------------------
 *
 * number.c
 *	  The numbers of events, drawn from livefeed.seq.
 *
 * nextval() remembers which sequence was the last, for lastval(). Our draw comes
 * after the application's own, in the AFTER trigger of its INSERT: an application
 * that asks "SELECT lastval()" for the id of the row it has made, as PDO's
 * lastInsertId() does, would get our number, or no permission. So the number is
 * drawn here, from the same page and logged in the same way: nextval() and this
 * may be mixed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/rel.h"

#include "compat.h"
#include "number.h"

/* So many numbers ahead are logged at once, as nextval() does; a crash skips them. */
#define NUMBERS_LOGGED_AHEAD 32

/* Logs the tuple of the sequence as it is now. Inside a critical section. */
static void
log_tuple(Relation relation, Buffer buffer, HeapTupleHeader tuple, Size len)
{
	xl_seq_rec	record;
	XLogRecPtr	end;

	compat_set_sequence_record(&record, relation);
	XLogBeginInsert();
	XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
	XLogRegisterData((char *) &record, sizeof(record));
	XLogRegisterData((char *) tuple, len);
	end = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
	PageSetLSN(BufferGetPage(buffer), end);
}

/* The next number; the buffer is locked. */
static int64
draw_from(Relation relation, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	ItemId		item = PageGetItemId(page, FirstOffsetNumber);
	HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, item);
	Form_pg_sequence_data state = (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);
	int64		number = state->is_called ? state->last_value + 1 : state->last_value;
	int64		ahead = state->log_cnt - 1;

	/* After a checkpoint the page is logged anew, so that a torn one can be mended. */
	bool		logs = ahead < 0 || !state->is_called || PageGetLSN(page) <= GetRedoRecPtr();

	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	state->is_called = true;
	if (logs && RelationNeedsWAL(relation))
	{
		/* After a crash the sequence goes on behind all that may have been drawn. */
		state->last_value = number + NUMBERS_LOGGED_AHEAD;
		state->log_cnt = 0;
		log_tuple(relation, buffer, tuple, ItemIdGetLength(item));
	}
	state->last_value = number;
	state->log_cnt = logs ? NUMBERS_LOGGED_AHEAD : ahead;
	END_CRIT_SECTION();
	return number;
}

int64
number_draw(Oid sequence)
{
	Relation	relation = relation_open(sequence, RowExclusiveLock);
	Buffer		buffer = ReadBuffer(relation, 0);
	int64		number;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	number = draw_from(relation, buffer);
	UnlockReleaseBuffer(buffer);
	relation_close(relation, NoLock);
	return number;
}
