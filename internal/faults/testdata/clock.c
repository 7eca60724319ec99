/* Moves the wall clock of the process that loads this (LD_PRELOAD) by the microseconds in the file that FAULTS_CLOCK names. The file may change at
   any time. The monotonic clock stays what it is. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
	const char *path = getenv("FAULTS_CLOCK");
	int fd = path ? open(path, O_RDONLY) : -1;
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		abort();
	offset = page;
	close(fd);
}

static int64_t now(void) { /* us */
	struct timespec t;
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + (offset ? *offset : 0);
}

int gettimeofday(struct timeval *tv, void *zone) {
	(void)zone;
	int64_t us = now();
	tv->tv_sec = us / 1000000;
	tv->tv_usec = us % 1000000;
	return 0;
}

time_t time(time_t *out) {
	time_t s = now() / 1000000;
	if (out)
		*out = s;
	return s;
}

int clock_gettime(clockid_t id, struct timespec *t) {
	if (id != CLOCK_REALTIME)
		return syscall(SYS_clock_gettime, id, t);
	int64_t us = now();
	t->tv_sec = us / 1000000;
	t->tv_nsec = us % 1000000 * 1000;
	return 0;
}
