/// What `--print-capabilities` prints (vhost-user, Backend program conventions): works without any privilege.
enum Capabilities {
  static let net = #"{"type":"net","features":[]}"#
  static let block = #"{"type":"block","features":["read-only","blk-file"]}"#

  /// What to print for a command line that asks for it; nil when none does. All other options are ignored, those that cannot be
  /// understood included, but for `--type`.
  static func asked(by arguments: [String]) -> String? {
    guard arguments.first == "serve", arguments.contains("--print-capabilities") else { return nil }
    let isBlock =
      arguments.contains("--type=block") || zip(arguments, arguments.dropFirst()).contains { $0 == ("--type", "block") }
    return isBlock ? block : net
  }
}
