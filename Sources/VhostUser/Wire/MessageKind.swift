/// The two directions in which a channel's messages go: one side sends requests, the other replies.
package enum MessageKind: Sendable {
  case request
  case reply
}
