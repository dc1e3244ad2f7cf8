// A no that an operator can act on: what happened (DRBD's number and words first, for scripts that know them), why, and what
// to type next, with the exit code of admin spec section 6. Law: every refusal has a next step.

public struct Refusal: Error, Codable, Equatable, Sendable {
  /// Absent when DRBD has no number for it.
  public var number: RefusalNumber?
  public var what: String
  /// One sentence without the closing period, or empty.
  public var why: String
  /// Lines an operator may need beside it, such as who holds the device open.
  public var details: [String]
  /// What to type or do next: one sentence without the closing period.
  public var next: String
  public var exitCode: UInt8

  /// A refusal DRBD has a number for.
  public init(_ number: RefusalNumber, why: String = "", details: [String] = [], next: String, exitCode: UInt8? = nil) {
    self.number = number
    what = number.words
    self.why = why
    self.details = details
    self.next = next
    self.exitCode = exitCode ?? number.exitCode
  }

  /// A refusal of our own.
  public init(_ what: String, why: String = "", details: [String] = [], next: String, exitCode: UInt8) {
    number = nil
    self.what = what
    self.why = why
    self.details = details
    self.next = next
    self.exitCode = exitCode
  }

  /// Stands in `next` for what the command named, where the one who refuses does not know it.
  public static let object = "{object}"

  /// The lines for stderr, each with its line end. `object` is the resource, volume or minor the command named; `hint` is how
  /// `repladm` would be told of it, where that differs.
  public func text(for object: String, hint: String? = nil) -> String {
    var lines = "\(object): \(headline)\n"
    if !details.isEmpty {
      if number != nil { lines += "additional info:\n" }
      for detail in details { lines += detail + "\n" }
    }
    if let advice { lines += advice.replacing(Refusal.object, with: hint ?? object) + "\n" }
    return lines
  }

  /// `State change failed: (-2) Need access to UpToDate data`, without object and advice.
  public var headline: String {
    guard let number else { return what }
    return number.rawValue < 0
      ? "State change failed: (\(number.rawValue)) \(what)" : "Failure: (\(number.rawValue)) \(what)"
  }

  private var advice: String? {
    switch (why.isEmpty, next.isEmpty) {
    case (true, true): nil
    case (false, true): "\(why)."
    case (true, false): "\(next)."
    // A reason that brings advice of its own is a sentence of its own.
    case (false, false): why.contains(": ") ? "\(why).\n\(sentence(next))." : "\(why): \(next)."
    }
  }

  private func sentence(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }
}

extension Refusal {
  /// The daemon of a resource is not there. `role`, `status` and their like exit 10.
  public static func notRunning(_ resource: String) -> Refusal {
    Refusal(.unknownResource, why: "repld for \(resource) is not running", next: "start it with repladm up \(resource)")
  }

  /// The same words without DRBD's number, for the commands that say them so.
  public var unnumbered: Refusal { Refusal(what, why: why, details: details, next: next, exitCode: exitCode) }

  /// A wait command ran into its timeout: exit 5, as scripts expect.
  public static func waitTimedOut(_ waitedFor: String, next: String) -> Refusal {
    Refusal("timed out waiting for \(waitedFor)", next: next, exitCode: 5)
  }

  /// A line on the control socket that is no request of this version.
  public static func notUnderstood(_ why: String) -> Refusal {
    Refusal(.invalidRequest, why: why, next: "use the repladm that was installed together with this repld")
  }
}
