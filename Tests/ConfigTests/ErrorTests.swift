// Mistakes: each is found in its line, named, and answered with what to do.
import Config
import Testing

@Suite struct ErrorTests {
  static let hosts = "on alpha { address 10.77.0.1:7789; }\non beta { address 10.77.0.2:7789; }"
  static let keys = "device /dev/drbd0;\ndisk /dev/vda;\nmeta-disk internal;"

  static let numberedHosts =
    "on alpha { node-id 0; address 10.77.0.1:7789; }\non beta { node-id 1; address 10.77.0.2:7789; }"

  struct Mistake: CustomTestStringConvertible, Sendable {
    var text: String
    var line: Int
    /// Parts of the message.
    var says: [String]
    var exit: Int32 = 10
    init(_ text: String, line: Int, says: String..., exit: Int32 = 10) {
      self.text = text
      self.line = line
      self.says = says
      self.exit = exit
    }
    var testDescription: String { says.joined(separator: ", ") }
  }

  static let mistakes = [
    Mistake("\u{feff}resource r0 {\n}", line: 1, says: "byte order mark", "UTF-8 without it"),
    Mistake("# first\n// second\nresource r0 {", line: 2, says: "comments of C begin here", "Begin a comment with '#'"),
    Mistake("resource r0 {\ndevice minor 1; //second", line: 2, says: "comments of C begin here"),
    Mistake("resource r0 {\ndevice minor 1; // second", line: 2, says: "comments of C begin here"),
    Mistake("resource r0 { // second\n}", line: 1, says: "comments of C begin here"),
    Mistake("resource r0 {\n  /* second */\n}", line: 2, says: "comments of C begin here"),
    Mistake(
      "resource r0 {\n\(keys)\n\(numberedHosts)\nconnection-mesh { hosts alpha beta alpha; }\n}", line: 7,
      says: "host 'alpha' is in the mesh twice"),
    Mistake(
      "resource r0 {\n\(keys)\n\(numberedHosts)\nconnection { host alpha; host alpha; }\n}", line: 7,
      says: "joins host 'alpha' to itself", "Name two different hosts"),
    Mistake("resorce r0 { }", line: 1, says: "Parse error: ", "'resorce'", "Did you mean 'resource'?"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\nnet {\nprotocoll C;\n}\n}", line: 8, says: "Did you mean 'protocol'?"),
    Mistake("resource r0 {\n\(keys)\ndik /dev/vda;\n}", line: 5, says: "Did you mean 'disk'?"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\ntimeout 30;\n}", line: 7, says: "net { timeout ...; }"),
    Mistake("resource r0 {\nnet { al-extents 99; }\n}", line: 2, says: "'al-extents' belongs in the disk section"),
    Mistake(
      "resource r0 {\nnet { after-sb-0pri discard-zero-change; }", line: 2, says: "Did you mean 'discard-zero-changes'?"
    ),
    Mistake("resource r0 {\nnet { protocol D; }", line: 2, says: "while parsing value ('D')", "A | B | C"),
    Mistake("resource r0 {\ndevice /dev/drbd0\ndisk /dev/vda;", line: 3, says: "';' expected", "got 'disk'"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\n", line: 7, says: "got the end of the file"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\n}\n}", line: 8, says: "got '}'"),
    Mistake("resource r0 {\nnet { shared-secret \"abc; }\n}", line: 2, says: "no closing quote"),
    Mistake("resource r0 {\nnet { timeout = 5; }\n}", line: 2, says: "'='"),
    Mistake("resource r0 {\nnet { timeout 5\u{7f}; }\n}", line: 2, says: "0x7f"),
    Mistake("resource r0 {\n\(hosts)\n}", line: 2, says: "in resource r0, on alpha { ... }: 'device' keyword missing"),
    Mistake("resource r0 {\ndevice minor 1; meta-disk internal;\n\(hosts)\n}", line: 3, says: "'disk' keyword missing"),
    Mistake("resource r0 {\ndevice minor 1; disk /dev/a;\n\(hosts)\n}", line: 3, says: "'meta-disk' keyword missing"),
    Mistake("resource r0 {\n\(keys)\n}", line: 1, says: "resource 'r0' has no hosts"),
    Mistake(
      "resource r0 {\n\(keys)\non alpha { }\non beta { address 1.2.3.4:5; }\n}", line: 5, says: "'address' keyword"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\n}\nresource r0 { }", line: 8, says: "written twice", "t.res:1"),
    Mistake("resource r0 {\n\(keys)\n\(hosts)\n\(hosts)\n}", line: 7, says: "host 'alpha'", "t.res:5"),
    Mistake("resource r0 {\n\(keys)\nnet { }\nnet { }\n}", line: 6, says: "the net section is written twice"),
    Mistake("global { }\nglobal { }", line: 2, says: "the global section is written twice"),
    Mistake("common { }\ncommon { }", line: 2, says: "the common section is written twice"),
    Mistake("common {\non alpha { }\n}", line: 2, says: "no 'on' sections"),
    Mistake("global { usage-count maybe; }", line: 1, says: "yes | no | ask"),
    Mistake("include \"x.res\";", line: 1, says: "failed to open include file 'x.res': No such file"),
    Mistake("include x*.res;", line: 1, says: "'*'"),
    Mistake("resource a/b { }", line: 1, says: "can not be called 'a/b'"),
    Mistake("resource { }", line: 1, says: "name of the resource"),
    Mistake("resource r0 {\nvolume 65535 { }\n}", line: 2, says: "0..65534"),
    Mistake("resource r0 {\nvolume 0 { \(keys) }\nvolume 0 { }\n}", line: 5, says: "volume 0 is written twice"),
    Mistake(
      "resource r0 {\n\(keys)\nvolume 1 { device minor 1; disk /dev/b; meta-disk internal; }\n\(hosts)\n}", line: 2,
      says: "must not mix implicit and explicit volumes"),
    Mistake(
      "resource r0 {\non alpha { address 10.0.0.1:7; volume 0 { \(keys) } }\non beta { address 10.0.0.2:7; }\n}",
      line: 5, says: "device"),
    Mistake(
      "resource r0 {\n\(keys)\n\(hosts)\nnet { after-sb-0pri discard-node-alhpa; }\n}", line: 7,
      says: "Did you mean 'discard-node-alpha'?"),
  ]

