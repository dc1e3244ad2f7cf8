// Resource files of the recorded scenarios, and `dump` read back.
import Config
import Foundation
import Testing

@Suite struct FixtureTests {
  static let recorded = ["wire", "wire9", "admin"].flatMap { Fixtures.files(in: $0, suffix: ".res") }

  @Test func `there are recorded files to try`() { #expect(Self.recorded.count > 70) }

  @Test func `every recorded file is understood, for both of its hosts`() throws {
    for file in Self.recorded {
      let configuration = try Configuration.load(file.path, from: DiskSource())
      let resource = try #require(configuration.resources.first)
      #expect(resource.hosts.count == 2)
      for host in resource.hostNames {
        let hosted = try configuration.resource(named: resource.name, onHost: host, ownAddresses: nil)
        #expect(hosted.peers.count == 1)
        #expect(hosted.host == host)
        #expect(Set([hosted.nodeID, hosted.peers[0].nodeID]) == [0, 1])
      }
    }
  }

  @Test func `a dump read back is the same dump`() throws {
    let files = Self.recorded + Fixtures.files(in: "config", suffix: ".res")
    var compared = 0
    for file in files {
      let configuration: Configuration
      do { configuration = try Configuration.load(file.path, from: DiskSource()) } catch { continue }
      func withoutComments(_ text: String) -> String {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") }.joined(separator: "\n")
      }
      let dump = withoutComments(Dump.text(of: configuration, onHost: "alpha"))
      if dump.contains("template-file") { continue }
      let again = try load(dump)
      #expect(withoutComments(Dump.text(of: again, onHost: "alpha")) == dump, "\(file.path)")
      compared += 1
    }
    #expect(compared > 130)
  }

  @Test func `8.4's usual file is understood`() throws {
    let file = Fixtures.root.appending(path: "config/full-84.res").path
    let configuration = try Configuration.load(file, from: DiskSource())
    let resource = try configuration.resource(named: "r1", onHost: "beta", ownAddresses: nil)
    #expect(resource.peers[0].net.sharedSecret == "a secret \"quoted\"")
    #expect(resource.peers[0].net.maxBuffers == 8000)
    #expect(resource.volumes[0].metaDisk == .indexed("/dev/sdb1", 0))
    #expect(resource.volumes[0].options.alExtents == 3389)
    #expect(!resource.volumes[0].options.mdFlushes)
    #expect(resource.handlers["pri-on-incon-degr"]?.hasSuffix("reboot -f") == true)
    #expect(resource.refusals.isEmpty)
  }

  @Test func `DRBD 9's usual file is understood`() throws {
    let file = Fixtures.root.appending(path: "config/full-9.res").path
    let configuration = try Configuration.load(file, from: DiskSource())
    let resource = try configuration.resource(named: "data", onHost: "beta", ownAddresses: nil)
    #expect(resource.volumes.map(\.disk) == ["/dev/vg0/data0", "/dev/other/data1"])
    #expect(resource.ownAddress?.description == "ipv6 [2001:db8::3]:7001")
    #expect(resource.peers[0].net.wireProtocol == .b)
    #expect(configuration.globals.udevAlwaysUseVnr)
    #expect(resource.refusals.isEmpty)
  }

  @Test func `three nodes are understood, and refused at up`() throws {
    let file = Fixtures.root.appending(path: "config/mesh-three.res").path
    let configuration = try Configuration.load(file, from: DiskSource())
    let resource = try configuration.resource(named: "r0", onHost: "beta", ownAddresses: nil)
    #expect(resource.peers.map(\.name) == ["alpha", "gamma"])
    #expect(resource.volumes[0].bitmapSlots == 1)
    #expect(resource.refusals.count == 1)
  }
}
