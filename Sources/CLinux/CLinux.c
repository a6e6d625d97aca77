#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

ssize_t clinux_receive(int socket, void *buffer, size_t length, int *fds, int *count, bool *truncated) {
  union {
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_MAX_FDS)];
    struct cmsghdr align;
  } control;
  struct iovec vector = {.iov_base = buffer, .iov_len = length};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *count = 0;
  *truncated = false;
  ssize_t n;
  do {
    n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  if (message.msg_flags & MSG_CTRUNC) *truncated = true;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0)) continue;
    size_t received = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < received; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (*count < CLINUX_MAX_FDS) fds[(*count)++] = fd;
    }
  }
  return n;
}

ssize_t clinux_send(int socket, const void *buffer, size_t length, const int *fds, int count) {
  union {
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_MAX_FDS)];
    struct cmsghdr align;
  } control;
  struct iovec vector = {.iov_base = (void *)buffer, .iov_len = length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count < 0 || count > CLINUX_MAX_FDS) return -EINVAL;
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)count);
  }
  ssize_t n;
  do {
    n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

int clinux_peer(int socket, int *pid, unsigned *uid, unsigned *gid) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
  *pid = credentials.pid;
  *uid = credentials.uid;
  *gid = credentials.gid;
  return 0;
}

bool clinux_is_hung_up(int socket) {
  struct pollfd entry = {.fd = socket, .events = POLLRDHUP};
  return poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

int clinux_accept(int socket) {
  int fd;
  do {
    fd = accept4(socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  return fd < 0 ? -errno : fd;
}

int clinux_memfd(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd < 0 ? -errno : fd;
}

int clinux_seal_size(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ? -errno : 0;
}

bool clinux_is_memory(int fd) { return fcntl(fd, F_GET_SEALS) >= 0; }

int clinux_filesystem(int fd, int64_t *type) {
  struct statfs s;
  if (fstatfs(fd, &s) < 0) return -errno;
  *type = (int64_t)(uint32_t)s.f_type;
  return 0;
}

int clinux_size(int fd, int64_t *size, int64_t *block) {
  struct stat s;
  if (fstat(fd, &s) < 0) return -errno;
  *size = s.st_size;
  *block = s.st_blksize;
  return 0;
}

int clinux_identity(int fd, uint64_t *device, uint64_t *inode) {
  struct stat s;
  if (fstat(fd, &s) < 0) return -errno;
  *device = s.st_dev;
  *inode = s.st_ino;
  return 0;
}

int clinux_status_flags(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 ? -errno : flags;
}

int clinux_set_status_flags(int fd, int flags) { return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0; }

int clinux_duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

int clinux_examine_medium(int fd, clinux_medium *medium) {
  struct stat s;
  if (fstat(fd, &s) < 0) return -errno;
  *medium = (clinux_medium){.is_regular = S_ISREG(s.st_mode), .is_block_device = S_ISBLK(s.st_mode)};
  if (medium->is_regular) {
    struct statfs system;
    medium->is_in_memory = fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
    medium->size = (uint64_t)s.st_size;
    medium->logical_block = 512;
    // More than a page is what the file system likes best (a stripe, a network's transfer) and not what it writes.
    medium->physical_block = medium->minimum_io = s.st_blksize < 4096 ? (uint32_t)s.st_blksize : 4096;
    medium->optimal_io = s.st_blksize > 4096 ? (uint32_t)s.st_blksize : 0;
  } else if (medium->is_block_device) {
    int logical = 0;
    unsigned physical = 0, minimum = 0, optimal = 0;
    if (ioctl(fd, BLKGETSIZE64, &medium->size) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0) return -errno;
    // Hints, which a device may be without.
    if (ioctl(fd, BLKPBSZGET, &physical) < 0) physical = (unsigned)logical;
    if (ioctl(fd, BLKIOMIN, &minimum) < 0) minimum = physical;
    if (ioctl(fd, BLKIOOPT, &optimal) < 0) optimal = 0;
    medium->logical_block = (uint32_t)logical;
    medium->physical_block = physical;
    medium->minimum_io = minimum;
    medium->optimal_io = optimal;
  }
  return 0;
}

int clinux_lock(int fd, bool exclusive) {
  // A length of 0 is all of the file, whatever its size becomes.
  struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? -EAGAIN : -errno;
}

ssize_t clinux_readv(int fd, const struct iovec *vectors, int count, uint64_t offset) {
  ssize_t n = preadv(fd, vectors, count, (off_t)offset);
  return n < 0 ? -errno : n;
}

ssize_t clinux_writev(int fd, const struct iovec *vectors, int count, uint64_t offset, bool durable) {
  ssize_t n = pwritev2(fd, vectors, count, (off_t)offset, durable ? RWF_DSYNC : 0);
  return n < 0 ? -errno : n;
}

int clinux_sync(int fd) { return fdatasync(fd) < 0 ? -errno : 0; }

_Static_assert(CLINUX_PUNCH_HOLE == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), "fallocate(2)");
_Static_assert(CLINUX_ZERO_RANGE == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE), "fallocate(2)");

int clinux_allocate(int fd, int mode, uint64_t offset, uint64_t length) {
  return fallocate(fd, mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
}

int clinux_discard(int fd, uint64_t offset, uint64_t length) {
  uint64_t range[2] = {offset, length};
  return ioctl(fd, BLKDISCARD, range) < 0 ? -errno : 0;
}

// Only async-signal-safe calls: the child of a process with threads may hold any of their locks.
static void exec_child(const char *path, char *const *arguments, char *const *environment, const int standard[3],
                       pid_t parent, int report) {
  int copies[3];
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above.
  if (getppid() != parent) _exit(127);
  for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  // Copies first: any of the three may itself be numbered 0, 1 or 2.
  for (int i = 0; i < 3; i++) {
    copies[i] = fcntl(standard[i], F_DUPFD_CLOEXEC, 3);
    if (copies[i] < 0) goto failed;
  }
  for (int i = 0; i < 3; i++) {
    if (dup2(copies[i], i) < 0) goto failed;
  }
  if (syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) < 0) {
    int limit = (int)sysconf(_SC_OPEN_MAX);
    for (int fd = 3; fd < limit; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  execve(path, arguments, environment);
failed:;
  int error = errno;
  // A lost report would read as success; the exit status still tells.
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

int clinux_spawn(const char *path, char *const *arguments, char *const *environment, int input, int output, int error) {
  const int standard[3] = {input, output, error};
  const pid_t parent = getpid();
  int report[2], failure = 0;
  sigset_t all, before;
  if (pipe2(report, O_CLOEXEC) < 0) return -errno;
  // No handler of the parent may run in the child.
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork();
  if (pid == 0) exec_child(path, arguments, environment, standard, parent, report[1]);
  int forked = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(report[1]);
  if (pid < 0) {
    close(report[0]);
    return -forked;
  }
  ssize_t n;
  do {
    n = read(report[0], &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  close(report[0]);
  if (n != sizeof failure) return pid;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  return -failure;
}

int clinux_wait(int pid, bool reap, int *code, bool *signalled) {
  siginfo_t info;
  int r;
  do {
    r = waitid(P_PID, (id_t)pid, &info, WEXITED | (reap ? 0 : WNOWAIT));
  } while (r < 0 && errno == EINTR);
  if (r < 0) return -errno;
  *code = info.si_status;
  *signalled = info.si_code != CLD_EXITED;
  return 0;
}

int clinux_socketpair(int *first, int *second) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  *first = pair[0];
  *second = pair[1];
  return 0;
}

int clinux_pin(const int *cpus, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < count; i++) {
    if (cpus[i] < 0 || cpus[i] >= CPU_SETSIZE) return -EINVAL;
    CPU_SET(cpus[i], &set);
  }
  return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int clinux_allowed_cpus(int *cpus, int capacity) {
  cpu_set_t set;
  int found = 0;
  int error = pthread_getaffinity_np(pthread_self(), sizeof set, &set);
  if (error != 0) return -error;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &set)) continue;
    if (found < capacity) cpus[found] = i;
    found++;
  }
  return found;
}

void clinux_name_thread(const char *name) {
  char kept[16];
  strncpy(kept, name, sizeof kept - 1);
  kept[sizeof kept - 1] = 0;
  pthread_setname_np(pthread_self(), kept);
}

void clinux_take_broken_pipes_as_errors(void) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

int clinux_membarrier_register(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}

int clinux_membarrier(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}

int clinux_futex_wait(const uint32_t *word, uint32_t expected, int64_t nanoseconds) {
  struct timespec timeout = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  long r = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nanoseconds < 0 ? NULL : &timeout, NULL, 0);
  return r < 0 ? -errno : 0;
}

int clinux_futex_wake(const uint32_t *word, int count) {
  long r = syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
  return r < 0 ? -errno : 0;
}

int clinux_userfaultfd(void) {
  int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    int error = errno;
    // Where the system call is for the privileged, the device's permissions decide.
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -error;
    fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    error = errno;
    close(device);
    if (fd < 0) return -error;
  }
  struct uffdio_api api = {.api = UFFD_API};
  int error = ioctl(fd, UFFDIO_API, &api) < 0 ? errno : 0;
  if (error == 0 && !(api.features & UFFD_FEATURE_MISSING_SHMEM)) error = EOPNOTSUPP;
  if (error != 0) {
    close(fd);
    return -error;
  }
  return fd;
}

