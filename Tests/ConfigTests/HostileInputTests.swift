// Input that nobody wrote with good intentions, or at all: it ends in an error, soon, and never in a trap.
import Base
import Config
import Testing

@Suite struct HostileInputTests {
  static let whole = """
    global { usage-count no; } common { net { shared-secret "x\\"y"; } handlers { split-brain "a; b"; } }
    resource r0 { protocol C; device /dev/drbd0 minor 0; disk /dev/vda; meta-disk /dev/vdb [ 3 ];
      disk { size 4M; no-disk-barrier; } net { ping-int 10; } options { quorum off; }
      on alpha { address ipv6 [fe80::1%eth0]:7789; node-id 1; } on beta { address ipv6 [fe80::2]:7789; node-id 0; }
      connection { host alpha port 1; host beta address ipv6 [::7]:3; net { timeout 3; } }
    }
    resource r1 { volume 0 { device minor 1; disk none; } floating 1.2.3.4:5 { node-id 1; } on x y { address 1.2.3.5:5; node-id 2; }
      connection-mesh { hosts x 1.2.3.4:5; } } skip x { y { } }
    """

  @Test func `every prefix of a file ends in an answer`() {
    let text = Array(Self.whole.utf8)
    for length in 0..<text.count { _ = loadError(String(decoding: text[..<length], as: UTF8.self)) }
  }

  @Test func `bytes turned at random end in an answer`() {
    var generator = SeededGenerator(seed: 4711)
    let text = Array(Self.whole.utf8)
    for _ in 0..<4000 {
      var copy = text
      for _ in 0...generator.below(6) {
        let at = Int(generator.below(UInt64(copy.count)))
        switch generator.below(3) {
        case 0: copy[at] = UInt8(truncatingIfNeeded: generator.next())
        case 1: copy.remove(at: at)
        default:
          copy.insert(contentsOf: copy[at..<min(copy.count, at + 9)], at: Int(generator.below(UInt64(copy.count))))
        }
      }
      guard let configuration = attempt({ try load(String(decoding: copy, as: UTF8.self)) }) else { continue }
      for host in ["alpha", "x", "y"] {
        for resource in configuration.resources {
          _ = attempt { try configuration.resource(named: resource.name, onHost: host, ownAddresses: ["1.2.3.4"]) }
        }
      }
      #expect(!Dump.text(of: configuration, onHost: "alpha").isEmpty)
    }
  }

  /// Named by its beginning: the whole text would fill a test's log.
  struct Nonsense: Sendable, CustomTestStringConvertible {
    let text: String
    var testDescription: String {
      text.prefix(24).filter { !$0.isNewline && $0 != "\u{0}" } + "... (\(text.utf8.count) bytes)"
    }
  }

  static let nonsense = [
    String(repeating: "x", count: 1 << 20), String(repeating: "{", count: 1 << 20),
    String(repeating: "\u{0}\u{1}\u{fe}", count: 1 << 18), "\"" + String(repeating: "a", count: 1 << 20),
    "skip x " + String(repeating: "{", count: 1 << 20), "resource r0 " + String(repeating: "{ net ", count: 1 << 18),
    "resource r0 { net { timeout " + String(repeating: "9", count: 1 << 20),
    "resource r0 { on " + String(repeating: "a ", count: 1 << 16) + "{",
    "resource r0 { proxy " + String(repeating: "{ x ", count: 1 << 16),
    String(repeating: "skip x { }\n", count: 1 << 16) + "!",
    "resource r0 { on alpha { address ipv6 [" + String(repeating: ":", count: 1 << 20) + "]:1; } }",
    "common { handlers { split-brain \"" + String(repeating: "\\", count: 1 << 20),
  ].map(Nonsense.init)

  @Test(arguments: nonsense) func `a megabyte of nonsense is refused`(_ nonsense: Nonsense) throws {
    let error = loadError(nonsense.text)
    #expect(error?.exitCode == 10)
    #expect((error?.text.utf8.count ?? 0) < 2000)
  }

  @Test func `a file larger than any configuration is refused`() {
    #expect(loadError(String(repeating: " ", count: 17 << 20))?.message.contains("16 MiB") == true)
  }

  @Test func `what is not UTF-8 is text or an error, never a trap`() {
    let bytes = Array("resource r0 { net { shared-secret \"".utf8) + [0xff, 0xfe, 0x80] + Array("\"; } }".utf8)
    #expect(loadError(String(decoding: bytes, as: UTF8.self)) != nil)
  }
}
