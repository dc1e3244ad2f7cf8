// When two names mean the same host, wherever a host is named; drbdadm judges where it is installed.
import Base
import Foundation
import Testing

@testable import Config

@Suite struct HostNameTests {
  static let same = [
    ("alpha", "alpha"), ("alpha", "ALPHA"), ("Alpha.Example.Net", "alpha.example.net"), ("alpha", "alpha.example.net"),
    ("ALPHA", "alpha.example.net"), ("alpha", "alpha."), ("alpha", "alpha..x"),
  ]
  static let different = [
    ("alpha", "alphax"), ("alpha", "alph"), ("alpha.example.net", "alpha.other.org"),
    ("alpha.example", "alpha.example.net"),
    ("alpha.example.net", "alpha.example.net."), ("alpha", ".alpha"), ("alpha", ""), ("example", "alpha.example"),
    ("alpha-x", "alpha.x"), ("alpha", "alpha-x.example.net"),
  ]

  @Test(arguments: same) func `names of the same host`(_ one: String, _ other: String) {
    #expect(HostName(one).isSame(as: HostName(other)))
    #expect(HostName(other).isSame(as: HostName(one)))
  }

  @Test(arguments: different) func `names of different hosts`(_ one: String, _ other: String) {
    #expect(!HostName(one).isSame(as: HostName(other)))
    #expect(!HostName(other).isSame(as: HostName(one)))
  }

  static func file(_ alpha: String = "alpha", _ beta: String = "beta", _ extra: String = "") -> String {
    """
    resource r0 { device /dev/drbd98 minor 98; disk /dev/vda; meta-disk internal; \(extra)
      on \(alpha) { node-id 0; address 10.77.0.1:7789; }
      on \(beta) { node-id 1; address 10.77.0.2:7789; } }
    """
  }

