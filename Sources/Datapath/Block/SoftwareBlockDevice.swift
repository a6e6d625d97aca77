internal import VDPA
internal import Virtio

/// A block device in software: a file, or a block device of this machine (virtio 1.2, §5.2).
final class SoftwareBlockDevice: SoftwareDevice {
  let type = DeviceType.block
  let features: Features
  let queueCount: Int
  let configuration: [UInt8]
  private let medium: BlockMedium
  private let queues: [BlockQueue<Chain>]

  /// The most queues: what a vhost-user connection can name in 8 bits.
  static let maxQueues = 256

  /// Makes the operations of that many queues on a file.
  typealias Operations = (_ kind: BlockIOKind?, _ file: BlockFile, _ queues: Int) throws -> [any BlockIO]

  /// A device of the parameters `blk-file`, `read-only`, `shared`, `serial` and `io`.
  ///
  /// - Throws: ``DatapathError``, or ``VDPAError`` `badParameter`, saying what is wrong with which.
  init(
    _ request: DeviceRequest, operations: Operations = { try BlockIOKind.make($0, file: $1, queues: $2) }
  ) throws {
    let parameters = request.parameters
    try parameters.allow(only: ["blk-file", "read-only", "shared", "serial", "io"], for: "a software block device")
    func refuse(_ why: String) -> DatapathError { DatapathError(.badConfiguration, "\(request.owner): \(why)") }
    guard let path = parameters["blk-file"], !path.isEmpty else {
      throw refuse("a block device needs a file: blk-file=PATH")
    }
    queueCount = request.queues ?? 1
    guard (1...SoftwareBlockDevice.maxQueues).contains(queueCount) else {
      throw refuse("\(queueCount) queues; a block device has 1 to \(SoftwareBlockDevice.maxQueues)")
    }
    func flag(_ name: String) throws -> Bool {
      switch parameters[name] {
      case "true": return true
      case nil, "false": return false
      case let text?: throw refuse("\(name)=\(text) is neither true nor false")
      }
    }
    let (isReadOnly, isShared) = (try flag("read-only"), try flag("shared"))
    let serial = parameters["serial"] ?? ""
    guard serial.utf8.count <= BlockRequest.idLength, serial.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) else {
      throw refuse("serial=\(serial) is not a name of up to \(BlockRequest.idLength) printable ASCII characters")
    }
    let kind = try parameters["io"].map { name in
      guard let kind = BlockIOKind(rawValue: name) else {
        throw refuse("io=\(name): there are \(BlockIOKind.allCases.map(\.rawValue).joined(separator: " and "))")
      }
      return kind
    }
    let file: BlockFile
    do throws(DatapathError) {
      file = try BlockFile(path: path, isReadOnly: isReadOnly, isShared: isShared)
    } catch {
      throw DatapathError(error.code, "\(request.owner): \(error.message)")
    }
    let medium = BlockMedium(file, id: Array(serial.utf8))
    queues = try operations(kind, file, queueCount).enumerated().map { BlockQueue(index: $0, medium: medium, io: $1) }
    features = medium.features(queues: queueCount)
    configuration = medium.configuration(queues: queueCount).encoded
    self.medium = medium
  }

  func process(_ chain: consuming Chain, queue: Int) { queues[queue].process(chain) }

  func service(queue: Int) -> Int { queues[queue].service() }

  func wantWakeups(_ wanted: Bool, queue: Int) { queues[queue].wantWakeups(wanted) }

  func wakeup(queue: Int) -> OwnedFD? { queues[queue].io.wakeup }

  func start(queue: Int, context: QueueContext) throws {
    queues[queue].start(features: context.features)
    medium.failures.setSink({ context.report($0) }, vring: queue)
  }

  func stop(queue: Int) { medium.failures.setSink(nil, vring: queue) }
}
