/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  Dates and times in ISO 8601, whatever the session's settings; and time that passes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pgtime.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "clock.h"

/*
 * Years beyond four digits get a sign and six, as ECMAScript reads them; year
 * 0000 is 1 BC.
 */
static char *
put_date(char *out, int year, int month, int day)
{
	if (year >= 0 && year <= 9999)
		out = pg_ultostr_zeropad(out, year, 4);
	else
	{
		*out++ = year < 0 ? '-' : '+';
		out = pg_ultostr_zeropad(out, abs(year), 6);
	}
	*out++ = '-';
	out = pg_ultostr_zeropad(out, month, 2);
	*out++ = '-';
	return pg_ultostr_zeropad(out, day, 2);
}

static char *
put_time(char *out, int hour, int minute, int second)
{
	*out++ = 'T';
	out = pg_ultostr_zeropad(out, hour, 2);
	*out++ = ':';
	out = pg_ultostr_zeropad(out, minute, 2);
	*out++ = ':';
	return pg_ultostr_zeropad(out, second, 2);
}

int
clock_date(char *out, DateADT date)
{
	char	   *start = out;
	int			year,
				month,
				day;

	if (DATE_IS_NOBEGIN(date))
		return strlcpy(out, "-infinity", CLOCK_TEXT_BYTES);
	if (DATE_IS_NOEND(date))
		return strlcpy(out, "infinity", CLOCK_TEXT_BYTES);

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	out = put_date(out, year, month, day);
	return out - start;
}

int
clock_timestamp_text(char *out, Timestamp at, bool zone)
{
	char	   *start = out;
	struct pg_tm tm;
	fsec_t		micros;

	if (TIMESTAMP_IS_NOBEGIN(at))
		return strlcpy(out, "-infinity", CLOCK_TEXT_BYTES);
	if (TIMESTAMP_IS_NOEND(at))
		return strlcpy(out, "infinity", CLOCK_TEXT_BYTES);

	/* Without a zone asked for, what is stored is broken down, and that is UTC. */
	if (timestamp2tm(at, NULL, &tm, &micros, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));

	out = put_date(out, tm.tm_year, tm.tm_mon, tm.tm_mday);
	out = put_time(out, tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (micros != 0)
	{
		*out++ = '.';
		out = pg_ultostr_zeropad(out, micros, 6);
		while (out[-1] == '0')
			out--;
	}
	if (zone)
		*out++ = 'Z';
	return out - start;
}

void
clock_append(StringInfo buf, TimestampTz at)
{
	/* Events come many to a second: its text is kept. */
	static int64 kept_second = PG_INT64_MIN;
	static char kept[CLOCK_TEXT_BYTES];
	static int	kept_len = 0;
	int64		second = at / USECS_PER_SEC;
	int32		micros = at % USECS_PER_SEC;
	char		tail[16];
	char	   *out = tail;

	if (micros < 0)
	{
		micros += USECS_PER_SEC;
		second--;
	}
	if (second != kept_second)
	{
		kept[0] = '"';
		kept_len = 1 + clock_timestamp_text(kept + 1, second * USECS_PER_SEC, false);
		kept_second = second;
	}
	*out++ = '.';
	out = pg_ultostr_zeropad(out, micros, 6);
	*out++ = 'Z';
	*out++ = '"';
	appendBinaryStringInfo(buf, kept, kept_len);
	appendBinaryStringInfo(buf, tail, out - tail);
}

int64
clock_passed_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}
