@testable internal import Datapath

/// A device under a chain queue whose steps come from an input.
protocol ChainDevice: SoftwareDevice, AnyObject {
  /// Another input begins.
  func begin(_ input: FuzzInput)

  /// The queue is about to be served.
  ///
  /// - Parameter buffers: What the ring says is writable now; nil when that does not tell.
  func willServe(_ buffers: WritableBuffers?)

  /// Takes a step.
  ///
  /// - Parameter memory: Takes note of what may have been written; nil when somebody else writes at the same time.
  func step(_ r: Record, in memory: FuzzMemory?)

  /// The queue has been served; takes note of what may have been written meanwhile.
  func served(in memory: FuzzMemory)

  /// Finishes all chains.
  func finish()
}
