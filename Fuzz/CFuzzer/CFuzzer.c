#define _GNU_SOURCE
#include "CFuzzer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

void __asan_poison_memory_region(const volatile void *from, size_t length);

void cfuzzer_poison(const void *from, size_t length) { __asan_poison_memory_region(from, length); }

size_t cfuzzer_first_difference(const void *one, const void *other, size_t length) {
  const unsigned char *a = one;
  const unsigned char *b = other;
  size_t at = 0;
  // In blocks, which the compiler makes vector instructions of.
  enum { words = 64 };
  for (; at + words * sizeof(uint64_t) <= length; at += words * sizeof(uint64_t)) {
    uint64_t difference = 0;
    for (size_t i = 0; i < words; i++) {
      uint64_t x, y;
      __builtin_memcpy(&x, a + at + i * sizeof x, sizeof x);
      __builtin_memcpy(&y, b + at + i * sizeof y, sizeof y);
      difference |= x ^ y;
    }
    if (difference != 0) break;
  }
  while (at < length && a[at] == b[at]) at++;
  return at;
}

uint64_t cfuzzer_thread_nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int cfuzzer_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) return -errno;
  int count = 0;
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  // Without the two folders and the one that was just read.
  return count - 3;
}

int cfuzzer_is_mapped(int file) {
  if (fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0) return 0;
  return errno == EBUSY ? 1 : -errno;
}

static int guards = 1;

void cfuzzer_map_without_guards(void) { guards = 0; }

// The linker sends every call of mmap here (--wrap=mmap). A mapping of a memory file, and of the buffers of a packet pool,
// gets inaccessible address space on both sides, more than the length of a descriptor can reach over: an access outside
// of it then ends the process instead of reading or writing whatever the kernel has put beside it.
void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  int guarded = (file >= 0 && (flags & MAP_SHARED)) || (file < 0 && (flags & MAP_NORESERVE));
  if (address != NULL || !guarded || !guards)
    return __real_mmap(address, length, protection, flags, file, offset);
  const size_t guard = (size_t)1 << 32;
  const size_t page = 4096;
  const size_t rounded = (length + page - 1) / page * page;
  char *range = __real_mmap(NULL, guard + rounded + guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return range;
  return __real_mmap(range + guard, length, protection, flags | MAP_FIXED, file, offset);
}
