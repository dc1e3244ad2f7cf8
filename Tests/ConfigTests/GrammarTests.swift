// The grammar of both generations: what stands where, and what it becomes.
import Base
import Config
import Testing

@Suite struct GrammarTests {
  let hosts = "on alpha { address 10.77.0.1:7789; } on beta { address 10.77.0.2:7789; }"
  var plain: String { "device /dev/drbd0; disk /dev/vda; meta-disk internal; \(hosts)" }

  @Test func `a path may begin with two slashes`() throws {
    let text = "resource r0 { device /dev/drbd0; disk //dev/vda; meta-disk internal; \(hosts) }"
    #expect(try load(text).resources[0].hosts[0].volumes[0].disk == "//dev/vda")
    #expect(try load(text.replacing("disk //", with: "disk\n//")).resources[0].hosts[0].volumes[0].disk == "//dev/vda")
  }

  @Test func `the founding resource file is understood`() throws {
    let text = """
      resource drbd0 {
           protocol C;
           disk /dev/sdb1;
           device /dev/drbd0;
           meta-disk internal;
           on zabbix-server01 {
                address 192.168.1.1:7789;
           }
           on zabbix-server02 {
                address 192.168.1.2:7789;
           }
      }
      """
    let configuration = try load(text)
    let first = try configuration.resource(
      named: "drbd0", onHost: "zabbix-server01", ownAddresses: ["127.0.0.1", "192.168.1.1"])
    #expect(first.nodeID == 0)
    #expect(first.peers.map(\.name) == ["zabbix-server02"])
    #expect(first.peers[0].nodeID == 1)
    #expect(first.peers[0].address == HostAddress(family: .ipv4, host: "192.168.1.2", port: 7789))
    #expect(first.ownAddress?.description == "ipv4 192.168.1.1:7789")
    #expect(first.volumes.map(\.devicePath) == ["/dev/drbd0"])
    #expect(first.volumes[0].minor == 0)
    #expect(first.volumes[0].number == VolumeNumber(0))
    #expect(first.volumes[0].disk == "/dev/sdb1")
    #expect(first.volumes[0].metaDisk == .internal)
    #expect(first.volumes[0].bitmapSlots == 1)
    #expect(first.peers[0].net.wireProtocol == .c)
    #expect(first.options.autoPromote)
    #expect(first.refusals.isEmpty && first.notices.isEmpty)

    let dump = Dump.text(of: configuration, onHost: "zabbix-server01")
    for line in [
      "device               /dev/drbd0 minor 0;", "disk                 /dev/sdb1;", "meta-disk            internal;",
      "node-id 0;", "node-id 1;", "address          ipv4 192.168.1.1:7789;", "protocol           C;",
    ] {
      #expect(dump.contains("    \(line)\n"))
    }
  }

  @Test func `comments, quotes and carriage returns do not disturb`() throws {
    let text = "# one }\r\nresource \"r0\" {# two {\r\n\(plain) net { shared-secret \"a\\\"b\\\\c;}#\"; } }\n# end"
    let secret = try load(text).resource(named: "r0", onHost: "alpha", ownAddresses: nil).peers[0].net.sharedSecret
    #expect(secret == "a\"b\\c;}#")
  }

  @Test func `a quoted keyword is a name`() throws {
    #expect(try load("resource \"disk\" { \(plain) }").resources.map(\.name) == ["disk"])
    #expect(loadError("resource disk { \(plain) }")?.advice?.contains("double quotes") == true)
  }

  @Test func `a device has its path from the minor and its minor from the path`() throws {
    func volume(_ device: String) throws -> HostedVolume {
      try load("resource r0 { device \(device); disk /dev/vda; meta-disk internal; \(hosts) }")
        .resource(named: "r0", onHost: "alpha", ownAddresses: nil).volumes[0]
    }
    #expect(try volume("minor 7").devicePath == "/dev/drbd7")
    #expect(try volume("/dev/drbd12").minor == 12)
    #expect(try volume("drbd12").devicePath == "/dev/drbd12")
    #expect(try volume("/dev/drbd_data minor 3").devicePath == "/dev/drbd_data")
    #expect(try volume("/dev/drbd_data minor 3").minor == 3)
    #expect(try volume("minor 1048575").minor == 1_048_575)
    for bad in ["/dev/drbd4 minor 3", "/dev/foo minor 3", "/dev/drbd_x", "/dev/drbd", "minor 1048576", "minor x", ""] {
      #expect(loadError("resource r0 { device \(bad); disk /dev/vda; meta-disk internal; \(hosts) }")?.exitCode == 10)
    }
  }

