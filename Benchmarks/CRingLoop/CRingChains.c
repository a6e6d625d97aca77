#include "CRingParts.h"

const struct cring_region *cring_search(struct cring_view *view, uint64_t address) {
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

struct window cring_window_at(struct cring_view *view, uint64_t address, unsigned access) {
  return cring_search(view, address) == NULL ? (struct window){0} : window(view, access);
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

enum cring_fault cring_walk(
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