  @Test func `the own section is found by the short and by the full name`() throws {
    for name in ["alpha", "ALPHA", "alpha.example.net"] {
      #expect(try load(Self.file()).resource(named: "r0", onHost: name, ownAddresses: nil).host == "alpha")
      let full = try load(Self.file("alpha.example.net"))
      #expect(try full.resources(onHost: name, ownAddresses: nil).map(\.host) == ["alpha.example.net"])
    }
    let full = try load(Self.file("alpha.example.net"))
    let error = #expect(throws: ConfigurationError.self) {
      try full.resource(named: "r0", onHost: "alpha.other.org", ownAddresses: nil)
    }
    #expect(error?.exitCode == 1)
  }

  @Test func `two sections that are this host's are refused`() throws {
    for (one, other) in [("alpha.x.y", "alpha.z.y"), ("alpha", "ALPHA"), ("alpha", "alpha.x.y")] {
      let configuration = try load(Self.file(one, other))
      let error = #expect(throws: ConfigurationError.self) {
        try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: nil)
      }
      #expect(error?.exitCode == 10)
    }
    #expect(
      try load(Self.file("alpha.x.y", "alpha.z.y")).resource(named: "r0", onHost: "alpha.z.y", ownAddresses: nil).nodeID
        == 1)
  }

  private func peers(_ name: String, _ text: String) throws -> [Int] {
    try load(text).select([ObjectName(name)], onHost: "alpha", ownAddresses: nil).flatMap(\.peers).map(\.nodeID)
  }

  @Test func `a peer is found by the short and by the full name`() throws {
    for name in ["r0:beta", "r0:BETA", "r0:beta.example.net", "r0:Beta.Example.net/0"] {
      #expect(try peers(name, Self.file()) == [1])
      #expect(try peers(name, Self.file("alpha", "beta.example.net")) == [1])
    }
    #expect(try peers("r0:b2.x", Self.file("alpha", "beta.example.net b2")) == [1])
    for wrong in ["r0:beta.other.org", "r0:gamma", "r0:beta.example"] {
      #expect(throws: ConfigurationError.self) { try peers(wrong, Self.file("alpha", "beta.example.net")) }
    }
  }

  static let three = """
    resource r0 { device /dev/drbd98 minor 98; disk /dev/vda; meta-disk internal;
      on alpha { node-id 0; address 10.77.0.1:7789; }
      on beta.x { node-id 1; address 10.77.0.2:7789; }
      on beta.y { node-id 2; address 10.77.0.3:7789; }
      connection-mesh { hosts alpha beta.x beta.y; } }
    """

  @Test func `a name that does not tell two hosts apart is refused`() throws {
    let error = #expect(throws: ConfigurationError.self) { try peers("r0:beta", Self.three) }
    #expect(error?.exitCode == 1)
    #expect(error?.message == "r0:beta matches several peers: beta.x and beta.y")
    #expect(try peers("r0:BETA.Y", Self.three) == [2])
    // Exactly the name of one of them tells them apart.
    #expect(try peers("r0:beta", Self.three.replacing("beta.x", with: "beta")) == [1])
    let connection = Self.three.replacing(
      "connection-mesh { hosts alpha beta.x beta.y; }", with: "connection { host alpha; host beta; }")
    #expect(loadError(connection)?.message.contains("matches several hosts: beta.x and beta.y") == true)
    let discard = Self.three.replacing(
      "connection-mesh", with: "net { after-sb-0pri discard-node-beta; } connection-mesh")
    #expect(loadError(discard)?.message.contains("matches several hosts: beta.x and beta.y") == true)
  }

  @Test func `connections and meshes name hosts as well`() throws {
    for section in [
      "connection { host ALPHA; host beta.example.net; }", "connection { path { host beta.x; host Alpha.y; } }",
      "connection-mesh { hosts Alpha beta.example.net; }",
    ] {
      let resource = try load(Self.file("alpha", "beta", section)).resources[0]
      #expect(resource.connections.count == 1)
      #expect(resource.connections[0].joins(0, 1))
    }
    let both = """
      connection-mesh { hosts alpha beta; net { ping-int 3; } } connection { host ALPHA; host beta.x; net { ping-int 4; } }
      """
    let resource = try load(Self.file("alpha", "beta", both)).resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    #expect(resource.peers.map(\.net.pingInt) == [.seconds(4)])
  }

  @Test func `discard-node means one of the two hosts on both of them`() throws {
    for (name, discarded) in [
      ("ALPHA", "alpha"), ("alpha.example.net", "alpha"), ("beta", "beta.x"), ("Beta.X", "beta.x"),
    ] {
      let configuration = try load(Self.file("alpha", "beta.x", "net { after-sb-0pri discard-node-\(name); }"))
      for host in ["alpha", "beta"] {
        let resource = try configuration.resource(named: "r0", onHost: host, ownAddresses: nil)
        #expect(resource.peers[0].net.afterSb0 == (resource.host == discarded ? .discardLocal : .discardRemote))
      }
    }
    #expect(loadError(Self.file("alpha", "beta.x", "net { after-sb-0pri discard-node-beta.y; }"))?.exitCode == 10)
  }

  @Test func `become-primary-on says which name is no host`() throws {
    func notices(_ names: String) throws -> [String] {
      try load(Self.file("alpha", "beta", "startup { become-primary-on \(names); }")).notices.map(\.message)
    }
    for names in ["both", "alpha", "ALPHA.example.net beta", "Beta"] { #expect(try notices(names) == []) }
    let said = try notices("alpha gamma")
    #expect(said.count == 1 && said[0].contains("become-primary-on names 'gamma', which is not a host of the resource"))
  }

  @Test func `what a host has once is claimed under all of its names`() {
    func text(_ alpha: String, _ minor: Int, _ port: Int) -> String {
      Self.file()
        + """

        resource r1 { device minor \(minor); disk /dev/vdb; meta-disk internal;
          on \(alpha) { node-id 0; address 10.77.0.1:\(port); } on gamma { node-id 1; address 10.77.0.3:\(port); } }
        """
    }
    #expect(loadError(text("ALPHA", 98, 7790))?.message.contains("minor 98 is used by 'r1/0' and by 'r0/0'") == true)
    #expect(loadError(text("alpha.x.y", 98, 7790))?.exitCode == 10)
    #expect(loadError(text("alpha.x.y", 99, 7789))?.exitCode == 10)
    #expect(loadError(text("alphax", 98, 7789)) == nil)
  }

  @Test(.enabled(if: Drbdadm.isInstalled, "needs drbdadm of Debian's drbd-utils"))
  func `drbdadm takes the same names for this host and for its peer`() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "hostnames-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = directory.appending(path: "t.res")
    for written in ["alpha", "alpha.example.net", "Alpha.Example"] {
      let text = Self.file(written, "beta") + "\n"
      try text.write(to: file, atomically: true, encoding: .utf8)
      let configuration = try load(text)
      for node in [
        "alpha", "ALPHA", "alpha.example.net", "ALPHA.EXAMPLE", "alpha.other.org", "alpha.", "alphax", "x.alpha",
      ] {
        let theirs = try Drbdadm.run(["-c", file.path, "sh-dev", "r0"], node: node).0 == 0
        let ours = attempt { try configuration.resource(named: "r0", onHost: node, ownAddresses: nil) } != nil
        #expect(ours == theirs, "on \(written), uname \(node)")
      }
      let mirrored = Self.file("beta", written)
      try (mirrored + "\n").write(to: file, atomically: true, encoding: .utf8)
      for peer in ["alpha", "ALPHA", "alpha.example.net", "Alpha.Example", "alpha.other.org", "alphax", "gamma"] {
        let theirs = try Drbdadm.run(["-c", file.path, "-d", "connect", "r0:\(peer)"], node: "beta").0 == 0
        let ours = attempt {
          try load(mirrored).select([ObjectName("r0:\(peer)")], onHost: "beta", ownAddresses: nil)
        }
        #expect((ours != nil) == theirs, "on \(written), r0:\(peer)")
      }
    }
  }
}
