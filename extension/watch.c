#include "postgres.h"
#include "watch.h"
void watch_init(void) {}
