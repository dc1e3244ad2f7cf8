// swift-tools-version: 6.2
// The drawing of ARCHITECTURE.md as declarations: pure targets below, one target that touches the kernel,
// two composition roots on top. `scripts/check` builds with import checking on, so an arrow that is not
// declared here does not compile.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableExperimentalFeature("Lifetimes"),
  .treatAllWarnings(as: .error),
  .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

/// A target without I/O, clock, randomness or Foundation.
func pure(_ name: String, _ dependencies: [Target.Dependency], _ more: [SwiftSetting] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings + more)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "repl",
  products: [
    .executable(name: "repld", targets: ["repld"]),
    .executable(name: "repladm", targets: ["repladm"]),
    .executable(name: "repl-device", targets: ["repl-device"]),
    .executable(name: "replsim", targets: ["replsim"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.3.0"),
    .package(url: "https://github.com/apple/swift-log.git", from: "1.5.0"),
  ],
  targets: [
    // Pure: bytes <-> meaning, and decisions.
    pure("Base", []),
    pure("Protocol", ["Base"]),
    pure("MetaDisk", ["Base"]),
    pure("Config", ["Base"]),
    pure("Export", ["Base"]),
    pure("Control", ["Base"]),
    pure("Engine", ["Base", "Protocol", "MetaDisk"]),
    // The world is one object of many parts: checking every access costs a quarter of its speed. Debug builds check.
    pure(
      "Simulator", ["Base", "Protocol", "MetaDisk", "Engine"],
      [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]),

    // C libraries of the system.
    .systemLibrary(name: "CURing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),

    // The only target that touches the kernel.
    .target(name: "BlockIO", dependencies: ["Base", "CURing", "CCrypto"], swiftSettings: settings),

    // Composition roots.
    .target(
      name: "ReplDaemon",
      dependencies: [
        "Base", "Protocol", "MetaDisk", "Config", "Export", "Engine", "Control", "BlockIO", logging, arguments,
      ],
      swiftSettings: settings),
    .target(
      name: "ReplAdmin",
      dependencies: ["Base", "MetaDisk", "Config", "Control", "BlockIO", arguments],
      swiftSettings: settings),
    .target(
      name: "ReplDevice", dependencies: ["Base", "Export", "Control", "BlockIO", "CFuse"], swiftSettings: settings),
    .executableTarget(name: "repld", dependencies: ["ReplDaemon"], swiftSettings: settings),
    .executableTarget(name: "repladm", dependencies: ["ReplAdmin"], swiftSettings: settings),
    .executableTarget(name: "repl-device", dependencies: ["ReplDevice"], swiftSettings: settings),
    .executableTarget(name: "replsim", dependencies: ["Simulator"], swiftSettings: settings),

    tests("BaseTests", ["Base"]),
    tests("ProtocolTests", ["Protocol", "Base"]),
    tests("MetaDiskTests", ["MetaDisk", "Base"]),
    tests("ConfigTests", ["Config", "Base"]),
    tests("ExportTests", ["Export", "Base"]),
    tests("ControlTests", ["Control", "Base"]),
    tests("EngineTests", ["Engine", "Protocol", "MetaDisk", "Base"]),
    tests("SimulationTests", ["Simulator", "Base"]),
    tests("BlockIOTests", ["BlockIO", "Base"]),
    tests("DaemonTests", ["ReplDaemon", "ReplAdmin", "Config", "Engine", "Control", "BlockIO", "Protocol", "Base"]),
    tests("TidyTests", []),
  ],
  swiftLanguageModes: [.v6]
)
