// The program: its arguments, and the order in which a daemon comes to life. First what can refuse (configuration, lock,
// addresses), then what others see (sockets), last the protections. Nothing is attached or connected before it is asked
// for on the control socket.
import ArgumentParser
import Base
import BlockIO
import Config
import Control
import Engine
import Export
import Glibc

public struct Repld: ParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "repld", abstract: "Serve one replicated resource; repladm starts it.",
    discussion: "It opens its control socket and waits; repladm up starts it and tells it to attach and to connect.")

  @Option(name: [.customShort("c"), .customLong("config-file")], help: "The configuration file.")
  var config: String?
  @Option(help: "Which host of the configuration this is; the default is the host name.")
  var node: String?
  @Option(help: "Directory of sockets and pid files (default: \(RunFiles.defaultDirectory)).")
  var runDir: String?
  @Option(
    name: .customLong("nbd-tcp"),
    help:
      "Exports a volume over TCP too, without authentication: VOLUME=ADDRESS:PORT. May be repeated. At most \(FrontEnd.placesOverTCP) clients, \(FrontEnd.placesOfAddress) of one address."
  )
  var exportsOverTCP: [String] = []
  /// Seconds that a client has for the negotiation.
  @Option(help: .hidden)
  var negotiationLimit: UInt64 = 30
  @Flag(help: "Accepted for service files: the daemon always stays in the foreground.")
  var foreground = false
  @Argument(help: "Name of the resource.")
  var resource: String

  public init() {}

  public mutating func run() throws {
    Death.leavesReason()
    do throws(StartRefusal) {
      var reactor = try Daemon.start(self)
      reactor.run()
    } catch {
      Repld.say("repld: \(error.text)\n", to: 2)
      throw ExitCode(error.exitCode)
    }
  }
}

/// Why the daemon did not come up.
struct StartRefusal: Error {
  var text: String
  var exitCode: Int32
  init(_ text: String, exitCode: Int32) {
    self.text = text
    self.exitCode = exitCode
  }
  init(_ error: ConfigurationError) { self.init(error.text, exitCode: error.exitCode) }
}

enum Daemon {
  static func start(_ arguments: Repld) throws(StartRefusal) -> Reactor {
    let host = arguments.node ?? environment("__DRBD_NODE__") ?? nodeName()
    let configPath = arguments.config ?? environment("REPL_CONFIG")
    let files = RunFiles(
      directory: arguments.runDir ?? environment(RunFiles.environmentKey) ?? RunFiles.defaultDirectory)
    let read: (mainFile: String, hosted: HostedResource, globals: GlobalOptions, notices: [ConfigurationNotice])
    do throws(ConfigurationError) {
      read = try Setup.read(resource: arguments.resource, configPath: configPath, host: host)
    } catch {
      throw StartRefusal(error)
    }
    let hosted = read.hosted
    if let refusal = hosted.refusals.first { throw StartRefusal(refusal) }
    let (own, peer) = try addresses(hosted)

    let signals: Signals
    do throws(Errno) { signals = try Signals() } catch { throw StartRefusal("signals: \(error)", exitCode: 20) }
    do throws(RunDirectoryRefusal) { try RunDirectory.prepare(files.directory) } catch {
      throw StartRefusal(error.text, exitCode: 20)
    }
    let lock: PidFile
    do throws(PidFileRefusal) { lock = try PidFile(path: files.pidFile(hosted.name)) } catch {
      let how = if case .held = error { " (repladm down \(hosted.name))" } else { "" }
      throw StartRefusal("\(hosted.name): \(error.text)\(how)", exitCode: 20)
    }
    _ = Memory.raiseLockLimit()
    var ring: Ring
    do throws(RingRefusal) { ring = try Ring(entries: 512, files: 512) } catch {
      throw StartRefusal(error.text, exitCode: 20)
    }
    var overTCP: [(volume: VolumeNumber, address: SocketAddress)] = []
    for one in arguments.exportsOverTCP { overTCP.append(try Daemon.overTCP(one, hosted)) }
    var exports = ExportServer(
      resource: hosted.name, volumes: hosted.volumes.map(\.number), overTCP: overTCP.count,
      requests: ResourceSettings.requestsAtOnce,
      patience: .seconds(min(max(arguments.negotiationLimit, 1), 3600)))
    let pool: Pool
    do throws(Errno) { pool = try Pool(exports.memory) } catch {
      throw StartRefusal("no memory for the buffers: \(error)", exitCode: 20)
    }
    let journal = Journal(resource: hosted.name)
    let service: ServiceManager
    do throws(Errno) { service = try ServiceManager.fromEnvironment(at: Clock.now()) } catch {
      throw StartRefusal("NOTIFY_SOCKET is not the name of a socket (\(error)): unset it", exitCode: 20)
    }
    if !ring.register(pool) {
      journal.warning("too little lockable memory for registered buffers: I/O costs a bit more")
    }

    var control: ControlServer
    do throws(SocketRefusal) {
      for volume in hosted.volumes {
        try exports.entrances.listen(unix: files.exportSocket(hosted.name, volume.number), volume.number, &ring)
      }
      for one in overTCP {
        try exports.entrances.listen(tcp: one.address, one.volume, at: Clock.now(), &ring) {
          journal.warning($0)
        }
      }
      control = try ControlServer(
        path: files.controlSocket(hosted.name), status: files.statusSocket(hosted.name),
        readers: UserGroup.id(environment(RunFiles.readersKey) ?? RunFiles.readers))
    } catch {
      throw StartRefusal(error.text, exitCode: 20)
    }
    control.begin(&ring)

    let needed = filesNeeded(
      volumes: hosted.volumes.count, overTCP: overTCP.count, clients: exports.connections.capacity)
    let allowed = OpenFiles.allow(needed)
    if allowed < needed {
      journal.warning(
        "\(allowed) files may be open at once, and \(needed) are needed when every client, program and"
          + " socket is there: some would be kept waiting; set LimitNOFILE=\(needed) in the unit, or raise 'ulimit -n'")
    }
    for notice in read.notices { journal.warning(notice.description) }
    for shortfall in Memory.protect() { journal.warning(shortfall.text) }
    journal.info("repld serves \(hosted.host) (node-id \(hosted.nodeID)), pid \(getpid())")
    let net = hosted.peers.first?.net
    let setup = Setup(
      configPath: configPath, host: host, files: files, mainFile: read.mainFile, hosted: hosted, globals: read.globals,
      sizeRecords: SizeRecords(directory: environment(SizeRecords.environmentKey)))
    return Reactor(
      ring: ring, pool: pool,
      engine: Engine(settings: ResourceSettings(hosted), random: Entropy.generator(), at: Clock.now()),
      disks: DiskTable(hosted.volumes.map { DiskTable.Place($0) }),
      peers: PeerTable(
        own: own, peer: peer,
        options: SocketOptions(sendBuffer: net?.sndbufSize ?? 0, receiveBuffer: net?.rcvbufSize ?? 0),
        patience: net?.connectInt ?? .seconds(10), volumes: hosted.volumes.count),
      exports: exports, control: control,
      handlers: Handlers(setup),
      signals: signals, lock: lock,
      setup: setup,
      journal: journal, service: service)
  }

