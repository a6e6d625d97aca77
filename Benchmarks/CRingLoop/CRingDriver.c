#include <string.h>

#include "CRingLoop.h"
#include "CRingMemory.h"

void cring_driver_init(
    struct cring_driver *driver, uint32_t size, bool is_packed, bool is_writable, void *descriptors, void *avail,
    void *used, const struct cring_place *places) {
  *driver = (struct cring_driver){
      .descriptors = descriptors,
      .avail = avail,
      .used = used,
      .size = size,
      .is_packed = is_packed,
      .is_writable = is_writable,
      .places = places,
      .next_avail = is_packed ? WRAP : 0,
      .next_used = is_packed ? WRAP : 0,
  };
  memset(descriptors, 0, 16 * (size_t)size);
  memset(avail, 0, is_packed ? 4 : 6 + 2 * (size_t)size);
  memset(used, 0, is_packed ? 4 : 6 + 8 * (size_t)size);
  // Nobody is to call a driver that looks by itself: VIRTQ_AVAIL_F_NO_INTERRUPT, RING_EVENT_FLAGS_DISABLE.
  store16((uint8_t *)avail + (is_packed ? 2 : 0), 1);
}

static uint16_t behind(const struct cring_driver *driver, uint16_t position) {
  const uint32_t next = (position & 0x7fffu) + 1;
  return next < driver->size ? (uint16_t)(next | (position & WRAP)) : (uint16_t)((position & WRAP) ^ WRAP);
}

static void offer_packed(struct cring_driver *driver, uint32_t count) {
  const uint16_t first = driver->next_avail;
  uint64_t first_high = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint16_t position = driver->next_avail;
    const uint32_t index = position & 0x7fffu;
    uint8_t *at = driver->descriptors + 16 * (size_t)index;
    const uint64_t flags = (driver->is_writable ? WRITE : 0) | (position & WRAP ? AVAIL : USED);
    const uint64_t high = driver->places[index].length | (uint64_t)index << 32 | flags << 48;
    store64(at, driver->places[index].address);
    if (i > 0)
      release64(at + 8, high);
    else
      first_high = high;
    driver->next_avail = behind(driver, position);
  }
  // The first one announces all.
  if (count > 0) release64(driver->descriptors + 16 * (size_t)(first & 0x7fff) + 8, first_high);
}

void cring_driver_offer(struct cring_driver *driver, uint32_t count) {
  if (driver->is_packed) {
    offer_packed(driver, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t index = driver->next_avail & (driver->size - 1);
    uint8_t *at = driver->descriptors + 16 * (size_t)index;
    store64(at, driver->places[index].address);
    store64(at + 8, driver->places[index].length | (uint64_t)(driver->is_writable ? WRITE : 0) << 32);
    store16(driver->avail + 4 + 2 * (size_t)index, (uint16_t)index);
    driver->next_avail++;
  }
  release16(driver->avail + 2, driver->next_avail);
}

// What the device says at the next position: of which buffer, and how many bytes. False when it has said nothing.
static bool used_entry(const struct cring_driver *driver, uint32_t *id, uint32_t *length) {
  const uint16_t position = driver->next_used;
  if (driver->is_packed) {
    const uint64_t high = acquire64(driver->descriptors + 16 * (size_t)(position & 0x7fff) + 8);
    const uint16_t flags = (uint16_t)(high >> 48);
    if ((flags & (AVAIL | USED)) != (position & WRAP ? AVAIL | USED : 0)) return false;
    *id = (uint16_t)(high >> 32);
    *length = flags & WRITE ? (uint32_t)high : 0;
    return true;
  }
  if (acquire16(driver->used + 2) == position) return false;
  const uint64_t entry = load64(driver->used + 4 + 8 * (size_t)(position & (driver->size - 1)));
  *id = (uint32_t)entry;
  *length = (uint32_t)(entry >> 32);
  return true;
}

bool cring_driver_collect(struct cring_driver *driver, uint32_t count, uint32_t length) {
  while (count > 0) {
    uint32_t id, written;
    if (!used_entry(driver, &id, &written) || id >= driver->size || written != length) return false;
    // Buffers are known by their place in the ring, in which they are offered.
    const uint32_t expected = driver->is_packed ? driver->next_used & 0x7fffu : driver->next_used & (driver->size - 1);
    const uint32_t batch = (id >= expected ? id - expected : id + driver->size - expected) + 1;
    if ((batch > 1 && !driver->is_in_order) || batch > count) return false;
    for (uint32_t i = 0; i < batch; i++)
      driver->next_used = driver->is_packed ? behind(driver, driver->next_used) : (uint16_t)(driver->next_used + 1);
    count -= batch;
  }
  return true;
}

// Neither inlined nor forgotten.
__attribute__((noinline)) void cring_case_ends(void) { __asm__ __volatile__("" ::: "memory"); }

bool cring_is_native(void) {
#if defined(__AVX2__)
  return true;
#else
  return false;
#endif
}
