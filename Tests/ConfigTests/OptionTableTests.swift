// Every row of the option table: its default is legal, its limits hold, its unit converts, its words are read, its
// effect is what `up` does.
import Base
import Testing

@testable import Config

@Suite struct OptionTableTests {
  /// The file text that sets one option in its section of resource r0.
  static func text(_ row: OptionDefinition, _ value: String) -> String {
    let setting = "\(row.name) \(value);"
    let section = row.section == .global ? "" : "\(row.section.keyword) { \(setting) }"
    return """
      global { \(row.section == .global ? setting : "") }
      resource r0 { device minor 0; disk /dev/vda; meta-disk internal; \(section)
        on alpha { address 10.77.0.1:7789; } on beta { address 10.77.0.2:7789; } }
      """
  }

  static func accepts(_ row: OptionDefinition, _ value: String) -> Bool { loadError(text(row, value)) == nil }

  @Test func `names are unique in their sections, and defaults are legal values`() {
    var seen: Set<String> = []
    for row in OptionTable.rows {
      #expect(seen.insert("\(row.section.keyword) \(row.name)").inserted, "\(row.name)")
      #expect(row.defaultText == nil || row.defaultValue != nil)
      if case .promise(let kept, _) = row.effect {
        #expect(kept.contains(row.defaultText ?? ""), "the default of \(row.name) must not be refused")
      }
    }
    #expect(OptionTable.rows.count > 90)
  }

  private static let numbers = OptionTable.rows.filter { row in
    if case .number = row.type { true } else { false }
  }

