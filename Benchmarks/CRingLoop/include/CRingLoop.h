// What the Swift ring code is measured against: the device side of virtqueues as a good C back-end has it, with the same
// checks of everything that a guest writes, the same record of every packet, and the same limits. And a driver side, which
// both are measured with.
#ifndef CRINGLOOP_H
#define CRINGLOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The most packets in a burst.
#define CRING_BURST 32
/// The longest packet with its header, in bytes.
#define CRING_MAX_LENGTH (65550 + 12)
/// The most descriptors in a ring.
#define CRING_MAX_SIZE 32768

// MARK: Guest memory

enum { CRING_READ = 1, CRING_WRITE = 2 };

/// A range of guest addresses that is contiguous in this process.
struct cring_region {
  uint64_t start, end;
  uint8_t *host;
  unsigned access;
};

/// The ranges by ascending address, and the one that was hit last.
struct cring_view {
  const struct cring_region *regions;
  size_t count, last;
};

// MARK: Packets

enum cring_outcome { CRING_PENDING, CRING_OVERSIZED, CRING_DELIVERED, CRING_UNDELIVERABLE };

/// One packet, and the chain that it came in. Lengths in bytes.
struct cring_packet {
  size_t start, length;
  uint16_t position, id, descriptors, links, target_links;
  uint8_t outcome;
};

struct cring_segment {
  uint8_t *host;
  size_t length;
};

struct cring_buffer {
  uint32_t length;
  uint16_t id, descriptors;
};

/// Packets in an arena, each with its payload on a cache line's start.
struct cring_burst {
  size_t count, next;
  uint8_t *arena;
  struct cring_packet packets[CRING_BURST];
  /// Where in guest memory the packet is that is being copied, and the buffers that it fills.
  size_t segment_count;
  struct cring_segment *segments;
  struct cring_buffer *buffers;
};

/// An empty burst; NULL without memory.
struct cring_burst *cring_burst_create(void);
void cring_burst_free(struct cring_burst *burst);
void cring_burst_clear(struct cring_burst *burst);
/// Adds a packet of `length` bytes with a header of zeroes in front; returns its payload, or NULL without room.
uint8_t *cring_burst_append(struct cring_burst *burst, size_t header_length, size_t length);
/// Makes the same packets ready to be sent again.
void cring_burst_rearm(struct cring_burst *burst);

// MARK: The device side

enum cring_fault {
  CRING_FINE,
  CRING_AVAILABLE_INDEX,
  CRING_DESCRIPTOR_INDEX,
  CRING_CHAIN_LOOP,
  CRING_INDIRECT,
  CRING_INDIRECT_TABLE,
  CRING_DESCRIPTOR_ORDER,
  CRING_UNMAPPED,
  CRING_SHORT_BUFFER,
  CRING_TOO_MANY_SEGMENTS,
};

/// A ring. Positions are a split ring's free-running index, and a packed ring's index with the wrap counter in bit 15.
struct cring {
  uint8_t *descriptors, *avail, *used;
  uint32_t size;
  bool is_packed, has_indirect;
  uint16_t next_avail, next_used;
  uint8_t fault;
  /// How far positions have moved since the driver was asked whether it wants a call.
  uint32_t uncalled;
};

/// A ring of `size` descriptors whose three parts are there in memory, at its start.
void cring_init(struct cring *ring, uint32_t size, bool is_packed, void *descriptors, void *avail, void *used);
/// Copies up to `limit` packets out of the guest's buffers behind those of the burst; returns how many.
size_t cring_dequeue(
    struct cring *ring, struct cring_burst *burst, size_t limit, struct cring_view *view, size_t header_length);
/// Returns the chains of packets that were dequeued, and announces them.
void cring_complete(struct cring *ring, const struct cring_burst *burst, size_t first, size_t count);
/// Writes packets into the guest's buffers and announces them; returns how many were taken.
size_t cring_enqueue(
    struct cring *ring, struct cring_burst *burst, size_t first, struct cring_view *view, size_t header_length,
    bool is_mergeable);

// MARK: The driver side

/// A buffer of the driver.
struct cring_place {
  uint64_t address;
  uint32_t length;
};

/// Offers the buffers that it was given, in turn, one descriptor each, and takes them back in order.
struct cring_driver {
  uint8_t *descriptors, *avail, *used;
  uint32_t size;
  bool is_packed, is_writable;
  /// Whether the device may say of several buffers at once that it is done with them (VIRTIO_F_IN_ORDER).
  bool is_in_order;
  const struct cring_place *places;
  uint16_t next_avail, next_used;
};

/// A driver of a ring at its start, which is made so; `places` has `size` buffers and stays the caller's.
void cring_driver_init(
    struct cring_driver *driver, uint32_t size, bool is_packed, bool is_writable, void *descriptors, void *avail,
    void *used, const struct cring_place *places);
/// Makes `count` buffers available at once.
void cring_driver_offer(struct cring_driver *driver, uint32_t count);
/// Takes `count` buffers back; false unless each has come back in its turn with that many bytes written. Of buffers that
/// the last one of a batch stands for nobody says how many those are.
bool cring_driver_collect(struct cring_driver *driver, uint32_t count, uint32_t length);

/// Nothing but a place that callgrind can be told of.
void cring_case_ends(void);

/// Whether this was compiled for the very machine (wider vectors than the platform's least).
bool cring_is_native(void);

#endif
