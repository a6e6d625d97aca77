import Control
import Discovery
import SystemPackage

// What `vdpactl -j device scan` prints. Keys are never renamed or removed.
extension JSONValue {
  init(_ inventory: DeviceInventory) {
    self = .object([
      "pci": .array(inventory.pciFunctions.map { JSONValue($0) }),
      "pciExamined": .number(inventory.examinedFunctions),
      "vdpa": .array(inventory.vdpaDevices.map { JSONValue($0) }),
      "vdpaBus": .string(inventory.vdpaBus.word),
      "problems": .array(inventory.problems.map { .string($0) }),
    ])
  }

  private init(_ function: PCIFunction) {
    self = .object([
      "address": .string(function.address.description),
      "vendor": .id(function.vendorID, 4),
      "device": .id(function.deviceID, 4),
      "subsystemVendor": .id(function.subsystemVendorID, 4),
      "subsystemDevice": .id(function.subsystemDeviceID, 4),
      "class": .id(function.classCode, 6),
      "revision": .id(function.revision, 2),
      "virtioCompatible": .bool(function.isVirtioCompatible),
      "virtio": function.virtio.map { virtio in
        .object([
          "type": .number(virtio.type.rawValue),
          "name": .string(virtio.type.name),
          "transitional": .bool(virtio.isTransitional),
        ])
      } ?? .null,
      "vdpa": function.vdpa.map { support in
        .object([
          "driver": .string(support.driver),
          "companionModule": .string(support.companionModule),
          "devices": .array(support.devices.map { .string($0) }),
        ])
      } ?? .null,
      "capabilities": function.capabilities.map { .array($0.map { JSONValue($0) }) } ?? .null,
      "virtioCapabilities": .array(function.virtioCapabilities.map { JSONValue($0) }),
      "driver": .string(function.driver),
      "iommuGroup": function.iommuGroup.map { .number($0) } ?? .null,
      "numaNode": function.numaNode.map { .number($0) } ?? .null,
      "virtualFunctions": function.virtualFunctions.map {
        .object(["total": .number($0.total), "enabled": .number($0.enabled)])
      } ?? .null,
      "physicalFunction": .string(function.physicalFunction?.description),
      "problems": .array(function.problems.map { .string($0) }),
    ])
  }

  private init(_ capability: PCICapability) {
    self = .object([
      "id": .id(capability.id, capability.isExtended ? 4 : 2),
      "name": .string(capability.name),
      "extended": .bool(capability.isExtended),
      "position": .number(capability.offset),
    ])
  }

  private init(_ capability: VirtioPCICapability) {
    self = .object([
      "type": .number(capability.kind.rawValue),
      "name": .string(capability.kind.name),
      "position": .number(capability.position),
      "id": .number(capability.id),
      "bar": capability.region.map { .number($0.bar) } ?? .null,
      "offset": capability.region.map { .number($0.offset) } ?? .null,
      "length": capability.region.map { .number($0.length) } ?? .null,
      "notifyMultiplier": capability.notifyMultiplier.map { .number($0) } ?? .null,
    ])
  }

  private init(_ device: VDPADevice) {
    self = .object([
      "name": .string(device.name),
      "busDriver": .string(device.busDriver),
      "driverOverride": .string(device.driverOverride),
      "parent": .string(device.parent?.name),
      "parentBus": .string(device.parent?.bus),
      "pciFunction": .string(device.pciFunction?.description),
      "node": .string(device.node?.string),
    ])
  }

  /// An id as people write it: `0x1af4`.
  private static func id(_ value: some FixedWidthInteger, _ digits: Int) -> JSONValue {
    .string("0x" + value.hexadecimal(digits))
  }
}

extension DeviceInventory.BusState {
  fileprivate var word: String {
    switch self {
    case .present: "present"
    case .absent: "absent"
    case .notScanned: "not-scanned"
    }
  }
}
