extension SocketMethod {
  /// Makes a socket and starts it.
  package struct Add: ControlMethod {
    package typealias Answer = SocketSummary
    package static let name = "socket.add"
    package static let summary = "Makes a socket, binds it and starts it."
    package static let isChange = true
    package static let parameters =
      [
        nameRule,
        ParameterRule("path", .string(most: Limits.path), "where the Unix socket is, from the root"),
        ParameterRule("type", .choice(types), isRequired: false, "the virtio device type; net unless given"),
        ParameterRule(
          "client", .boolean, isRequired: false, "whether the front-end listens at the path and is connected to"),
        ParameterRule(
          "queues", .integer(1...Limits.queues), isRequired: false,
          "how many queues, pairs of rings for net; unless given those of the device, and one with software"),
        ParameterRule(
          "port", .string(most: Limits.word), isRequired: false,
          "what software does with packets; loopback unless given"),
        ParameterRule(
          "blkFile", .string(most: Limits.path), isRequired: false,
          "the file or block device that a software block device is made of"),
      ] + DeviceNumbers.rules(isRequired: false) + [
        ParameterRule(
          "candidates", .list(of: .object(DeviceNumbers.rules), most: Limits.candidates), isRequired: false,
          "the devices that the socket may be switched to while its guest runs"),
        ParameterRule(
          "failover", .choice(failovers), isRequired: false,
          "what becomes of the guest when the device fails: off, or software takes over; off unless given"),
      ]

    /// The virtio device types that can be asked for.
    package static let types = ["net", "block"]
    /// What can become of a guest whose device fails.
    package static let failovers = ["off", "software"]

    package var name: String
    package var path: String
    package var type: String?
    package var client: Bool?
    package var queues: Int?
    package var port: String?
    package var blkFile: String?
    package var engine: Int?
    package var device: Int?
    package var candidates: [DeviceNumbers]?
    package var failover: String?

    /// A socket that software serves, unless more is said.
    package init(name: String, path: String) { (self.name, self.path) = (name, path) }
  }
}
