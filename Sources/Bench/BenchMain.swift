import ArgumentParser
import COpenBLAS
import CSystem
import Foundation
import StageSupport
import Tensors

/// `make bench`: what each stage reaches on synthetic data, beside what this machine can do at all, and what its baselines
/// reach. Every figure and its limit come from one run; the machine may be shared, so read the ratios.
///
///     crux-bench [--python PYTHON] [--vllm-python PYTHON] [--llama-python PYTHON] [--plan-tokens N] [--precision bf16]
///         [kernel] [score] [stages] [plan] [update] [memory] [real-size] [long] [generation] [catalog]
///         [adapters-1.5b] [adapters-7b] [deltanet] [experts]
///
/// All but the adapters and other families, unless some are named; of the update also one case alone: plain, grpo, fr3e.
@main
enum BenchMain {
    static func main() { BenchCommand.runPlainly() }
}

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crux-bench",
        abstract:
            "Measures what each stage reaches on synthetic data, beside this machine's own limits and its baselines.",
        version: cruxVersion)

    private static let names = [
        "kernel", "score", "stages", "plan", "update", "memory", "real-size", "long", "generation", "catalog",
    ]

    /// What is measured only when it is named: checkpoints of many gigabytes.
    private static let namesOfLarge = AdapterBench.shapes.keys.sorted() + FamilyBench.all.map(\.name)

    @Option(help: "Python with the baselines installed; without it they are left out.")
    var python: String?

    @Option(help: "Python with vLLM installed (`make .venv-real/installed`); without it vLLM is left out.")
    var vllmPython: String?

    @Option(help: "Python with llama-cpp-python and gguf installed; without it llama.cpp is left out.")
    var llamaPython: String?

    @Option(parsing: .upToNextOption, help: "Rollouts at a time that sampling is measured with.")
    var rollouts = [1, 8, 32, 64]

    @Option(help: "Tokens of the plan's dump.")
    var planTokens = 100_000_000

    @Option(help: "Precision of updates and of sampling, f32 or bf16 (default: each that is to be had).")
    var precision: Precision?

    @Argument(
        help: "What to measure (default: everything but adapters and families): \(known.joined(separator: ", ")).")
    var parts: [String] = []

    private static let known = names + UpdateCase.all.map(\.name) + namesOfLarge

    func validate() throws {
        if let other = parts.first(where: { !Self.known.contains($0) }) {
            throw ValidationError("found '\(other)', expected one of \(Self.known.joined(separator: ", ")).")
        }
    }

    /// Of products: one that was asked for must be to be had.
    private func wantedPrecisions() throws -> [Precision] {
        guard let precision else { return Precision.allCases.filter(\.isAvailable) }
        _ = try precision.products()
        return [precision]
    }

    private var samplingPrecisions: [GenerationPrecision] {
        switch precision {
        case nil: [.f32, .bf16Weights] + halves
        case .f32: [.f32]
        case .bf16: halves
        }
    }

    /// What this processor is fast at.
    private var halves: [GenerationPrecision] { [Processor.this.multipliesTiles ? .bf16AMX : .bf16] }

    private var samplingPeers: [SamplingPeer] {
        [
            python.map(SamplingPeer.transformers), vllmPython.map(SamplingPeer.vLLM),
            llamaPython.map(SamplingPeer.llamaCpp),
        ].compactMap { $0 }
    }

    func run() throws {
        // As crux-update and crux-rollout do: what is measured here is what they do.
        crux_keep_freed_memory()
        let threads = ProcessInfo.processInfo.activeProcessorCount
        let machine = MachineLimits.measure(threads: threads)
        say(
            "machine: \(threads) threads, reads \(text(machine.readBandwidth / 1e9)) GB/s from memory, sgemm \(text(machine.multiplyRate / 1e9)) GFLOP/s (2048 x 4864 x 896)"
        )
        let cases = UpdateCase.all.filter { parts.contains($0.name) }
        let large = parts.compactMap { AdapterBench.shapes[$0] }
        let named = parts.filter((Self.names + Self.namesOfLarge).contains) + cases.map { _ in "update" }
        func wants(_ name: String) -> Bool { named.isEmpty || named.contains(name) }
        if wants("kernel") { try KernelBench(threads: threads, python: python).run() }
        if wants("score") { try ScoreBench(threads: threads).run() }
        if wants("stages") { try StageBench(machine: machine, threads: threads).run() }
        if wants("plan") { try PlanBench(threads: threads, python: python, tokens: planTokens).run() }
        if wants("update") {
            try UpdateBench(
                machine: machine, threads: threads, python: python, cases: cases.isEmpty ? nil : cases,
                precisions: try wantedPrecisions()
            ).run()
        }
        if wants("memory") { try MemoryBench().runBudgets() }
        if wants("real-size") { try MemoryBench().runRealSize() }
        if wants("long") { try MemoryBench().runLong() }
        if wants("catalog") { try CatalogBench().run() }
        for shape in large { try AdapterBench(shape).run() }
        for family in FamilyBench.all where parts.contains(family.name) {
            try family.run(
                machine: machine, threads: threads, python: python, precisions: try wantedPrecisions(),
                sampling: samplingPrecisions, rollouts: rollouts)
        }
        if wants("generation") {
            for precision in samplingPrecisions {
                try GenerationBench(
                    machine: machine, threads: threads, peers: samplingPeers, precision: precision, batches: rollouts
                ).run()
            }
        }
    }
}

extension Precision: ExpressibleByArgument {}
