#include "CRingLoop.h"

#include <stdlib.h>
#include <string.h>

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
#define COLD static __attribute__((noinline, cold))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

// MARK: Copies

// Small packets without a call: pieces from both ends that may overlap.
INLINE void copy_bytes(uint8_t *restrict to, const uint8_t *restrict from, size_t length) {
  if (LIKELY(length > 64 && length <= 128)) {
    memcpy(to, from, 64);
    memcpy(to + length - 64, from + length - 64, 64);
  } else if (length >= 32 && length <= 64) {
    memcpy(to, from, 32);
    memcpy(to + length - 32, from + length - 32, 32);
  } else {
    memcpy(to, from, length);
  }
}

// MARK: Guest memory

COLD const struct cring_region *search(struct cring_view *view, uint64_t address) {
  size_t low = 0, high = view->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (address < view->regions[middle].start) {
      high = middle;
    } else if (address >= view->regions[middle].end) {
      low = middle + 1;
    } else {
      view->last = middle;
      return &view->regions[middle];
    }
  }
  return NULL;
}

INLINE const struct cring_region *find(struct cring_view *view, uint64_t address) {
  if (view->last < view->count) {
    const struct cring_region *region = &view->regions[view->last];
    if (LIKELY(address >= region->start && address < region->end)) return region;
  }
  return search(view, address);
}

// Where a piece is that lies in one region; NULL for any other.
INLINE uint8_t *whole(struct cring_view *view, uint64_t address, uint64_t length, unsigned access) {
  const struct cring_region *region = find(view, address);
  if (UNLIKELY(region == NULL) || UNLIKELY((region->access & access) != access)) return NULL;
  if (UNLIKELY(region->end - address < length)) return NULL;
  return region->host + (address - region->start);
}

// The region that was hit last, for one kind of access, in registers.
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

// Where a piece is that lies in one region; NULL for any other.
INLINE uint8_t *in_window(
    struct window *last, struct cring_view *view, uint64_t address, uint64_t length, unsigned access) {
  uint64_t offset = address - last->start;
  if (UNLIKELY(offset >= last->size)) {
    if (search(view, address) == NULL) return NULL;
    *last = window(view, access);
    offset = address - last->start;
    if (offset >= last->size) return NULL;
  }
  if (UNLIKELY(last->size - offset < length)) return NULL;
  return last->host + offset;
}

// Adds the pieces of a buffer to the burst's segments.
static enum cring_fault append(
    struct cring_burst *burst, uint64_t address, uint64_t length, unsigned access, struct cring_view *view) {
  while (length > 0) {
    const struct cring_region *region = find(view, address);
    if (region == NULL || (region->access & access) != access) return CRING_UNMAPPED;
    if (burst->segment_count == MAX_SEGMENTS) return CRING_TOO_MANY_SEGMENTS;
    const uint64_t available = region->end - address;
    const uint64_t piece = available < length ? available : length;
    burst->segments[burst->segment_count++] =
        (struct cring_segment){region->host + (address - region->start), (size_t)piece};
    length -= piece;
    address += piece;
  }
  return CRING_FINE;
}

static bool read_bytes(struct cring_view *view, uint64_t address, size_t length, uint8_t *to) {
  while (length > 0) {
    const struct cring_region *region = find(view, address);
    if (region == NULL || !(region->access & CRING_READ)) return false;
    const uint64_t available = region->end - address;
    const size_t piece = available < length ? (size_t)available : length;
    memcpy(to, region->host + (address - region->start), piece);
    to += piece;
    address += piece;
    length -= piece;
  }
  return true;
}

// The halves of a descriptor of a table, fetched once.
static bool read_halves(struct cring_view *view, uint64_t address, uint64_t *low, uint64_t *high) {
  const uint8_t *at = whole(view, address, 16, CRING_READ);
  if (at != NULL && ((uintptr_t)at & 7) == 0) {
    *low = load64(at);
    *high = load64(at + 8);
    return true;
  }
  uint8_t copy[16];
  if (!read_bytes(view, address, 16, copy)) return false;
  memcpy(low, copy, 8);
  memcpy(high, copy + 8, 8);
  return true;
}

// MARK: Descriptors

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

// MARK: Chains of any form

struct chain {
  uint16_t id;
  uint32_t descriptors, visits;
  uint64_t readable, writable;
};

