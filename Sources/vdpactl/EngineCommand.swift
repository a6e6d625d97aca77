import ArgumentParser
import Control

/// The noun `engine`.
struct EngineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "engine",
    abstract: "Engines, which have devices.",
    subcommands: [List.self, Show.self, Add.self, Remove.self])

  /// `engine list`
  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the engines of the daemon; −1 is software.")

    @OptionGroup var global: GlobalOptions

    func run() throws {
      try global.ask(EngineMethod.List()) { engines in
        var table = Table(["ID", "DRIVER", "ADDRESS", "DEVICES"])
        for engine in engines { table.add(["\(engine.id)", engine.driver, engine.address, "\(engine.devices)"]) }
        return table.text
      }
    }
  }

  /// `engine show ID`
  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show an engine, its parameters and its devices.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The engine's id; for software write -- -1.")
    var id: Int

    func run() throws {
      try global.ask(EngineMethod.Show(id: id)) { engine in
        let parameters = engine.parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let fields = Table.fields([
          ("id", "\(engine.id)"), ("driver", engine.driver), ("address", engine.address),
          ("parameters", parameters.joined(separator: " ")), ("devices", "\(engine.devices)"),
        ])
        return fields + (engine.deviceList.isEmpty ? "" : "\n" + DeviceCommand.table(engine.deviceList))
      }
    }
  }

  /// `engine add --driver NAME --address A [--param k=v …]`
  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Start an engine; its id is printed.",
      discussion: """
        The simulator, for one: `vdpactl engine add --driver simulator --address virtual --param devices=4`
        """)

    @OptionGroup var global: GlobalOptions

    @Option(help: ArgumentHelp("The name of an engine driver.", valueName: "name"))
    var driver: String

    @Option(help: ArgumentHelp("Where the engine is, as its driver understands it.", valueName: "address"))
    var address: String

    @Option(help: ArgumentHelp("A setting that the driver understands; once or more.", valueName: "key=value"))
    var param: [String] = []

    func run() throws {
      var parameters: [String: String] = [:]
      for text in param {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[0].isEmpty else { throw ValidationError("--param \(text) is not key=value") }
        guard parameters.updateValue(parts[1], forKey: parts[0]) == nil else {
          throw ValidationError("--param \(parts[0]) is given twice")
        }
      }
      try global.ask(EngineMethod.Add(driver: driver, address: address, parameters: parameters)) { "\($0.id)\n" }
    }
  }

  /// `engine remove ID`
  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Stop an engine that no socket is bound to.")

    @OptionGroup var global: GlobalOptions

    @Argument(help: "The engine's id.")
    var id: Int

    func run() throws { try global.ask(EngineMethod.Remove(id: id)) { _ in "" } }
  }
}
