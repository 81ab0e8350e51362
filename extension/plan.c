/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  The statements that ticking and reading run through SPI, each prepared
 *	  once per backend.
 *
 * All of them must be index scans in index order, whatever the tables'
 * statistics say: nobody analyzes tables that are emptied by TRUNCATE, and a
 * plan that sorts or hashes a million events to return ten is what this is to
 * prevent. So they are planned once, for any parameters, with the other ways
 * switched off; and each range of transactions is a subquery of its own that
 * OFFSET 0 keeps the planner from taking apart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/guc.h"

#include "compat.h"
#include "plan.h"

#define PLAN_MAX_ARGS 8

typedef struct PlanText
{
	int			nargs;
	Oid			types[PLAN_MAX_ARGS];
	const char *sql;
} PlanText;

#define TICK_COLUMNS "t.tick, t.epoch, t.snapshot, t.id_from, t.id_to, t.id_last, t.at, t.segments"

/* batch.c knows these by number. */
#define EVENT_COLUMNS \
	"l.xid, l.seq, l.command, l.at, l.flags, l.feed, l.unit, l.users, l.to_users, " \
	"l.key, l.parent_feed, l.parent_key, l.frame"

#define IN_RANGE "WHERE l.xid >= r.lo AND l.xid < r.hi"
#define IN_ORDER "ORDER BY l.xid, l.command, l.seq"

/* The plans of a log, in the order of PlanId. */
#define LOG_PLANS(table) \
	/* ANY */ \
	{2, {XID8ARRAYOID, XID8ARRAYOID}, \
		"SELECT 1 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) r(lo, hi) CROSS JOIN LATERAL " \
		"(SELECT 1 FROM " table " l " IN_RANGE " " IN_ORDER " LIMIT 1) l LIMIT 1"}, \
	/* COUNT */ \
	{3, {XID8ARRAYOID, XID8ARRAYOID, INT8OID}, \
		"SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) r(lo, hi) CROSS JOIN LATERAL " \
		"(SELECT 1 FROM " table " l " IN_RANGE " " IN_ORDER " OFFSET 0) l LIMIT $3) x"}, \
	/* TRANSACTIONS */ \
	{2, {XID8ARRAYOID, XID8ARRAYOID}, \
		"SELECT l.xid, pg_catalog.count(*), pg_catalog.max(l.seq) " \
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) r(lo, hi) CROSS JOIN LATERAL " \
		"(SELECT l.xid, l.seq FROM " table " l " IN_RANGE " " IN_ORDER " OFFSET 0) l " \
		"GROUP BY l.xid ORDER BY pg_catalog.max(l.seq)"}, \
	/* CUTS */ \
	{2, {XID8OID, INT8OID}, \
		"SELECT x.command, x.seq FROM (SELECT l.command, l.seq, " \
		"pg_catalog.row_number() OVER (ORDER BY l.xid, l.command, l.seq) AS n " \
		"FROM " table " l WHERE l.xid = $1) x WHERE (x.n - 1) % $2 = 0 ORDER BY x.n"}, \
	/* RANGES */ \
	{3, {INT4ARRAYOID, XID8ARRAYOID, XID8ARRAYOID}, \
		"SELECT r.n, " EVENT_COLUMNS " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) r(n, lo, hi) CROSS JOIN LATERAL " \
		"(SELECT * FROM " table " l " IN_RANGE " " IN_ORDER " OFFSET 0) l"}, \
	/* LIST */ \
	{1, {XID8ARRAYOID}, \
		"SELECT u.n::integer, " EVENT_COLUMNS " FROM pg_catalog.unnest($1) WITH ORDINALITY u(xid, n) CROSS JOIN LATERAL " \
		"(SELECT * FROM " table " l WHERE l.xid = u.xid " IN_ORDER " OFFSET 0) l"}, \
	/* PART */ \
	{4, {XID8OID, INT4OID, INT8OID, INT8OID}, \
		"SELECT 0, " EVENT_COLUMNS " FROM " table " l WHERE l.xid = $1 AND (l.command, l.seq) >= ($2, $3) " \
		IN_ORDER " LIMIT $4"}

