// The commands of the `handlers` section, run by /bin/sh with the environment of admin spec 7. A handler that the file does
// not name has succeeded; one that cannot be started ends with 127. The ring thread never waits for one, and
// one that still runs when the daemon ends is left to finish its work.
import Base
import BlockIO
import Config
import Engine

struct Handlers: ~Copyable {
  struct Running: ~Copyable {
    let id: WorkID
    let handler: EngineHandler
    let volume: VolumeNumber
    var child: Child
  }

  /// As the file describes it now: the commands, and what scripts are told.
  var resource: HostedResource
  /// Path of the file.
  private(set) var configuration: String
  private var tools: HandlerTools
  static let runningMax = 16
  private var running = Places<Running>(capacity: Handlers.runningMax)

  init(_ setup: Setup) {
    resource = setup.hosted
    configuration = setup.mainFile
    tools = HandlerTools(setup)
  }

  /// Another file is read from now on.
  mutating func follow(_ setup: Setup) {
    configuration = setup.mainFile
    tools = HandlerTools(setup)
  }

  /// The exit status when it is known at once, nil when the handler runs now.
  mutating func run(
    _ handler: EngineHandler, _ volume: VolumeNumber, _ state: ConnectionState, _ id: WorkID, _ ring: inout Ring,
    _ log: (String) -> Void
  ) -> Int32? {
    guard let command = resource.handlers[handler.rawValue] else {
      if handler == .fencePeer { log("no fence-peer handler is configured: the peer is not fenced") }
      return 0
    }
    guard running.hasRoom else {
      log("handler \(handler.rawValue) was not run: too many handlers are running")
      return 127
    }
    do throws(ChildRefusal) {
      // Both outputs of the script go where the lines of this daemon go, and stay there when the daemon ends first.
      let child = try Child(
        shell: command, environment: [tools.searchPath(log)] + environment(handler, volume, state), log: 2)
      let place = running.free
      ring.pollReadable(child.descriptor, tag: Tag(kind: Kind.child, UInt64(place)))
      running.put(Running(id: id, handler: handler, volume: volume, child: child), at: place)
      log("helper command: \(handler.rawValue)")
      return nil
    } catch {
      log("handler \(handler.rawValue): \(error.text)")
      return 127
    }
  }

  /// A child's descriptor became readable.
  mutating func ended(
    _ completion: Completion, _ ring: inout Ring, _ log: (EngineHandler, VolumeNumber, String) -> Void
  ) -> (id: WorkID, handler: EngineHandler, volume: VolumeNumber, exit: Int32)? {
    let place = Int(completion.tag.payload)
    guard let exit = running[place].child.reap() else {
      ring.pollReadable(running[place].child.descriptor, tag: completion.tag)
      return nil
    }
    let done = running.remove(place)
    let status: Int32 =
      switch exit {
      case .status(let status): status
      case .signal(let signal): 128 + signal
      }
    log(done.handler, done.volume, "helper command: \(done.handler.rawValue) exit code \(status)")
    return (done.id, done.handler, done.volume, status)
  }

  private func environment(_ handler: EngineHandler, _ volume: VolumeNumber, _ state: ConnectionState) -> [String] {
    return ["HOME=/"] + tools.surroundings
      + HandlerEnvironment.lines(
        of: resource, configuration: configuration, volume: handler.isAboutEveryVolume ? nil : volume, connection: state
      )
  }
}

extension EngineHandler {
  /// Of the own disk or role: the peer has no part in it.
  var isAboutThisNode: Bool { self == .localIOError || self == .primaryOnInconsistentDegraded }

  var isAboutEveryVolume: Bool { HandlerEnvironment.aboutEveryVolume.contains(rawValue) }
}
