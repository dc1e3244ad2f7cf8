// The configuration as it would be with one file more and another one less: `--config-to-test` and `--config-to-exclude`. A program
// that writes files, such as LINSTOR, checks the next one beside all others before it takes the place of the old one.
import Config

struct TestedSource: ConfigurationSource {
  /// The main file: the tested one is read after it.
  let mainFile: String
  let tested: String?
  let excluded: String?
  private let files = FileSource()

  func read(_ path: String) throws(ConfigurationSourceFault) -> String {
    let text = try files.read(path)
    guard path == mainFile, let tested else { return text }
    return text + "\ninclude \"\(tested)\";\n"
  }

  func glob(_ pattern: String, relativeTo directory: String) -> [String] {
    files.glob(pattern, relativeTo: directory).filter { path in
      excluded.map { !isSameFile($0, path) } ?? true
    }
  }
}