  @Test(arguments: numbers)
  func `limits of numbers hold`(_ row: OptionDefinition) {
    guard case .number(let range, let unit) = row.type else {
      Issue.record("\(row.name) is no number")
      return
    }
    #expect(Self.accepts(row, String(range.lowerBound)))
    #expect(Self.accepts(row, String(range.upperBound)))
    #expect(!Self.accepts(row, String(range.upperBound + 1)))
    if range.lowerBound > 0 { #expect(!Self.accepts(row, String(range.lowerBound - 1))) }
    for bad in ["", "x", "-1", "0x40", "1.5", "1T", "8x", "K", "99999999999999999999", "9999999999999999999G"] {
      #expect(!Self.accepts(row, bad), "\(row.name) \(bad)")
    }
    let error = loadError(Self.text(row, String(range.upperBound + 1)))
    #expect(error?.exitCode == 10)
    #expect(error?.position?.line == (row.section == .global ? 1 : 2))
    #expect(
      error?.text.contains("for \(row.name). Value is too big. Allowed: \(range.lowerBound)..\(range.upperBound)")
        == true)
    // A value with the suffix of its own unit is the value itself.
    let own: String? = unit == .sectors ? "s" : unit == .kibibytesPerSecond ? "k" : nil
    if let own { #expect(Self.accepts(row, "\(range.upperBound)\(own)")) }
  }

  @Test(arguments: OptionTable.rows)
  func `words are those of the list`(_ row: OptionDefinition) {
    switch row.type {
    case .boolean:
      #expect(Self.accepts(row, "yes") && Self.accepts(row, "no") && Self.accepts(row, ""))
      #expect(!Self.accepts(row, "on") && !Self.accepts(row, "1"))
    case .choice(let words), .discardPolicy(let words):
      for word in words { #expect(Self.accepts(row, word), "\(row.name) \(word)") }
      #expect(!Self.accepts(row, "frobnicate") && !Self.accepts(row, words[0].uppercased()))
      let slip = loadError(Self.text(row, words[0] + "x"))
      #expect(slip?.text.contains("Did you mean") == true || words[0].utf8.count < 3)
    case .letter(let letters):
      for letter in letters { #expect(Self.accepts(row, letter) && Self.accepts(row, letter.lowercased())) }
      #expect(!Self.accepts(row, "D"))
    case .votes(let range):
      for word in ["off", "majority", "all", String(range.lowerBound), String(range.upperBound)] {
        #expect(Self.accepts(row, word))
      }
      #expect(!Self.accepts(row, String(range.upperBound + 1)) && !Self.accepts(row, "0") && !Self.accepts(row, "most"))
    case .text(let longest):
      #expect(Self.accepts(row, "\"\(String(repeating: "a", count: longest))\""))
      #expect(!Self.accepts(row, "\"\(String(repeating: "a", count: longest + 1))\""))
    case .number, .clampedNumber, .resyncAfter, .hosts: break
    }
  }

  @Test func `al-extents is moved to its limits`() throws {
    func extents(_ value: String) throws -> Int {
      try alpha("disk { al-extents \(value); }").volumes[0].options.alExtents
    }
    #expect(try extents("7") == 67)
    #expect(try extents("0") == 67)
    #expect(try extents("6433") == 6433)
    #expect(try extents("65536") == 65534)
    #expect(try extents("9999999999") == 65534)
  }

  @Test func `suffixes are converted to the unit of the option`() throws {
    #expect(try alpha("disk { size 4M; }").volumes[0].options.size == SectorCount(8192))
    #expect(try alpha("disk { size 8184s; }").volumes[0].options.size == SectorCount(8184))
    #expect(try alpha("disk { size 8184; }").volumes[0].options.size == SectorCount(8184))
    #expect(try alpha("disk { size 1G; }").volumes[0].options.size == SectorCount(2_097_152))
    #expect(try alpha("").volumes[0].options.size == nil)
    #expect(try alpha("net { sndbuf-size 512k; rcvbuf-size 1M; }").peers[0].net.sndbufSize == 524_288)
    #expect(try alpha("net { max-buffers 8k; }").peers[0].net.maxBuffers == 8192)
    #expect(try alpha("net { congestion-fill 128k; }").peers[0].net.congestionFill == SectorCount(256))
    #expect(try alpha("disk { rs-discard-granularity 64k; }").volumes[0].options.rsDiscardGranularity == 65536)
    let resync = try alpha("disk { resync-rate 30M; c-max-rate 700M; c-fill-target 400K; c-min-rate 2048s; }").peers[0]
      .resync[VolumeNumber(0)]
    #expect(resync?.resyncRate == 30720 && resync?.cMaxRate == 716_800 && resync?.cMinRate == 1024)
    #expect(resync?.cFillTarget == SectorCount(800))
    #expect(resync?.written == [.resyncRate, .cMaxRate, .cFillTarget, .cMinRate])
  }

  @Test func `defaults are DRBD's`() throws {
    let resource = try alpha("")
    let net = resource.peers[0].net
    #expect(net.wireProtocol == .c && net.timeout == .seconds(6) && net.connectInt == .seconds(10))
    #expect(net.pingInt == .seconds(10) && net.pingTimeout == .milliseconds(500) && net.koCount == 7)
    #expect(net.maxEpochSize == 2048 && net.maxBuffers == 2048 && net.sndbufSize == 0 && net.rcvbufSize == 0)
    #expect(net.cramHmacAlg == nil && net.sharedSecret == nil && !net.allowTwoPrimaries && net.useRle)
    #expect(net.afterSb0 == .disconnect && net.afterSb1 == .disconnect && net.afterSb2 == .disconnect)
    #expect(net.rrConflict == .disconnect && !net.alwaysAsbp && net.fencing == .dontCare && net.transport == "tcp")
    let disk = resource.volumes[0].options
    #expect(disk.onIOError == .detach && disk.alExtents == 1237 && disk.alUpdates && disk.diskFlushes && disk.mdFlushes)
    #expect(disk.discardZeroesIfAligned && disk.rsDiscardGranularity == 0)
    let resync = resource.peers[0].resync[VolumeNumber(0)]
    #expect(resync?.resyncRate == 250 && resync?.cPlanAhead == .seconds(2) && resync?.cDelayTarget == .seconds(1))
    #expect(resync?.cFillTarget == SectorCount(100) && resync?.cMaxRate == 102_400 && resync?.cMinRate == 250)
    #expect(resync?.written == [])
    #expect(resource.options.autoPromote && resource.options.autoPromoteTimeout == .seconds(2))
    #expect(resource.options.onNoDataAccessible == .ioError && resource.options.quorum == .off)
    #expect(resource.startup.wfcTimeout == nil && !resource.startup.waitAfterSb)
  }

  @Test(arguments: OptionTable.rows.filter { $0.section != .global })
  func `up refuses a promise that is not kept, and reports what has no effect once`(_ row: OptionDefinition) throws {
    func hosted(_ value: String) throws -> HostedResource {
      try load(Self.text(row, value)).resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    }
    let values: [String]
    switch row.type {
    case .boolean: values = ["yes", "no"]
    case .choice(let words), .letter(let words), .discardPolicy(let words): values = words
    case .votes: values = ["off", "majority", "all", "2"]
    case .text: values = ["sha1"]
    case .number(let range, _), .clampedNumber(let range, _): values = [String(range.lowerBound)]
    case .resyncAfter: values = ["r0"]
    case .hosts: values = ["alpha beta", "both"]
    }
    for value in values {
      let resource = try hosted(value)
      switch row.effect {
      case .honoured:
        #expect(resource.refusals.isEmpty)
        #expect(!resource.notices.contains { $0.message.hasPrefix(row.name + ":") })
      case .noEffect:
        #expect(resource.refusals.isEmpty)
        #expect(resource.notices.count { $0.message.hasPrefix(row.name + ":") } == 1)
      case .partial(let kept, _):
        #expect(resource.refusals.isEmpty)
        #expect(
          resource.notices.count { $0.message.hasPrefix(row.name + ":") } == (kept.contains(value) ? 0 : 1),
          "\(row.name) \(value)")
      case .promise(let kept, _):
        #expect(resource.refusals.isEmpty == kept.contains(value), "\(row.name) \(value)")
        #expect(resource.refusals.allSatisfy { $0.exitCode == 10 && $0.position?.line == 2 && $0.advice != nil })
      }
    }
  }

  @Test(arguments: OptionTable.rows.filter { $0.section == .global })
  func `an option of the file as a whole acts or is reported once`(_ row: OptionDefinition) throws {
    let value: String
    switch row.type {
    case .boolean: value = "yes"
    case .choice(let words): value = words[0]
    default: value = "2"
    }
    let configuration = try load(Self.text(row, value))
    let reported = configuration.notices.count { $0.message.hasPrefix(row.name + ":") }
    switch row.effect {
    case .honoured:
      #expect(reported == 0)
      #expect(configuration.globals != (try load(Self.text(row, "no"))).globals, "\(row.name) changes nothing")
    case .noEffect: #expect(reported == 1)
    case .partial(let kept, _): #expect(reported == (kept.contains(value) ? 0 : 1))
    case .promise: Issue.record("\(row.name) is not refused by the file as a whole")
    }
  }

  /// An option that has an effect changes the `HostedResource` when its value in the file changes.
  @Test(arguments: OptionTable.rows.filter { $0.section != .global && $0.effect == .honoured })
  func `an option that acts changes what the host sees`(_ row: OptionDefinition) throws {
    func hosted(_ value: String) throws -> HostedResource {
      var view = try load(Self.text(row, value)).resource(named: "r0", onHost: "alpha", ownAddresses: nil)
      // The settings themselves, and where they stand, are no trace.
      let plain = try load(Self.text(OptionTable.row("wfc-timeout", in: .startup), "0"))
        .resource(named: "r0", onHost: "alpha", ownAddresses: nil)
      view.effective = plain.effective
      view.position = plain.position
      for i in view.volumes.indices { view.volumes[i].effective = plain.volumes[i].effective }
      for i in view.peers.indices {
        view.peers[i].effective = plain.peers[i].effective
        view.peers[i].effectiveResync = plain.peers[i].effectiveResync
      }
      return view
    }
    let values: [String]
    switch row.type {
    case .boolean: values = ["yes", "no"]
    case .choice(let words), .letter(let words), .discardPolicy(let words): values = words
    case .text: values = ["sha1", "md5"]
    case .number(let range, _), .clampedNumber(let range, _): values = ["\(range.lowerBound)", "\(range.upperBound)"]
    case .votes, .resyncAfter, .hosts: values = []
    }
    let views = try values.map(hosted)
    #expect(views.count > 1)
    for i in views.indices {
      for j in views.indices where i < j { #expect(views[i] != views[j], "\(row.name): \(values[i]), \(values[j])") }
    }
  }

  @Test func `a promise taken back in a more specific place is not refused`() throws {
    #expect(try alpha("net { allow-two-primaries no; }", common: "net { allow-two-primaries yes; }").refusals.isEmpty)
    #expect(try alpha("", common: "net { allow-two-primaries yes; }").refusals.count == 1)
    #expect(try alpha("proxy { memlimit 1M; plugin { zlib level 9; } }").refusals.count == 1)
  }
}

extension OptionDefinition: CustomTestStringConvertible {
  public var testDescription: String { "\(section.keyword) \(name)" }
}
