/// What can be asked about vhost-user sockets.
package enum SocketMethod {
  static let nameRule = ParameterRule("name", .string(most: Limits.name), "the socket's name")

  /// All sockets.
  package struct List: ControlMethod {
    package typealias Answer = [SocketSummary]
    package static let name = "socket.list"
    package static let summary = "The sockets by name."

    package init() {}
  }

  /// One socket with its vrings.
  package struct Show: ControlMethod {
    package typealias Answer = SocketDetail
    package static let name = "socket.show"
    package static let summary = "A socket, its candidates and the counters of its vrings."
    package static let parameters = [nameRule]

    package var name: String

    package init(name: String) { self.name = name }
  }

  /// Ends a socket.
  package struct Remove: ControlMethod {
    package typealias Answer = Nothing
    package static let name = "socket.remove"
    package static let summary = "Ends a socket's connection, closes it and removes its file."
    package static let isChange = true
    package static let parameters = [nameRule]

    package var name: String

    package init(name: String) { self.name = name }
  }

  /// Has a device serve a socket.
  package struct Bind: ControlMethod {
    package typealias Answer = SocketSummary
    package static let name = "socket.bind"
    package static let summary =
      "Has a device serve a socket from now on; while its guest runs this is the live switch."
    package static let isChange = true
    package static let parameters = [nameRule] + DeviceNumbers.rules

    package var name: String
    package var engine: Int
    package var device: Int

    package init(name: String, to numbers: DeviceNumbers) {
      (self.name, engine, device) = (name, numbers.engine, numbers.device)
    }
  }

  /// Has software serve a socket.
  package struct Unbind: ControlMethod {
    package typealias Answer = SocketSummary
    package static let name = "socket.unbind"
    package static let summary =
      "Has software serve a socket from now on; while its guest runs this is the live switch."
    package static let isChange = true
    package static let parameters = [nameRule]

    package var name: String

    package init(name: String) { self.name = name }
  }
}
