/// What can be called.
package struct DescribeMethod: ControlMethod {
  package typealias Answer = [MethodDescription]
  package static let name = "rpc.describe"
  package static let summary = "The methods that there are, with their parameters."

  package init() {}
}
