/*
 * process.c - CPU time, memory and open files of this process (process.h). Linux tells by /proc.
 */
#include "process.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "metrics.h"

void process_begin(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	metrics.started_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t resident_bytes(void)
{
	unsigned long long all, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (!file) {
		return 0;
	}
	if (fscanf(file, "%llu %llu", &all, &resident) != 2) {
		resident = 0;
	}
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Since Linux 6.2 the size of that folder is their number; before, they have to be counted. */
static uint64_t open_files(void)
{
	struct stat status;
	uint64_t n = 0;
	if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0) {
		return (uint64_t)status.st_size;
	}
	DIR *folder = opendir("/proc/self/fd");
	if (!folder) {
		return 0;
	}
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		n += entry->d_name[0] != '.';
	}
	closedir(folder);
	return n > 0 ? n - 1 : 0; /* the folder's own */
}

void process_measure(void)
{
	struct rusage usage;
	struct rlimit files;
	if (getrusage(RUSAGE_SELF, &usage) == 0) {
		metrics.cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
		                 (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		metrics.max_open_files = (uint64_t)files.rlim_cur;
	}
	metrics.resident_bytes = resident_bytes();
	metrics.open_files = open_files();
}
