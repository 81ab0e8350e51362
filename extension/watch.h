#ifndef LIVEFEED_WATCH_H
#define LIVEFEED_WATCH_H
#include "postgres.h"
extern void watch_init(void);
#endif
