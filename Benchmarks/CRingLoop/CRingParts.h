// What the files of the device side share: how guest memory, descriptors and positions are looked at.
#ifndef CRINGPARTS_H
#define CRINGPARTS_H

#include <string.h>

#include "CRingLoop.h"
#include "CRingMemory.h"

enum {
  ARENA = 4 * 65536,
  // The room for a header in front of a payload, which starts a cache line.
  LEAD = 64,
  MAX_VISITS = 4096,
  MAX_INDIRECT = 1024,
  MAX_SEGMENTS = 2 * CRING_MAX_SIZE,
  MODERN_HEADER = 12,
  BUFFER_COUNT_OFFSET = 10,
};

#define INLINE static inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

// MARK: Copies

// Small packets without a call: pieces from both ends that may overlap.
INLINE void copy_bytes(uint8_t *restrict to, const uint8_t *restrict from, size_t length) {
  if (LIKELY(length - 32 <= 96)) {
    if (length > 64) {
      memcpy(to + 32, from + 32, 32);
      memcpy(to + length - 64, from + length - 64, 32);
    }
    memcpy(to, from, 32);
    memcpy(to + length - 32, from + length - 32, 32);
  } else {
    memcpy(to, from, length);
  }
}

// MARK: Guest memory

// The region of an address, by binary search; NULL when there is none.
COLD const struct cring_region *cring_search(struct cring_view *view, uint64_t address);

INLINE const struct cring_region *find(struct cring_view *view, uint64_t address) {
  if (view->last < view->count) {
    const struct cring_region *region = &view->regions[view->last];
    if (LIKELY(address >= region->start && address < region->end)) return region;
  }
  return cring_search(view, address);
}

// Where a piece is that lies in one region; NULL for any other.
INLINE uint8_t *whole(struct cring_view *view, uint64_t address, uint64_t length, unsigned access) {
  const struct cring_region *region = find(view, address);
  if (UNLIKELY(region == NULL) || UNLIKELY((region->access & access) != access)) return NULL;
  if (UNLIKELY(region->end - address < length)) return NULL;
  return region->host + (address - region->start);
}

// The region that was hit last, for one kind of access, in registers; empty when there is none.
struct window {
  uint64_t start, size;
  uint8_t *host;
};

INLINE struct window window(const struct cring_view *view, unsigned access) {
  if (view->last >= view->count) return (struct window){0};
  const struct cring_region *region = &view->regions[view->last];
  if ((region->access & access) != access) return (struct window){0};
  return (struct window){region->start, region->end - region->start, region->host};
}

// The same for another address.
COLD struct window cring_window_at(struct cring_view *view, uint64_t address, unsigned access);

// MARK: Descriptors and positions

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, link;
};

INLINE struct descriptor decode(bool is_packed, uint64_t low, uint64_t high) {
  const uint16_t third = (uint16_t)(high >> 32), fourth = (uint16_t)(high >> 48);
  return (struct descriptor){low, (uint32_t)high, is_packed ? fourth : third, is_packed ? third : fourth};
}

INLINE uint16_t advance(const struct cring *ring, bool is_packed, uint16_t position, uint32_t descriptors) {
  if (!is_packed) return (uint16_t)(position + 1);
  const uint32_t next = (position & 0x7fffu) + descriptors;
  return next < ring->size ? (uint16_t)(next | (position & WRAP))
                           : (uint16_t)((next - ring->size) | ((position & WRAP) ^ WRAP));
}

// How many chains are announced from a position on; in a packed ring one or none.
INLINE uint32_t announced(struct cring *ring, bool is_packed, uint16_t position) {
  if (UNLIKELY(ring->fault != CRING_FINE)) return 0;
  if (is_packed) {
    const uint16_t flags = acquire16(ring->descriptors + 16 * (size_t)(position & 0x7fff) + 14);
    return (flags & (AVAIL | USED)) == (position & WRAP ? AVAIL : USED);
  }
  const uint16_t count = (uint16_t)(acquire16(ring->avail + 2) - position);
  if (UNLIKELY(count > ring->size)) {
    ring->fault = CRING_AVAILABLE_INDEX;
    return 0;
  }
  return count;
}

INLINE uint32_t head_at(const struct cring *ring, bool is_packed, uint16_t position) {
  return is_packed ? position & 0x7fffu : load16(ring->avail + 4 + 2 * (size_t)(position & (ring->size - 1)));
}

// Where a split or packed ring's next chain stands, in registers.
struct cursor {
  uint32_t index;
  // In a packed ring the wrap counter, where it stands in a position.
  uint16_t wrap;
};

INLINE struct cursor cursor_at(bool is_packed, uint16_t position) {
  return is_packed ? (struct cursor){position & 0x7fffu, position & WRAP} : (struct cursor){position, 0};
}

// The flags of a descriptor that is available there.
INLINE uint16_t avail_flags(struct cursor cursor) { return cursor.wrap ? AVAIL : USED; }

INLINE uint16_t position_of(struct cursor cursor) { return (uint16_t)(cursor.index | cursor.wrap); }

INLINE void step(struct cursor *cursor, bool is_packed, uint32_t size) {
  cursor->index++;
  if (is_packed && UNLIKELY(cursor->index == size)) *cursor = (struct cursor){0, cursor->wrap ^ WRAP};
}

// MARK: Chains of any form

struct chain {
  uint16_t id;
  uint32_t descriptors, visits;
  uint64_t readable, writable;
};

static uint32_t links(const struct chain *chain) {
  return chain->visits > chain->descriptors ? chain->visits - 1 : chain->visits;
}

// Walks the chain at a position and adds its pieces to the burst's segments: those to be read, up to `limit` bytes of
// them or none, or the first `limit` bytes of those to be written.
COLD enum cring_fault cring_walk(
    const struct cring *ring, bool is_packed, uint16_t position, bool is_write, uint64_t limit, struct cring_view *view,
    struct cring_burst *burst, struct chain *chain);

// MARK: Places in a burst

INLINE bool has_place(const struct cring_burst *burst) { return burst->next <= ARENA - CRING_MAX_LENGTH; }

INLINE void add(struct cring_burst *burst, struct cring_packet packet) {
  burst->packets[burst->count++] = packet;
  if (LIKELY(packet.outcome != CRING_OVERSIZED)) burst->next = ((packet.start + packet.length + 63) & ~63ul) + LEAD;
}

#endif
