import ArgumentParser

/// What a back-end does with packets.
enum Port: String, CaseIterable, Sendable, CustomStringConvertible, ExpressibleByArgument {
  case loopback
  case sink
  case source

  var description: String { rawValue }
}
