import Testing

/// What a deliberately wrong device does, and which rules find it out.
struct Wrong: Sendable, CustomTestStringConvertible {
  /// The one thing that is wrong.
  enum Fault: String, CaseIterable, Sendable {
    case offersProtocolBit, shrinksWhenClaimedAgain, refusesAFeature
    case otherConfiguration, writableConfiguration
    case forgetsIdleRings, wearsOut, isClaimedTwiceAtMost
    case refusesEarlyVrings, ignoresLateVrings, ignoresDisabling
    case startsAtFirstKick, startsUnheard, neverCalls, keepsOldCall
    case needsEventIndex, wrongPositions, wrongSinglePosition, forgetsPositions, masksPositions, remembersPositions,
      refusesLargestRing
    case scribbles, hidesBrokenRings, refusesMemoryChanges, ignoresRemovals
    case writesAfterClose, callsAfterClose, servesStoppedVring
    case doesNotLog, keepsLogging, refusesArrival
    case resetsCounters
  }

  let fault: Fault
  /// The rules that it breaks, and no others.
  let rules: [String]

  var testDescription: String { fault.rawValue }

  init(_ fault: Fault, _ rules: String...) {
    self.fault = fault
    self.rules = rules
  }

  static let all = [
    Wrong(.offersProtocolBit, "attributes.sane"),
    Wrong(.shrinksWhenClaimedAgain, "attributes.stable"),
    Wrong(.refusesAFeature, "features.each"),
    Wrong(.otherConfiguration, "configuration.readable"),
    Wrong(.writableConfiguration, "configuration.read-only"),
    Wrong(.forgetsIdleRings, "lifecycle.states"),
    Wrong(.wearsOut, "lifecycle.repeated"),
    Wrong(.isClaimedTwiceAtMost, "lifecycle.reclaimed"),
    Wrong(.refusesEarlyVrings, "lifecycle.early-vring"),
    Wrong(.ignoresLateVrings, "lifecycle.late-vring"),
    Wrong(.ignoresDisabling, "lifecycle.disabled"),
    Wrong(.startsAtFirstKick, "kicks.start"),
    Wrong(.startsUnheard, "calls.start"),
    Wrong(.neverCalls, "calls.asked-for"),
    Wrong(.keepsOldCall, "calls.changed"),
    Wrong(.needsEventIndex, "state.traffic"),
    // Who goes on from there goes wrong.
    Wrong(.wrongPositions, "state.positions", "handover.away", "handover.back"),
    Wrong(.wrongSinglePosition, "state.single"),
    Wrong(.forgetsPositions, "state.continues", "handover.back"),
    Wrong(.masksPositions, "state.wrap"),
    Wrong(.remembersPositions, "handover.back"),
    Wrong(.refusesLargestRing, "state.ring-sizes"),
    Wrong(.scribbles, "memory.own"),
    Wrong(.hidesBrokenRings, "memory.unmapped"),
    Wrong(.refusesMemoryChanges, "memory.moved", "memory.removed"),
    Wrong(.ignoresRemovals, "memory.removed"),
    Wrong(.writesAfterClose, "silence.memory"),
    Wrong(.callsAfterClose, "silence.calls"),
    Wrong(.servesStoppedVring, "silence.vring"),
    Wrong(.doesNotLog, "migration.log"),
    Wrong(.keepsLogging, "migration.log-off"),
    Wrong(.refusesArrival, "migration.done"),
    Wrong(.resetsCounters, "statistics.monotonic"),
  ]
}
