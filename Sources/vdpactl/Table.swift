/// Rows of text in aligned columns, for people.
struct Table {
  private var rows: [[String]]

  /// Makes a table whose first row is `header`.
  init(_ header: [String]) { rows = [header] }

  /// Adds a row. An empty cell is shown as `-`, so that columns can be counted.
  mutating func add(_ cells: [String?]) {
    precondition(cells.count == rows[0].count, "a row has one cell a column")
    rows.append(cells.map { cell in cell.map(Self.printable).flatMap { $0.isEmpty ? nil : $0 } ?? "-" })
  }

  /// The lines, each with its newline. The last column is not padded.
  var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      var line = ""
      for (cell, width) in zip(row, widths) {
        line += cell + String(repeating: " ", count: width - cell.count + 2)
      }
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  /// Names and values, a line each, for what there is one of.
  static func fields(_ fields: [(name: String, value: String?)]) -> String {
    let width = fields.map(\.name.count).max() ?? 0
    return fields.map { name, value in
      let text = value.map(printable).flatMap { $0.isEmpty ? nil : $0 } ?? "-"
      return name + ":" + String(repeating: " ", count: width - name.count + 2) + text + "\n"
    }.joined()
  }

  /// The text without what would move the cursor or change the terminal: names come from devices and drivers.
  static func printable(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator: result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
