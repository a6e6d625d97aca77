import Foundation

/// What `vdpad self-test` prints for scripts.
struct SelfTestOutput: Decodable {
  struct Figures: Decodable {
    var sent: Int
    var received: Int
    var lost: Int
    var duplicated: Int
    var reordered: Int
    var corrupted: Int
    var misdirected: Int
    var peakInFlight: Int
    var reconnects: Int
    var inFlightAtReconnect: Int
    var lostAtReconnect: Int
    var repeatedAtReconnect: Int
    var latencyNanoseconds: [String: UInt64]
  }
  var clean: Bool
  var seconds: Double
  var failure: String?
  var total: Figures
  var pairs: [Figures]

  /// - Throws: `DecodingError` for anything else.
  init(_ output: String) throws { self = try JSONDecoder().decode(SelfTestOutput.self, from: Data(output.utf8)) }
}
