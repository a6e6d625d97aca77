// What Swift cannot import from the C library or the kernel headers, and nothing else.
//
// This header must not define _GNU_SOURCE: Swift reads it without, and clang modules that disagree about it do not
// link types together. Functions that need it live in CLinux.c.
#ifndef CLINUX_H
#define CLINUX_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

// MARK: Descriptor passing (sendmsg(2), recvmsg(2), SCM_RIGHTS)

/// The number of descriptors that one message can carry (the kernel's SCM_MAX_FD).
#define CLINUX_MAX_FDS 253

/// Receives bytes and all descriptors that come with them: `fds` has room for CLINUX_MAX_FDS, so that none is closed on
/// the way, which could block. `*truncated` says that the kernel had to drop some. Received descriptors have FD_CLOEXEC.
/// Never waits, whatever the socket's flags: who else holds it, such as the peer that has sent it, can change those.
/// Returns the byte count, 0 at the end of the stream, or -errno.
ssize_t clinux_receive(int socket, void *buffer, size_t length, int *fds, int *count, bool *truncated);

/// Sends bytes and descriptors without SIGPIPE and without waiting, whatever the socket's flags. Returns the byte count or
/// -errno.
ssize_t clinux_send(int socket, const void *buffer, size_t length, const int *fds, int count);

// MARK: Sockets

/// Credentials of the peer of a connected Unix socket. Returns 0 or -errno.
int clinux_peer(int socket, int *pid, unsigned *uid, unsigned *gid);
/// Whether the peer of a stream socket has closed its end (POLLRDHUP), whatever is still to be read.
bool clinux_is_hung_up(int socket);
/// accept4(2) with SOCK_NONBLOCK and SOCK_CLOEXEC. Returns the descriptor or -errno.
int clinux_accept(int socket);

// MARK: Files

/// memfd_create(2), close-on-exec, sealable. Returns the descriptor or -errno.
int clinux_memfd(const char *name);
/// fcntl(F_ADD_SEALS): a file that can be sealed keeps its size from now on. Returns 0 or -errno.
int clinux_seal_size(int fd);
/// Whether the pages of a file are memory (memfd, tmpfs, hugetlbfs). Asks only what no file system can make block:
/// such files can be sealed and no others.
bool clinux_is_memory(int fd);
/// The f_type of fstatfs(2). Returns 0 or -errno.
int clinux_filesystem(int fd, int64_t *type);
/// The size in bytes and the block size of fstat(2). Returns 0 or -errno.
int clinux_size(int fd, int64_t *size, int64_t *block);
/// The device and inode numbers of fstat(2). Returns 0 or -errno.
int clinux_identity(int fd, uint64_t *device, uint64_t *inode);
/// fcntl(F_GETFL). Returns the flags or -errno.
int clinux_status_flags(int fd);
/// fcntl(F_SETFL). Returns 0 or -errno.
int clinux_set_status_flags(int fd, int flags);
/// fcntl(F_DUPFD_CLOEXEC). Returns the new descriptor or -errno.
int clinux_duplicate(int fd);

// MARK: Files that are a medium
//
// None of these retries: who calls them has to know of EINTR anyway.

/// What a file is, as far as a block device on top of it has to know. Sizes in bytes.
typedef struct clinux_medium {
  /// A regular file, or a block device; neither for anything else.
  bool is_regular, is_block_device;
  /// A regular file of tmpfs.
  bool is_in_memory;
  uint64_t size;
  /// The unit that the medium is addressed in and the one that it is written in. A file has the sector and its file
  /// system's block, a page at most.
  uint32_t logical_block, physical_block;
  /// The least size of an access that is worth while, and the best one; 0 when there is none.
  uint32_t minimum_io, optimal_io;
} clinux_medium;

/// Returns 0 or -errno.
int clinux_examine_medium(int fd, clinux_medium *medium);
/// Locks all of a file for as long as its open file description lives, against others who do, in this process too
/// (F_OFD_SETLK). Returns 0, or -EAGAIN when somebody has a lock that excludes it, or -errno.
int clinux_lock(int fd, bool exclusive);
/// preadv(2). Returns the byte count or -errno.
ssize_t clinux_readv(int fd, const struct iovec *vectors, int count, uint64_t offset);
/// pwritev2(2); `durable` has it on stable storage when it returns (RWF_DSYNC). Returns the byte count or -errno.
ssize_t clinux_writev(int fd, const struct iovec *vectors, int count, uint64_t offset, bool durable);
/// fdatasync(2). Returns 0 or -errno.
int clinux_sync(int fd);
/// fallocate(2). Returns 0 or -errno.
int clinux_allocate(int fd, int mode, uint64_t offset, uint64_t length);
/// ioctl(BLKDISCARD). Returns 0 or -errno.
int clinux_discard(int fd, uint64_t offset, uint64_t length);

/// fallocate(2): frees the space, which reads as zeroes from then on; the size stays.
#define CLINUX_PUNCH_HOLE 0x03
/// fallocate(2): what is there reads as zeroes from then on and keeps its space; the size stays.
#define CLINUX_ZERO_RANGE 0x11

