// What must hold inside the program, checked in release builds, too, where Swift's own functions of these names trap without
// a word: a daemon that dies of a broken belief leaves the sentence and its place on standard error first. These take the
// place of Swift's in every file that imports Base.

@inlinable @inline(__always)
public func precondition(
  _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String = "", file: StaticString = #fileID,
  line: UInt = #line
) {
  if !condition() { broken(message(), file, line) }
}

@inlinable @inline(__always)
public func preconditionFailure(
  _ message: @autoclosure () -> String = "", file: StaticString = #fileID, line: UInt = #line
) -> Never {
  broken(message(), file, line)
}

@usableFromInline @inline(never)
func broken(_ message: String, _ file: StaticString, _ line: UInt) -> Never {
  fatalError(message, file: file, line: line)
}
