internal import CLinux
internal import Glibc
package import SystemPackage

/// Files of anonymous memory (memfd_create(2)).
package enum MemoryFile {
  /// Makes a file of zeroes whose size is sealed, so that who gets it cannot take a page away from whoever has it mapped.
  /// It takes no memory until it is written.
  ///
  /// - Parameters:
  ///   - name: What the kernel calls it, for people.
  ///   - size: Bytes.
  /// - Throws: `Errno`, when the process or the system has no descriptor or no memory left.
  package static func make(_ name: String, size: Int) throws(Errno) -> OwnedFD {
    let descriptor = unsafe clinux_memfd(name)
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
    let file = OwnedFD(adopting: FileDescriptor(rawValue: descriptor))
    guard ftruncate(descriptor, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    let result = clinux_seal_size(descriptor)
    guard result == 0 else { throw Errno(rawValue: -result) }
    return file
  }
}
