/*
 * forward.c - hands on the pages that the reader and the ticker got (tail.c has the story and the invariants).
 *
 * A page first has to continue what we have: its mark tells its epoch, and whether events were pruned or ids went
 * back. Then its rows go on, those at or below our position left out, a part in each turn of the loop.
 */
#include "tail_internal.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "metrics.h"

#define PART_ROWS 1000
#define PART_BYTES (256 * 1024)

void tail_drop_pages(struct tail *tail)
{
	for (int i = 0; i < N_PAGES; i++) {
		PQclear(tail->pages[i].result);
		tail->pages[i].result = NULL;
	}
	uv_idle_stop(tail->more);
}

void tail_restart(struct tail *tail, const char *epoch, int64_t head, const char *reason)
{
	snprintf(tail->epoch, sizeof tail->epoch, "%s", epoch);
	tail->after = head;
	tail->known = true;
	tail->history++;
	metrics.tail_head = metrics.database_head = head;
	tail->events.restart(tail->events.arg, tail->epoch, head, reason);
	tail_reload(tail); /* what control events told may have been missed: it is all read again first */
}

/* Of the control events, these tell all there is to know. */
static bool says_all(struct text kind)
{
	static const char *const kinds[] = {"disconnect", "reauthorize", "transient_lost"};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (kind.len == strlen(kinds[i]) && memcmp(kind.bytes, kinds[i], kind.len) == 0) {
			return true;
		}
	}
	return false;
}

/*
 * Before the first row of a page is forwarded: does it continue what we have? Its epoch is that of all its rows. In a
 * new epoch, ids of this database go on from the old ones; where they went back (a restore), so do we.
 */
static void begin_page(struct tail *tail, const struct page *page)
{
	if (strcmp(page->mark.epoch, tail->epoch) != 0) {
		int64_t head = page->mark.id < tail->after ? page->mark.id : tail->after;
		log_warn("the database's history changed: epoch %s is now %s", tail->epoch, page->mark.epoch);
		tail_restart(tail, page->mark.epoch, page->mark.flags & EVENT_PRUNED ? page->mark.id : head, "epoch");
	} else if (page->mark.flags & EVENT_PRUNED) {
		if (page->mark.id > tail->after) {
			log_warn("events %lld to %lld were pruned before this bridge read them", (long long)tail->after + 1,
			         (long long)page->mark.id);
			tail_restart(tail, page->mark.epoch, page->mark.id, "pruned");
		}
	} else if (page->mark.id < page->asked_after) {
		log_warn("the database's history went back from id %lld to %lld", (long long)page->asked_after,
		         (long long)page->mark.id);
		tail_restart(tail, page->mark.epoch, page->mark.id, "epoch");
	}
}

/* Frees a page and lets its connection ask for the next. */
static void free_page(struct tail *tail, int from, bool more)
{
	struct page *page = &tail->pages[from];
	PQclear(page->result);
	page->result = NULL;
	if (from == FROM_TICKER) {
		tail->pages[from].asked_in = tail->history;
		ticker_go_on(tail->ticker, tail->after);
	} else if (more) {
		tail->want_read = true;
	}
}

static void end_page(struct tail *tail, int from)
{
	struct page *page = &tail->pages[from];
	if (page->mark.id > tail->after) {
		tail->after = page->mark.id;
	}
	metrics.tail_head = tail->after;
	tail->events.advance(tail->events.arg, tail->after, !(page->mark.flags & EVENT_MORE));
	free_page(tail, from, page->mark.id > page->asked_after); /* the reader reads until a page brings nothing */
}

/* One part of a page. Returns false when the loop should turn, or nothing can be forwarded now. */
static bool forward_part(struct tail *tail, int from)
{
	struct page *page = &tail->pages[from];
	int last = PQntuples(page->result) - 1;
	size_t bytes = 0;
	if (page->asked_in != tail->history) {
		free_page(tail, from, true);
		return true;
	}
	if (!page->begun) {
		page->begun = true;
		begin_page(tail, page);
		page->asked_in = tail->history;
		if (tail->blocked) {
			return false;
		}
	}
	for (int rows = 0; page->row < last && rows < PART_ROWS && bytes < PART_BYTES; rows++) {
		struct event event;
		if (!rows_event(page->result, page->row, &tail->scratch, &event)) {
			log_error("row %d after id %lld of the log is malformed: is the extension that of this bridge (%s)?",
			          page->row, (long long)tail->after, tail->version);
			tail_fail(tail, "malformed row in the log");
			return false;
		}
		page->row++;
		if (event.id <= tail->after) {
			continue;
		}
		/* The row points into the page; what is handed on is kept by the history and has to stand alone. */
		struct event *own = event_new(&event);
		if (own == NULL) {
			tail_fail(tail, "out of memory");
			return false;
		}
		tail->after = event.id;
		bytes += event.body.len;
		tail->events.event(tail->events.arg, own);
		event_unref(own);
		if ((event.flags & EVENT_CONTROL) && !says_all(event.feed)) {
			tail->events.advance(tail->events.arg, tail->after, false);
			tail_reload(tail);
			return false;
		}
	}
	if (page->row >= last) {
		end_page(tail, from);
	} else {
		tail->events.advance(tail->events.arg, tail->after, false);
	}
	return true;
}

static void on_more(uv_idle_t *idle)
{
	struct tail *tail = idle->data;
	uv_idle_stop(idle);
	tail_forward(tail);
	tail_reader_next(tail);
}

/* Forwards a part of the page whose turn it is; the rest in later turns of the loop. */
void tail_forward(struct tail *tail)
{
	if (tail->blocked || !tail->known) {
		return;
	}
	if (!tail->pages[tail->turn].result) {
		tail->turn = !tail->turn;
	}
	if (tail->pages[tail->turn].result && forward_part(tail, tail->turn) &&
	    (tail->pages[FROM_READER].result || tail->pages[FROM_TICKER].result)) {
		uv_idle_start(tail->more, on_more);
	}
}

void tail_take_page(struct tail *tail, int from, PGresult *result, const struct rows_mark *mark, int64_t asked_after)
{
	struct page *page = &tail->pages[from];
	/* Of a ticker that was lost with its page still waiting: the new one's holds the same, and more. */
	PQclear(page->result);
	page->result = result;
	page->row = 0;
	page->begun = false;
	page->asked_after = asked_after;
	page->mark = *mark;
	if (!uv_is_active((uv_handle_t *)tail->more)) {
		tail_forward(tail);
	}
}
