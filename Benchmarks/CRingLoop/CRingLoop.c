#include <stdlib.h>

#include "CRingParts.h"

// Functions of which there is one for each kind of processor; which one is taken is found when the program is loaded.
#if defined(__x86_64__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx512vl", "avx2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif
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

// A packet whose chain is anything but one descriptor in one region. Returns how many descriptors were visited; 0 when
// the ring is broken.
static COLD uint32_t gather(
    struct cring *ring, bool is_packed, struct cring_burst *burst, struct cring_view *view, size_t header_length) {
  struct chain chain = {0};
  burst->segment_count = 0;
  enum cring_fault fault =
      cring_walk(ring, is_packed, ring->next_avail, false, CRING_MAX_LENGTH, view, burst, &chain);
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

// Takes packets as long as each is one descriptor in one region; what is wrong with the first other one, if anything is,
// is for the general walk. Returns where the packets end.
INLINE struct cring_packet *take_run(
    const struct cring *ring, bool is_packed, struct cursor *place, struct cring_packet *packet,
    struct cring_packet *const end, struct cring_burst *burst, struct cring_view *view, size_t header_length) {
  uint8_t *const to = burst->arena - header_length;
  const uint8_t *const descriptors = ring->descriptors, *const heads = ring->avail + 4;
  const uint32_t size = ring->size;
  const uint64_t room = CRING_MAX_LENGTH - header_length;
  struct window last = window(view, CRING_READ);
  struct cursor cursor = *place;
  size_t next = burst->next;
  for (; packet < end && LIKELY(next <= ARENA - CRING_MAX_LENGTH); packet++) {
    const uint32_t head = is_packed ? cursor.index : load16(heads + 2 * (size_t)(cursor.index & (size - 1)));
    if (!is_packed && UNLIKELY(head >= size)) break;
    const uint8_t *at = descriptors + 16 * (size_t)head;
    // In a packed ring what announces a descriptor is a part of it, so that one look is enough.
    const uint64_t high = is_packed ? acquire64(at + 8) : load64(at + 8);
    const struct descriptor descriptor = decode(is_packed, load64(at), high);
    if (UNLIKELY((descriptor.flags & (NEXT | WRITE | INDIRECT | (is_packed ? AVAIL | USED : 0))) !=
                 (is_packed ? avail_flags(cursor) : 0)))
      break;
    const uint64_t length = descriptor.length;
    if (UNLIKELY(length - header_length > room)) break;
    uint64_t offset = descriptor.address - last.start;
    if (UNLIKELY(offset >= last.size)) {
      last = cring_window_at(view, descriptor.address, CRING_READ);
      offset = descriptor.address - last.start;
      if (offset >= last.size) break;
    }
    if (UNLIKELY(last.size - offset < length)) break;
    copy_bytes(to + next, last.host + offset, length);
    *packet = (struct cring_packet){
        .start = next - header_length,
        .length = length,
        .position = position_of(cursor),
        .id = is_packed ? descriptor.link : (uint16_t)head,
        .descriptors = 1,
        .links = 1,
        .outcome = CRING_PENDING,
    };
    next = ((next - header_length + length + 63) & ~63ul) + LEAD;
    step(&cursor, is_packed, size);
  }
  *place = cursor;
  burst->next = next;
  return packet;
}

INLINE size_t dequeue(
    struct cring *ring, bool is_packed, struct cring_burst *burst, size_t limit, struct cring_view *view,
    size_t header_length) {
  const size_t first = burst->count;
  const size_t room = CRING_BURST - first;
  struct cring_packet *const end = burst->packets + first + (limit < room ? limit : room);
  uint32_t visits = 0;
  while (visits < MAX_VISITS) {
    struct cring_packet *packet = burst->packets + burst->count;
    if (packet == end) break;
    const uint32_t waiting = announced(ring, is_packed, ring->next_avail);
    if (waiting == 0) break;
    struct cring_packet *const stop = !is_packed && waiting < end - packet ? packet + waiting : end;
    struct cursor cursor = cursor_at(is_packed, ring->next_avail);
    packet = take_run(ring, is_packed, &cursor, packet, stop, burst, view, header_length);
    ring->next_avail = position_of(cursor);
    burst->count = (size_t)(packet - burst->packets);
    if (packet == stop) continue;
    if (!has_place(burst) || announced(ring, is_packed, ring->next_avail) == 0) break;
    const uint32_t visited = gather(ring, is_packed, burst, view, header_length);
    if (visited == 0) break;
    visits += visited;
  }
  return burst->count - first;
}

FOR_THIS_PROCESSOR
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

// The flags of a used descriptor of which nothing was written, where they stand in its second half.
INLINE uint64_t used_flags(struct cursor cursor) { return (uint64_t)(cursor.wrap ? AVAIL | USED : 0) << 48; }

INLINE void complete(
    struct cring *ring, bool is_packed, const struct cring_burst *burst, size_t first, size_t count) {
  struct shadow shadow = {0};
  const struct cring_packet *packet = burst->packets + first, *const end = packet + count;
  if (is_packed) {
    // The first one is written last: it announces the others.
    uint8_t *const descriptors = ring->descriptors + 8;
    struct cursor cursor = cursor_at(true, ring->next_used);
    const uint32_t size = ring->size;
    uint64_t flags = used_flags(cursor), moved = 0;
    if (count == 0) return;
    shadow.first = position_of(cursor);
    shadow.first_high = (uint64_t)packet->id << 32 | flags;
    for (;;) {
      moved += packet->descriptors;
      cursor.index += packet->descriptors;
      if (UNLIKELY(cursor.index >= size)) {
        cursor = (struct cursor){cursor.index - size, cursor.wrap ^ WRAP};
        flags = used_flags(cursor);
      }
      if (++packet == end) break;
      release64(descriptors + 16 * (size_t)cursor.index, (uint64_t)packet->id << 32 | flags);
    }
    shadow.moved = (uint32_t)moved;
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
static COLD enum cring_outcome scatter(
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
    enum cring_fault fault = cring_walk(ring, is_packed, position, true, rest, view, burst, &chain);
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

// Gives packets as long as each fits into one descriptor in one region; the first other one is for the general walk.
// Returns where it is.
INLINE struct cring_packet *give_run(
    struct cring *ring, bool is_packed, uint32_t waiting, struct cring_packet *packet, struct cring_packet *const end,
    struct cring_burst *burst, struct cring_view *view, size_t header_length, struct shadow *shadow) {
  uint8_t *const arena = burst->arena;
  uint8_t *const descriptors = ring->descriptors, *const heads = ring->avail + 4, *const entries = ring->used + 4;
  const uint32_t size = ring->size;
  const bool has_count = header_length == MODERN_HEADER;
  struct window last = window(view, CRING_WRITE);
  struct cursor cursor = cursor_at(is_packed, ring->next_avail), used = cursor_at(is_packed, ring->next_used);
  struct cring_packet *const stop = !is_packed && waiting < end - packet ? packet + waiting : end;
  for (; packet < stop; packet++) {
    const uint32_t head = is_packed ? cursor.index : load16(heads + 2 * (size_t)(cursor.index & (size - 1)));
    if (!is_packed && UNLIKELY(head >= size)) break;
    const uint8_t *at = descriptors + 16 * (size_t)head;
    const uint64_t high = is_packed ? acquire64(at + 8) : load64(at + 8);
    const struct descriptor descriptor = decode(is_packed, load64(at), high);
    if (UNLIKELY((descriptor.flags & (NEXT | WRITE | INDIRECT | (is_packed ? AVAIL | USED : 0))) !=
                 (WRITE | (is_packed ? avail_flags(cursor) : 0))))
      break;
    const uint64_t length = packet->length;
    if (UNLIKELY(descriptor.length < length || length < header_length || packet->outcome == CRING_OVERSIZED)) break;
    uint64_t offset = descriptor.address - last.start;
    if (UNLIKELY(offset >= last.size)) {
      last = cring_window_at(view, descriptor.address, CRING_WRITE);
      offset = descriptor.address - last.start;
      if (offset >= last.size) break;
    }
    if (UNLIKELY(last.size - offset < length)) break;
    uint8_t *from = arena + packet->start;
    if (LIKELY(has_count)) memcpy(from + BUFFER_COUNT_OFFSET, &(uint16_t){1}, 2);
    copy_bytes(last.host + offset, from, length);
    if (is_packed) {
      const uint64_t written = length | (uint64_t)descriptor.link << 32 | used_flags(used) | (uint64_t)WRITE << 48;
      if (UNLIKELY(shadow->moved == 0))
        *shadow = (struct shadow){position_of(used), written, 0};
      else
        release64(descriptors + 16 * (size_t)used.index + 8, written);
    } else {
      store64(entries + 8 * (size_t)(used.index & (size - 1)), head | length << 32);
    }
    shadow->moved++;
    packet->target_links = 1;
    packet->outcome = CRING_DELIVERED;
    step(&cursor, is_packed, size);
    step(&used, is_packed, size);
  }
  ring->next_avail = position_of(cursor);
  ring->next_used = position_of(used);
  return packet;
}

INLINE size_t enqueue(
    struct cring *ring, bool is_packed, struct cring_burst *burst, size_t first, struct cring_view *view,
    size_t header_length, bool is_mergeable) {
  struct cring_packet *packet = burst->packets + first, *const end = burst->packets + burst->count;
  struct shadow shadow = {0};
  uint32_t visits = 0;
  while (packet < end && visits < MAX_VISITS) {
    const uint32_t waiting = announced(ring, is_packed, ring->next_avail);
    if (waiting > 0) packet = give_run(ring, is_packed, waiting, packet, end, burst, view, header_length, &shadow);
    if (packet == end) break;
    if (packet->outcome != CRING_OVERSIZED) {
      const enum cring_outcome outcome =
          scatter(ring, is_packed, burst, packet, view, header_length, is_mergeable, &visits, &shadow);
      if (outcome == CRING_PENDING) break;
      packet->outcome = outcome;
    }
    packet++;
  }
  publish(ring, is_packed, &shadow);
  return (size_t)(packet - burst->packets) - first;
}

FOR_THIS_PROCESSOR
size_t cring_enqueue(
    struct cring *ring, struct cring_burst *burst, size_t first, struct cring_view *view, size_t header_length,
    bool is_mergeable) {
  return ring->is_packed ? enqueue(ring, true, burst, first, view, header_length, is_mergeable)
                         : enqueue(ring, false, burst, first, view, header_length, is_mergeable);
}
