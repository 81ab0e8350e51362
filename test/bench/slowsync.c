/*
 * slowsync.c - a disk that is slower to sync: preloaded into a throwaway server,
 * it makes every fdatasync and fsync last SLOWSYNC_US microseconds longer.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static void delay(void)
{
	static long us = -1;
	struct timespec t;

	if (us < 0) {
		const char *text = getenv("SLOWSYNC_US");

		us = text ? atol(text) : 0;
	}
	if (us <= 0)
		return;
	prctl(PR_SET_TIMERSLACK, 1000UL); /* ns; the default of 50 us would add to every wait */
	t.tv_sec = us / 1000000;
	t.tv_nsec = us % 1000000 * 1000;
	nanosleep(&t, NULL);
}

int fdatasync(int fd)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	delay();
	return real(fd);
}

int fsync(int fd)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	delay();
	return real(fd);
}
