#include "CUring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

struct curing {
  struct io_uring ring;
};

// Whether the kernel does all that is asked of it here.
static bool is_complete(struct io_uring *ring) {
  static const int operations[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
  // Without the one completions could be lost, without the other the kernel reads vectors when it likes.
  if (!(ring->features & IORING_FEAT_NODROP) || !(ring->features & IORING_FEAT_SUBMIT_STABLE)) return false;
  struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
  if (probe == NULL) return false;
  bool complete = true;
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    complete = complete && io_uring_opcode_supported(probe, operations[i]);
  }
  io_uring_free_probe(probe);
  return complete;
}

int curing_create(unsigned entries, int event, curing **result) {
  curing *made = calloc(1, sizeof *made);
  if (made == NULL) return -ENOMEM;
  int error = io_uring_queue_init(entries, &made->ring, 0);
  if (error < 0) {
    free(made);
    return error;
  }
  error = is_complete(&made->ring) ? io_uring_register_eventfd(&made->ring, event) : -ENOSYS;
  if (error < 0) {
    curing_close(made);
    return error;
  }
  *result = made;
  return 0;
}

// What every entry has, after liburing has filled it for its operation and before anybody submits it.
static void finish(struct io_uring_sqe *entry, bool asynchronous, uint64_t tag) {
  if (asynchronous) entry->flags |= IOSQE_ASYNC;
  io_uring_sqe_set_data64(entry, tag);
}

bool curing_readv(curing *ring, int fd, const struct iovec *vectors, unsigned count, uint64_t offset, bool asynchronous,
                  uint64_t tag) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_readv(entry, fd, vectors, count, offset);
  finish(entry, asynchronous, tag);
  return true;
}

bool curing_writev(curing *ring, int fd, const struct iovec *vectors, unsigned count, uint64_t offset, bool durable,
                   bool asynchronous, uint64_t tag) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_writev(entry, fd, vectors, count, offset);
  if (durable) entry->rw_flags = RWF_DSYNC;
  finish(entry, asynchronous, tag);
  return true;
}

bool curing_sync(curing *ring, int fd, uint64_t tag) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
  finish(entry, false, tag);
  return true;
}

bool curing_allocate(curing *ring, int fd, int mode, uint64_t offset, uint64_t length, uint64_t tag) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
  if (entry == NULL) return false;
  io_uring_prep_fallocate(entry, fd, mode, (off_t)offset, (off_t)length);
  finish(entry, false, tag);
  return true;
}

int curing_submit(curing *ring) {
  // The kernel stops at an entry that it refuses, which completes with the error; those behind it are still there.
  while (io_uring_sq_ready(&ring->ring) > 0) {
    int taken = io_uring_submit(&ring->ring);
    if (taken == -EINTR) continue;
    if (taken < 0) return taken;
    if (taken == 0) break;
  }
  return (int)io_uring_sq_ready(&ring->ring);
}

void curing_want_events(curing *ring, bool wanted) {
  // A kernel without the flag counts the event up with every completion, which is too often and never wrong.
  (void)io_uring_cq_eventfd_toggle(&ring->ring, wanted);
  // The flag has to be there before the caller looks for what came before.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

unsigned curing_reap(curing *ring, curing_completion *completions, unsigned capacity) {
  struct io_uring_cqe *entry;
  // Enters the kernel when it has kept completions back for which there was no room.
  if (io_uring_peek_cqe(&ring->ring, &entry) != 0) return 0;
  unsigned head, count = 0;
  io_uring_for_each_cqe(&ring->ring, head, entry) {
    if (count == capacity) break;
    completions[count++] = (curing_completion){.tag = io_uring_cqe_get_data64(entry), .result = entry->res};
  }
  io_uring_cq_advance(&ring->ring, count);
  return count;
}

int curing_wait(curing *ring) {
  struct io_uring_cqe *entry;
  int error;
  do {
    error = io_uring_wait_cqe(&ring->ring, &entry);
  } while (error == -EINTR);
  return error;
}

void curing_close(curing *ring) {
  io_uring_queue_exit(&ring->ring);
  free(ring);
}
