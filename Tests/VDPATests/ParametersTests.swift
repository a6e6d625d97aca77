import Testing
import VDPA

struct ParametersTests {
  @Test func parsesNamesAndValues() throws {
    let parameters = try Parameters(parsing: "devices=4,fast,text=a=b,empty=")
    #expect(parameters["devices"] == "4")
    #expect(parameters["fast"] == "true")
    #expect(parameters["text"] == "a=b")
    #expect(parameters["empty"] == "")
    #expect(parameters["other"] == nil)
    #expect(parameters.description == "devices=4,empty=,fast=true,text=a=b")
    #expect(try Parameters(parsing: "").description == "")
  }

  @Test func refusesTwiceAndNameless() {
    #expect(code { _ = try Parameters(parsing: "a=1,a=2") } == .badParameter)
    #expect(code { _ = try Parameters(parsing: "=1") } == .badParameter)
  }

  @Test func readsWholeNumbersInRange() throws {
    let parameters: Parameters = ["n": "5", "word": "five", "big": "99999999999999999999"]
    #expect(try parameters.int("n", in: 1...5) == 5)
    #expect(try parameters.int("missing", in: 1...5) == nil)
    for key in ["word", "big"] { #expect(code { _ = try parameters.int(key, in: 1...5) } == .badParameter) }
    #expect(code { _ = try parameters.int("n", in: 1...4) } == .badParameter)
  }

  @Test func namesTheUnknownAndTheKnown() {
    let parameters: Parameters = ["devces": "4"]
    let error = #expect(throws: VDPAError.self) { try parameters.allow(only: ["devices", "queues"], for: "the mock") }
    #expect(error?.message.contains("\"devces\"") == true)
    #expect(error?.message.contains("devices, queues") == true)
    #expect(throws: Never.self) { try parameters.allow(only: ["devces"], for: "the mock") }
  }
}

/// The code of the error that `body` throws.
func code(_ body: () throws -> Void) -> VDPAError.Code? {
  do {
    try body()
    return nil
  } catch {
    return (error as? VDPAError)?.code
  }
}