  @Test func `metadata lies inside, on a device or in a slot of one`() throws {
    func place(_ text: String) throws -> HostedVolume {
      try load("resource r0 { device minor 0; disk /dev/vda; \(text); \(hosts) }")
        .resource(named: "r0", onHost: "alpha", ownAddresses: nil).volumes[0]
    }
    #expect(try place("meta-disk internal").metaDiskPath == "/dev/vda")
    #expect(try place("flexible-meta-disk internal").metaDisk == .internal)
    #expect(try place("meta-disk /dev/vdz").metaDisk == .external("/dev/vdz"))
    #expect(try place("flexible-meta-disk /dev/vdz").metaDiskPath == "/dev/vdz")
    #expect(try place("meta-disk /dev/vdz[3]").metaDisk == .indexed("/dev/vdz", 3))
    #expect(try place("meta-disk \"/dev/vdz\" [ 3 ]").metaDisk == .indexed("/dev/vdz", 3))
  }

  @Test func `families and spellings of addresses`() throws {
    func own(_ first: String, _ second: String) throws -> HostedResource {
      try load(
        """
        resource r0 { device minor 0; disk /dev/vda; meta-disk internal;
          on alpha { address \(first); } on beta { address \(second); } }
        """
      ).resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    }
    #expect(try own("ipv4 10.0.0.1:1", "10.0.0.2:65535").peers[0].address.port == 65535)
    let scoped = try own("ipv6 [fe80::1%eth0]:7789", "ipv6 [fe80::2%eth0]:7789")
    #expect(scoped.ownAddress?.scope == "eth0")
    #expect(scoped.ownAddress?.bytes == [0xfe, 0x80] + [UInt8](repeating: 0, count: 13) + [1])
    #expect(try own("[::1]:7789", "[::ffff:10.0.0.2]:7789").peers[0].address.family == .ipv6)
    let sdp = try own("sdp 10.0.0.1:7789", "sdp 10.0.0.2:7789")
    #expect(sdp.refusals.first?.message.contains("'sdp'") == true)
    #expect(try own("sci 10.0.0.1:7789", "ssocks 10.0.0.2:7789").ownAddress?.family == .ssocks)
    for bad in [
      "10.0.0.256:1", "10.0.0:1", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "host.lan:1", "ipv6 ::1:7",
      "ipv6 [::1", "ipv6 [1::2::3]:7", "ipv6 [12345::]:7", "ipv6 [1:2:3:4:5:6:7:8:9]:7", "ipv4 [::1]:7", "[]:7",
    ] {
      let text = "resource r0 { device minor 0; disk /dev/vda; meta-disk internal; on alpha { address \(bad); } }"
      #expect(loadError(text)?.exitCode == 10, "\(bad)")
    }
  }

  @Test func `an IPv6 address has one meaning in all spellings`() {
    #expect(HostAddress.sameHost("2001:db8::1", "2001:0DB8:0:0::0001"))
    #expect(HostAddress.sameHost("fe80::1%eth0", "fe80::1"))
    #expect(!HostAddress.sameHost("fe80::1%eth0", "fe80::1%eth1"))
    #expect(!HostAddress.sameHost("2001:db8::1", "2001:db8::2"))
    #expect(HostAddress.bytes(of: "::") == [UInt8](repeating: 0, count: 16))
    #expect(HostAddress.bytes(of: "1:2:3:4:5:6:7::")?.suffix(4) == [0, 7, 0, 0])
    #expect(HostAddress.bytes(of: "1:2:3:4:5:6:7:8::") == nil)
    #expect(HostAddress.bytes(of: ":1:2:3:4:5:6:7") == nil)
  }

  @Test func `booleans take yes, no, nothing, and no- in front`() throws {
    #expect(try !alpha("disk { al-updates no; }").volumes[0].options.alUpdates)
    #expect(try alpha("disk { al-updates; }").volumes[0].options.alUpdates)
    #expect(try !alpha("disk { no-md-flushes; no-disk-flushes; }").volumes[0].options.mdFlushes)
    #expect(try !alpha("net { no-tcp-cork; no-use-rle; }").peers[0].net.useRle)
    #expect(throws: ConfigurationError.self) { try alpha("net { no-ping-int; }") }
    #expect(throws: ConfigurationError.self) { try alpha("disk { no-disk-flushes no; }") }
    #expect(throws: ConfigurationError.self) { try alpha("disk { al-updates on; }") }
  }

