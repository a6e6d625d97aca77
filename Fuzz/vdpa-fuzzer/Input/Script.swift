/// The order in which an input's records are carried out.
enum Script {
  /// Record by record: what the peer writes is there at once, and nobody else writes.
  static func play(
    _ input: FuzzInput, on memory: FuzzMemory, _ list: StoreList, write: (Record) -> Void, step: (Record) -> Void
  ) {
    var applied = 0
    func apply() {
      while applied < list.count {
        memory.applyNoted(list[applied])
        applied += 1
      }
    }
    apply()
    for record in input.records {
      if record.isStep {
        step(record)
      } else {
        write(record)
        apply()
      }
    }
  }

  /// What the peer writes.
  static func writes(_ input: FuzzInput) -> [Record] { input.records.filter { !$0.isStep } }
  /// What the walker does.
  static func steps(_ input: FuzzInput) -> [Record] { input.records.filter(\.isStep) }
}
