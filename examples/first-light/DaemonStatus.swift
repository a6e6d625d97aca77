import Foundation
import VDPA
import VhostUser

/// What the daemon answers to `status`: a line of JSON.
struct DaemonStatus: Codable {
  /// How a socket stands.
  struct Socket: Codable {
    let name: String
    let engine: Int
    let device: Int
    let datapath: String
    let ready: Bool
    let notReadyReason: String?
    /// The packets of each vring that serves the socket, by index.
    let vringPackets: [UInt64]
  }

  /// What an engine has carried.
  struct Engine: Codable {
    let id: Int
    let driver: String
    let traffic: PacketCount
  }

  let sockets: [Socket]
  let engines: [Engine]

  func line() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  init(sockets: [Socket], engines: [Engine]) {
    self.sockets = sockets
    self.engines = engines
  }

  init(line: String) throws { self = try JSONDecoder().decode(DaemonStatus.self, from: Data(line.utf8)) }
}

extension DaemonStatus.Socket {
  init(_ status: SocketStatus, vrings: [VringStatistics]) {
    self.init(
      name: status.name, engine: status.binding.engine.id, device: status.binding.device, datapath: status.datapath,
      ready: status.isReady, notReadyReason: status.notReadyReason, vringPackets: vrings.map(\.packets))
  }
}
