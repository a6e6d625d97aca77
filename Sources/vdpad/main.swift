import ArgumentParser

if let capabilities = Capabilities.asked(by: Array(CommandLine.arguments.dropFirst())) {
  print(capabilities)
} else {
  Vdpad.main()
}
