/* A file system without locks, preloaded: flock answers what FLOCK_ERRNO says. */
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation) {
    (void)descriptor;
    (void)operation;
    errno = atoi(getenv("FLOCK_ERRNO"));
    return -1;
}