#define CLINUX_TMPFS_MAGIC 0x01021994
#define CLINUX_HUGETLBFS_MAGIC 0x958458f6

// MARK: TAP devices (tun(4))

/// What of clinux_tap_open has failed.
#define CLINUX_TAP_OPEN 0
#define CLINUX_TAP_ATTACH 1
#define CLINUX_TAP_HEADER 2

/// Opens a queue of a TAP device, which is made if there is none of that name: frames without further information, each
/// behind a little-endian virtio-net header of 12 bytes; non-blocking, close-on-exec. Returns the descriptor, or -errno with
/// what has failed in `*step`.
int clinux_tap_open(const char *name, bool multiqueue, int *step);
/// The offloads that packets to be read may ask for: TUN_F_CSUM, and if so the others. Returns 0 or -errno.
int clinux_tap_set_offloads(int fd, bool checksum, bool tso4, bool tso6, bool ecn);
/// Whether the kernel sends packets to this queue; what waits in one that is detached is dropped. Only for several queues.
/// Returns 0 or -errno.
int clinux_tap_set_attached(int fd, bool attached);
/// read(2) and write(2). Return the byte count or -errno.
ssize_t clinux_read(int fd, void *bytes, size_t length);
ssize_t clinux_write(int fd, const void *bytes, size_t length);

// MARK: Processes

/// Starts the program at `path` with the given three standard descriptors and no other; signals are at their defaults.
/// The child gets SIGKILL when the calling *thread* ends (PR_SET_PDEATHSIG), so that thread has to outlive it.
/// An execve(2) that fails is reported here. Returns the process id or -errno.
int clinux_spawn(const char *path, char *const *arguments, char *const *environment, int input, int output, int error);
/// Waits for the end of a child; without `reap` the child stays a zombie, whose id nobody else can get.
/// `code` is the exit status, or the signal's number with `signalled`. Returns 0 or -errno.
int clinux_wait(int pid, bool reap, int *code, bool *signalled);
/// socketpair(2): a connected pair of Unix stream sockets, close-on-exec. Returns 0 or -errno.
int clinux_socketpair(int *first, int *second);

// MARK: Threads

/// Binds the calling thread to the given CPUs. Returns 0 or -errno.
int clinux_pin(const int *cpus, int count);
/// Writes up to `capacity` numbers of the CPUs the calling thread may run on. Returns how many there are, or -errno.
int clinux_allowed_cpus(int *cpus, int capacity);
/// Names the calling thread (15 bytes at most are kept).
void clinux_name_thread(const char *name);
/// A write of the calling thread to a pipe or socket that nobody reads is an error from now on (EPIPE), and not the end of
/// the process (SIGPIPE).
void clinux_take_broken_pipes_as_errors(void);
/// membarrier(2), private expedited. The first makes the process ready for it. Both return 0 or -errno.
int clinux_membarrier_register(void);
int clinux_membarrier(void);
/// futex(2), private. Waiting takes nanoseconds; negative waits for ever. Returns 0 or -errno.
int clinux_futex_wait(const uint32_t *word, uint32_t expected, int64_t nanoseconds);
int clinux_futex_wake(const uint32_t *word, int count);

// MARK: Mappings whose pages can vanish
//
// Somebody who shares a memory file can shrink it; the next access to a page that is gone is SIGBUS, which ends the
// process. A handler of that signal puts anonymous memory in the place of a mapping that is guarded, so that the access is
// done after all, and takes note of the loss.

/// How many mappings can be guarded: as many as the kernel gives a process (vm.max_map_count) unless it was told otherwise.
#define CLINUX_GUARD_CAPACITY 65536
/// Installs the handler, once a process. It hands on what is not its business. Returns 0 or -errno.
int clinux_guard_install(void);
/// Whether that has been done.
bool clinux_guard_is_installed(void);
/// Guards a mapping, readable and writable, of whole pages of its file. Returns a number to know it by, or -ENOSPC.
int clinux_guard_enter(void *start, size_t length);
/// Ends that. To be called before the mapping is undone, when nobody touches it any more.
void clinux_guard_leave(int place);
/// Whether that mapping has been lost.
bool clinux_guard_is_lost(int place);
extern uint32_t clinux_guard_loss_count;
/// How many mappings have been lost so far; wraps.
static inline uint32_t clinux_guard_losses(void) {
  return __atomic_load_n(&clinux_guard_loss_count, __ATOMIC_ACQUIRE);
}
/// Reads a byte to no end but that the page is there.
static inline void clinux_touch(const void *p) { (void)*(const volatile char *)p; }

// MARK: Notifications

/// Makes what clinux_notify takes. Returns 0 or -errno: -EAGAIN when the system has no more of it (fs.aio-max-nr),
/// -ENOSYS when it has none at all.
int clinux_notifier_create(uint64_t *context, int *idle);
/// Adds 1 to the count of an eventfd without ever waiting, whatever those who share it have done to it: write(2) waits on
/// one that was made blocking and is full. Returns 0, or -errno: -EINVAL when it is no eventfd.
int clinux_notify(uint64_t context, int idle, int eventfd);

// MARK: Clocks

