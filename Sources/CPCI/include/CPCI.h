// libpci for Swift.
//
// A C target over libpci and not a system library module, for two reasons: libpci reports errors through a variadic
// callback that must not return (the default one exits the process), and only C can write one; and its structures are
// part of its binary interface, so nobody but C compiled against its own header should look inside them. What is
// declared here is plain: an opaque bus, numbers copied out, and a message where libpci would have exited.
#ifndef CPCI_H
#define CPCI_H

#include <stddef.h>
#include <stdint.h>

/// A scan of PCI functions. Not safe to use from two threads at once.
typedef struct cpci_bus cpci_bus;

/// What identifies a function: its address and its numbers.
typedef struct cpci_identity {
  uint32_t domain;
  uint8_t bus, device, function;
  uint8_t programming_interface, revision;
  uint16_t class_code;
  uint16_t vendor, device_id;
  uint16_t subsystem_vendor, subsystem_device;
} cpci_identity;

#define CPCI_BARS 6

/// Returns a bus without functions, or NULL when memory is short. Ends with cpci_close.
cpci_bus *cpci_create(void);

/// Lists the functions of `sysfs_path` (such as /sys/bus/pci) or, when that is NULL, of the file `dump_path` as
/// `lspci -xxx` writes it. To be called once. Returns 0, or -1 with a cpci_message.
int cpci_scan(cpci_bus *bus, const char *sysfs_path, const char *dump_path);

/// The number of functions found.
size_t cpci_count(const cpci_bus *bus);

/// The identity of function `index`. Returns 0, or -1 with a cpci_message.
int cpci_identify(cpci_bus *bus, size_t index, cpci_identity *identity);

/// The sizes in bytes of the six BARs of function `index`, 0 for one that it lacks. A recording has none: all are 0.
/// Returns 0, or -1 with a cpci_message.
int cpci_bar_sizes(cpci_bus *bus, size_t index, uint64_t *sizes);

/// Reads `length` bytes of configuration space. Returns 0, or -1 when any of them cannot be read (the message, if
/// there is one, says why).
int cpci_read(cpci_bus *bus, size_t index, unsigned offset, uint8_t *buffer, unsigned length);

/// What libpci said in the last call that failed; empty when it said nothing. Valid until the next call.
const char *cpci_message(const cpci_bus *bus);

void cpci_close(cpci_bus *bus);

#endif
