#include <stdlib.h>

#include "CRingParts.h"

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
