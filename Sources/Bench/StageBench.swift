import Formats
import Foundation

/// ingest, score and plan as whole processes on dumps made for the purpose.
struct StageBench {
    let machine: MachineLimits
    let threads: Int
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-bench-\(getpid())"
    private static let vocabulary = 151_936

    init(machine: MachineLimits, threads: Int) {
        self.machine = machine
        self.threads = threads
    }

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try benchLogits()
        try benchPlan()
    }

    /// Full-vocabulary logits in bf16: long rollouts, then short ones, whose peak memory must be the same.
    private func benchLogits() throws {
        for (name, rollouts, length) in [("16 rollouts of 128 tokens", 16, 128), ("4 rollouts of 512 tokens", 4, 512)] {
            let root = folder + "/logits-\(length)", tokens = rollouts * length,
                bytes = Double(tokens * Self.vocabulary * 2)
            try makeDump(root + "/dump", rollouts: rollouts, length: length, logits: true)
            let ingest = try ChildProcess("crux-ingest", ["--input", root + "/dump", "--output", root + "/ingest"])
            let score = try ChildProcess(
                "crux-score", ["--input", root + "/ingest", "--output", root + "/score", "--reward", "given"])
            say("\(name), vocabulary \(Self.vocabulary), bf16, zstd level 1:")
            report("ingest", ingest, tokens: tokens, bytes: bytes)
            report("score", score, tokens: tokens, bytes: bytes)
            try FileManager.default.removeItem(atPath: root)
        }
    }

    /// A million tokens without logits: what plan itself costs.
    private func benchPlan() throws {
        let root = folder + "/plan", rollouts = 4096, length = 256
        try makeDump(root + "/dump", rollouts: rollouts, length: length, logits: false)
        let recipe = root + "/recipe.yaml"
        try "name: bench\nadvantage: grpo\nschedule: {groups_per_step: 32}\n".write(
            toFile: recipe, atomically: true, encoding: .utf8)
        say("\(rollouts) rollouts of \(length) tokens without logits:")
        let bytes = Double(rollouts * length * 13), tokens = rollouts * length
        report(
            "ingest", try ChildProcess("crux-ingest", ["--input", root + "/dump", "--output", root + "/ingest"]),
            tokens: tokens, bytes: bytes)
        report(
            "score",
            try ChildProcess(
                "crux-score", ["--input", root + "/ingest", "--output", root + "/score", "--reward", "given"]),
            tokens: tokens, bytes: bytes)
        report(
            "plan",
            try ChildProcess(
                "crux-plan",
                [
                    "--input", root + "/ingest", "--scores", root + "/score", "--recipe", recipe, "--output",
                    root + "/plan",
                ]),
            tokens: tokens, bytes: bytes)
    }

    private func report(_ stage: String, _ process: ChildProcess, tokens: Int, bytes: Double) {
        let rate = bytes / process.seconds
        say(
            "  \(stage): \(text(Double(tokens) / process.seconds)) tokens/s, \(text(rate / 1e9)) GB/s decompressed, \(text(100 * rate / machine.readBandwidth)) % of the read bandwidth, "
                + "peak memory \(process.peakBytes >> 20) MiB")
    }

    private func makeDump(_ path: String, rollouts: Int, length: Int, logits: Bool) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let writers = try (0..<threads).map { try RolloutShardWriter(path: path + "/rollouts-0000\($0).rollouts.zst") }
        let source = logits ? SyntheticLogits(vocabulary: Self.vocabulary) : nil
        for index in 0..<rollouts {
            var frame = RolloutFrame()
            frame.metadata = [
                "rollout_id": "r\(index)", "group_id": "g\(index / 8)", "reward": index % 3 == 0 ? "1" : "0",
            ]
            frame.tokenIDs = (0..<length + 8).map { Int32(($0 * 7919 + index) % 1000) }
            frame.lossMask = (0..<length + 8).map { $0 >= 8 }
            frame.rolloutLogprobs = frame.lossMask.map { $0 ? -0.5 : 0 }
            if logits { frame.logits = LogitsInfo(dtype: .bf16, rows: length, vocabulary: Self.vocabulary) }
            let data = source?.rows(length).withUnsafeBytes { Array($0) } ?? []
            try writers[index % threads].append(frame, logits: data)
        }
        for writer in writers { try writer.finish() }
    }
}
