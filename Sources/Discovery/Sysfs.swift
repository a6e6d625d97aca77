import Glibc
import SystemPackage

/// Attributes, links and directories of a sysfs tree.
///
/// What is missing is nil: most attributes exist only for some devices, and a device may go while it is read.
enum Sysfs {
  /// The longest attribute: sysfs gives a page at most.
  private static let attributeLimit = 4096

  /// The text of an attribute without its newline; nil where it is missing, empty, or `(null)`, which is how the kernel
  /// writes an unset string.
  static func attribute(_ path: FilePath) -> String? {
    guard let file = try? FileDescriptor.open(path, .readOnly, options: [.closeOnExec]) else { return nil }
    defer { try? file.close() }
    var bytes = [UInt8](repeating: 0, count: attributeLimit)
    // The buffer is the array's own and does not leave the call.
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe (try? file.read(into: $0)) ?? 0 }
    var text = String(decoding: bytes[..<count], as: UTF8.self)
    while text.last?.isNewline == true { text.removeLast() }
    return text.isEmpty || text == "(null)" ? nil : text
  }

  /// An attribute that is a decimal number.
  static func number(_ path: FilePath) -> Int? { attribute(path).flatMap { Int($0) } }

  /// What a symbolic link says, not resolved.
  static func link(_ path: FilePath) -> FilePath? {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    // readlink(2) writes no more than the array has, returns how many, and adds no zero byte.
    let count = unsafe path.withPlatformString { path in
      unsafe bytes.withUnsafeMutableBytes { buffer in
        guard let base = buffer.baseAddress else { return 0 }
        return unsafe readlink(path, base, buffer.count)
      }
    }
    return count > 0 ? FilePath(String(decoding: bytes[..<count], as: UTF8.self)) : nil
  }

  /// The last component of a symbolic link's target: the name of a device's driver, IOMMU group, or bus.
  static func linkName(_ path: FilePath) -> String? { link(path)?.lastComponent?.string }

  /// Where a link of `directory` leads. By the text alone: sysfs links are relative, and a tree may be a copy.
  static func target(of name: FilePath.Component, in directory: FilePath) -> FilePath {
    let path = directory.appending(name)
    guard let link = link(path) else { return path }
    return directory.pushing(link).lexicallyNormalized()
  }

  /// The names in a directory, sorted; nil where there is no such directory.
  static func names(_ path: FilePath) throws(DiscoveryError) -> [FilePath.Component]? {
    guard let directory = unsafe path.withPlatformString({ unsafe opendir($0) }) else {
      let error = Errno(rawValue: errno)
      if error == .noSuchFileOrDirectory || error == .notDirectory { return nil }
      throw DiscoveryError(.sysfs, path.string, "cannot list the directory", underlyingError: error)
    }
    defer { unsafe closedir(directory) }
    var found: [FilePath.Component] = []
    // The entry is valid until the next readdir(3) on the same directory, and its name ends with a zero byte.
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { unsafe String(cString: $0) }
      }
      if name != ".", name != "..", let component = FilePath.Component(name) { found.append(component) }
    }
    return found.sorted { $0.string < $1.string }
  }
}
