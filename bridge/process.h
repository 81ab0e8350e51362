/*
 * process.h - what this process takes of its machine, into metrics: CPU time, memory, open files.
 */
#ifndef LIVEFEED_PROCESS_H
#define LIVEFEED_PROCESS_H

/* Once, at start. */
void process_begin(void);
/* What cannot be found out stays 0. */
void process_measure(void);

#endif
