/*
 * acked.h - how much a peer's kernel has confirmed of what a TCP connection was given: the one sign from outside that
 * somebody is there who takes it, since a write only says that our own kernel has room.
 */
#ifndef LIVEFEED_ACKED_H
#define LIVEFEED_ACKED_H

#include <stdbool.h>
#include <stdint.h>

/*
 * For a TCP socket: the bytes that the peer confirmed since the beginning, and those that were written and are not yet
 * confirmed. False where there is no such figure: not TCP.
 */
bool acked_bytes(int socket, uint64_t *confirmed, uint64_t *waiting);

#endif
