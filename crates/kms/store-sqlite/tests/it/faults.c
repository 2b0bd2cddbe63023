/* Preloaded into a process of the tests: makes system calls on files under $KEYSTEAD_FAULT_UNDER fail, as long as there is
 * a file $KEYSTEAD_FAULT_SWITCHES/NAME with the name of the fault. Everything else goes through. With $KEYSTEAD_TRACE, all
 * that changes those files is written there, in the order in which it happened: a line of what, the path, an offset, a
 * length, and then the bytes of a write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int on(const char *fault) {
    const char *folder = getenv("KEYSTEAD_FAULT_SWITCHES");
    char path[4096];
    int saved = errno;
    if (folder == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, fault);
    int found = access(path, F_OK) == 0;
    errno = saved;
    return found;
}

static int under(const char *path) {
    const char *folder = getenv("KEYSTEAD_FAULT_UNDER");
    return folder != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, size - 1);
    errno = saved;
    if (len < 0) return 0;
    path[len] = 0;
    return under(path);
}

static int concerns(int fd) {
    char path[4096];
    return path_of(fd, path, sizeof path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_ON(fd, fault, error) \
    if (concerns(fd) && on(fault)) { errno = error; return -1; }

/* One call at a time, so that the trace has them in the order in which they happened. */
static pthread_mutex_t tracing = PTHREAD_MUTEX_INITIALIZER;

static void trace(char what, const char *path, long long at, const void *bytes, size_t len) {
    static int file = -1;
    char line[4200];
    int saved = errno;
    if (file < 0) file = REAL(open)(getenv("KEYSTEAD_TRACE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int head = snprintf(line, sizeof line, "%c %lld %zu %s\n", what, at, len, path);
    if (REAL(write)(file, line, head) != head) abort();
    if (bytes != NULL && REAL(write)(file, bytes, len) != (ssize_t)len) abort();
    errno = saved;
}

#define TRACED(fd, what, at, bytes, len, result, call) \
    char path_[4096]; \
    if (getenv("KEYSTEAD_TRACE") == NULL || !path_of(fd, path_, sizeof path_)) return call; \
    pthread_mutex_lock(&tracing); \
    result done_ = call; \
    if (done_ >= 0) trace(what, path_, at, bytes, len); \
    pthread_mutex_unlock(&tracing); \
    return done_;

int fsync(int fd) { FAIL_ON(fd, "sync", EIO) TRACED(fd, 'S', 0, NULL, 0, int, REAL(fsync)(fd)) }
int fdatasync(int fd) { FAIL_ON(fd, "sync", EIO) TRACED(fd, 'S', 0, NULL, 0, int, REAL(fdatasync)(fd)) }

#define FAIL_WRITES(fd) \
    FAIL_ON(fd, "full", ENOSPC) FAIL_ON(fd, "write", EIO) FAIL_ON(fd, "read-only", EROFS)

ssize_t write(int fd, const void *bytes, size_t len) {
    FAIL_WRITES(fd)
    off_t at = lseek(fd, 0, SEEK_CUR);
    TRACED(fd, 'W', at, bytes, (size_t)done_, ssize_t, REAL(write)(fd, bytes, len))
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    FAIL_WRITES(fd)
    /* What fits is written, as a disk does that runs full. */
    if (concerns(fd) && on("short") && len > 512) { REAL(pwrite)(fd, bytes, 512, at); errno = ENOSPC; return -1; }
    TRACED(fd, 'W', at, bytes, (size_t)done_, ssize_t, REAL(pwrite)(fd, bytes, len, at))
}
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) { return pwrite(fd, bytes, len, at); }
int ftruncate(int fd, off_t len) { FAIL_WRITES(fd) TRACED(fd, 'T', len, NULL, 0, int, REAL(ftruncate)(fd, len)) }
int ftruncate64(int fd, off64_t len) { return ftruncate(fd, len); }
int unlink(const char *path) {
    if (getenv("KEYSTEAD_TRACE") == NULL || !under(path)) return REAL(unlink)(path);
    pthread_mutex_lock(&tracing);
    int done = REAL(unlink)(path);
    if (done == 0) trace('D', path, 0, NULL, 0);
    pthread_mutex_unlock(&tracing);
    return done;
}

ssize_t read(int fd, void *bytes, size_t len) { FAIL_ON(fd, "read", EIO) return REAL(read)(fd, bytes, len); }
ssize_t pread(int fd, void *bytes, size_t len, off_t at) { FAIL_ON(fd, "read", EIO) return REAL(pread)(fd, bytes, len, at); }
ssize_t pread64(int fd, void *bytes, size_t len, off64_t at) { return pread(fd, bytes, len, at); }

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (under(path) && (flags & O_ACCMODE) != O_RDONLY && on("read-only")) { errno = EROFS; return -1; }
    return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open(path, flags | O_LARGEFILE, mode);
}