static uint32_t links(const struct chain *chain) {
  return chain->visits > chain->descriptors ? chain->visits - 1 : chain->visits;
}

// Walks the chain at a position and adds its pieces to the burst's segments: those to be read, up to `limit` bytes of them
// or none, or the first `limit` bytes of those to be written.
static enum cring_fault walk(
    const struct cring *ring, bool is_packed, uint16_t position, bool is_write, uint64_t limit, struct cring_view *view,
    struct cring_burst *burst, struct chain *chain) {
  uint32_t index = head_at(ring, is_packed, position);
  chain->id = (uint16_t)index;
  uint64_t wanted = limit, table = 0;
  uint32_t table_count = 0, table_visits = 0;
  const uint32_t most = ring->size > MAX_INDIRECT ? ring->size : MAX_INDIRECT;
  bool has_writable = false;
  for (;;) {
    struct descriptor descriptor;
    chain->visits++;
    if (table_count == 0) {
      if (index >= ring->size) return CRING_DESCRIPTOR_INDEX;
      if (chain->descriptors >= ring->size) return CRING_CHAIN_LOOP;
      chain->descriptors++;
      const uint8_t *at = ring->descriptors + 16 * (size_t)index;
      descriptor = decode(is_packed, load64(at), load64(at + 8));
      if (is_packed) chain->id = descriptor.link;
      if (descriptor.flags & INDIRECT) {
        if (!ring->has_indirect) return CRING_INDIRECT;
        if (descriptor.flags & NEXT || descriptor.length == 0 || descriptor.length % 16) return CRING_INDIRECT_TABLE;
        table = descriptor.address;
        table_count = descriptor.length / 16;
        index = 0;
        continue;
      }
    } else {
      if (index >= table_count) return CRING_DESCRIPTOR_INDEX;
      if (++table_visits > (table_count < most ? table_count : most)) return CRING_CHAIN_LOOP;
      uint64_t low, high;
      if (!read_halves(view, table + 16 * (uint64_t)index, &low, &high)) return CRING_UNMAPPED;
      descriptor = decode(is_packed, low, high);
      if (descriptor.flags & INDIRECT) return CRING_INDIRECT_TABLE;
    }
    if (descriptor.flags & WRITE && !(is_packed && table_count > 0 && !is_write)) {
      has_writable = true;
      if (is_write) {
        const uint64_t bytes = descriptor.length < wanted ? descriptor.length : wanted;
        const enum cring_fault fault = append(burst, descriptor.address, bytes, CRING_WRITE, view);
        if (fault != CRING_FINE) return fault;
        wanted -= bytes;
      }
      chain->writable += descriptor.length;
    } else {
      if (is_write || has_writable) return CRING_DESCRIPTOR_ORDER;
      chain->readable += descriptor.length;
      if (chain->readable <= limit) {
        const enum cring_fault fault = append(burst, descriptor.address, descriptor.length, CRING_READ, view);
        if (fault != CRING_FINE) return fault;
      }
    }
    if (is_write && wanted == 0 && (!is_packed || table_count > 0)) return CRING_FINE;
    if (table_count > 0 && is_packed) {
      if (++index >= table_count) return CRING_FINE;
    } else {
      if (!(descriptor.flags & NEXT)) return CRING_FINE;
      if (table_count > 0 || !is_packed)
        index = descriptor.link;
      else
        index = index + 1 < ring->size ? index + 1 : 0;
    }
  }
}

// MARK: Bursts

struct cring_burst *cring_burst_create(void) {
  struct cring_burst *burst = calloc(1, sizeof *burst);
  if (burst == NULL) return NULL;
  burst->arena = aligned_alloc(64, ARENA);
  burst->segments = malloc(MAX_SEGMENTS * sizeof *burst->segments);
  burst->buffers = malloc(CRING_MAX_SIZE * sizeof *burst->buffers);
  burst->next = LEAD;
  if (burst->arena != NULL && burst->segments != NULL && burst->buffers != NULL) return burst;
  cring_burst_free(burst);
  return NULL;
}

void cring_burst_free(struct cring_burst *burst) {
  if (burst == NULL) return;
  free(burst->arena);
  free(burst->segments);
  free(burst->buffers);
  free(burst);
}

