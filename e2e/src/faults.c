/* Loaded before the C library of a server under test (LD_PRELOAD): while a trigger file exists, the disk below one directory is
 * full, or syncing the database's log fails. Only growth fails on a full disk, as on a real one: what is overwritten has its
 * room. Standard error counts as a file of that disk too, since a log often lies there.
 *
 *   FAULTS_DIR   the directory
 *   FAULTS_FULL  the trigger of the full disk
 *   FAULTS_SYNC  the trigger of the failing sync
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int triggered(const char *variable) {
    const char *file = getenv(variable);
    return file && access(file, F_OK) == 0;
}

/* The path behind a descriptor, where it is below the directory; else NULL. */
static const char *path_below(int fd, char *path, size_t size) {
    const char *directory = getenv("FAULTS_DIR");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (!directory || length <= 0) return NULL;
    path[length] = 0;
    size_t prefix = strlen(directory);
    return strncmp(path, directory, prefix) == 0 && path[prefix] == '/' ? path : NULL;
}

/* How many of the bytes find room: all of them, or as many as don't grow the file, or none (-1, with the error set). */
static ssize_t room(int fd, size_t count, off64_t offset) {
    char path[4096];
    if (!triggered("FAULTS_FULL")) return (ssize_t)count;
    if (fd == STDERR_FILENO) goto full;
    if (!path_below(fd, path, sizeof path)) return (ssize_t)count;
    struct stat64 found;
    if (fstat64(fd, &found) != 0) return -1;
    if (offset + (off64_t)count <= found.st_size) return (ssize_t)count;
    if (offset < found.st_size) return (ssize_t)(found.st_size - offset);
full:
    errno = ENOSPC;
    return -1;
}

static off64_t place(int fd) {
    off64_t offset = lseek64(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) ? SEEK_END : SEEK_CUR);
    return offset < 0 ? 0 : offset;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *bytes, size_t count) {
    /* What is no file has no place in one. */
    ssize_t fits = fd == STDERR_FILENO || triggered("FAULTS_FULL") ? room(fd, count, place(fd)) : (ssize_t)count;
    if (fits < 0) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, bytes, (size_t)fits);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    ssize_t fits = room(fd, count, offset);
    if (fits < 0) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, bytes, (size_t)fits, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite64(fd, bytes, count, offset);
}

int ftruncate64(int fd, off64_t length) {
    if (length > 0 && room(fd, 1, length - 1) < 0) return -1;
    return NEXT(int (*)(int, off64_t), "ftruncate64")(fd, length);
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (room(fd, 1, offset + length - 1) < 0) return -1;
    return NEXT(int (*)(int, int, off64_t, off64_t), "fallocate64")(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    if (room(fd, 1, offset + length - 1) < 0) return ENOSPC;
    return NEXT(int (*)(int, off64_t, off64_t), "posix_fallocate64")(fd, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

/* -1 with the error set where this sync is to fail. */
static int sync_fails(int fd) {
    char path[4096];
    if (!triggered("FAULTS_SYNC") || !path_below(fd, path, sizeof path)) return 0;
    size_t length = strlen(path);
    if (length < 4 || strcmp(path + length - 4, "-wal") != 0) return 0;
    errno = EIO;
    return -1;
}

int fsync(int fd) {
    return sync_fails(fd) ? -1 : NEXT(int (*)(int), "fsync")(fd);
}

int fdatasync(int fd) {
    return sync_fails(fd) ? -1 : NEXT(int (*)(int), "fdatasync")(fd);
}
