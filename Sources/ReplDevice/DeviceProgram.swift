// `repl-device RES`: started by `repladm`, in a session of its own, and never by hand. It outlives `repladm` and `repld`.
import BlockIO
import CFuse
import Control
import Glibc

public enum DeviceProgram {
  private static let help = """
    USAGE: repl-device RES

    Shows the volumes of the resource RES as files, from which repladm makes block devices where the kernel has no nbd. repladm starts it
    and ends it; it finds the run directory in REPL_RUN_DIR.

    """

  public static func run() -> Never {
    let words = CommandLine.arguments.dropFirst()
    if words == ["--help"] || words == ["-h"] {
      print(help, terminator: "")
      exit(0)
    }
    if words == ["--version"] {
      print("repl-device \(Product.version)")
      exit(0)
    }
    guard let resource = words.first, words.count == 1, !resource.isEmpty, !resource.hasPrefix("-"),
      !resource.contains("/")
    else {
      fail(1, "it needs the name of one resource; repladm primary RES starts it, see repl-device --help")
    }
    let environment = getenv(RunFiles.environmentKey).map { String(cString: $0) }
    let files = RunFiles(directory: environment ?? RunFiles.defaultDirectory)
    umask(0o022)
    signal(SIGPIPE, SIG_IGN)
    let signals = cf_open_signals()
    guard signals >= 0 else { fail(20, "signalfd: \(String(cString: strerror(errno)))") }
    do throws(RunDirectoryRefusal) { try RunDirectory.check(files.directory) } catch { fail(20, error.text) }
    let lock: PidFile
    do throws(PidFileRefusal) { lock = try PidFile(path: files.deviceLock(resource)) } catch {
      if case .held = error { exit(heldCode) }
      fail(20, error.text)
    }
    let server = DeviceServer(resource, files, signals: signals)
    for shortfall in Memory.protect() { server.log(shortfall.text) }
    do throws(FuseRefusal) { try server.run() } catch { fail(20, error.text, lock) }
    end(lock)
  }

  /// Another one serves the resource.
  public static let heldCode: Int32 = 3

  private static func end(_ lock: consuming PidFile) -> Never {
    do { _ = consume lock }
    exit(0)
  }

  private static func fail(_ code: Int32, _ text: String, _ lock: consuming PidFile) -> Never {
    do { _ = consume lock }
    fail(code, text)
  }

  private static func fail(_ code: Int32, _ text: String) -> Never {
    let line = Array("repl-device: \(text)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(code)
  }
}
