public import VDPA
internal import Virtio

/// Numbered and timestamped packets over all queue pairs of a guest, sent to a back-end that gives them back, and checked when
/// they come (`vdpad serve --port loopback`).
///
/// It is ``LoopbackTraffic`` that knows when a back-end has gone. A back-end may be stopped and another one started in the
/// middle, and may also just go: what it had then is counted by itself. For one thread.
public final class NumberedTraffic {
  /// What is sent.
  public typealias Configuration = LoopbackTraffic.Configuration

  /// Whose rings they go over.
  public let guest: FrontendGuest
  private let traffic: LoopbackTraffic

  /// Traffic over all vrings of a guest: those with an even index receive, the others transmit (virtio 1.2, §5.1.2).
  ///
  /// - Throws: ``VhostUserError`` `system`, when the guest's memory has less than ``bufferBytes(ringSize:pairs:)`` left.
  public init(_ guest: FrontendGuest, _ configuration: Configuration = Configuration()) throws(VhostUserError) {
    self.guest = guest
    do {
      traffic = try LoopbackTraffic(guest.guest, configuration)
    } catch {
      throw VhostUserError(error)
    }
  }

  /// How much memory the buffers of so many pairs take, in bytes.
  public static func bufferBytes(ringSize: Int, pairs: Int) -> Int {
    LoopbackTraffic.bufferBytes(ringSize: ringSize, pairs: pairs)
  }

  /// What is sent.
  public var configuration: Configuration { traffic.configuration }

  /// Sends more packets on each pair and waits until all that were sent have come back.
  ///
  /// - Parameters:
  ///   - count: How many more on each pair.
  ///   - patience: How long to wait for something to happen before what has not come counts as lost.
  /// - Returns: Whether all have come back; what is wrong otherwise is in ``reports``.
  /// - Throws: ``VhostUserError`` `disconnected`, when the back-end has gone: ``reconnect(over:)`` goes on; `backendFault`, when
  ///   it has written into a ring what no device may write, or finds a ring broken.
  @discardableResult
  public func run(_ count: UInt64 = 0, patience: Duration = .seconds(5)) throws(VhostUserError) -> Bool {
    do {
      return try traffic.run(count, patience: patience) { [guest] milliseconds in
        if let connection = guest.frontend?.connection, !connection.isConnected {
          throw VhostUserError(.disconnected, "the back-end has closed the connection").with(socket: connection.name)
        }
        guest.wait(milliseconds: milliseconds)
      }
    } catch let error as VringFault {
      throw VhostUserError(error)
    } catch let error as VhostUserError {
      throw error
    } catch {
      preconditionFailure("a kind of error that traffic does not have: \(error)")
    }
  }

  /// Sends more packets on each pair with the steps to come.
  public func want(_ count: UInt64) { traffic.want(count) }

  /// One turn over all pairs: takes in what has come and sends what may be sent.
  ///
  /// - Returns: Whether anything has happened.
  /// - Throws: ``VhostUserError`` `backendFault`.
  @discardableResult
  public func step() throws(VhostUserError) -> Bool {
    do { return try traffic.step() } catch { throw VhostUserError(error) }
  }

  /// Whether all that is to be sent has been sent and has come back, and nothing is with the back-end to be sent.
  public var isComplete: Bool { traffic.isComplete }

  /// What became of the packets of each pair so far; those on their way count as lost.
  public var reports: [TrafficReport] { traffic.reports }

  /// Goes on with another back-end after one that has gone without stopping its rings.
  ///
  /// - Parameter frontend: Connected, and with the features of ``guest`` negotiated.
  /// - Throws: ``VhostUserError`` as ``FrontendGuest/start(over:)``, and as ``step()``.
  public func reconnect(over frontend: Frontend) throws(VhostUserError) {
    do { try traffic.noteLostDevice() } catch { throw VhostUserError(error) }
    try guest.start(over: frontend)
  }
}
