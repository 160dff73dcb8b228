import Arrow
import Formats
import Foundation
import Tensors

/// Whole optimizer steps — forward, backward, clipping, AdamW — of a Qwen2.5-0.5B-shaped model with six layers and
/// float32 weights, with products in float32 and in bf16: crux-update beside PyTorch and transformers on the same
/// checkpoint, the same plan and the same threads, turn by turn. Loading and saving are not counted.
///
/// The fastest step of each side counts, and both make as many in a process: memory that is written for the first time
/// is the system's to clear, which no later step pays for. What a process's first step takes is said beside.
struct UpdateBench {
    let machine: MachineLimits
    let threads: Int
    /// A Python with torch and transformers; without one our own figures stand alone.
    let python: String?
    let shape: UpdateShape
    let cases: [UpdateCase]
    let precisions: [Precision]
    /// Steps of a process, of either side.
    private static let turns = 2
    private let folder = FileManager.default.temporaryDirectory.path + "/crux-bench-update-\(getpid())"

    /// `cases`: some of the shape's; nil is all.
    init(
        machine: MachineLimits, threads: Int, python: String?, _ shape: UpdateShape = .small,
        cases: [UpdateCase]? = nil, precisions: [Precision]
    ) {
        (self.machine, self.threads, self.python, self.shape) = (machine, threads, python, shape)
        (self.cases, self.precisions) = (cases ?? shape.cases, precisions)
    }

    /// One side's steps.
    private struct Side {
        var name: String
        var seconds: [Double] = []
        var loss = 0.0
        var gradientNorm = 0.0
        var peakBytes = 0
        /// Of a process's first step.
        var firstSeconds = Double.infinity
        var best: Double { seconds.min() ?? .infinity }

        /// Loss and norm are those of the first step: later ones start from other weights where the process lives on.
        mutating func add(_ seconds: Double, loss: Double, gradientNorm: Double, peakBytes: Int) {
            if self.seconds.isEmpty {
                (self.loss, self.gradientNorm, firstSeconds) = (loss, gradientNorm, seconds)
            }
            self.seconds.append(seconds)
            self.peakBytes = max(self.peakBytes, peakBytes)
        }
    }

    func run() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let fixture = try UpdateFixture(folder: folder, shape)
        say("update, one whole step, \(shape.title) (float32 weights, AdamW), \(threads) threads:")
        for batch in cases {
            try fixture.write(batch, steps: 1)
            try fixture.write(batch, steps: Self.turns)
            for precision in precisions { try measure(batch, precision, fixture) }
        }
    }

    private func measure(_ batch: UpdateCase, _ precision: Precision, _ fixture: UpdateFixture) throws {
        var ours = Side(name: "crux-update")
        say("  \(batch.name): \(batch.title), products in \(precision.rawValue)")
        var rivals: [Side] = []
        try run(&ours, batch, steps: 1, precision, fixture)
        for (index, form) in batch.forms.enumerated() {
            if index < 2 { try run(&ours, batch, steps: Self.turns, precision, fixture) }
            if let python { rivals.append(try rival(form, precision, python, batch, fixture)) }
        }
        let needs = batch.requirements(precision)
        describe(ours, batch, against: nil)
        rivals.forEach { describe($0, batch, against: ours) }
        judge(
            ours, rivals.filter { !isGrouped($0) && !$0.name.hasSuffix("-kept") }, "PyTorch's faster form",
            needs.all)
        try UpdateProfile(batch: batch, checkpoint: fixture.checkpoint, threads: threads, precision: precision).run(
            stepSeconds: ours.best)
        if let need = needs.kept {
            judge(
                ours, rivals.filter { !isGrouped($0) && $0.name.hasSuffix("-kept") },
                "the same with its head on the kept tokens", need)
        }
    }

    private func isGrouped(_ side: Side) -> Bool { side.name.hasPrefix("grouped") }

    private func rival(
        _ form: String, _ precision: Precision, _ python: String, _ batch: UpdateCase, _ fixture: UpdateFixture
    ) throws -> Side {
        let baseline = try Baseline(
            python: python,
            [
                "bench/update.py", fixture.plan(batch.name, steps: 1), fixture.checkpoint, form, precision.rawValue,
                "\(threads)",
            ])
        var side = Side(name: form), peakBytes = 0
        for turn in 0..<Self.turns {
            let answer = try baseline.ask()
            // Of the first step: later ones have the optimizer's moments beside their activations.
            if turn == 0 { peakBytes = baseline.peakBytes }
            side.add(answer[0], loss: answer[1], gradientNorm: answer[2], peakBytes: peakBytes)
        }
        return side
    }

    /// crux-update on as many steps. Peak memory is that of one step alone, as the other side's is.
    private func run(
        _ ours: inout Side, _ batch: UpdateCase, steps: Int, _ precision: Precision, _ fixture: UpdateFixture
    ) throws {
        let output = folder + "/update"
        defer { try? FileManager.default.removeItem(atPath: output) }
        let process = try ChildProcess(
            "crux-update",
            [
                "--plan", fixture.plan(batch.name, steps: steps), "--checkpoint", fixture.checkpoint, "--output",
                output, "--threads",
                "\(threads)", "--precision", precision.rawValue,
            ])
        for row in try ArrowTableReader(path: output + "/metrics.arrow", table: Tables.metrics).rows() {
            ours.add(
                row.seconds, loss: row.loss, gradientNorm: row.gradNorm, peakBytes: steps == 1 ? process.peakBytes : 0)
        }
    }

    private func describe(_ side: Side, _ batch: UpdateCase, against ours: Side?) {
        let tokens = Double(batch.rows.reduce(0) { $0 + $1.lossMask.count { $0 } })
        let ratio = ours.map { String(format: ", crux %.2f times as fast", side.best / $0.best) } ?? ""
        let difference = ours.map {
            String(
                format: ", loss differs by %.1e, gradient norm by %.1e relative", abs(side.loss - $0.loss),
                abs(side.gradientNorm / $0.gradientNorm - 1))
        }
        let name = ours == nil ? side.name : "PyTorch " + side.name
        say(
            "    \(name): \(text(side.best)) s (a process's first step \(text(side.firstSeconds))), \(text(tokens / side.best)) completion tokens/s, peak \(text(Double(side.peakBytes) / 1e9)) GB\(ratio)\(difference ?? "")"
        )
    }

    private func judge(_ ours: Side, _ rivals: [Side], _ name: String, _ requirement: Requirement) {
        guard let fastest = rivals.min(by: { $0.best < $1.best }) else { return }
        let ratio = fastest.best / ours.best
        say(
            String(format: "    %.2f times as fast as \(name), \(fastest.name) ", ratio) + requirement.verdict(ratio)
                + "; peak memory \(text(Double(ours.peakBytes) / Double(fastest.peakBytes))) of its")
    }
}
