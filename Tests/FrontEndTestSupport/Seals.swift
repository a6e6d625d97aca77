import Glibc
import SystemPackage
package import VDPA

/// What is promised of a memory file (fcntl(2), F_ADD_SEALS).
package enum Seals {
  package static let shrink: CInt = 2
  package static let grow: CInt = 4
  package static let write: CInt = 8
  package static let futureWrite: CInt = 16

  private static let add: CInt = 1033

  package static func add(_ seals: CInt, to file: OwnedFD) throws {
    guard fcntl(file.rawValue, add, seals) == 0 else { throw Errno(rawValue: errno) }
  }
}
