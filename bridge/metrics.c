/*
 * metrics.c - the one set of counters of this process.
 */
#include "metrics.h"

struct metrics metrics;