/// A userfaultfd(2) that serves accesses of the kernel too, set up for shared memory; -errno when it cannot be had.
int clinux_userfaultfd(void);
/// Makes accesses to pages of a mapping that are not there wait for the userfaultfd; 0 or -errno.
int clinux_userfaultfd_register(int fd, void *start, size_t length);
/// Ends that; 0 or -errno.
int clinux_userfaultfd_unregister(int fd, void *start, size_t length);
/// For whoever brings the pages: the address of the next access that waits; 0 or -errno, EAGAIN when there is none.
int clinux_userfaultfd_next(int fd, uint64_t *address);
/// Brings a page or several to an address of the process that waits; 0 or -errno.
int clinux_userfaultfd_copy(int fd, uint64_t to, const void *from, size_t length);

static inline uint64_t clinux_monotonic_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
/// A clock that is read without a call and goes at a constant rate, which nobody says: the time stamp counter, or what the
/// processor has in its place; else CLOCK_MONOTONIC.
static inline uint64_t clinux_cycles(void) {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t value;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#else
  return clinux_monotonic_nanoseconds();
#endif
}

// MARK: Memory shared with a peer that may write to it at any time
//
// Every access to such memory is one of these: a single fetch or store of the given width, never torn, never repeated
// by the compiler.

static inline uint8_t clinux_load_u8(const void *p) { return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED); }
/// Volatile, which says the same: a relaxed atomic load of 16 bits takes a second instruction to make a register of them.
static inline uint16_t clinux_load_u16(const void *p) { return *(const volatile uint16_t *)p; }
static inline uint32_t clinux_load_u32(const void *p) { return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED); }
static inline uint64_t clinux_load_u64(const void *p) { return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED); }
static inline uint64_t clinux_load_acquire_u64(const void *p) {
  return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}
static inline uint16_t clinux_load_acquire_u16(const void *p) {
  return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}
static inline uint32_t clinux_load_acquire_u32(const void *p) {
  return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
}
static inline void clinux_store_u8(void *p, uint8_t v) { __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELAXED); }
static inline void clinux_store_u16(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED); }
static inline void clinux_store_u32(void *p, uint32_t v) { __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED); }
static inline void clinux_store_u64(void *p, uint64_t v) { __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); }
/// Stores where an address is a multiple of 4 only, maybe in two steps.
static inline void clinux_put_u64(void *p, uint64_t v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void clinux_store_release_u16(void *p, uint16_t v) {
  __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}
static inline void clinux_store_release_u32(void *p, uint32_t v) {
  __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELEASE);
}
static inline void clinux_store_release_u64(void *p, uint64_t v) {
  __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELEASE);
}
static inline uint32_t clinux_exchange_u32(void *p, uint32_t v) {
  return __atomic_exchange_n((uint32_t *)p, v, __ATOMIC_SEQ_CST);
}
static inline uint32_t clinux_add_u32(void *p, uint32_t v) {
  return __atomic_fetch_add((uint32_t *)p, v, __ATOMIC_SEQ_CST);
}
/// Sets bits that another process may be clearing; what was written before is visible to whoever finds them set.
static inline void clinux_or_u8(void *p, uint8_t v) { __atomic_fetch_or((uint8_t *)p, v, __ATOMIC_RELEASE); }
static inline void clinux_or_u64(void *p, uint64_t v) { __atomic_fetch_or((uint64_t *)p, v, __ATOMIC_RELEASE); }
static inline void clinux_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
/// Orders the compiler only; the other side pays with membarrier(2).
static inline void clinux_compiler_fence(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
static inline void clinux_copy(void *to, const void *from, size_t length) { memcpy(to, from, length); }
/// For a place that is read once: it is not kept, for its owner is about to write there again, and has to take it back
/// from every core that still has it.
static inline void clinux_prefetch(const void *p) { __builtin_prefetch(p, 0, 0); }
/// For a place that is going to be written. Where a processor has no such instruction it is one that does nothing.
static inline void clinux_prefetch_to_write(const void *p) {
#if defined(__x86_64__)
  __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)p));
#else
  __builtin_prefetch(p, 1);
#endif
}

/// A packet of a burst, as far as it matters for its copy: `PacketBurst.Slot` is the same.
struct clinux_packet {
  /// The place of its payload in the arena, in lines of 64 bytes; the header ends there.
  uint32_t line;
  /// The length with the header in bytes.
  uint32_t length;
  uint32_t others[3];
  /// Where in a guest's memory it is.
  void *host;
};
/// Copies packets with their headers into an arena, with the widest registers that the processor has.
///
/// - keeps_headers: Whether the headers are copied too; if not, they are zero. There are 16 bytes in front of a payload.
void clinux_take_packets(
    void *arena, const void *packets, size_t count, size_t header_length, _Bool keeps_headers);
/// Copies packets out of an arena, each into one buffer of a guest. Of headers of 10 or 12 bytes (virtio 1.2, §5.1.6) only
/// that is written which differs from what is there, with 1 for `num_buffers`.
void clinux_give_packets(const void *arena, const void *packets, size_t count, size_t header_length);
static inline void clinux_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#endif
