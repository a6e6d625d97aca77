extension Sequence {
  /// Changes all elements, or none: when one cannot be changed, those before it are changed back as far as they can be.
  func changeAll(_ change: (Element) throws -> Void, undo: (Element) throws -> Void) throws {
    var changed: [Element] = []
    do {
      for element in self {
        try change(element)
        changed.append(element)
      }
    } catch {
      for element in changed { try? undo(element) }
      throw error
    }
  }
}
