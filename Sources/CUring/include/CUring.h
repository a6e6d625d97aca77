// io_uring for Swift, through liburing.
//
// A C target over liburing and not a system library module: liburing is mostly inline functions over structures that
// are shared with the kernel, in headers that want _GNU_SOURCE, which Swift reads headers without. What is declared here
// is plain: an opaque ring, file operations with a number to know them by, and results.
#ifndef CURING_H
#define CURING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/// A ring. Not safe to use from two threads at once.
typedef struct curing curing;

/// A finished operation: the tag that it was prepared with, and what the system call would have returned, or -errno.
typedef struct curing_completion {
  uint64_t tag;
  int32_t result;
} curing_completion;

/// Makes a ring for at most `entries` operations under way, which counts `event` (an eventfd) up with each completion.
/// Returns 0, or -errno: -ENOSYS also for a kernel whose io_uring lacks an operation of this file, or that would read
/// vectors after curing_submit has returned.
int curing_create(unsigned entries, int event, curing **ring);

/// Prepares an operation, which curing_submit starts; `asynchronous` has a thread of the kernel do it from the start,
/// and never the caller of curing_submit. The vectors have to stay until curing_submit has taken the operation, the
/// memory until it has completed. Returns false when `entries` operations have been prepared and not been submitted.
bool curing_readv(curing *ring, int fd, const struct iovec *vectors, unsigned count, uint64_t offset, bool asynchronous,
                  uint64_t tag);
/// The same for a write; `durable` has it on stable storage when it completes (RWF_DSYNC).
bool curing_writev(curing *ring, int fd, const struct iovec *vectors, unsigned count, uint64_t offset, bool durable,
                   bool asynchronous, uint64_t tag);
/// fdatasync(2).
bool curing_sync(curing *ring, int fd, uint64_t tag);
/// fallocate(2).
bool curing_allocate(curing *ring, int fd, int mode, uint64_t offset, uint64_t length, uint64_t tag);

/// Hands what was prepared to the kernel. Returns how many operations are left, which another call tries again, or -errno.
int curing_submit(curing *ring);

/// Says whether the event is counted up with completions from now on; at first it is. After asking for it, those that came
/// before are to be looked for once more.
void curing_want_events(curing *ring, bool wanted);

/// Takes up to `capacity` completions. Returns how many there were.
unsigned curing_reap(curing *ring, curing_completion *completions, unsigned capacity);

/// Waits for a completion. Returns 0 or -errno.
int curing_wait(curing *ring);

/// Ends a ring under which no operation is under way.
void curing_close(curing *ring);

#endif
