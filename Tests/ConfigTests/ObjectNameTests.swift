// Names on a command line, what they select, and the values that scripts ask for.
import Base
import Config
import Testing

@Suite struct ObjectNameTests {
  @Test func `all forms of a name are read and shown alike`() throws {
    let forms: [(String, ObjectName)] = [
      ("all", .all), ("r0", .resource("r0")), ("r0/7", .volume("r0", 7)), ("r0:beta", .peer("r0", "beta")),
      ("r0:beta/7", .peerVolume("r0", "beta", 7)), ("minor-3", .minor(3)), ("minor-x", .resource("minor-x")),
      ("r0:10.0.0.2:7789", .peer("r0", "10.0.0.2:7789")), ("alle", .resource("alle")),
    ]
    for (text, name) in forms {
      #expect(try ObjectName(text) == name)
      #expect(name.description == text)
    }
  }

  @Test(arguments: [
    "", "/", "r0/", "/0", "r0/x", "r0/65535", "r0/-1", "r0/0/0", ":b", "r0:", "r0:/1", "r0/99999999999999999999",
  ])
  func `what names nothing is exit code 1`(_ text: String) {
    let error = #expect(throws: ConfigurationError.self) { try ObjectName(text) }
    #expect(error?.exitCode == 1)
  }

  let configuration: Configuration

  init() throws {
    configuration = try load(
      """
      resource drbd0 { device /dev/drbd0; disk /dev/sdb1; meta-disk internal;
        on alpha { address 192.168.1.1:7789; } on beta { address 192.168.1.2:7789; } }
      resource r1 {
        volume 0 { device minor 5; disk /dev/sdc1; meta-disk /dev/sdd1[3]; }
        volume 1 { device /dev/drbd_foo minor 6; disk /dev/mapper/x; flexible-meta-disk /dev/sdd2; }
        on alpha { node-id 3; address ipv6 [fe80::1]:7789; }
        on beta { node-id 5; address ipv6 [fe80::2]:7789; volume 1 { disk none; } } }
      resource other { device /dev/drbd0; disk /dev/sdb1; meta-disk internal;
        on gamma { address 192.168.1.3:7789; } on delta { address 192.168.1.4:7789; } }
      """)
  }

  func select(_ name: String, onHost host: String = "alpha") throws -> [Selection] {
    try configuration.select([ObjectName(name)], onHost: host, ownAddresses: nil)
  }

  @Test func `names select resources, volumes and peers`() throws {
    #expect(try select("all").map(\.resource.name) == ["drbd0", "r1"])
    #expect(try select("r1").flatMap(\.volumes).map(\.minor) == [5, 6])
    #expect(try select("r1/1").flatMap(\.volumes).map(\.minor) == [6])
    #expect(try select("minor-6")[0].volumes.map(\.number.value) == [1])
    #expect(try select("r1:beta/0")[0].peers.map(\.name) == ["beta"])
    for wrong in ["nope", "other", "r1/7", "r1:gamma", "r1:beta/7", "minor-7"] {
      #expect(#expect(throws: ConfigurationError.self) { try select(wrong) }?.exitCode == 1)
    }
  }

  @Test func `a name narrower than the command is refused`() throws {
    let volume = try select("r1/1")[0]
    let error = #expect(throws: ConfigurationError.self) { try volume.check(scope: .resource, of: "up") }
    #expect(error?.exitCode == 1)
    #expect(error?.text.contains("up operates on whole resources, but you specified a specific volume!") == true)
    #expect(throws: Never.self) { try volume.check(scope: .volume, of: "attach") }
    let peer = try select("r1:beta")[0]
    // A peer may be named for everything: it is everything of the resource.
    #expect(throws: Never.self) { try peer.check(scope: .volume, of: "attach") }
    #expect(throws: Never.self) { try volume.check(scope: .resourceByAnyName, of: "primary") }
    // A volume that stands directly in the resource is the resource.
    for name in ["drbd0/0", "minor-0"] {
      #expect(throws: Never.self) { try select(name)[0].check(scope: .resource, of: "down") }
    }
    #expect(throws: Never.self) { try peer.check(scope: .connection, of: "connect") }
    #expect(throws: Never.self) { try select("r1:beta/1")[0].check(scope: .peerVolume, of: "invalidate") }
  }

  @Test func `values for scripts are those of drbdadm`() throws {
    let all = try select("all")
    #expect(all.flatMap(ShellValues.devices) == ["/dev/drbd0", "/dev/drbd5", "/dev/drbd_foo"])
    #expect(all.flatMap(ShellValues.minors) == ["0", "5", "6"])
    #expect(all.flatMap(ShellValues.lowerDevices) == ["/dev/sdb1", "/dev/sdc1", "/dev/mapper/x"])
    #expect(try all.flatMap { try ShellValues.metaDevices($0) } == ["/dev/sdb1", "/dev/sdd1", "/dev/sdd2"])
    #expect(try all.flatMap { try ShellValues.metaIndexes($0) } == ["internal", "3", "flexible"])
    #expect(all.flatMap(ShellValues.addresses) == ["192.168.1.1", "fe80::1", "fe80::1"])
    let globals = configuration.globals
    #expect(
      try ShellValues.udev(select("drbd0")[0], globals: globals) == [
        "DEVICE=drbd0", "SYMLINK=drbd/by-res/drbd0", "SYMLINK_BY_RES=drbd/by-res/drbd0",
        "SYMLINK_BY_DISK=drbd/by-disk/sdb1",
      ])
    #expect(
      try ShellValues.udev(select("minor-6")[0], globals: globals) == [
        "DEVICE=drbd_foo", "SYMLINK=drbd/by-res/r1/1", "SYMLINK_BY_RES=drbd/by-res/r1/1",
        "SYMLINK_BY_DISK=drbd/by-disk/mapper/x",
      ])
    #expect(throws: ConfigurationError.self) { try ShellValues.udev(select("r1")[0], globals: globals) }
    let diskless = try select("r1/1", onHost: "beta")[0]
    #expect(ShellValues.lowerDevices(diskless) == ["none"])
    #expect(throws: ConfigurationError.self) { try ShellValues.metaDevices(diskless) }
    #expect(throws: ConfigurationError.self) { try ShellValues.metaIndexes(diskless) }
    #expect(try ShellValues.udev(diskless, globals: globals).count == 3)
  }
}
