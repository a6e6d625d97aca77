/// One store of the guest's: where in the memory file, how many bytes (1, 2, 4 or 8), and what.
struct Store {
  var offset: UInt32
  var width: UInt32
  var value: UInt64
}
