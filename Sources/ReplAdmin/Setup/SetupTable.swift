// The commands of `replsetup`: what each is about, and every option it takes. Law: a word that the row of its command does not
// list is refused, and a value that changes nothing here is reported; no option is read and forgotten.
import Config

/// What the words after a command name.
enum SetupScope {
  /// Nothing, one resource, or `all`.
  case anything
  /// One resource, or `all`.
  case resourceOrAll
  /// RES
  case resource
  /// RES NODE-ID
  case connection
  /// MINOR
  case minor
  /// RES NODE-ID VOLUME
  case peerDevice
}

struct SetupOption {
  enum Value: Equatable {
    case none
    /// `--name` is yes.
    case yesNo
    /// A value of this kind.
    case word(String)
  }
  let name: String
  var value = Value.none
  /// Why the option (or this value of it, in `idle`) changes nothing here.
  var noEffect: String?
  var idle: String?

  static func flag(_ name: String) -> SetupOption { SetupOption(name: name) }
  static func yesNo(_ name: String) -> SetupOption { SetupOption(name: name, value: .yesNo) }
  static func word(_ name: String, _ kind: String) -> SetupOption { SetupOption(name: name, value: .word(kind)) }

  /// Reported, for this value or for every one.
  func withoutEffect(_ why: String, for value: String? = nil) -> SetupOption {
    SetupOption(name: name, value: self.value, noEffect: why, idle: value)
  }

  /// What to say when it was given with this value; nil: it acts.
  func remark(on given: String) -> String? {
    guard let noEffect, idle == nil || idle == given else { return nil }
    let text = value == .none ? name : "\(name)=\(given)"
    return "\(text): accepted, no effect here: \(noEffect)"
  }

  var usage: String {
    switch value {
    case .none: "[\(name)]"
    case .yesNo: "[\(name)={yes|no}]"
    case .word(let kind): "[\(name)=\(kind)]"
    }
  }
}

struct SetupRow {
  let name: String
  let scope: SetupScope
  var operands = ""
  var options: [SetupOption] = []
  /// The section whose options it takes, too.
  var section: OptionSection?

  /// Taken by every command; the `net` section has a `timeout` of its own, which is meant there.
  static let limits = ["--timeout", "--command-timeout"]
  var general: [SetupOption] {
    SetupRow.limits.filter { section != .net || $0 != "--timeout" }.map { .word($0, "SECONDS") }
  }

  var usage: String {
    let words = options.map(\.usage) + (section.map { ["[--OPTION=VALUE of \($0.commandName)]"] } ?? [])
    return ([name] + (operands.isEmpty ? [] : [operands]) + words).joined(separator: " ")
  }

  /// The option that a word means: its name, or the beginning of one only.
  func option(_ word: String) -> SetupOption? {
    let all = options + general
    if let exact = all.first(where: { $0.name == word }) { return exact }
    let near = all.filter { word.count > 3 && $0.name.hasPrefix(word) }
    return near.count == 1 ? near[0] : nil
  }

  /// The same for an option of the section; `no-` in front of a boolean is no.
  func setting(_ word: String) -> (row: OptionDefinition, name: String)? {
    guard let section else { return nil }
    let name = String(word.dropFirst(2))
    let rows = OptionTable.rows.filter { $0.section == section }
    if let exact = rows.first(where: { $0.name == name }) { return (exact, name) }
    if let negated = rows.first(where: { $0.type == .boolean && "no-" + $0.name == name }) { return (negated, name) }
    let near = rows.filter { name.count > 1 && $0.name.hasPrefix(name) }
    return near.count == 1 ? (near[0], near[0].name) : nil
  }
}

enum SetupTable {
  static func row(_ name: String) -> SetupRow? { rows.first { $0.name == name } }

  static let rows: [SetupRow] = asking + resources + connections + disks + syncs + waits + steps

  private static let color = SetupOption.word("--color", "WHEN").withoutEffect("output has no colours", for: "always")
  private static let force = SetupOption.yesNo("--force")
  /// As `repl-device` says it when the device is used, and when it is not used any more.
  private static let automatic = SetupOption.flag("--automatic")
  private static let overwrite = SetupOption.yesNo("--overwrite-data-of-peer")

  private static let asking = [
    SetupRow(
      name: "status", scope: .anything, operands: "[RES]",
      options: [.flag("--verbose"), .flag("--statistics"), .flag("--json"), color]),
    SetupRow(
      name: "events2", scope: .anything, operands: "[RES]",
      options: [
        .flag("--now"), .flag("--timestamps"), .flag("--statistics"), .flag("--full"), .flag("--diff"),
        .flag("--poll"), color,
        .word("--rcvbuf", "BYTES").withoutEffect("events come over a socket that is never overrun"),
      ]),
    SetupRow(
      name: "show", scope: .anything, operands: "[RES]", options: [.flag("--json"), .flag("--show-defaults")]),
    SetupRow(name: "proc", scope: .anything),
    SetupRow(name: "role", scope: .resource, operands: "RES"),
    SetupRow(name: "cstate", scope: .connection, operands: "RES [NODE-ID]"),
    SetupRow(name: "dstate", scope: .minor, operands: "MINOR"),
    SetupRow(name: "udev", scope: .minor, operands: "MINOR"),
    SetupRow(name: "get-gi", scope: .peerDevice, operands: "RES NODE-ID VOLUME"),
    SetupRow(name: "show-gi", scope: .peerDevice, operands: "RES NODE-ID VOLUME"),
  ]