  @Test(arguments: mistakes) func `a mistake is found where it is`(_ mistake: Mistake) throws {
    let error = try #require(loadError(mistake.text))
    #expect(error.position == SourcePosition(file: "t.res", line: mistake.line), "\(error.text)")
    #expect(error.text.hasPrefix("t.res:\(mistake.line): "))
    for part in mistake.says { #expect(error.text.contains(part), "\(error.text)") }
    #expect(error.exitCode == mistake.exit)
  }

  @Test func `a file that can not be read is exit code 20`() {
    let error = #expect(throws: ConfigurationError.self) {
      try Configuration.load("gone.res", from: InMemorySource([:]))
    }
    #expect(error?.exitCode == 20)
    #expect(error?.text.contains("can not open 'gone.res'") == true)
    #expect(
      #expect(throws: ConfigurationError.self) { try Configuration.loadFirst(from: InMemorySource([:])) }?.exitCode
        == 20)
  }

  @Test func `the first default file that exists is read`() throws {
    let files = ["/etc/drbd.conf": "", "/etc/repl.conf": ""]
    #expect(try Configuration.loadFirst(from: InMemorySource(files)).mainFile == "/etc/repl.conf")
    #expect(try Configuration.loadFirst(from: InMemorySource(["/etc/drbd.conf": ""])).mainFile == "/etc/drbd.conf")
  }

  @Test func `unknown resources and hosts are exit code 1, and the file's own names are told`() throws {
    let configuration = try load("resource data {\n\(Self.keys)\n\(Self.hosts)\n}")
    func error(_ name: String, _ host: String) -> ConfigurationError? {
      do throws(ConfigurationError) {
        _ = try configuration.resource(named: name, onHost: host, ownAddresses: nil)
        return nil
      } catch { return error }
    }
    let resource = error("dta", "alpha")
    #expect(resource?.exitCode == 1)
    #expect(resource?.text.contains("'dta' not defined in your config (for this host)") == true)
    #expect(resource?.text.contains("Did you mean 'data'?") == true)
    #expect(resource?.text.contains("t.res defines data") == true)
    let host = error("data", "alphax.example.org")
    #expect(host?.exitCode == 1)
    #expect(host?.text.contains("alpha and beta") == true)
    let none = #expect(throws: ConfigurationError.self) {
      try configuration.resources(onHost: "gamma", ownAddresses: nil)
    }
    #expect(none?.exitCode == 1)
    #expect(none?.text.contains("no resources defined for this host ('gamma')") == true)
  }

  @Test func `suggestions are near or not given`() {
    #expect(loadError("resource r0 { quux 1; }")?.suggestion == nil)
    #expect(loadError("comon { }")?.suggestion == "common")
    #expect(loadError("gloabl { }")?.suggestion == "global")
  }
}
