// What is filled in and what wins: layers of options, node ids, claims on things that exist once.
import Base
import Testing

@testable import Config

@Suite struct InheritanceTests {
  @Test(arguments: [
    ("192.168.1.1", "192.168.1.2", 0, 1), ("10.77.0.1", "10.77.0.2", 1, 0), ("10.77.0.1", "10.77.0.254", 0, 1),
    ("fe80::1", "fe80::2", 0, 1), ("2001:db8::1", "2001:0db8::0002", 1, 0), ("fe80::1%eth0", "fe80::2%eth0", 0, 1),
  ])
  func `node ids follow from the addresses`(_ first: String, _ second: String, _ one: Int, _ two: Int) throws {
    let ids = try #require(NodeNumber.ofPair(first, second))
    #expect(ids == (one, two))
    let swapped = try #require(NodeNumber.ofPair(second, first))
    #expect(swapped == (two, one))
  }

  @Test func `the fingerprint of an address is the one that DRBD's tools compute`() {
    #expect(NodeNumber.fingerprint(of: "192.168.1.1") == 0xbaf1_51d7)
    #expect(NodeNumber.fingerprint(of: "192.168.1.2") == 0xa9a1_a223)
  }

  @Test func `two nodes on one address are told apart by their ports`() throws {
    let configuration = try load(
      """
      resource r0 { device minor 0; disk /dev/a; meta-disk internal;
        on alpha { address 127.0.0.1:7002; } on beta { device minor 1; address 127.0.0.1:7001; } }
      """)
    let resource = try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: ["127.0.0.1"])
    #expect(resource.nodeID == 1 && resource.peers[0].nodeID == 0)
    #expect(resource.ownAddress?.port == 7002 && resource.peers[0].address.port == 7001)
  }

  @Test func `written node ids are kept, and must be complete and different`() throws {
    func ids(_ first: String, _ second: String, _ more: String = "") throws -> [Int] {
      try load(
        """
        resource r0 { device minor 0; disk /dev/a; meta-disk internal; \(more)
          on alpha { \(first) address 10.0.0.1:7; } on beta { \(second) address 10.0.0.2:7; } }
        """
      ).resources[0].hosts.map(\.nodeID)
    }
    #expect(try ids("node-id 31;", "node-id 0;") == [31, 0])
    #expect(throws: ConfigurationError.self) { try ids("node-id 1;", "node-id 1;") }
    #expect(throws: ConfigurationError.self) { try ids("node-id 1;", "") }
    #expect(throws: ConfigurationError.self) { try ids("node-id 32;", "node-id 0;") }
    #expect(throws: ConfigurationError.self) { try ids("", "", "connection { host alpha; host beta; }") }
  }

  @Test func `net options: connection over resource over common`() throws {
    let configuration = try load(
      """
      common { net { timeout 10; ping-int 11; connect-int 12; } }
      resource r0 { device minor 0; disk /dev/a; meta-disk internal;
        on alpha { node-id 0; address 10.0.0.1:7; } on beta { node-id 1; address 10.0.0.2:7; }
        net { timeout 20; ping-int 21; }
        connection { host alpha; host beta; net { timeout 30; } } }
      """)
    let net = try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: nil).peers[0].net
    #expect(net.timeout == .deciseconds(30) && net.pingInt == .seconds(21) && net.connectInt == .seconds(12))
  }

  @Test func `disk options: host's volume over resource's volume over resource over common`() throws {
    let configuration = try load(
      """
      common { disk { al-extents 100; size 100; md-flushes no; resync-rate 100; on-io-error pass_on; } }
      resource r0 {
        disk { al-extents 200; size 200; resync-rate 200; md-flushes yes; }
        volume 0 { device minor 0; disk /dev/a; meta-disk internal; disk { al-extents 300; size 300; resync-rate 300; } }
        on alpha { address 10.0.0.1:7; volume 0 { disk { al-extents 400; } } } on beta { address 10.0.0.2:7; } }
      """)
    let resource = try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    let disk = resource.volumes[0].options
    #expect(disk.alExtents == 400 && disk.size == SectorCount(300) && disk.mdFlushes && disk.onIOError == .passOn)
    #expect(resource.peers[0].resync[VolumeNumber(0)]?.resyncRate == 300)
    let other = try configuration.resource(named: "r0", onHost: "beta", ownAddresses: nil)
    #expect(other.volumes[0].options.alExtents == 300)
  }

  @Test func `an option written twice keeps the last value`() throws {
    #expect(try alpha("net { ping-int 10; timeout 25; ping-int 2; timeout 15; }").peers[0].net.pingInt == .seconds(2))
  }

  @Test func `handlers and startup come from common and resource`() throws {
    let resource = try alpha(
      "handlers { split-brain \"mine\"; } startup { wfc-timeout 5; }",
      common: "handlers { split-brain \"theirs\"; pri-lost \"/bin/x --y\"; } startup { wfc-timeout 9; wait-after-sb; }")
    #expect(resource.handlers == ["split-brain": "mine", "pri-lost": "/bin/x --y"])
    #expect(resource.startup.wfcTimeout == .seconds(5) && resource.startup.waitAfterSb)
  }

  @Test(arguments: [
    ("minor", "device minor 0; disk /dev/b; meta-disk internal;", 7790),
    ("disk", "device minor 1; disk /dev/a; meta-disk internal;", 7790),
    ("address", "device minor 1; disk /dev/b; meta-disk internal;", 7789),
    ("meta-disk", "device minor 1; disk /dev/b; meta-disk /dev/m[0];", 7790),
  ])
  func `what a host has once can be claimed once`(_ what: String, _ keys: String, _ port: Int) {
    func hosts(_ port: Int) -> String {
      "on alpha { address 10.0.0.1:\(port); } on beta { address 10.0.0.2:\(port); }"
    }
    let error = loadError(
      """
      resource r0 { device minor 0; disk /dev/a; meta-disk \(what == "meta-disk" ? "/dev/m[0]" : "internal"); \(hosts(7789)) }
      resource r1 { \(keys) \(hosts(port)) }
      """)
    #expect(error?.message.contains(what) == true)
    #expect(error?.exitCode == 10)
    #expect(error?.position?.line == 2)
  }

  @Test func `the same minor on different hosts is no conflict`() throws {
    #expect(
      try load(
        """
        resource r0 { device minor 0; disk /dev/a; meta-disk internal;
          on alpha { address 10.0.0.1:7; } on beta { address 10.0.0.2:7; } }
        resource r1 { device minor 0; disk /dev/a; meta-disk internal;
          on gamma { address 10.0.0.3:7; } on delta { address 10.0.0.4:7; } }
        """
      ).resources.count == 2)
  }

  @Test func `a configured address that is not on this host is said and not refused`() throws {
    let text = """
      resource r0 { device minor 0; disk /dev/a; meta-disk internal;
        on alpha { address ipv6 [2001:db8::1]:7; } on beta { address ipv6 [2001:db8::2]:7; } }
      """
    let configuration = try load(text)
    func notices(_ configuration: Configuration, _ addresses: [String]) throws -> [String] {
      try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: addresses).notices.map(\.message)
    }
    #expect(try notices(configuration, ["::1", "2001:db8:0:0::1"]) == [])
    let said = try notices(configuration, ["::1"])
    #expect(said.count == 1 && said[0].contains("IP 2001:db8::1 not found on this host: the connection waits for it"))
    let open = try load("global { disable-ip-verification; }" + text)
    #expect(try notices(open, ["::1"]) == [])
  }
}
