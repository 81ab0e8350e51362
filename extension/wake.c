#include "postgres.h"
#include "wake.h"
void wake_prepare(void) {}
void wake_ticker(void) {}
