// The copies of a burst of packets, all of them in one call: so they can be compiled for several processors and chosen
// at run time, which a function that is inlined into its caller cannot.

#include "CLinux.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
// One function each, picked when the program is loaded (GNU indirect functions).
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx512vl", "avx2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef long long clinux_v16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef long long clinux_v32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t clinux_u64 __attribute__((aligned(1), may_alias));
typedef uint32_t clinux_u32 __attribute__((aligned(1), may_alias));
typedef uint16_t clinux_u16 __attribute__((aligned(1), may_alias));

/// From here on the processor's own string instruction, which libc uses, is as fast as a loop.
#define LONG_COPY 4096

#define MOVE(type, to, from) (*(type *)(to) = *(const type *)(from))

/// Copies 33 to 64 bytes.
ALWAYS_INLINE void copy_short(char *to, const char *from, size_t length) {
  MOVE(clinux_v32, to, from);
  MOVE(clinux_v32, to + length - 32, from + length - 32);
}

/// Copies 65 to 128 bytes.
ALWAYS_INLINE void copy_middle(char *to, const char *from, size_t length) {
  MOVE(clinux_v32, to + 32, from + 32);
  MOVE(clinux_v32, to + length - 64, from + length - 64);
  copy_short(to, from, length);
}

/// Copies so many bytes between places that do not overlap. What is no multiple of a register's size ends in one that
/// overlaps the one before. Packets of 64 bytes come in numbers: without their headers, or (has_header) with them.
ALWAYS_INLINE void copy(char *to, const char *from, size_t length, _Bool has_header) {
  if (__builtin_expect(length - (has_header ? 65 : 33) < (has_header ? 64 : 32), 1)) {
    has_header ? copy_middle(to, from, length) : copy_short(to, from, length);
  } else if (length - 33 < 96) {
    has_header ? copy_short(to, from, length) : copy_middle(to, from, length);
  } else if (length > 128) {
    if (__builtin_expect(length >= LONG_COPY, 0)) {
      memcpy(to, from, length);
      return;
    }
    size_t i = 0;
    for (; i + 128 < length; i += 128) {
      clinux_v32 a = *(const clinux_v32 *)(from + i), b = *(const clinux_v32 *)(from + i + 32);
      clinux_v32 c = *(const clinux_v32 *)(from + i + 64), d = *(const clinux_v32 *)(from + i + 96);
      *(clinux_v32 *)(to + i) = a;
      *(clinux_v32 *)(to + i + 32) = b;
      *(clinux_v32 *)(to + i + 64) = c;
      *(clinux_v32 *)(to + i + 96) = d;
    }
    for (; i < length - 32; i += 32) MOVE(clinux_v32, to + i, from + i);
    MOVE(clinux_v32, to + length - 32, from + length - 32);
  } else if (length >= 16) {
    MOVE(clinux_v16, to, from);
    MOVE(clinux_v16, to + length - 16, from + length - 16);
  } else if (length >= 8) {
    MOVE(clinux_u64, to, from);
    MOVE(clinux_u64, to + length - 8, from + length - 8);
  } else {
    for (size_t i = 0; i < length; i++) to[i] = from[i];
  }
}

FOR_THIS_PROCESSOR
void clinux_take_packets(
    void *arena, const void *packets, size_t count, size_t header_length, _Bool keeps_headers) {
  const struct clinux_packet *packet = packets, *const end = packet + count;
  if (keeps_headers) {
    char *base = (char *)arena - header_length;
    for (; packet < end; packet++) copy(base + (size_t)packet->line * 64, packet->host, packet->length, 1);
    return;
  }
  for (; packet < end; packet++) {
    char *to = (char *)arena + (size_t)packet->line * 64;
    // Headers are up to 12 bytes long, and there is a line for them.
    *(clinux_u64 *)(to - 16) = 0;
    *(clinux_u64 *)(to - 8) = 0;
    copy(to, (const char *)packet->host + header_length, packet->length - header_length, 0);
  }
}

/// Writes what differs only: the other side has read these lines and need not fetch them again.
ALWAYS_INLINE void write_header(char *to, const char *from, size_t length) {
  uint64_t start = *(const clinux_u64 *)from;
  if (*(const clinux_u64 *)to != start) *(clinux_u64 *)to = start;
  uint32_t end = *(const clinux_u16 *)(from + 8);
  if (length == 10) {
    if (*(const clinux_u16 *)(to + 8) != end) *(clinux_u16 *)(to + 8) = (uint16_t)end;
    return;
  }
  // The packet is in one buffer (virtio 1.2, §5.1.6.3.1).
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  end |= 1u << 16;
#else
  end = end << 16 | 0x0100u;
#endif
  if (*(const clinux_u32 *)(to + 8) != end) *(clinux_u32 *)(to + 8) = end;
}

ALWAYS_INLINE void give(const char *arena, const void *packets, size_t count, size_t header_length) {
  const struct clinux_packet *packet = packets, *const end = packet + count;
  for (; packet < end; packet++) {
    const char *from = arena + (size_t)packet->line * 64;
    char *to = packet->host;
    const size_t length = packet->length - header_length;
    write_header(to, from - header_length, header_length);
    copy(to + header_length, from, length, 0);
  }
}

FOR_THIS_PROCESSOR
void clinux_give_packets(const void *arena, const void *packets, size_t count, size_t header_length) {
  if (header_length == 12) {
    give(arena, packets, count, 12);
  } else if (header_length == 10) {
    give(arena, packets, count, 10);
  } else {
    const struct clinux_packet *packet = packets, *const end = packet + count;
    for (; packet < end; packet++)
      copy(packet->host, (const char *)arena + (size_t)packet->line * 64 - header_length, packet->length, 1);
  }
}