void cring_burst_clear(struct cring_burst *burst) {
  burst->count = 0;
  burst->next = LEAD;
}

INLINE bool has_place(const struct cring_burst *burst) { return burst->next <= ARENA - CRING_MAX_LENGTH; }

INLINE void add(struct cring_burst *burst, struct cring_packet packet) {
  burst->packets[burst->count++] = packet;
  if (LIKELY(packet.outcome != CRING_OVERSIZED)) burst->next = ((packet.start + packet.length + 63) & ~63ul) + LEAD;
}

uint8_t *cring_burst_append(struct cring_burst *burst, size_t header_length, size_t length) {
  if (burst->count == CRING_BURST || !has_place(burst) || header_length + length > CRING_MAX_LENGTH) return NULL;
  const size_t start = burst->next - header_length;
  memset(burst->arena + start, 0, header_length);
  add(burst, (struct cring_packet){.start = start, .length = header_length + length});
  return burst->arena + start + header_length;
}

void cring_burst_rearm(struct cring_burst *burst) {
  for (size_t i = 0; i < burst->count; i++)
    if (burst->packets[i].outcome != CRING_OVERSIZED) burst->packets[i].outcome = CRING_PENDING;
}

// MARK: The device side

void cring_init(struct cring *ring, uint32_t size, bool is_packed, void *descriptors, void *avail, void *used) {
  *ring = (struct cring){
      .descriptors = descriptors,
      .avail = avail,
      .used = used,
      .size = size,
      .is_packed = is_packed,
      .has_indirect = true,
      .next_avail = is_packed ? WRAP : 0,
      .next_used = is_packed ? WRAP : 0,
  };
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

INLINE uint16_t position_of(struct cursor cursor) { return (uint16_t)(cursor.index | cursor.wrap); }

INLINE void step(struct cursor *cursor, bool is_packed, uint32_t size) {
  cursor->index++;
  if (is_packed && UNLIKELY(cursor->index == size)) *cursor = (struct cursor){0, cursor->wrap ^ WRAP};
}

// A packet whose chain is anything but one descriptor in one region. Returns how many descriptors were visited; 0 when the
// ring is broken.
COLD uint32_t gather(
    struct cring *ring, bool is_packed, struct cring_burst *burst, struct cring_view *view, size_t header_length) {
  struct chain chain = {0};
  burst->segment_count = 0;
  enum cring_fault fault =
      walk(ring, is_packed, ring->next_avail, false, CRING_MAX_LENGTH, view, burst, &chain);
  if (fault == CRING_FINE && chain.readable < header_length) fault = CRING_SHORT_BUFFER;
  if (fault != CRING_FINE) {
    ring->fault = fault;
    return 0;
  }
  const bool is_oversized = chain.readable > CRING_MAX_LENGTH;
  const size_t start = burst->next - header_length;
  uint8_t *to = burst->arena + start;
  for (size_t i = 0; i < burst->segment_count && !is_oversized; i++) {
    memcpy(to, burst->segments[i].host, burst->segments[i].length);
    to += burst->segments[i].length;
  }
  add(burst, (struct cring_packet){
                 .start = start,
                 .length = is_oversized ? 0 : (size_t)chain.readable,
                 .position = ring->next_avail,
                 .id = chain.id,
                 .descriptors = (uint16_t)chain.descriptors,
                 .links = (uint16_t)links(&chain),
                 .outcome = is_oversized ? CRING_OVERSIZED : CRING_PENDING,
             });
  ring->next_avail = advance(ring, is_packed, ring->next_avail, chain.descriptors);
  return chain.visits;
}

INLINE size_t dequeue(
    struct cring *ring, bool is_packed, struct cring_burst *burst, size_t limit, struct cring_view *view,
    size_t header_length) {
  const size_t first = burst->count;
  const size_t room = CRING_BURST - first;
  const uint32_t size = ring->size;
  uint8_t *const arena = burst->arena;
  const uint8_t *const descriptors = ring->descriptors;
  struct cring_packet *packet = burst->packets + first;
  struct cring_packet *const end = packet + (limit < room ? limit : room);
  struct window last = window(view, CRING_READ);
  struct cursor cursor = cursor_at(is_packed, ring->next_avail);
  size_t next = burst->next;
  uint32_t visits = 0, waiting = 0;
  if (ring->fault != CRING_FINE) return 0;
  while (packet < end) {
    if (!is_packed && waiting == 0 && (waiting = announced(ring, false, position_of(cursor))) == 0) break;
    if (UNLIKELY(next > ARENA - CRING_MAX_LENGTH)) break;
    const uint32_t head =
        is_packed ? cursor.index : load16(ring->avail + 4 + 2 * (size_t)(cursor.index & (size - 1)));
    if (!is_packed && UNLIKELY(head >= size)) {
      ring->fault = CRING_DESCRIPTOR_INDEX;
      break;
    }
    const uint8_t *at = descriptors + 16 * (size_t)head;
    // In a packed ring what announces a descriptor is a part of it, so that one look is enough.
    const uint64_t high = is_packed ? acquire64(at + 8) : load64(at + 8);
    const struct descriptor descriptor = decode(is_packed, load64(at), high);
    if (is_packed && (descriptor.flags & (AVAIL | USED)) != (cursor.wrap ? AVAIL : USED)) break;
    const uint8_t *from = NULL;
    if (LIKELY(!(descriptor.flags & (NEXT | WRITE | INDIRECT)) && descriptor.length >= header_length &&
               descriptor.length <= CRING_MAX_LENGTH))
      from = in_window(&last, view, descriptor.address, descriptor.length, CRING_READ);
    if (LIKELY(from != NULL)) {
      const size_t start = next - header_length;
      copy_bytes(arena + start, from, descriptor.length);
      *packet++ = (struct cring_packet){
          .start = start,
          .length = descriptor.length,
          .position = position_of(cursor),
          .id = is_packed ? descriptor.link : (uint16_t)head,
          .descriptors = 1,
          .links = 1,
          .outcome = CRING_PENDING,
      };
      next = ((start + descriptor.length + 63) & ~63ul) + LEAD;
      step(&cursor, is_packed, size);
    } else {
      ring->next_avail = position_of(cursor);
      burst->count = (size_t)(packet - burst->packets);
      burst->next = next;
      const uint32_t visited = gather(ring, is_packed, burst, view, header_length);
      if (visited == 0) return (size_t)(packet - burst->packets) - first;
      packet = burst->packets + burst->count;
      next = burst->next;
      cursor = cursor_at(is_packed, ring->next_avail);
      last = window(view, CRING_READ);
      visits += visited;
      if (visits >= MAX_VISITS) break;
    }
    waiting--;
  }
  ring->next_avail = position_of(cursor);
  burst->count = (size_t)(packet - burst->packets);
  burst->next = next;
  return burst->count - first;
}

size_t cring_dequeue(
    struct cring *ring, struct cring_burst *burst, size_t limit, struct cring_view *view, size_t header_length) {
  return ring->is_packed ? dequeue(ring, true, burst, limit, view, header_length)
                         : dequeue(ring, false, burst, limit, view, header_length);
}

// Chains that are about to be announced.
struct shadow {
  uint16_t first;
  uint64_t first_high;
  uint32_t moved;
};

INLINE void use(
    struct cring *ring, bool is_packed, struct shadow *shadow, uint16_t id, uint32_t length, uint32_t descriptors) {
  const uint16_t position = ring->next_used;
  if (is_packed) {
    const uint64_t flags = (position & WRAP ? AVAIL | USED : 0) | (length > 0 ? WRITE : 0);
    const uint64_t high = length | (uint64_t)id << 32 | flags << 48;
    if (UNLIKELY(shadow->moved == 0)) {
      shadow->first = position;
      shadow->first_high = high;
    } else {
      release64(ring->descriptors + 16 * (size_t)(position & 0x7fff) + 8, high);
    }
    shadow->moved += descriptors;
  } else {
    store64(ring->used + 4 + 8 * (size_t)(position & (ring->size - 1)), id | (uint64_t)length << 32);
    shadow->moved++;
  }
  ring->next_used = advance(ring, is_packed, position, descriptors);
}

INLINE void publish(struct cring *ring, bool is_packed, const struct shadow *shadow) {
  if (shadow->moved == 0) return;
  if (is_packed)
    release64(ring->descriptors + 16 * (size_t)(shadow->first & 0x7fff) + 8, shadow->first_high);
  else
    release16(ring->used + 2, ring->next_used);
  const uint32_t uncalled = ring->uncalled + shadow->moved;
  ring->uncalled = uncalled < 1 << 16 ? uncalled : 1 << 16;
}

INLINE void complete(
    struct cring *ring, bool is_packed, const struct cring_burst *burst, size_t first, size_t count) {
  struct shadow shadow = {0};
  const struct cring_packet *packet = burst->packets + first, *const end = packet + count;
  if (is_packed) {
    uint8_t *const descriptors = ring->descriptors + 8;
    struct cursor cursor = cursor_at(true, ring->next_used);
    shadow.first = position_of(cursor);
    for (; packet < end; packet++) {
      const uint64_t high = (uint64_t)packet->id << 32 | (uint64_t)(cursor.wrap ? AVAIL | USED : 0) << 48;
      if (UNLIKELY(shadow.moved == 0))
        shadow.first_high = high;
      else
        release64(descriptors + 16 * (size_t)cursor.index, high);
      shadow.moved += packet->descriptors;
      cursor.index += packet->descriptors;
      if (UNLIKELY(cursor.index >= ring->size)) cursor = (struct cursor){cursor.index - ring->size, cursor.wrap ^ WRAP};
    }
    ring->next_used = position_of(cursor);
  } else {
    uint8_t *const entries = ring->used + 4;
    const uint32_t mask = ring->size - 1;
    uint32_t position = ring->next_used;
    for (; packet < end; packet++) store64(entries + 8 * (size_t)(position++ & mask), packet->id);
    ring->next_used = (uint16_t)position;
    shadow.moved = (uint32_t)count;
  }
  publish(ring, is_packed, &shadow);
}

void cring_complete(struct cring *ring, const struct cring_burst *burst, size_t first, size_t count) {
  if (first > burst->count || count > burst->count - first) abort();
  if (ring->is_packed)
    complete(ring, true, burst, first, count);
  else
    complete(ring, false, burst, first, count);
}

// A packet for which one descriptor in one region is not enough. Nothing is written before there is room for all of it.
COLD enum cring_outcome scatter(
    struct cring *ring, bool is_packed, struct cring_burst *burst, struct cring_packet *packet, struct cring_view *view,
    size_t header_length, bool is_mergeable, uint32_t *visits, struct shadow *shadow) {
  uint16_t position = ring->next_avail;
  uint32_t waiting = 0, descriptors = 0, all_links = 0;
  uint64_t rest = packet->length;
  size_t buffers = 0;
  burst->segment_count = 0;
  while (rest > 0) {
    if (waiting == 0 && (waiting = announced(ring, is_packed, position)) == 0)
      return ring->fault == CRING_FINE && descriptors == ring->size ? CRING_UNDELIVERABLE : CRING_PENDING;
    struct chain chain = {0};
    enum cring_fault fault = walk(ring, is_packed, position, true, rest, view, burst, &chain);
    *visits += chain.visits;
    all_links += links(&chain);
    descriptors += chain.descriptors;
    if (fault == CRING_FINE && (descriptors > ring->size || *visits > MAX_INDIRECT * 64)) fault = CRING_CHAIN_LOOP;
    if (fault == CRING_FINE && chain.writable < (buffers == 0 ? header_length : 1)) fault = CRING_SHORT_BUFFER;
    if (fault != CRING_FINE) {
      ring->fault = fault;
      return CRING_PENDING;
    }
    const uint64_t written = chain.writable < rest ? chain.writable : rest;
    burst->buffers[buffers++] =
        (struct cring_buffer){(uint32_t)written, chain.id, (uint16_t)chain.descriptors};
    position = advance(ring, is_packed, position, chain.descriptors);
    waiting--;
    rest -= written;
    if (rest > 0 && !is_mergeable) return CRING_UNDELIVERABLE;
  }
  uint8_t *from = burst->arena + packet->start;
  if (header_length == MODERN_HEADER) memcpy(from + BUFFER_COUNT_OFFSET, &(uint16_t){(uint16_t)buffers}, 2);
  for (size_t i = 0; i < burst->segment_count; i++) {
    memcpy(burst->segments[i].host, from, burst->segments[i].length);
    from += burst->segments[i].length;
  }
  for (size_t i = 0; i < buffers; i++)
    use(ring, is_packed, shadow, burst->buffers[i].id, burst->buffers[i].length, burst->buffers[i].descriptors);
  packet->target_links = (uint16_t)all_links;
  ring->next_avail = position;
  return CRING_DELIVERED;
}

INLINE size_t enqueue(
    struct cring *ring, bool is_packed, struct cring_burst *burst, size_t first, struct cring_view *view,
    size_t header_length, bool is_mergeable) {
  const uint32_t size = ring->size;
  uint8_t *const arena = burst->arena;
  uint8_t *const descriptors = ring->descriptors;
  struct cring_packet *packet = burst->packets + first, *const end = burst->packets + burst->count;
  struct window last = window(view, CRING_WRITE);
  struct shadow shadow = {0};
  struct cursor cursor = cursor_at(is_packed, ring->next_avail), used = cursor_at(is_packed, ring->next_used);
  uint32_t waiting = 0, visits = 0;
  if (ring->fault != CRING_FINE) return 0;
  for (; packet < end; packet++) {
    if (UNLIKELY(packet->outcome == CRING_OVERSIZED)) continue;
    if (!is_packed && waiting == 0 && (waiting = announced(ring, false, position_of(cursor))) == 0) break;
    const uint32_t head =
        is_packed ? cursor.index : load16(ring->avail + 4 + 2 * (size_t)(cursor.index & (size - 1)));
    if (!is_packed && UNLIKELY(head >= size)) {
      ring->fault = CRING_DESCRIPTOR_INDEX;
      break;
    }
    const uint8_t *at = descriptors + 16 * (size_t)head;
    const uint64_t high = is_packed ? acquire64(at + 8) : load64(at + 8);
    const struct descriptor descriptor = decode(is_packed, load64(at), high);
    if (is_packed && (descriptor.flags & (AVAIL | USED)) != (cursor.wrap ? AVAIL : USED)) break;
    const size_t length = packet->length;
    uint8_t *to = NULL;
    if (LIKELY((descriptor.flags & (NEXT | WRITE | INDIRECT)) == WRITE && descriptor.length >= length &&
               length >= header_length))
      to = in_window(&last, view, descriptor.address, length, CRING_WRITE);
    if (LIKELY(to != NULL)) {
      uint8_t *from = arena + packet->start;
      if (LIKELY(header_length == MODERN_HEADER)) memcpy(from + BUFFER_COUNT_OFFSET, &(uint16_t){1}, 2);
      copy_bytes(to, from, length);
      const uint64_t entry = (uint64_t)(uint32_t)length;
      if (is_packed) {
        const uint64_t flags = (used.wrap ? AVAIL | USED : 0) | WRITE;
        const uint64_t written = entry | (uint64_t)descriptor.link << 32 | flags << 48;
        if (UNLIKELY(shadow.moved == 0))
          shadow = (struct shadow){position_of(used), written, 0};
        else
          release64(descriptors + 16 * (size_t)used.index + 8, written);
      } else {
        store64(ring->used + 4 + 8 * (size_t)(used.index & (size - 1)), head | entry << 32);
      }
      shadow.moved++;
      packet->target_links = 1;
      packet->outcome = CRING_DELIVERED;
      step(&cursor, is_packed, size);
      step(&used, is_packed, size);
      waiting--;
    } else {
      ring->next_avail = position_of(cursor);
      ring->next_used = position_of(used);
      const enum cring_outcome outcome =
          scatter(ring, is_packed, burst, packet, view, header_length, is_mergeable, &visits, &shadow);
      cursor = cursor_at(is_packed, ring->next_avail);
      used = cursor_at(is_packed, ring->next_used);
      last = window(view, CRING_WRITE);
      waiting = 0;
      if (outcome == CRING_PENDING) break;
      packet->outcome = outcome;
      if (visits >= MAX_VISITS) {
        packet++;
        break;
      }
    }
  }
  ring->next_avail = position_of(cursor);
  ring->next_used = position_of(used);
  publish(ring, is_packed, &shadow);
  return (size_t)(packet - burst->packets) - first;
}

size_t cring_enqueue(
    struct cring *ring, struct cring_burst *burst, size_t first, struct cring_view *view, size_t header_length,
    bool is_mergeable) {
  return ring->is_packed ? enqueue(ring, true, burst, first, view, header_length, is_mergeable)
                         : enqueue(ring, false, burst, first, view, header_length, is_mergeable);
}