int clinux_userfaultfd_register(int fd, void *start, size_t length) {
  // What has been looked at before is looked up anew. The pages stay in the file: they may have arrived already.
  if (madvise(start, length, MADV_DONTNEED) < 0) return -errno;
  // A huge page that is put together would be one that has not arrived. Not every file can have them.
  madvise(start, length, MADV_NOHUGEPAGE);
  struct uffdio_register range = {
      .range = {.start = (uintptr_t)start, .len = length}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (ioctl(fd, UFFDIO_REGISTER, &range) < 0) return -errno;
  return range.ioctls & ((uint64_t)1 << _UFFDIO_COPY) ? 0 : -EOPNOTSUPP;
}

int clinux_userfaultfd_unregister(int fd, void *start, size_t length) {
  struct uffdio_range range = {.start = (uintptr_t)start, .len = length};
  int error = ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? errno : 0;
  // Whoever waits in a mapping that another one has taken the place of (bus_error) is not woken by that.
  ioctl(fd, UFFDIO_WAKE, &range);
  return -error;
}

int clinux_userfaultfd_next(int fd, uint64_t *address) {
  struct uffd_msg message;
  ssize_t length = read(fd, &message, sizeof message);
  if (length < 0) return -errno;
  if (length != sizeof message || message.event != UFFD_EVENT_PAGEFAULT) return -EIO;
  *address = message.arg.pagefault.address;
  return 0;
}

int clinux_userfaultfd_copy(int fd, uint64_t to, const void *from, size_t length) {
  struct uffdio_copy copy = {.dst = to, .src = (uintptr_t)from, .len = length};
  return ioctl(fd, UFFDIO_COPY, &copy) < 0 ? -errno : 0;
}

int clinux_notifier_create(uint64_t *context, int *idle) {
  aio_context_t made = 0;
  // A read of nothing: the shortest operation that there is. Few at a time, for all processes of the system share what
  // there is (fs.aio-max-nr), and each is over before the system call returns.
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  if (syscall(SYS_io_setup, 128, &made) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  *context = made;
  *idle = fd;
  return 0;
}

int clinux_notify(uint64_t context, int idle, int eventfd) {
  // The kernel counts the eventfd up when the operation has ended, which is at once, in the way of its own drivers: a full
  // count stays full.
  struct iocb operation = {.aio_lio_opcode = IOCB_CMD_PREAD,
                           .aio_fildes = (uint32_t)idle,
                           .aio_flags = IOCB_FLAG_RESFD,
                           .aio_resfd = (uint32_t)eventfd};
  struct iocb *list = &operation;
  for (int i = 0; i < 64; i++) {
    if (syscall(SYS_io_submit, context, 1, &list) == 1) return 0;
    if (errno != EAGAIN) return -errno;
    // The results of those before, which nobody needs, have filled their queue.
    struct io_event results[256];
    syscall(SYS_io_getevents, context, 0, sizeof results / sizeof *results, results, NULL);
  }
  return -EAGAIN;
}

int clinux_tap_open(const char *name, bool multiqueue, int *step) {
  *step = CLINUX_TAP_OPEN;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  if (multiqueue) request.ifr_flags |= IFF_MULTI_QUEUE;
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  *step = CLINUX_TAP_ATTACH;
  int little_endian = 1, length = 12, error = 0;
  if (ioctl(fd, TUNSETIFF, &request) != 0) {
    error = errno;
  } else {
    *step = CLINUX_TAP_HEADER;
    if (ioctl(fd, TUNSETVNETHDRSZ, &length) != 0 || ioctl(fd, TUNSETVNETLE, &little_endian) != 0) error = errno;
  }
  if (error == 0) return fd;
  close(fd);
  return -error;
}

int clinux_tap_set_offloads(int fd, bool checksum, bool tso4, bool tso6, bool ecn) {
  unsigned long flags = 0;
  if (checksum) {
    flags = TUN_F_CSUM | (tso4 ? TUN_F_TSO4 : 0) | (tso6 ? TUN_F_TSO6 : 0);
    if (ecn && (tso4 || tso6)) flags |= TUN_F_TSO_ECN;
  }
  return ioctl(fd, TUNSETOFFLOAD, flags) == 0 ? 0 : -errno;
}

int clinux_tap_set_attached(int fd, bool attached) {
  struct ifreq request = {.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
  return ioctl(fd, TUNSETQUEUE, &request) == 0 ? 0 : -errno;
}

ssize_t clinux_read(int fd, void *bytes, size_t length) {
  ssize_t count = read(fd, bytes, length);
  return count >= 0 ? count : -errno;
}

ssize_t clinux_write(int fd, const void *bytes, size_t length) {
  ssize_t count = write(fd, bytes, length);
  return count >= 0 ? count : -errno;
}
