/*
 * notify.h - tells systemd how we are (sd_notify's protocol; without systemd, nothing happens).
 */
#ifndef LIVEFEED_NOTIFY_H
#define LIVEFEED_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..."; lines in one message. */
void notify_send(const char *state);
/* RELOADING=1, since when; READY=1 ends it. */
void notify_reloading(void);
/* How often systemd wants to hear WATCHDOG=1, halved; 0: it does not. */
uint64_t notify_watchdog_ms(void);

#endif
