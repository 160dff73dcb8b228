// swift-tools-version:6.1
import PackageDescription

// One line per room; the arrows (dependencies) point down only, and stages never import each other.

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies)
}

func stage(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: ["StageSupport", "Formats", "Scratch"] + dependencies)
}

func tests(_ room: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(name: room + "Tests", dependencies: ["TestSupport"] + dependencies)
}

func system(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let package = Package(
    name: "crux",
    products: [
        .executable(name: "crux", targets: ["Crux"]),
        .executable(name: "crux-ingest", targets: ["Ingest"]),
        .executable(name: "crux-score", targets: ["Score"]),
        .executable(name: "crux-plan", targets: ["Plan"]),
        .executable(name: "crux-update", targets: ["Update"]),
        .executable(name: "crux-rollout", targets: ["Rollout"]),
        .executable(name: "crux-loop", targets: ["Loop"]),
        .executable(name: "crux-report", targets: ["Report"]),
        .executable(name: "crux-bench", targets: ["Bench"]),
        .executable(name: "crux-probe", targets: ["Probe"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // system libraries
        system("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        system("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev"),
        system("CCrypto", pkgConfig: "libcrypto", apt: "libssl-dev"),

        .systemLibrary(name: "CSystem"),

        // ground
        library("CKernels"),
        library("Randomness"),
        library("Scratch", ["CSystem"]),
        library("Formats", ["Scratch", "CSystem", "CZstd", "CCrypto", "CKernels"]),

        // kernels
        library("Optimizers", ["CKernels"]),
        library("Tensors", ["COpenBLAS", "CKernels"]),

        // domain
        library("Credit", ["Randomness", "CKernels", "Scratch"]),
        library("Objectives"),
        library("Rewards"),
        library("Models", ["Tensors", "Formats", "CKernels", "Randomness"]),
        library("Tokenizer", ["Formats"]),

        // meaning
        library("Recipes", ["Credit", "Objectives", "Optimizers", yams]),

        library("LearningCurves", ["Formats"]),

        // run
        library("StageSupport", ["Formats", "Scratch", "CSystem", argumentParser, logging]),

        // stages
        .executableTarget(name: "Crux"),
        stage("Ingest", ["CKernels", "Tokenizer"]),
        stage("Score", ["Credit", "Rewards", "Models", "Tensors", "CKernels"]),
        stage("Plan", ["Credit", "Objectives", "Optimizers", "Recipes", "Rewards", "Tokenizer"]),
        stage("Update", ["Objectives", "Optimizers", "Models", "Recipes", "Randomness"]),
        .executableTarget(name: "Probe", dependencies: ["Credit", "Objectives", "Recipes", "StageSupport"]),
        stage("Rollout", ["Models", "Tokenizer", "CKernels"]),
        stage("Loop", ["LearningCurves", "Recipes", "Credit", "Objectives"]),
        stage("Report", ["LearningCurves", "Credit", "Tokenizer"]),
        stage(
            "Bench", ["CSystem", "CKernels", "Tensors", "Models", "COpenBLAS", "Recipes", "Optimizers", "Randomness"]),

        // tests
        .target(name: "TestSupport", dependencies: ["Formats", "CSystem"], path: "Tests/TestSupport"),
        tests("Scratch", ["Scratch"]),
        tests("Formats", ["Formats", "Scratch", "StageSupport", "CZstd"]),
        tests("Credit", ["Credit", "Randomness", "Recipes", "Scratch", "StageSupport"]),
        tests("Objectives", ["Objectives"]),
        tests("Rewards", ["Rewards"]),
        tests("Optimizers", ["Optimizers"]),
        tests("Kernels", ["CKernels"]),
        tests("Models", ["Models", "Objectives", "Tensors", "Formats", "Randomness"]),
        tests("Tokenizer", ["Tokenizer", "Formats"]),
        tests("Recipes", ["Recipes", "Credit", "Objectives"]),
        tests(
            "Stage", ["CKernels", "StageSupport", "Formats", "Models", "Tokenizer", "Recipes", "Credit", "Objectives"]),
        tests("LearningCurves", ["LearningCurves", "Formats"]),
    ]
)