  @Test func `spellings of 8.4 mean what they meant`() throws {
    let resource = try alpha(
      """
      protocol a;
      syncer { rate 30M; al-extents 257; after r9; verify-alg md5; csums-alg sha1; use-rle no; cpu-mask 3;
               c-plan-ahead 5; }
      disk { fencing resource-only; max-bio-bvecs 1; use-bmbv; no-disk-barrier; on-io-error pass_on; }
      net { after-sb-0pri discard-node-beta; unplug-watermark 128; }
      handlers { outdate-peer "/bin/fence me"; }
      startup { become-primary-on both; wfc-timeout 10; }
      """)
    let net = resource.peers[0].net
    #expect(net.wireProtocol == .a)
    #expect(net.verifyAlg == "md5" && net.csumsAlg == "sha1" && !net.useRle)
    #expect(net.fencing == .resourceOnly)
    #expect(net.afterSb0 == .discardRemote)
    #expect(resource.peers[0].resync[VolumeNumber(0)]?.resyncRate == 30 * 1024)
    #expect(resource.peers[0].resync[VolumeNumber(0)]?.written == [.resyncRate, .cPlanAhead])
    #expect(resource.volumes[0].options.alExtents == 257)
    #expect(resource.volumes[0].options.onIOError == .passOn)
    #expect(resource.options.cpuMask == "3")
    #expect(resource.handlers == ["fence-peer": "/bin/fence me"])
    #expect(resource.startup.becomePrimaryOn == ["both"])
    #expect(resource.startup.wfcTimeout == .seconds(10))
    #expect(try alpha("net { after-sb-0pri discard-node-alpha; }").peers[0].net.afterSb0 == .discardLocal)
    #expect(
      try alpha("net { after-sb-0pri discard-node-alpha; }", onHost: "beta").peers[0].net.afterSb0 == .discardRemote)
  }

  @Test func `skipped text may be anything with balanced braces`() throws {
    let skipped = "skip resource x { } skip { a { b \"}\" } ; 1 ' = \u{1} } skip on x y { # }\n }"
    #expect(try load("\(skipped) resource r0 { \(plain) skip on z { ! } }").resources.count == 1)
    #expect(loadError("resource r0 { \(plain) }\nskip x { { }")?.message.contains("line 2") == true)
  }

  @Test func `includes are relative to the file that names them`() throws {
    let files = [
      "etc/main": "include \"d/*.res\"; include \"none-*.res\"; include \"d/one.res\";",
      "etc/d/one.res": "include \"sub/common.inc\";",
      "etc/d/two.res": "resource r0 { \(plain) }",
      "etc/d/sub/common.inc": "common { net { timeout 33; } }",
    ]
    let configuration = try Configuration.load("etc/main", from: InMemorySource(files))
    #expect(configuration.resources[0].position == SourcePosition(file: "etc/d/two.res", line: 1))
    let resource = try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    #expect(resource.peers[0].net.timeout == .deciseconds(33))
  }

  @Test func `a missing include is an error, and a loop of includes ends`() throws {
    #expect(loadError("\n\ninclude \"gone.res\";")?.position?.line == 3)
    #expect(try load("resource r0 { \(plain) } include \"t.res\";").resources.count == 1)
    var files: [String: String] = [:]
    for depth in 0..<12 { files["f\(depth)"] = "include \"f\(depth + 1)\";" }
    #expect(loadError("include \"f0\";", files)?.message.contains("nested deeper than 10") == true)
    files["f8"] = "resource r0 { \(plain) }"
    #expect(try load("include \"f0\";", files).resources.count == 1)
  }

  @Test func `a template lies between common and the resource`() throws {
    let files = ["x/t": "common { net { timeout 33; ping-int 4; connect-int 3; } disk { on-io-error pass_on; } }"]
    let configuration = try load(
      """
      common { net { timeout 44; max-buffers 99; } }
      resource r0 { template-file "x/t"; \(plain) net { ping-int 5; } }
      """, files)
    let resource = try configuration.resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    #expect(resource.peers[0].net.timeout == .deciseconds(33))
    #expect(resource.peers[0].net.pingInt == .seconds(5))
    #expect(resource.peers[0].net.maxBuffers == 99)
    #expect(resource.volumes[0].options.onIOError == .passOn)
  }

  @Test func `requirements on the module's version are judged`() throws {
    for good in ["ge 9.0.16", "gt 8.4", "ne 9.0.0", "lt 10.0.0", "le 9.2.9", "eq 9.2.9"] {
      #expect(try load("require-drbd-module-version-\(good);").resources.isEmpty, "\(good)")
    }
    for bad in ["lt 9.0.16", "eq 9.2", "ge 99.0.0", "ge x", "ge 9", "ge 1.2.3.4", "ge 99999999999999999999.1"] {
      #expect(loadError("require-drbd-module-version-\(bad);")?.exitCode == 10, "\(bad)")
    }
  }

  @Test func `floating hosts are found by their address`() throws {
    let configuration = try load(
      "resource r0 { device minor 0; disk /dev/vda; meta-disk internal; floating 10.0.0.1:7; floating ipv4 10.0.0.2:7 { disk /dev/vdb; } }"
    )
    let second = try configuration.resource(named: "r0", onHost: "whatever", ownAddresses: ["127.0.0.1", "10.0.0.2"])
    #expect(second.volumes[0].disk == "/dev/vdb")
    #expect(second.peers[0].name == "10.0.0.1:7")
    #expect(throws: ConfigurationError.self) {
      try configuration.resource(named: "r0", onHost: "whatever", ownAddresses: ["10.0.0.3"])
    }
    #expect(throws: ConfigurationError.self) {
      try configuration.resource(named: "r0", onHost: "whatever", ownAddresses: ["10.0.0.1", "10.0.0.2"])
    }
  }

  @Test func `a stacked resource is parsed, and refused where it would be used`() throws {
    let configuration = try load(
      """
      resource r0 { \(plain) }
      resource u { stacked-on-top-of r0 { device /dev/drbd10; address 10.99.0.1:7788; }
        on gamma { device /dev/drbd10; disk /dev/vdx; meta-disk internal; address 10.99.0.2:7788; } }
      """)
    #expect(throws: ConfigurationError.self) {
      try configuration.resource(named: "u", onHost: "alpha", ownAddresses: nil)
    }
    #expect(try configuration.resources(onHost: "alpha", ownAddresses: nil).map(\.name) == ["r0"])
    #expect(try configuration.resource(named: "u", onHost: "gamma", ownAddresses: nil).peers[0].name == "r0")
  }

  @Test func `connections, paths and meshes say who talks to whom`() throws {
    let ids = "on alpha { node-id 4; address 10.0.0.1:7; } on beta { node-id 2; address 10.0.0.2:7; }"
    func peer(_ text: String) throws -> HostedPeer {
      try load("resource r0 { device minor 0; disk /dev/vda; meta-disk internal; \(ids) \(text) }")
        .resource(named: "r0", onHost: "beta", ownAddresses: nil).peers[0]
    }
    let explicit = try peer(
      "connection x { host alpha address 10.9.0.1:99; host beta port 98; net { ping-int 20; } disk { c-max-rate 5M; } volume 0 { disk { c-min-rate 7; } } }"
    )
    #expect(explicit.name == "alpha" && explicit.nodeID == 4)
    #expect(explicit.ownAddress.description == "ipv4 10.0.0.2:98")
    #expect(explicit.address.description == "ipv4 10.9.0.1:99")
    #expect(explicit.net.pingInt == .seconds(20))
    #expect(explicit.resync[VolumeNumber(0)]?.cMaxRate == 5 * 1024)
    #expect(explicit.resync[VolumeNumber(0)]?.cMinRate == 7)

    let paths = try peer(
      "connection { path { host alpha address 10.1.0.1:1; host beta address 10.1.0.2:1; } path { host beta address 10.2.0.2:2; host alpha address 10.2.0.1:2; } }"
    )
    #expect(paths.paths.map(\.own.host) == ["10.1.0.2", "10.2.0.2"])
    #expect(try peer("connection-mesh { hosts alpha beta; net { protocol B; } }").net.wireProtocol == .b)

    for bad in [
      "connection { host alpha; }", "connection { host alpha; host gamma; }", "connection { host alpha; host alpha; }",
      "connection { }", "connection { host alpha; host beta; } connection { host beta; host alpha; }",
      "connection { host alpha; host beta; disk { al-extents 99; } }", "connection-mesh { hosts alpha; }",
      "connection { path { host alpha; host beta; } host alpha; }",
    ] {
      #expect(throws: ConfigurationError.self, "\(bad)") { try peer(bad) }
    }
  }

  @Test func `volumes are merged key by key, host over resource`() throws {
    let resource = try load(
      """
      resource r0 {
        volume 0 { device minor 1; disk /dev/a; meta-disk internal; disk { on-io-error pass_on; } }
        volume 7 { device minor 2; disk /dev/b; meta-disk /dev/m; }
        on alpha { address 10.0.0.1:7; volume 7 { disk /dev/other; disk { al-extents 99; } } }
        on beta { address 10.0.0.2:7; volume 7 { disk none; } }
      }
      """
    ).resource(named: "r0", onHost: "alpha", ownAddresses: nil)
    #expect(resource.volumes.map(\.number.value) == [0, 7])
    #expect(resource.volumes.map(\.disk) == ["/dev/a", "/dev/other"])
    #expect(resource.volumes.map(\.options.onIOError) == [.passOn, .detach])
    #expect(resource.volumes.map(\.options.alExtents) == [1237, 99])
    #expect(resource.volumes.map(\.isExplicit) == [true, true])
    #expect(resource.peers[0].diskful == [VolumeNumber(0)])
  }
}
