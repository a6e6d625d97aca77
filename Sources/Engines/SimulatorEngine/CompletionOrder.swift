/// In which order a simulated device completes what it has fetched.
public enum CompletionOrder: String, Sendable, Hashable, CaseIterable {
  /// As it was fetched.
  case inOrder = "in"
  /// In any order. The packets of a net device stay in order all the same, as its type demands: what is shuffled is which of
  /// the buffers that were made available a packet is put into, and which transmitted buffer comes back first.
  case outOfOrder = "out"
}
