// `replmeta` (and `drbdmeta` where that name is linked here): metadata by its place, without a configuration.
// Call: replmeta [options] DEVICE FORMAT MD_DEV MODE COMMAND [ARGS], as metadata spec 5 has it.
import Base
import Control
import FoundationEssentials
import MetaDisk

enum MetaPersonality {
  private static let usage = """
    USAGE: replmeta [--force] [--ignore-sanity-checks] [--node-id N] DEVICE {v08|v09} MD_DEV
                    {internal|flex-external|INDEX} COMMAND [ARGS]
    COMMANDS: create-md [MAX_PEERS], wipe-md, apply-al, dump-md, restore-md FILE, verify-dump FILE,
              get-gi, show-gi, set-gi GI, read-dev-uuid, write-dev-uuid HEX,
              dstate, outdate, invalidate, forget-peer
    A v09 needs --node-id for get-gi, show-gi, set-gi and forget-peer.

    """

  static func run(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) -> Int32 {
    // Options behind `--` belong to the command, and so do all others.
    var words = Words(arguments.filter { $0 != "--" })
    if words.flag("--help") || arguments.isEmpty {
      console.out(usage)
      return 0
    }
    do throws(Refusal) {
      try perform(&words, surroundings, console)
      return 0
    } catch {
      // Called without a configuration: the name is for whoever reads it to fill in.
      let text = error.text(for: lastComponent(surroundings.programName), hint: "RES")
      console.err(text)
      return Int32(error.exitCode)
    }
  }

  private static func perform(_ words: inout Words, _ surroundings: Surroundings, _ console: Console) throws(Refusal) {
    let force = words.flag("--force")
    let ignores = words.flag("--ignore-sanity-checks")
    let node = words.value("--node-id")
    let stripes = words.value("--al-stripes")
    let stripeSize = words.value("--al-stripe-size-kB")
    let bioSize = words.value("--peer-max-bio-size")
    for plain in ["--verbose", "--dry-run"] { _ = words.flag(plain) }
    if let unknown = words.left.first(where: { $0.hasPrefix("-") && $0 != "-" }) {
      throw wrong("\(unknown) is no option")
    }
    guard words.left.count >= 5 else { throw wrong("five words are needed") }
    guard let format = MetaFormat(argument: words.left[1]) else { throw wrong("\(words.left[1]) is no format") }
    let (device, path, mode, command) = (words.left[0], words.left[2], words.left[3], words.left[4])
    let rest = Array(words.left.dropFirst(5))
    let location = try location(mode)

    if command == "verify-dump" {
      _ = try dump(in: rest.first)
      console.out("input file parsed ok\n")
      return
    }
    let looking = ["get-gi", "show-gi", "dstate", "dump-md", "read-dev-uuid"].contains(command)
    let aboutPeer = ["get-gi", "show-gi", "set-gi", "forget-peer"].contains(command)
    // What is missing is said before the disk is opened.
    let peer = try nodeID(node, needed: format == .v09 && aboutPeer, command)
    if ["set-gi", "write-dev-uuid"].contains(command), rest.first == nil {
      throw Refusal(
        "Required Argument missing", next: "write it behind \(command); see replmeta --help", exitCode: 10)
    }
    let disk = try OfflineMetadata(
      path, location: location, dataPath: path, ownNode: nil, peerNode: nil, for: looking ? .look : .change)
    switch command {
    case "create-md":
      guard format == .v08 || rest.first != nil else { throw wrong("create-md for v09 needs MAX_PEERS") }
      let creation = MetadataCreation(
        format: format, maxPeers: UInt32(try number(rest.first ?? "1", "MAX_PEERS")),
        alStripes: UInt32(try number(stripes ?? "1", "--al-stripes")),
        alStripeSizeKiB: UInt32(try number(stripeSize ?? "32", "--al-stripe-size-kB")),
        peerMaxBioSize: UInt32(try number(bioSize ?? "0", "--peer-max-bio-size")), force: force,
        ignoresSanityChecks: ignores, console: console)
      try creation.perform(on: disk)
    case "wipe-md": try disk.wipe(console, force: force)
    case "apply-al":
      if let said = try disk.applyActivityLog() { console.out(said + "\n") }
    case "dump-md":
      let line = "\(surroundings.programName) \(device) \(format.name) \(path) \(mode) dump-md"
      console.out(
        MetadataDumpHeader.now(host: surroundings.hostName, command: line) + (try disk.dump(evenUnclean: force)))
    case "restore-md": try disk.restore(from: rest.first ?? "", console, force: force)
    case "get-gi": console.out(try disk.superblock().generationLine(peerNode: peer) + "\n")
    case "show-gi": console.out(try disk.superblock().generationLegend(peerNode: peer))
    case "dstate": console.out("\(try disk.superblock().diskState.name)\n")
    case "set-gi": try disk.setGenerations(rest[0], peerNode: peer, console, force: force)
    case "read-dev-uuid": console.out(try disk.deviceUUID() + "\n")
    case "write-dev-uuid": try disk.setDeviceUUID(rest[0])
    case "forget-peer": try disk.forget(peerNode: peer)
    case "outdate": try disk.outdate()
    case "invalidate": try disk.invalidate()
    default: throw wrong("\(command) is no command")
    }
  }

  private static func location(_ mode: String) throws(Refusal) -> MetaLocation {
    switch mode {
    case "internal", "flex-internal": return .internal
    case "flex-external", "flexible": return .external
    default: return .indexed(try number(mode, "INDEX"))
    }
  }

  private static func nodeID(_ text: String?, needed: Bool, _ command: String) throws(Refusal) -> Int {
    guard let text else {
      if !needed { return 0 }
      throw Refusal(
        "The \(command) command requires the --node-id option", next: "name the peer's node id, 0 to 31", exitCode: 10)
    }
    let id = try number(text, "--node-id")
    guard id < Superblock.nodes else {
      throw Refusal("node-id out of range (0...31)", next: "name the peer's node id, 0 to 31", exitCode: 10)
    }
    return id
  }

  private static func dump(in file: String?) throws(Refusal) -> DumpedMetadata {
    guard let file, let data = FileManager.default.contents(atPath: file) else {
      throw wrong("a readable FILE is needed")
    }
    do throws(MetaFault) {
      return try DumpedMetadata(text: String(decoding: data, as: UTF8.self))
    } catch {
      throw Refusal(withoutPeriod(error.text), next: "correct the dump, or take another one", exitCode: 10)
    }
  }

  private static func number(_ text: String, _ what: String) throws(Refusal) -> Int {
    guard let value = Int(text), (0...1 << 31 - 1).contains(value) else {
      throw wrong("\(text) is no number for \(what)")
    }
    return value
  }

  private static func wrong(_ why: String) -> Refusal {
    Refusal("usage: \(why)", next: "type replmeta --help", exitCode: 20)
  }
}

/// Options picked out of a command line, wherever they stand.
struct Words {
  private(set) var left: [String]
  init(_ words: [String]) { left = words }

  mutating func flag(_ name: String) -> Bool {
    guard let index = left.firstIndex(of: name) else { return false }
    left.remove(at: index)
    return true
  }

  /// `--name VALUE` or `--name=VALUE`.
  mutating func value(_ name: String) -> String? {
    if let index = left.firstIndex(where: { $0.hasPrefix(name + "=") }) {
      return String(left.remove(at: index).dropFirst(name.count + 1))
    }
    guard let index = left.firstIndex(of: name), index + 1 < left.count else { return nil }
    left.remove(at: index)
    return left.remove(at: index)
  }
}
