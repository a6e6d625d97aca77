internal import Synchronization
internal import Virtio

/// Stores in the order in which the guest makes them. Its room is allocated once; what does not fit is left out.
@safe final class StoreList: Sendable {
  static let capacity = 1 << 18

  // Written by libFuzzer's thread while the other one keeps quiet, and read by the other one; Adversary sees to that.
  nonisolated(unsafe) private let stores: UnsafeMutablePointer<Store>
  private let filled = Atomic(0)

  var count: Int { filled.load(ordering: .relaxed) }

  init() { unsafe stores = .allocate(capacity: StoreList.capacity) }

  deinit { unsafe stores.deallocate() }

  func clear() { filled.store(0, ordering: .relaxed) }

  subscript(index: Int) -> Store {
    precondition(index >= 0 && index < count)
    return unsafe stores[index]
  }

  /// Adds a store to a guest address; what is not mapped, or not for the device to write, stays as it is.
  func add<T: FixedWidthInteger & UnsignedInteger>(_ value: T, to address: UInt64, in memory: FuzzMemory) {
    let width = T.bitWidth / 8
    guard let found = memory.find(address, for: .write) else { return }
    if found.offset % width == 0 && found.rest >= width {
      append(Store(offset: UInt32(found.offset), width: UInt32(width), value: UInt64(value)))
    } else {
      for i in 0..<min(width, found.rest) {
        let byte = UInt64(truncatingIfNeeded: value >> T(i * 8)) & 0xff
        append(Store(offset: UInt32(found.offset + i), width: 1, value: byte))
      }
    }
  }

  private func append(_ store: Store) {
    let index = count
    guard index < StoreList.capacity else { return }
    unsafe (stores + index).initialize(to: store)
    filled.store(index + 1, ordering: .relaxed)
  }
}