#define INSERT_TICK(n) \
	{8, {INT8OID, TEXTOID, PG_SNAPSHOTOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID}, \
		"INSERT INTO livefeed.ticks_" n " (tick, epoch, snapshot, id_from, id_to, id_last, at, segments) " \
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"}

#define INSERT_SEGMENT(n) \
	{7, {INT8OID, INT8OID, INT4OID, BOOLOID, XID8ARRAYOID, INT4OID, INT8OID}, \
		"INSERT INTO livefeed.segments_" n " (tick, id, events, transient, xids, command, seq) " \
		"VALUES ($1, $2, $3, $4, $5, $6, $7)"}

static const PlanText plan_texts[] = {
	/* LAST */
	{0, {0},
		"SELECT " TICK_COLUMNS ", s.random, s.kept, s.kept_tick, s.tick_current FROM livefeed.state s, "
	"(SELECT * FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1) t WHERE s.one"},
	/* TICKS_AFTER_ID */
	{2, {INT8OID, INT8OID},
		"SELECT " TICK_COLUMNS " FROM livefeed.ticks t WHERE t.tick >= "
		"(SELECT b.tick - 1 FROM livefeed.ticks b WHERE b.id_last > $1 ORDER BY b.id_last, b.tick LIMIT 1) "
	"ORDER BY t.tick LIMIT $2"},
	/* TICKS_FROM */
	{2, {INT8OID, INT8OID},
	"SELECT " TICK_COLUMNS " FROM livefeed.ticks t WHERE t.tick >= $1 ORDER BY t.tick LIMIT $2"},
	/* SEGMENTS */
	{3, {INT8OID, INT8OID, INT8OID},
		"SELECT g.id, g.events, g.transient, g.xids, g.command, g.seq FROM livefeed.segments g "
		"WHERE g.tick = $1 AND g.id >= (SELECT b.id FROM livefeed.segments b "
	"WHERE b.tick = $1 AND b.id <= $2 ORDER BY b.tick DESC, b.id DESC LIMIT 1) ORDER BY g.tick, g.id LIMIT $3"},
	LOG_PLANS("livefeed.log"),
	LOG_PLANS("livefeed.transient"),
	INSERT_TICK("0"),
	INSERT_TICK("1"),
	INSERT_TICK("2"),
	INSERT_SEGMENT("0"),
	INSERT_SEGMENT("1"),
	INSERT_SEGMENT("2"),
};

static SPIPlanPtr plan_plans[PLANS];

static void
plan_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

int
plan_enter(void)
{
	int			level = NewGUCNestLevel();

	plan_set("jit", "off");
	plan_set("enable_seqscan", "off");
	plan_set("enable_bitmapscan", "off");
	plan_set("enable_indexscan", "on");
	plan_set("enable_nestloop", "on");
	return level;
}

void
plan_leave(int level)
{
	AtEOXact_GUC(true, level);
}

SPIPlanPtr
plan_get(PlanId id)
{
	StaticAssertStmt(lengthof(plan_texts) == PLANS, "a plan without a text");

	if (plan_plans[id] == NULL)
	{
		const PlanText *def = &plan_texts[id];
		SPIPlanPtr	plan = SPI_prepare_cursor(def->sql, def->nargs, (Oid *) def->types,
											  CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", def->sql, SPI_result_code_string(SPI_result));
		plan_plans[id] = plan;
	}
	return plan_plans[id];
}

uint64
plan_read(PlanId id, Datum *values, const char *nulls, long limit)
{
	int			result = SPI_execute_plan(plan_get(id), values, nulls, true, limit);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", plan_texts[id].sql, SPI_result_code_string(result));
	return SPI_processed;
}

void
plan_write(PlanId id, Datum *values, const char *nulls)
{
	int			result = SPI_execute_plan(plan_get(id), values, nulls, false, 0);

	if (result != SPI_OK_INSERT)
		elog(ERROR, "could not run \"%s\": %s", plan_texts[id].sql, SPI_result_code_string(result));
}
