// swift-tools-version:6.1
import PackageDescription

// One line per room; the arrows (dependencies) point down only, and stages never import each other. Each room names
// every room that it imports: conformance/arrows.sh holds the two against each other.

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies)
}

func executable(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
    guard isFuzzed else { return .executableTarget(name: name, dependencies: dependencies, resources: resources) }
    // The fuzzer calls what is inside of it; libFuzzer has the process's main.
    return .target(
        name: name, dependencies: dependencies, resources: resources,
        swiftSettings: [
            .unsafeFlags([
                "-enable-testing", "-parse-as-library", "-Xfrontend", "-entry-point-function-name", "-Xfrontend",
                name + "_main",
            ])
        ])
}

func stage(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil) -> Target {
    executable(name, ["StageSupport", "Formats", "Files", argumentParser] + dependencies, resources: resources)
}

func tests(_ room: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(name: room + "Tests", dependencies: ["TestSupport"] + dependencies)
}

func system(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// Whether readers and stages are built for libFuzzer: `make fuzz`. Then there is one executable, `crux-fuzz`.
let isFuzzed = Context.environment["CRUX_FUZZ"] != nil

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")

/// What crux-report's page is made of; it is compiled in, so that the executable needs no files beside it.
let pageFiles =
    ["page.html", "page.css"]
    + [
        "elements", "numbers", "data", "charts", "tokens", "overview", "forks", "rollouts", "rollout", "expansions",
        "plans",
        "training", "page",
    ].map { $0 + ".js" }

/// Everything that reads what others have written.
let fuzzer = Target.executableTarget(
    name: "Fuzz",
    dependencies: [
        "Arrow", "Catalog", "ChatTemplates", "Files", "Formats", "Models", "Recipes", "Rewards", "Scratch",
        "StageSupport", "Tokenizer", "Ingest", "Score", "Plan", "Update", "Rollout", "Report", "Runs", argumentParser,
    ])

let products: [Product] = [
    .executable(name: "crux", targets: ["Crux"]),
    .executable(name: "crux-ingest", targets: ["Ingest"]),
    .executable(name: "crux-score", targets: ["Score"]),
    .executable(name: "crux-plan", targets: ["Plan"]),
    .executable(name: "crux-update", targets: ["Update"]),
    .executable(name: "crux-rollout", targets: ["Rollout"]),
    .executable(name: "crux-loop", targets: ["Loop"]),
    .executable(name: "crux-report", targets: ["Report"]),
    .executable(name: "crux-runs", targets: ["Runs"]),
    .executable(name: "crux-slurm", targets: ["Slurm"]),
    .executable(name: "crux-bench", targets: ["Bench"]),
    .executable(name: "crux-probe", targets: ["Probe"]),
]

let package = Package(
    name: "crux",
    products: isFuzzed ? [.executable(name: "crux-fuzz", targets: ["Fuzz"])] : products,
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // system libraries
        system("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        system("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev"),
        system("CCrypto", pkgConfig: "libcrypto", apt: "libssl-dev"),
        system("CXXHash", pkgConfig: "libxxhash", apt: "libxxhash-dev"),

        system("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        .systemLibrary(name: "CSystem"),
        .systemLibrary(name: "CGang"),

        // ground
        library("CKernels"),
        library("CMemoryLimits"),
        library("COneDNN"),
        library("CMappings"),
        library("Randomness"),
        library("Scratch", ["CSystem"]),
        library("Files", ["Scratch", "CMappings", "CSystem", "CCrypto", "CXXHash"]),

        library("Compression", ["CZlib"]),

        // tables and numbers, of whatever
        library("Arrow", ["Files", "Scratch", "CZstd"]),
        library("Quantiles", ["Scratch", "Randomness", "CKernels"]),

        // kernels
        library("Optimizers", ["CKernels"]),
        library("Tensors", ["COpenBLAS", "COneDNN", "CKernels"]),

        // domain
        library("Formats", ["Arrow", "Files", "Scratch", "CZstd", "CKernels"]),
        library("Entropy", ["Quantiles", "CKernels"]),
        library("FrameMeasures", ["Entropy", "Formats", "Files", "CKernels"]),
        library("Credit", ["Entropy", "Quantiles", "Randomness", "Scratch"]),
        library("Objectives"),
        library("Rewards", ["Formats", "Scratch"]),
        library("Models", ["Tensors", "Formats", "Files", "CKernels", "Randomness"]),
        library("Tokenizer", ["Formats", "Files"]),
        library("ChatTemplates", ["Formats", "Files", "Scratch"]),

        // meaning
        library("Recipes", ["Credit", "Objectives", "Optimizers", "Files", yams]),

        library("LearningCurves", ["Formats"]),

        library("MetricFiles", ["Arrow", "Files"]),

        // memory of what has run
        library("Catalog", ["Files", "CSystem", grdb]),

        // run
        library(
            "StageSupport",
            [
                "Catalog", "Formats", "Arrow", "Files", "MetricFiles", "Scratch", "CSystem", "CMemoryLimits",
                argumentParser, logging,
            ]),

        // processes that do a stage's work together
        library("Gang", ["CGang", "Files", "StageSupport", "Tensors"]),

        // chats as prompts of a checkpoint
        library("ChatPrompts", ["ChatTemplates", "Formats", "Tokenizer", argumentParser]),

        // stages as a cluster's jobs
        library("SlurmJobs", ["Files", "StageSupport", argumentParser]),

        // what readers of a finished run share
        library(
            "RunViews",
            ["Arrow", "Formats", "Files", "Quantiles", "Randomness", "Scratch", "StageSupport", "Tokenizer"]),

        // stages
        executable("Crux"),
        stage("Ingest", ["Arrow", "ChatPrompts", "ChatTemplates", "FrameMeasures", "Scratch", "Tokenizer"]),
        stage(
            "Score", ["Arrow", "Entropy", "FrameMeasures", "Rewards", "Models", "Scratch", "Tensors", "Tokenizer"]),
        stage(
            "Plan",
            [
                "Arrow", "Credit", "LearningCurves", "Objectives", "Optimizers", "Quantiles", "Recipes", "Rewards",
                "Scratch", "Tokenizer",
            ]),
        stage(
            "Update",
            [
                "Arrow", "Credit", "Gang", "MetricFiles", "Models", "Objectives", "Optimizers", "Quantiles",
                "Randomness", "Recipes", "Scratch", "Tensors",
            ]),
        executable(
            "Probe",
            [
                "ChatPrompts", "ChatTemplates", "Credit", "Formats", "Objectives", "Recipes", "StageSupport",
                "Tokenizer",
                argumentParser,
            ]),
        stage("Rollout", ["ChatPrompts", "ChatTemplates", "Models", "Scratch", "Tensors", "Tokenizer"]),
        stage(
            "Loop",
            [
                "Arrow", "ChatPrompts", "LearningCurves", "MetricFiles", "Recipes", "Credit", "Objectives", "SlurmJobs",
            ]),
        executable("Slurm", ["StageSupport", "Files", "Recipes", "SlurmJobs", argumentParser]),
        stage(
            "Report",
            [
                "Arrow", "Compression", "Credit", "Entropy", "LearningCurves", "Recipes", "RunViews", "Scratch",
                "Tokenizer",
            ],
            resources: pageFiles.map { .embedInCode("Page/Resources/" + $0) }),
        executable("Runs", ["Catalog", "Files", "Scratch", "StageSupport", argumentParser]),
        stage(
            "Bench",
            [
                "Arrow", "Catalog", "CSystem", "CKernels", "Tensors", "Models", "COpenBLAS", "Recipes", "Optimizers",
                "Randomness",
            ]),

        // tests
        .target(name: "TestSupport", dependencies: ["Formats", "CSystem"], path: "Tests/TestSupport"),
        .testTarget(name: "ScratchTests", dependencies: ["Scratch"]),
        tests("Files", ["Files", "Scratch"]),
        tests("Arrow", ["Arrow", "Files", "Formats"]),
        tests("Formats", ["Formats", "Arrow", "Files", "Scratch", "StageSupport"]),
        tests("Quantiles", ["Quantiles", "Credit", "Scratch", "StageSupport"]),
        tests("Entropy", ["Entropy", "Credit"]),
        tests("Credit", ["Credit", "Entropy", "Quantiles", "Randomness", "Recipes", "Scratch"]),
        tests("Objectives", ["Objectives"]),
        tests("Rewards", ["Rewards"]),
        tests("Optimizers", ["Optimizers"]),
        tests("Kernels", ["CKernels"]),
        tests("Models", ["CKernels", "Models", "Objectives", "Tensors", "Formats", "Files"]),
        tests("Tokenizer", ["Tokenizer", "Files"]),
        tests("ChatTemplates", ["ChatTemplates", "Files", "Formats"]),
        tests("SlurmJobs", ["SlurmJobs", "StageSupport"]),
        tests("Gang", ["Gang", "StageSupport", "Tensors"]),
        tests("Recipes", ["Recipes", "Credit", "Objectives"]),
        tests(
            "Stage",
            [
                "Arrow", "Catalog", "CKernels", "StageSupport", "Files", "Formats", "Models", "Quantiles", "Tokenizer",
                "Recipes", "Credit", "Objectives", "Optimizers", "Rewards", "Scratch", "Tensors",
            ]),
        tests("Catalog", ["Catalog", grdb]),
        tests("MetricFiles", ["MetricFiles", "Arrow", "Formats"]),
        tests(
            "RunViews",
            ["RunViews", "Arrow", "Formats", "Quantiles", "StageSupport", "Tokenizer", argumentParser]),
        .testTarget(name: "LearningCurvesTests", dependencies: ["LearningCurves", "Formats"]),
    ] + (isFuzzed ? [fuzzer] : [])
)
