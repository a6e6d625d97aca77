import CPCI
import SystemPackage

/// A list of PCI functions from libpci, and their configuration space.
///
/// `@safe`: the pointer comes from `cpci_create`, is never NULL, never leaves this object, and is closed once, in
/// `deinit`; the shim checks every index. The class is not Sendable, so that one thread uses it at a time.
@safe final class PCIBus {
  /// Where the functions are listed.
  enum Source {
    /// `bus/pci` of a sysfs tree.
    case sysfs(FilePath)
    /// A file as `lspci -xxx` writes it.
    case recording(FilePath)
  }

  struct Identity {
    let address: PCIAddress
    let vendor: UInt16
    let device: UInt16
    let subsystemVendor: UInt16
    let subsystemDevice: UInt16
    let classCode: UInt32
    let revision: UInt8
  }

  private let bus: OpaquePointer

  init(_ source: Source) throws(DiscoveryError) {
    guard let bus = unsafe cpci_create() else {
      throw DiscoveryError(.pci, "libpci", "cannot list the functions", underlyingError: .noMemory)
    }
    unsafe self.bus = bus
    let subject: FilePath
    let code: DiscoveryError.Code
    let result: Int32
    switch source {
    case .sysfs(let path):
      (subject, code) = (path, .pci)
      result = unsafe path.string.withCString { unsafe cpci_scan(bus, $0, nil) }
    case .recording(let path):
      (subject, code) = (path, .recording)
      result = unsafe path.string.withCString { unsafe cpci_scan(bus, nil, $0) }
    }
    guard result == 0 else { throw DiscoveryError(code, subject.string, "libpci: \(message)") }
  }

  deinit { unsafe cpci_close(bus) }

  /// How many functions there are.
  var count: Int { unsafe cpci_count(bus) }

  /// What libpci said last.
  private var message: String {
    let text = unsafe String(cString: cpci_message(bus))
    return text.isEmpty ? "no reason given" : text
  }

  func identity(at index: Int) throws(DiscoveryError) -> Identity {
    var i = cpci_identity()
    guard unsafe cpci_identify(bus, index, &i) == 0 else {
      throw DiscoveryError(.pci, "PCI function \(index) of the list", "libpci: \(message)")
    }
    guard let address = PCIAddress(domain: i.domain, bus: i.bus, device: i.device, function: i.function) else {
      throw DiscoveryError(
        .pci, "PCI function \(index) of the list",
        "device \(i.device), function \(i.function): no such address (devices go to 31, functions to 7)")
    }
    return Identity(
      address: address, vendor: i.vendor, device: i.device_id, subsystemVendor: i.subsystem_vendor,
      subsystemDevice: i.subsystem_device,
      classCode: UInt32(i.class_code) << 8 | UInt32(i.programming_interface), revision: i.revision)
  }

  /// The sizes of the six BARs in bytes, 0 for one that is not there.
  func barSizes(at index: Int) throws(DiscoveryError) -> [UInt64] {
    var sizes = [UInt64](repeating: 0, count: Int(CPCI_BARS))
    guard unsafe cpci_bar_sizes(bus, index, &sizes) == 0 else {
      throw DiscoveryError(.pci, "PCI function \(index) of the list", "libpci: \(message)")
    }
    return sizes
  }

  /// As much of the configuration space as can be read, and what libpci said where it ends early.
  ///
  /// The kernel lets only privileged processes read past byte 63, and only PCI Express functions have more than 256.
  func configurationSpace(at index: Int) -> (space: PCIConfigurationSpace, reason: String?) {
    var bytes: [UInt8] = []
    let ends = [
      PCIConfigurationSpace.headerLength, PCIConfigurationSpace.conventionalLength,
      PCIConfigurationSpace.extendedLength,
    ]
    for end in ends {
      var part = [UInt8](repeating: 0, count: end - bytes.count)
      guard unsafe cpci_read(bus, index, UInt32(bytes.count), &part, UInt32(part.count)) == 0 else {
        let reason = unsafe String(cString: cpci_message(bus))
        return (PCIConfigurationSpace(bytes: bytes), reason.isEmpty ? nil : reason)
      }
      bytes += part
    }
    return (PCIConfigurationSpace(bytes: bytes), nil)
  }
}
