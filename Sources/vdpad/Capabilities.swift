/// What `--print-capabilities` prints (QEMU, vhost-user back-end conventions): works without any privilege.
enum Capabilities {
  static let net = #"{"type":"net","features":[]}"#
  static let block = #"{"type":"block","features":["read-only","blk-file"]}"#
}
