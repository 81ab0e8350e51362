/*-------------------------------------------------------------------------
 *
 * number.h
 *	  The numbers of events, drawn from livefeed.seq.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_NUMBER_H
#define LIVEFEED_NUMBER_H

#include "postgres.h"

/*
 * The sequence's next value, as nextval() would draw it, but unseen by lastval().
 * The transaction has an id already.
 */
extern int64 number_draw(Oid sequence);

#endif							/* LIVEFEED_NUMBER_H */
