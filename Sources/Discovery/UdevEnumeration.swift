import CUdev
import Glibc
import SystemPackage

/// The devices of a subsystem, from libudev: it knows both of the places where sysfs lists them, `bus` and `class`.
enum UdevEnumeration {
  /// The sysfs directories of the devices of `subsystem`. None where there is no such subsystem.
  static func devices(subsystem: String) throws(DiscoveryError) -> [FilePath] {
    guard let udev = unsafe udev_new() else { throw failure("udev_new", subsystem, -errno) }
    defer { unsafe _ = udev_unref(udev) }
    guard let enumerate = unsafe udev_enumerate_new(udev) else {
      throw failure("udev_enumerate_new", subsystem, -errno)
    }
    defer { unsafe _ = udev_enumerate_unref(enumerate) }
    let matched = unsafe udev_enumerate_add_match_subsystem(enumerate, subsystem)
    guard matched >= 0 else { throw failure("udev_enumerate_add_match_subsystem", subsystem, matched) }
    let scanned = unsafe udev_enumerate_scan_devices(enumerate)
    guard scanned >= 0 else { throw failure("udev_enumerate_scan_devices", subsystem, scanned) }
    var found: [FilePath] = []
    // The entries and their names belong to `enumerate`, which lives until the end of this function.
    var entry = unsafe udev_enumerate_get_list_entry(enumerate)
    while let current = unsafe entry {
      if let name = unsafe udev_list_entry_get_name(current) { found.append(FilePath(unsafe String(cString: name))) }
      unsafe entry = udev_list_entry_get_next(current)
    }
    return found
  }

  private static func failure(_ function: String, _ subsystem: String, _ result: Int32) -> DiscoveryError {
    DiscoveryError(
      .udev, "subsystem \(subsystem)", "libudev cannot list its devices (\(function))",
      underlyingError: Errno(rawValue: -result))
  }
}