  private static let resources = [
    SetupRow(name: "primary", scope: .resource, operands: "RES", options: [force, overwrite, automatic]),
    SetupRow(name: "secondary", scope: .resource, operands: "RES", options: [force, automatic]),
    SetupRow(name: "down", scope: .resourceOrAll, operands: "{RES|all}", options: [force]),
    SetupRow(
      name: "resource-options", scope: .resource, operands: "RES", options: [.flag("--set-defaults")],
      section: .resource),
    SetupRow(name: "suspend-io", scope: .minor, operands: "MINOR"),
    SetupRow(name: "resume-io", scope: .minor, operands: "MINOR"),
  ]

  private static let connections = [
    SetupRow(
      name: "connect", scope: .connection, operands: "RES [NODE-ID]",
      options: [.yesNo("--discard-my-data"), .yesNo("--tentative")]),
    SetupRow(name: "disconnect", scope: .connection, operands: "RES [NODE-ID]", options: [force]),
    SetupRow(
      name: "net-options", scope: .connection, operands: "RES [NODE-ID]", options: [.flag("--set-defaults")],
      section: .net),
  ]

  private static let disks = [
    SetupRow(name: "attach", scope: .minor, operands: "MINOR [DISK META-DISK INDEX]", section: .disk),
    SetupRow(
      name: "detach", scope: .minor, operands: "MINOR",
      options: [
        force,
        .yesNo("--diskless").withoutEffect("'disk none' in the file makes a volume Diskless on purpose", for: "yes"),
      ]),
    SetupRow(name: "outdate", scope: .minor, operands: "MINOR"),
    SetupRow(
      name: "disk-options", scope: .minor, operands: "MINOR", options: [.flag("--set-defaults")], section: .disk),
    SetupRow(
      name: "new-current-uuid", scope: .minor, operands: "MINOR",
      options: [
        .yesNo("--clear-bitmap"),
        .yesNo("--force-resync").withoutEffect("a resync begins by the generations alone", for: "yes"),
      ]),
    SetupRow(
      name: "resize", scope: .minor, operands: "MINOR",
      options: [.word("--size", "SIZE"), .yesNo("--assume-clean"), .yesNo("--assume-peer-has-space")]),
    SetupRow(name: "check-resize", scope: .minor, operands: "MINOR"),
  ]

  private static let resetBitmap = SetupOption.yesNo("--reset-bitmap").withoutEffect(
    "everything is compared or copied", for: "no")

  private static let syncs = [
    SetupRow(
      name: "invalidate", scope: .minor, operands: "MINOR",
      options: [resetBitmap, .word("--sync-from-peer-node-id", "NODE-ID")]),
    SetupRow(name: "invalidate-remote", scope: .minor, operands: "MINOR", options: [resetBitmap]),
    SetupRow(name: "pause-sync", scope: .peerDevice, operands: "RES NODE-ID VOLUME"),
    SetupRow(name: "resume-sync", scope: .peerDevice, operands: "RES NODE-ID VOLUME"),
    SetupRow(
      name: "verify", scope: .peerDevice, operands: "RES NODE-ID VOLUME",
      options: [.word("--start", "SECTOR"), .word("--stop", "SECTOR")]),
    SetupRow(
      name: "peer-device-options", scope: .peerDevice, operands: "RES NODE-ID VOLUME",
      options: [.flag("--set-defaults")], section: .peerDevice),
  ]

  private static let waits = [
    ("resource", SetupScope.resource, "RES"), ("connection", .connection, "RES NODE-ID"),
    ("volume", .peerDevice, "RES NODE-ID VOLUME"),
  ].flatMap { kind, scope, operands in
    ["wait-connect-", "wait-sync-"].map {
      SetupRow(
        name: $0 + kind, scope: scope, operands: operands,
        options: [
          .word("--wfc-timeout", "SECONDS"), .word("--degr-wfc-timeout", "SECONDS"),
          .word("--outdated-wfc-timeout", "SECONDS"), .yesNo("--wait-after-sb"),
        ])
    }
  }

  /// The steps of `up` and of `down`: the daemon has its volumes and its peer from the file, so a step checks that the words agree with it.
  private static let steps = [
    SetupRow(name: "new-resource", scope: .resource, operands: "RES NODE-ID", section: .resource),
    SetupRow(
      name: "new-minor", scope: .resource, operands: "RES MINOR VOLUME",
      options: [
        .word("--max-bio-size", "BYTES").withoutEffect("requests are as large as both disks take"),
        .yesNo("--diskless").withoutEffect("'disk none' in the file makes a volume Diskless on purpose", for: "yes"),
      ]),
    SetupRow(
      name: "new-peer", scope: .connection, operands: "RES NODE-ID", options: [.word("--_name", "NAME")], section: .net),
    SetupRow(name: "new-path", scope: .connection, operands: "RES NODE-ID LOCAL REMOTE"),
    SetupRow(name: "del-minor", scope: .minor, operands: "MINOR"),
    SetupRow(name: "del-resource", scope: .resource, operands: "RES"),
    SetupRow(name: "del-peer", scope: .connection, operands: "RES NODE-ID", options: [force]),
  ]

  /// What `replsetup --help` prints.
  static var usage: String {
    rows.enumerated().map { ($0.offset == 0 ? "USAGE: replsetup " : "       replsetup ") + $0.element.usage + "\n" }
      .joined()
      + "Every command takes [--timeout=SECONDS], too: it gives up after that and exits. Beside the options of a connection it is "
      + "[--command-timeout=SECONDS].\n"
  }
}
