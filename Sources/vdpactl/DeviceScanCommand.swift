import ArgumentParser
import Control
import Discovery
import SystemPackage

/// `device scan`: what this machine has. Needs no daemon.
struct DeviceScanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scan",
    abstract: "List the virtio-compatible and vDPA-capable PCI functions, and the devices of the kernel's vdpa bus.",
    discussion: """
      Needs no daemon and changes nothing. Run it as root: others cannot read the capabilities of PCI functions.
      """)

  @OptionGroup var global: GlobalOptions

  @Option(help: ArgumentHelp("Look at the sysfs tree there instead of this machine's.", valueName: "path"))
  var sysfsRoot: String?

  @Option(
    help: ArgumentHelp("Look at the PCI functions of a file that `lspci -xxx` has written.", valueName: "file"))
  var pciDump: String?

  func validate() throws {
    if sysfsRoot != nil, pciDump != nil {
      throw ValidationError("--sysfs-root and --pci-dump exclude each other: a recording has no sysfs tree.")
    }
  }

  func run() throws {
    let source: DeviceScanner.Source =
      if let sysfsRoot {
        .sysfs(root: FilePath(sysfsRoot))
      } else if let pciDump {
        .recording(FilePath(pciDump))
      } else {
        .system
      }
    let inventory = try DeviceScanner(source: source).scan()
    if global.json {
      print(try JSONValue(inventory).prettyJSON())
    } else {
      print(inventory.report(), terminator: "")
    }
  }
}
