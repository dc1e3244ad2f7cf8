// Two nodes on this machine that both have their device from `up` to `down`: what the tests of the names and of the automatic role
// share.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

final class PairOfDevices {
  let desk: Desk
  /// Where a file system of the first and of the second node is mounted.
  let places: (String, String)
  private let serial = "\(getpid())-\(UInt16.random(in: 0...UInt16.max))"
  private let volumes: Int
  /// Of the resource: its names in /dev are those of no other test.
  let name: String
  private var descriptors: [Int32] = []

  /// Both Secondary, connected and UpToDate, with equal contents.
  init(mebibytes: Int = 32, volumes: Int = 1) throws {
    desk = try Desk(mebibytes: (mebibytes, mebibytes), volumes: volumes)
    self.volumes = volumes
    name = "w" + serial
    places = (desk.bench.directory + "/mnt-a", desk.bench.directory + "/mnt-b")
    for place in [places.0, places.1] {
      try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
    }
    try desk.edit("resource r0 {", "resource \(name) {")
    for node in [desk.bench.a, desk.bench.b] {
      for volume in 0..<volumes {
        try desk.edit(
          "device /dev/drbd\(90 + volume); disk \(node.disk(volume));",
          "device \(device(node, volume)) minor \(90 + volume); disk \(node.disk(volume));")
      }
    }
    for node in [desk.bench.a, desk.bench.b] {
      succeeds(try type("create-md r0", on: node))
      succeeds(try type("up r0", on: node))
    }
    succeeds(try type("wait-connect r0", on: desk.bench.a))
    for volume in 0..<volumes {
      succeeds(try type("new-current-uuid --clear-bitmap r0/\(volume)", on: desk.bench.a))
    }
  }

  deinit {
    for descriptor in descriptors { close(descriptor) }
    for place in [places.0, places.1] { umount2(place, Int32(MNT_DETACH)) }
    for node in [desk.bench.a, desk.bench.b] {
      if let server = server(node) { kill(server, SIGCONT) }
      do { succeeds(try type("down --force r0", on: node)) } catch { print("left behind: \(device(node))") }
    }
  }

  var a: Node { desk.bench.a }
  var b: Node { desk.bench.b }

  func device(_ node: Node, _ volume: Int = 0) -> String { "/dev/drbd_\(serial)\(node.name)\(volume)" }

  /// `r0` stands for the name of the resource.
  func type(_ line: String, on node: Node) throws -> Said {
    let words = line.split(separator: " ").map {
      $0 == "r0" || $0.hasPrefix("r0/") ? name + $0.dropFirst(2) : String($0)
    }
    return try desk.type(words.joined(separator: " "), on: node, [:])
  }

  /// A program that goes on beside the test.
  func begun(_ program: String, _ arguments: [String], on node: Node) throws -> Process {
    let process = Process()
    process.executableURL = URL(filePath: program)
    process.arguments = arguments
    process.environment = [
      "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "REPL_CONFIG": desk.config, "REPL_RUN_DIR": node.runDirectory,
      "REPL_STATE_DIR": node.runDirectory + ".state", "__DRBD_NODE__": node.name,
    ]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }

  func role(_ node: Node) throws -> String {
    try type("role r0", on: node).out.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  func becomes(_ role: String, _ node: Node) throws {
    try until("\(node.name) is \(role)") { try self.role(node) == role }
  }

  func log(_ node: Node) -> String {
    FileManager.default.contents(atPath: node.files.log(name)).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  func server(_ node: Node) -> pid_t? {
    FileManager.default.contents(atPath: node.files.deviceLock(name))
      .flatMap { pid_t(String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)) }
  }

  // MARK: Use

  /// 0, or the error of open(2). What was opened is closed.
  func errorOfOpening(_ path: String, _ flags: Int32) -> Int32 {
    let descriptor = open(path, flags | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    close(descriptor)
    return 0
  }

  /// Opened for longer; closed at the end at the latest.
  func opened(_ path: String, _ flags: Int32 = O_RDWR) throws -> Int32 {
    let descriptor = open(path, flags | O_CLOEXEC)
    let why = String(cString: strerror(errno))
    try #require(descriptor >= 0, "opening \(path): \(why); \(log(a).suffix(1500))")
    descriptors.append(descriptor)
    return descriptor
  }

  func closed(_ descriptor: Int32) {
    descriptors.removeAll { $0 == descriptor }
    close(descriptor)
  }

  /// 0, or the error of mount(2).
  func errorOfMounting(_ device: String, _ place: String, _ type: String) -> Int32 {
    mount(device, place, type, 0, nil) == 0 ? 0 : errno
  }

  /// The kernel's number behind a name.
  func majorNumber(_ path: String) throws -> UInt32 {
    var status = stat()
    try #require(stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK)
    return UInt32((status.st_rdev >> 8) & 0xfff)
  }

  /// What the server answers to one request.
  func ask(_ request: DeviceRequest, _ node: Node) throws -> DeviceReply? {
    let socket = try PacketSocket.connected(to: node.files.deviceSocket(name), seconds: 5)
    try socket.send(request.text)
    return DeviceReply(try socket.receive().text)
  }

  func expectNothing(of node: Node, location: SourceLocation = #_sourceLocation) throws {
    let files = node.files
    var paths = [
      files.deviceSocket(name), files.deviceLock(name), files.deviceMount(name),
      files.deviceNodes(name), files.roleLock(name),
    ]
    for volume in 0..<volumes {
      let number = VolumeNumber(UInt16(volume))
      paths += [device(node, volume), files.device(name, number), files.names(name, number)]
    }
    var status = stat()
    for path in paths { #expect(lstat(path, &status) != 0, "\(path) is left", sourceLocation: location) }
    let mounts = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)
    #expect(!mounts.contains(node.runDirectory + "/"), sourceLocation: location)
  }
}
