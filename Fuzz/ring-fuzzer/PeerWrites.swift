/// What the other side of a ring writes, from records to stores.
protocol PeerWrites {
  /// Adds the stores that a record stands for.
  mutating func write(_ record: Record, to list: StoreList)
}
