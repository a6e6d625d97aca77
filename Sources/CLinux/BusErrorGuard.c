#include "CLinux.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

// A place of the table. Normal code takes and frees places; the handler, on any thread and at any moment, only reads
// them, and holds one while it works on its mapping.
struct place {
  // TAKEN, LIVE, and HOLD for each handler at work. Zero is free.
  uint32_t state;
  uint32_t lost;
  uintptr_t start;
  size_t length;
};

enum { TAKEN = 1, LIVE = 2, HOLD = 4 };

static struct place places[CLINUX_GUARD_CAPACITY];
// Places that were ever taken: the handler looks at no others.
static uint32_t used;
static struct sigaction previous;
static uint32_t installed;
uint32_t clinux_guard_loss_count;

int clinux_guard_enter(void *start, size_t length) {
  for (int i = 0; i < CLINUX_GUARD_CAPACITY; i++) {
    struct place *p = &places[i];
    uint32_t none = 0;
    if (__atomic_load_n(&p->state, __ATOMIC_RELAXED) != 0 ||
        !__atomic_compare_exchange_n(&p->state, &none, TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      continue;
    }
    __atomic_store_n(&p->lost, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&p->start, (uintptr_t)start, __ATOMIC_RELAXED);
    __atomic_store_n(&p->length, length, __ATOMIC_RELAXED);
    __atomic_store_n(&p->state, TAKEN | LIVE, __ATOMIC_RELEASE);
    uint32_t seen = __atomic_load_n(&used, __ATOMIC_RELAXED);
    while (seen < (uint32_t)i + 1 && !__atomic_compare_exchange_n(&used, &seen, (uint32_t)i + 1, true, __ATOMIC_RELEASE,
                                                                 __ATOMIC_RELAXED)) {
    }
    return i;
  }
  return -ENOSPC;
}

void clinux_guard_leave(int place) {
  struct place *p = &places[place];
  __atomic_fetch_and(&p->state, ~(uint32_t)LIVE, __ATOMIC_ACQ_REL);
  // A handler that still holds it would map over whatever comes to these addresses next; it does one system call or two.
  while (__atomic_load_n(&p->state, __ATOMIC_ACQUIRE) != TAKEN) sched_yield();
  __atomic_store_n(&p->state, 0, __ATOMIC_RELEASE);
}

bool clinux_guard_is_lost(int place) { return __atomic_load_n(&places[place].lost, __ATOMIC_ACQUIRE) != 0; }

// Holds a place unless it is being freed.
static bool hold(struct place *p) {
  uint32_t state = __atomic_load_n(&p->state, __ATOMIC_ACQUIRE);
  while (state & LIVE) {
    if (__atomic_compare_exchange_n(&p->state, &state, state + HOLD, true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
      return true;
    }
  }
  return false;
}

static bool covers(const struct place *p, uintptr_t address) {
  return address - __atomic_load_n(&p->start, __ATOMIC_RELAXED) < __atomic_load_n(&p->length, __ATOMIC_RELAXED);
}

// Puts anonymous memory where a mapping was. Several threads may do so at once, each over the work of the other: what
// was there is lost in any case.
static bool map_over(uintptr_t start, size_t length) {
  void *memory = mmap((void *)start, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  madvise(memory, length, MADV_DONTDUMP);
  return true;
}

static bool replace(uintptr_t address) {
  uint32_t count = __atomic_load_n(&used, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < count; i++) {
    struct place *p = &places[i];
    if (!covers(p, address) || !hold(p)) continue;
    // Once more, now that it cannot change.
    bool mapped = false;
    if (covers(p, address)) {
      uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
      // A system that promises no more memory than it has may have a page where it has no region.
      mapped = map_over(p->start, p->length) || map_over(address & ~(page - 1), page);
    }
    if (mapped && __atomic_exchange_n(&p->lost, 1, __ATOMIC_RELEASE) == 0) {
      __atomic_fetch_add(&clinux_guard_loss_count, 1, __ATOMIC_RELEASE);
    }
    __atomic_fetch_sub(&p->state, HOLD, __ATOMIC_RELEASE);
    if (mapped) return true;
  }
  return false;
}

// Does what would have been done without this handler.
static void forward(int number, siginfo_t *info, void *context, bool is_fault) {
  if (previous.sa_handler == SIG_IGN && !is_fault) return;
  if (previous.sa_handler == SIG_IGN || previous.sa_handler == SIG_DFL) {
    signal(number, SIG_DFL);
    // A fault comes again by itself when this returns; a signal that was sent does not.
    if (!is_fault) raise(number);
  } else if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(number, info, context);
  } else {
    previous.sa_handler(number);
  }
}

static void bus_error(int number, siginfo_t *info, void *context) {
  int error = errno;
  // Positive codes are the kernel's own; one of them tells of bad memory that nobody has touched yet.
  bool is_fault = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
  bool is_missing = info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
  if (!is_missing || !replace((uintptr_t)info->si_addr)) forward(number, info, context, is_fault);
  errno = error;
}

int clinux_guard_install(void) {
  uint32_t none = 0;
  if (!__atomic_compare_exchange_n(&installed, &none, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return 0;
  struct sigaction action = {.sa_sigaction = bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  // Known before it can be needed.
  if (sigaction(SIGBUS, NULL, &previous) == 0 && sigaction(SIGBUS, &action, NULL) == 0) return 0;
  __atomic_store_n(&installed, 0, __ATOMIC_RELEASE);
  return -errno;
}

bool clinux_guard_is_installed(void) { return __atomic_load_n(&installed, __ATOMIC_RELAXED) != 0; }
