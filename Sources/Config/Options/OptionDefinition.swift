// What can be said about one option: where it may be written, what values it takes, what it does here. The rows are in
// OptionTable.swift; nothing else in the program knows an option by a list of its own.

import Base

/// The section that an option belongs to. Peer-device options are written in `disk` sections as well.
public enum OptionSection: String, Sendable, CaseIterable {
  case disk
  case peerDevice
  case net
  case resource = "options"
  case startup
  case handlers
  case global

  /// The keyword of the section in a file.
  public var keyword: String { self == .peerDevice ? "disk" : rawValue }
}

/// What a number counts, and so what a suffix like `M` stands for.
public enum OptionUnit: String, Sendable {
  case plain = ""
  case deciseconds = "tenths of a second"
  case seconds
  case milliseconds
  case bytes
  case kibibytesPerSecond = "KiB/s"
  case sectors
  case extents = "extents of 4 MiB"
  case pages = "pages of 4 KiB"

  /// Bytes in one unit: what `K M G s` are converted with.
  var bytes: UInt64 {
    switch self {
    case .sectors: 512
    case .kibibytesPerSecond: 1024
    default: 1
    }
  }
}

public enum OptionType: Sendable, Equatable {
  case boolean
  case number(ClosedRange<UInt64>, OptionUnit)
  /// Out-of-range values are moved to the nearest limit, as DRBD does.
  case clampedNumber(ClosedRange<UInt64>, OptionUnit)
  case choice([String])
  /// `off`, `majority`, `all` or a number.
  case votes(ClosedRange<UInt64>)
  case letter([String])
  /// One of the words, or `discard-node-` with a host's name behind it.
  case discardPolicy([String])
  case text(longest: Int)
  /// Another resource or minor.
  case resyncAfter
  /// Host names, or `both`.
  case hosts
}

/// What setting an option does in this product.
public enum OptionEffect: Sendable, Equatable {
  case honoured
  /// Accepted and reported once. Saying so keeps the promise of the file.
  case noEffect(String)
  /// Only these values act. Another one is accepted and reported once, and what is written last says what happens in its place.
  case partial(kept: [String], String)
  /// Only these values are kept. `up` refuses any other, because it would promise what is not done.
  case promise(kept: [String], String)
}

/// Which users need it (admin spec): the founding recipe, two nodes, many nodes, nobody here.
public enum OptionTier: Int, Sendable { case t0, t1, t2, t3 }

public struct OptionDefinition: Sendable, Equatable {
  public let name: String
  public let section: OptionSection
  public let type: OptionType
  /// In the words of a file; nil when the option is unset by default.
  public let defaultText: String?
  public let tier: OptionTier
  public let effect: OptionEffect

  /// The allowed values, as an error message and `help` show them.
  public var allowed: String {
    switch type {
    case .boolean: "yes or no"
    case .number(let range, let unit), .clampedNumber(let range, let unit):
      "\(range.lowerBound)..\(range.upperBound)" + (unit == .plain ? "" : " (\(unit.rawValue))")
    case .choice(let words), .letter(let words): words.joined(separator: " | ")
    case .votes(let range): "off | majority | all | \(range.lowerBound)..\(range.upperBound)"
    case .discardPolicy(let words): words.joined(separator: " | ") + " | discard-node-HOST"
    case .text(let longest): "text of at most \(longest) characters"
    case .resyncAfter: "a minor number, or RES/VOLUME"
    case .hosts: "host names, or both"
    }
  }

  /// The default as a value; nil when unset.
  public var defaultValue: OptionValue? {
    guard let defaultText else { return nil }
    do throws(OptionFault) { return try OptionValue(defaultText, for: self) } catch {
      preconditionFailure("the default of \(name) is not allowed: \(error.why)")
    }
  }
}
