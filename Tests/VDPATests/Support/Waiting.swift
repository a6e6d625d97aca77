import CLinux
import Foundation
import Synchronization
import SystemPackage
import VDPA
import Virtio

/// Waits for the completion of an operation.
func result<Value: Sendable>(
  of operation: (@escaping DeviceContext.Completion<Value>) -> Void
) -> Result<Value, VDPAError> {
  let answer = Answer<Value>()
  operation { answer.put($0) }
  return answer.get()
}

final class Answer<Value: Sendable>: Sendable {
  private let value = Mutex<Result<Value, VDPAError>?>(nil)
  private let semaphore = DispatchSemaphore(value: 0)

  func put(_ result: Result<Value, VDPAError>) {
    value.withLock { $0 = result }
    semaphore.signal()
  }

  func get() -> Result<Value, VDPAError> {
    guard semaphore.wait(timeout: .now() + 60) == .success, let result = value.withLock({ $0 }) else {
      return .failure(VDPAError(.operationFailed, "no completion was called"))
    }
    return result
  }
}

/// Waits until a condition holds; false after a minute.
func eventually(_ condition: () -> Bool) -> Bool {
  for _ in 0..<60_000 {
    if condition() { return true }
    usleep(1000)
  }
  return condition()
}

/// The names of the threads of this process.
func threadNames() -> [String] {
  let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
  return tasks.compactMap { task in
    (try? String(contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }
}

/// Guest memory of one page a region, at the given guest addresses.
func pages(at addresses: [UInt64]) throws -> GuestMemory {
  let file = OwnedFD(adopting: FileDescriptor(rawValue: unsafe clinux_memfd("pages")))
  guard ftruncate(file.rawValue, off_t(4096 * addresses.count)) == 0 else { throw Errno(rawValue: errno) }
  return try GuestMemory.table(
    addresses.enumerated().map { i, address in
      (
        try MemoryRegion(guestAddress: address, size: 4096, userAddress: address, fileOffset: UInt64(4096 * i)),
        file.descriptor
      )
    })
}
