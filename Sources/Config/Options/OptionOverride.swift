// An option changed at run time (`net-options RES --timeout=30`): a last layer above the file, until the file is applied anew.

import Base

public struct OptionOverride: Sendable, Equatable {
  public var setting: OptionSetting
  /// Nil: every volume of the resource. Options that no volume has are for all.
  public var volume: VolumeNumber?

  /// `NAME=VALUE`, or `NAME` and `no-NAME` for yes and no.
  public init(_ text: String, of section: OptionSection, volume: VolumeNumber? = nil) throws(ConfigurationError) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let known = OptionTable.rows.filter { $0.section == section }
    let isNegated = parts.count == 1 && parts[0].hasPrefix("no-")
    let name = isNegated ? String(parts[0].dropFirst(3)) : parts[0]
    guard let row = known.first(where: { $0.name == name }) else {
      var error = ConfigurationError(
        .invalid, "'\(Lexer.printable(parts[0]))' is no option of \(section.commandName)",
        advice: "See repladm dump for what is set, and the manual of drbd.conf for all of them")
      error.suggestion = NearMiss.of(parts[0], among: known.map(\.name))
      throw error
    }
    let value = parts.count == 2 ? parts[1] : isNegated ? "no" : "yes"
    guard parts.count == 2 || row.type == .boolean else {
      throw ConfigurationError(.invalid, "\(name) needs a value", advice: "Write --\(name)=VALUE: \(row.allowed)")
    }
    do throws(OptionFault) {
      setting = OptionSetting(
        definition: row, value: try OptionValue(value, for: row), text: value,
        position: SourcePosition(file: "command line", line: 1))
    } catch {
      var refusal = ConfigurationError(
        .invalid, "'\(Lexer.printable(value))' is not allowed for \(name)", advice: error.why)
      refusal.suggestion = error.suggestion
      throw refusal
    }
    self.volume = volume
  }
}

extension OptionSection {
  /// The command that changes its options at run time.
  public var commandName: String {
    switch self {
    case .disk: "disk-options"
    case .peerDevice: "peer-device-options"
    case .net: "net-options"
    case .resource: "resource-options"
    case .startup, .handlers, .global: "\(rawValue) (which has no command)"
    }
  }
}

extension [OptionOverride] {
  /// The last layer of a volume, or with nil of what has no volumes.
  func layer(_ volume: VolumeNumber?) -> [OptionSetting] {
    filter { $0.volume == nil || $0.volume == volume }.map(\.setting)
  }
}
