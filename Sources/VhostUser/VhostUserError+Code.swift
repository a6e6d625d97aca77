extension VhostUserError {
  /// A kind of failure. More may come with later versions.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The code's name.
    public let description: String
    /// What an operator can do about it; may be empty.
    let advice: String

    package init(_ name: String, advice: String = "") {
      description = name
      self.advice = advice
    }

    private static let frontendBug = "the front-end broke the protocol: check its version"

    /// A header or payload that no front-end may send: wrong version, size, flags or value.
    public static let malformed = Code("malformed", advice: frontendBug)
    /// A request that this back-end does not know or serve.
    public static let unknownRequest = Code(
      "unknownRequest", advice: "the front-end needs a feature that is not offered here")
    /// A request, or a feature, that was not negotiated.
    public static let notNegotiated = Code("notNegotiated", advice: frontendBug)
    /// A request that is legal, but not now.
    public static let outOfState = Code("outOfState", advice: frontendBug)
    /// A vring index beyond the queues of the device.
    public static let indexOutOfRange = Code(
      "indexOutOfRange", advice: "give the socket as many queues as the front-end uses")
    /// More descriptors than the message may carry.
    public static let tooManyDescriptors = Code("tooManyDescriptors", advice: frontendBug)
    /// A message without a descriptor that it has to carry.
    public static let missingDescriptor = Code("missingDescriptor", advice: frontendBug)
    /// A descriptor of the wrong kind of file.
    public static let wrongDescriptor = Code("wrongDescriptor")
    /// A memory region that overflows, overlaps, exceeds its file or cannot be mapped.
    public static let badMemory = Code("badMemory", advice: "the front-end needs shared memory (share=on)")
    /// The front-end has taken back pages of memory that it had shared.
    public static let memoryLost = Code("memoryLost")
    /// The peer used more than its share: it does not read its answers, or sends too much.
    public static let budget = Code("budget", advice: "the front-end is stuck or hostile")
    /// The peer has closed the connection.
    public static let disconnected = Code("disconnected")
    /// Nobody accepts a connection at the path.
    public static let unreachable = Code("unreachable", advice: "start the front-end, with a socket that it listens on")
    /// The device could not do what the front-end asked for.
    public static let device = Code("device")
    /// This side ended it: the socket was stopped or removed.
    public static let stopped = Code("stopped")
    /// The back-end refused what this front-end asked for.
    public static let refused = Code("refused", advice: "the back-end's log says why")
    /// A reply that no back-end may send, or what no device may write into a ring.
    public static let backendFault = Code(
      "backendFault", advice: "the back-end broke the protocol: check its version")
    /// The peer did not do in time what it has to.
    public static let timedOut = Code("timedOut", advice: "the back-end is stuck or busy")
    /// A socket path that cannot be used.
    public static let badPath = Code("badPath")
    /// Another process listens at the path.
    public static let pathInUse = Code("pathInUse", advice: "stop the other process or choose another path")
    /// A system call failed for a reason of this machine; the errno says which.
    public static let system = Code("system")
  }
}
