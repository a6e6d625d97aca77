#include "CPCI.h"

#include <pci/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cpci_bus {
  struct pci_access *access;
  struct pci_dev **functions;
  size_t count;
  jmp_buf escape;
  char message[512];
};

// libpci hands its callbacks no context. Each call into it goes through ENTER, which says whose call it is on this
// thread; the error callback leaves through that bus's `escape`. The frames jumped over are libpci's own: what they
// held for the entry at hand (its memory, an open directory) is lost, and nothing else.
static _Thread_local cpci_bus *current;

static void keep(const char *format, va_list arguments) {
  if (current == NULL) return;
  vsnprintf(current->message, sizeof current->message, format, arguments);
}

static void on_error(char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void on_error(char *format, ...) {
  va_list arguments;
  if (current == NULL) abort();  // libpci called from outside ENTER: there is nowhere to go
  va_start(arguments, format);
  keep(format, arguments);
  va_end(arguments);
  longjmp(current->escape, 1);
}

static void on_warning(char *format, ...) __attribute__((format(printf, 1, 2)));
static void on_warning(char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  keep(format, arguments);
  va_end(arguments);
}

static void on_debug(char *format, ...) __attribute__((format(printf, 1, 2)));
static void on_debug(char *format, ...) { (void)format; }

// Used as the first statement: the function returns -1 with the message kept when libpci reports an error.
#define ENTER(bus)               \
  do {                           \
    (bus)->message[0] = 0;       \
    current = (bus);             \
    if (setjmp((bus)->escape)) { \
      current = NULL;            \
      return -1;                 \
    }                            \
  } while (0)

static int leave(int result) {
  current = NULL;
  return result;
}

cpci_bus *cpci_create(void) { return calloc(1, sizeof(cpci_bus)); }

int cpci_scan(cpci_bus *bus, const char *sysfs_path, const char *dump_path) {
  ENTER(bus);
  if (bus->access != NULL) on_error("the bus was scanned before");
  struct pci_access *access = pci_alloc();
  bus->access = access;
  access->error = on_error;
  access->warning = on_warning;
  access->debug = on_debug;
  // Never PCI_ACCESS_AUTO: without the wanted source that falls back to /proc and to the I/O ports of this machine.
  access->method = sysfs_path != NULL ? PCI_ACCESS_SYS_BUS_PCI : PCI_ACCESS_DUMP;
  const char *name = sysfs_path != NULL ? "sysfs.path" : "dump.name";
  const char *value = sysfs_path != NULL ? sysfs_path : dump_path;
  if (value == NULL) on_error("neither a sysfs path nor a recording is given");
  if (pci_set_param(access, (char *)name, (char *)value) != 0) on_error("this libpci has no parameter %s", name);
  pci_init(access);
  pci_scan_bus(access);
  size_t count = 0;
  for (struct pci_dev *d = access->devices; d != NULL; d = d->next) count++;
  bus->functions = calloc(count + 1, sizeof *bus->functions);
  if (bus->functions == NULL) on_error("out of memory");
  for (struct pci_dev *d = access->devices; d != NULL; d = d->next) bus->functions[bus->count++] = d;
  return leave(0);
}

size_t cpci_count(const cpci_bus *bus) { return bus->count; }

int cpci_identify(cpci_bus *bus, size_t index, cpci_identity *identity) {
  ENTER(bus);
  if (index >= bus->count) on_error("no function %zu", index);
  struct pci_dev *d = bus->functions[index];
  pci_fill_info(d, PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS);
  *identity = (cpci_identity){
      .domain = (uint32_t)d->domain,
      .bus = d->bus,
      .device = d->dev,
      .function = d->func,
      .programming_interface = d->prog_if,
      .revision = d->rev_id,
      .class_code = d->device_class,
      .vendor = d->vendor_id,
      .device_id = d->device_id,
      .subsystem_vendor = d->subsys_vendor_id,
      .subsystem_device = d->subsys_id,
  };
  return leave(0);
}

int cpci_bar_sizes(cpci_bus *bus, size_t index, uint64_t *sizes) {
  ENTER(bus);
  if (index >= bus->count) on_error("no function %zu", index);
  struct pci_dev *d = bus->functions[index];
  pci_fill_info(d, PCI_FILL_BASES | PCI_FILL_SIZES);
  for (int bar = 0; bar < CPCI_BARS; bar++) sizes[bar] = d->size[bar];
  return leave(0);
}

int cpci_read(cpci_bus *bus, size_t index, unsigned offset, uint8_t *buffer, unsigned length) {
  ENTER(bus);
  if (index >= bus->count) on_error("no function %zu", index);
  if (offset > 4096 || length > 4096 - offset) on_error("configuration space ends at byte 4096");
  return leave(pci_read_block(bus->functions[index], (int)offset, buffer, (int)length) ? 0 : -1);
}

const char *cpci_message(const cpci_bus *bus) { return bus->message; }

static int clean_up(cpci_bus *bus) {
  ENTER(bus);
  pci_cleanup(bus->access);
  return leave(0);
}

void cpci_close(cpci_bus *bus) {
  if (bus == NULL) return;
  if (bus->access != NULL) clean_up(bus);
  free(bus->functions);
  free(bus);
}
