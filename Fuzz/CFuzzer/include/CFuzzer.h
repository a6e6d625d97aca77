// What the fuzzer needs of libFuzzer and of the address sanitizer's run time, neither of which has a header in Swift's
// toolchain that Swift can import.
#ifndef CFUZZER_H
#define CFUZZER_H

#include <stddef.h>
#include <stdint.h>

/// libFuzzer's main program: calls `run` with one input after the other.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *data, size_t size));
/// libFuzzer's own mutations. Returns the new size, at most `capacity`.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);

/// From now on the address sanitizer reports every access to these bytes by code that it instruments.
void cfuzzer_poison(const void *from, size_t length);

/// Where two pieces of memory differ first, `length` when they do not. Not memcmp(3), whose operands libFuzzer takes for
/// what the code under test looks for.
size_t cfuzzer_first_difference(const void *one, const void *other, size_t length);

/// The CPU time of the calling thread.
uint64_t cfuzzer_thread_nanoseconds(void);

/// How many descriptors this process has, or -errno.
int cfuzzer_descriptors(void);

/// Whether anybody has mapped a memfd so that it can be written: 1 or 0, after which nobody can any more; or -errno.
int cfuzzer_is_mapped(int file);

/// From now on mappings have no inaccessible address space around them, which unmapping does not give back: for a target
/// that maps and unmaps over and over.
void cfuzzer_map_without_guards(void);

/// A store of one byte to memory that another thread accesses at the same time.
static inline void cfuzzer_store_u8(void *p, uint8_t v) { __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELAXED); }

#endif
