// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is compiled the same way: language mode 6, strict memory safety, explicit existentials, and
/// imports that say whether they are part of the interface.
let settings: [SwiftSetting] = [
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Set by scripts/fuzz: what parses guest memory and messages is built with libFuzzer's coverage and the address sanitizer,
/// the shims that it takes from CLinux included, and there is one more program. Without it nothing here is any different.
let isFuzzing = Context.environment["VDPA_FUZZ"] != nil
let fuzzed: [SwiftSetting] =
  settings
  + (isFuzzing
    ? [.unsafeFlags(["-sanitize=fuzzer,address", "-Xcc", "-fsanitize=address", "-enable-testing"])] : [])

let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
]

let package = Package(
  name: "vdpa",
  products: [
    .library(name: "Virtio", targets: ["Virtio"]),
    .library(name: "VDPA", targets: ["VDPA"]),
    .library(name: "Datapath", targets: ["Datapath"]),
    .library(name: "VhostUser", targets: ["VhostUser"]),
    .library(name: "Discovery", targets: ["Discovery"]),
    .library(name: "SimulatorEngine", targets: ["SimulatorEngine"]),
    .library(name: "Conformance", targets: ["Conformance"]),
    .executable(name: "vdpad", targets: ["vdpad"]),
    .executable(name: "vdpactl", targets: ["vdpactl"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
  ],
  targets: [
    // Modules, in the order of docs/architecture.md: a target imports only what stands here.
    .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
    // A C target and not a system library: CPCI.h says why.
    .target(name: "CPCI", linkerSettings: [.linkedLibrary("pci")]),
    // A C target and not a system library: CUring.h says why.
    .target(name: "CUring", cSettings: [.define("_GNU_SOURCE")], linkerSettings: [.linkedLibrary("uring")]),
    .systemLibrary(name: "CUdev", pkgConfig: "libudev", providers: [.apt(["libudev-dev"])]),
    .target(name: "Virtio", dependencies: ["CLinux", system], swiftSettings: fuzzed),
    .target(name: "VDPA", dependencies: ["CLinux", "Virtio", system, logging], swiftSettings: fuzzed),
    .target(name: "Datapath", dependencies: ["CLinux", "CUring", "Virtio", "VDPA", system], swiftSettings: fuzzed),
    .target(name: "VhostUser", dependencies: ["CLinux", "Virtio", "VDPA", system, logging], swiftSettings: fuzzed),
    .target(name: "Discovery", dependencies: ["CPCI", "CUdev", system], swiftSettings: settings),
    .target(
      name: "SimulatorEngine", dependencies: ["CLinux", "Virtio", "VDPA", system, logging],
      path: "Sources/Engines/SimulatorEngine", swiftSettings: settings),
    // What every engine is tested with.
    .target(name: "Conformance", dependencies: ["Virtio", "VDPA", system], swiftSettings: settings),
    .target(name: "Control", dependencies: [system], swiftSettings: settings),
    .target(
      name: "ControlServer", dependencies: ["CLinux", "Control", "VDPA", system, logging] + nio,
      swiftSettings: settings),

    // Programs.
    .executableTarget(
      name: "vdpad",
      dependencies: [
        "CLinux", "Virtio", "VDPA", "Datapath", "VhostUser", "SimulatorEngine", "Control", "ControlServer", system,
        logging, argumentParser,
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "vdpactl", dependencies: ["Control", "Discovery", system, argumentParser], swiftSettings: settings),

    // Examples.
    .executableTarget(
      name: "first-light",
      dependencies: [
        "Datapath", "SimulatorEngine", "VDPA", "VhostUser", "Peers", system, logging, argumentParser,
      ],
      path: "examples/first-light", swiftSettings: settings),
    .executableTarget(
      name: "entropy-device", dependencies: ["Datapath", "VDPA", "VhostUser", "Virtio", argumentParser],
      path: "examples/entropy-device", swiftSettings: settings),
    .executableTarget(
      name: "app-forwarder", dependencies: ["Datapath", "VDPA", "VhostUser", "Virtio", argumentParser],
      path: "examples/app-forwarder", swiftSettings: settings),
    .executableTarget(
      name: "live-switch",
      dependencies: ["Datapath", "SimulatorEngine", "VDPA", "VhostUser", "Virtio", logging, argumentParser],
      path: "examples/live-switch", swiftSettings: settings),
    .executableTarget(
      name: "virtio-driver", dependencies: ["Datapath", "SimulatorEngine", "VDPA", "Virtio", argumentParser],
      path: "examples/virtio-driver", swiftSettings: settings),

    // Peers not written here: the harness that drives them, for the tests, the demo and the benchmark.
    .target(name: "Peers", dependencies: ["CLinux", system], path: "Tests/Peers", swiftSettings: settings),
    .executableTarget(name: "peer-parent", dependencies: ["Peers"], path: "Tests/PeerParent", swiftSettings: settings),
    // The ring code in C that the Swift one is measured against.
    .target(name: "CRingLoop", path: "Benchmarks/CRingLoop"),
    .executableTarget(
      name: "vdpa-bench",
      dependencies: [
        "CLinux", "CRingLoop", "Virtio", "VDPA", "Datapath", "VhostUser", "FrontEndTestSupport", "Peers", system,
        logging,
        argumentParser,
      ],
      path: "Benchmarks/vdpa-bench", swiftSettings: settings),

    // Tests, one target a module.
    .testTarget(
      name: "VirtioTests",
      dependencies: ["CLinux", "Virtio", "DocumentTestSupport", "MemoryTestSupport", "NetTestSupport", system],
      swiftSettings: settings),
    .testTarget(name: "VDPATests", dependencies: ["CLinux", "Virtio", "VDPA", system], swiftSettings: settings),
    .testTarget(
      name: "DatapathTests",
      dependencies: [
        "CLinux", "Virtio", "VDPA", "Datapath", "MemoryTestSupport", "NetTestSupport", "Peers", system,
      ],
      swiftSettings: settings),
    .testTarget(
      name: "VhostUserTests",
      dependencies: [
        "CLinux", "Virtio", "VDPA", "VhostUser", "Datapath", "SimulatorEngine", "DocumentTestSupport",
        "FrontEndTestSupport", "MemoryTestSupport", system, logging,
      ],
      swiftSettings: settings),
    .testTarget(
      name: "DiscoveryTests", dependencies: ["Discovery", "DiscoveryTestSupport", system], swiftSettings: settings),
    .testTarget(
      name: "SimulatorEngineTests", dependencies: ["CLinux", "Virtio", "VDPA", "SimulatorEngine", system],
      swiftSettings: settings),
    // The bus drivers with real devices.
    .testTarget(
      name: "BusTests", dependencies: ["Virtio", "VDPA", "VhostUser", "Datapath", "SimulatorEngine"],
      swiftSettings: settings),
    .testTarget(
      name: "ConformanceTests",
      dependencies: ["Conformance", "Virtio", "VDPA", "Datapath", "SimulatorEngine", "DocumentTestSupport"],
      swiftSettings: settings),
    .testTarget(name: "ControlTests", dependencies: ["Control"], swiftSettings: settings),
    .testTarget(
      name: "ControlServerTests",
      dependencies: ["Control", "ControlServer", "VDPA", "VhostUser", "Peers", system, logging],
      swiftSettings: settings),
    .testTarget(
      name: "vdpadTests",
      dependencies: [
        "CLinux", "Virtio", "VDPA", "VhostUser", "Control", "FrontEndTestSupport", "Peers", "vdpad", "vdpactl", system,
      ],
      swiftSettings: settings),
    .testTarget(name: "vdpactlTests", dependencies: ["vdpactl", "DiscoveryTestSupport"], swiftSettings: settings),
    .testTarget(name: "FirstLightTests", dependencies: ["first-light"], swiftSettings: settings),
    .testTarget(name: "PeersTests", dependencies: ["Peers", "peer-parent", system], swiftSettings: settings),
    .testTarget(
      name: "BenchmarkTests", dependencies: ["CRingLoop", "vdpa-bench", "Peers", "VDPA", "Virtio", argumentParser],
      swiftSettings: settings),
    // The whole against DPDK's front-end.
    .testTarget(
      name: "PeerMatrixTests",
      dependencies: [
        "Peers", "Datapath", "VhostUser", "VDPA", "Virtio", "SimulatorEngine", "vdpad", system, logging,
      ],
      swiftSettings: settings),

    // What several test targets share.
    .target(
      name: "FrontEndTestSupport", dependencies: ["CLinux", "Virtio", "VDPA", "VhostUser", system],
      path: "Tests/FrontEndTestSupport", swiftSettings: settings),
    .target(
      name: "MemoryTestSupport", dependencies: ["CLinux", "Virtio", system], path: "Tests/MemoryTestSupport",
      swiftSettings: settings),
    .target(name: "DocumentTestSupport", path: "Tests/DocumentTestSupport", swiftSettings: settings),
    .target(name: "NetTestSupport", path: "Tests/NetTestSupport", swiftSettings: settings),
    .target(name: "DiscoveryTestSupport", path: "Tests/DiscoveryTestSupport", swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .gnu11
)

if isFuzzing {
  let sanitized: [SwiftSetting] = [.unsafeFlags(["-sanitize=address", "-Xcc", "-fsanitize=address"])]
  package.targets += [
    .target(name: "CFuzzer", path: "Fuzz/CFuzzer"),
    // Without coverage: its own branches are not what is looked for.
    .executableTarget(
      name: "vdpa-fuzzer",
      dependencies: ["CFuzzer", "CLinux", "Virtio", "VDPA", "Datapath", "VhostUser", system, logging],
      path: "Fuzz/vdpa-fuzzer", swiftSettings: settings + sanitized,
      linkerSettings: [
        .unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld", "-Xlinker", "--wrap=mmap"])
      ]),
  ]
}