  static func addresses(_ hosted: HostedResource) throws(StartRefusal) -> (own: SocketAddress, peer: SocketAddress) {
    guard let peer = hosted.peers.first else {
      let nowhere = SocketAddress(host: .v4(0), port: 0)
      return (nowhere, nowhere)
    }
    guard let own = SocketAddress(peer.ownAddress), let other = SocketAddress(peer.address) else {
      throw StartRefusal(
        "\(hosted.name): '\(peer.ownAddress)' or '\(peer.address)' is no address of a socket: correct the 'address' lines",
        exitCode: 10)
    }
    return (own, other)
  }

  private static func overTCP(
    _ text: String, _ hosted: HostedResource
  ) throws(StartRefusal) -> (VolumeNumber, SocketAddress) {
    let parts = text.split(separator: "=", maxSplits: 1)
    guard parts.count == 2, let number = UInt16(parts[0]), hosted.volume(VolumeNumber(number)) != nil,
      let address = SocketAddress(String(parts[1]))
    else {
      throw StartRefusal(
        "--nbd-tcp \(text): write VOLUME=ADDRESS:PORT with a volume of \(hosted.name), such as 0=127.0.0.1:10809",
        exitCode: 1)
    }
    return (VolumeNumber(number), address)
  }

  /// Open files at the most, a line for each holder.
  static func filesNeeded(volumes: Int, overTCP: Int, clients: Int) -> Int {
    // Input, output, log and the log once more; ring, signals, lock, digests, and what a look at /proc opens.
    let own = 24
    // Data and metadata device, and one of them while the metadata move.
    let disks = 3 * volumes
    // Listeners: of the volumes, the control socket, the peer.
    let acceptors = volumes + overTCP + 2
    return own + disks + acceptors + PeerTable.socketsMax + clients + ControlServer.placesMax + Handlers.runningMax
  }

  private static func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
  }

  private static func nodeName() -> String {
    var name = utsname()
    guard uname(&name) == 0 else { return "localhost" }
    return withUnsafeBytes(of: &name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

extension Repld {
  fileprivate static func say(_ text: String, to descriptor: Int32) {
    let bytes = Array(text.utf8)
    _ = write(descriptor, bytes, bytes.count)
  }

  /// As `main`, with the exit code of the admin spec for wrong usage: 1.
  public static func runAsProgram() -> Never {
    do {
      var command = try parseAsRoot()
      try command.run()
      Glibc.exit(0)
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      let text = fullMessage(for: error)
      let isHelp = exitCode(for: error) == .success
      say(text + "\n", to: isHelp ? 1 : 2)
      Glibc.exit(isHelp ? 0 : 1)
    }
  }
}
