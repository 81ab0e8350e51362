/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Dates and times in ISO 8601, whatever the session's settings; and time that passes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_CLOCK_H
#define LIVEFEED_CLOCK_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/timestamp.h"

/* Room for the text of any date or time. */
#define CLOCK_TEXT_BYTES 64

/* Both write the text, without NUL, and return its length. */
extern int	clock_date(char *out, DateADT date);
extern int	clock_timestamp_text(char *out, Timestamp at, bool zone);

/* Appends a time as a quoted UTC string with six digits of microseconds. */
extern void clock_append(StringInfo buf, TimestampTz at);

/* Microseconds that pass evenly, whoever sets the clock; the same for all backends. For waits and ages. */
extern int64 clock_passed_us(void);

#endif							/* LIVEFEED_CLOCK_H */
