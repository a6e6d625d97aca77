import Foundation
import Testing

@testable import vdpa_bench

#if canImport(FoundationXML)
  import FoundationXML
#endif

@Suite struct RatioChartTests {
  /// Counts what a document has.
  private final class Elements: NSObject, XMLParserDelegate {
    var circles: [String] = []
    var texts: [String] = []
    private var text = ""

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
      attributes: [String: String]
    ) {
      text = ""
      if name == "circle" { circles.append(attributes["class"] ?? "") }
    }

    func parser(_ parser: XMLParser, foundCharacters characters: String) { text += characters }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
      if name == "text" { texts.append(text) }
    }
  }

  private func elements(of chart: RatioChart) -> Elements? {
    let elements = Elements()
    let parser = XMLParser(data: Data(chart.svg().utf8))
    parser.delegate = elements
    return parser.parse() ? elements : nil
  }

  @Test("A chart is well-formed XML, whatever its words are, with a dot for every row and one for the legend")
  func wellFormed() throws {
    let chart = RatioChart(
      title: "a < b & \"c\"", legend: ("dots", "rings"),
      rows: [
        .init(label: "64 B", group: "sink <&>", ratios: [0.5, 1.5, 1.25], others: [2]),
        .init(label: "512 B", group: "sink <&>", ratios: [0.9]),
        .init(label: "nothing", group: "other", ratios: []),
      ])
    let found = try #require(elements(of: chart))
    #expect(found.circles == ["fast", "other", "fast", "other", "slow"])
    #expect(found.texts.contains("a < b & \"c\"") && found.texts.filter { $0 == "sink <&>" }.count == 1)
    #expect(found.texts.contains("1.25") && found.texts.contains("0.90"))
  }

  @Test("A chart without rows is one too")
  func empty() throws {
    #expect(elements(of: RatioChart(title: "", legend: ("", ""), rows: [])) != nil)
  }
}
