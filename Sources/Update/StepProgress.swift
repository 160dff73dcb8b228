import Foundation
import Models
import StageSupport

/// The progress line of an update: steps, the loss of the step so far, distinct tokens per second, time left; refreshed
/// as micro-batches finish. Of a gang it tells of this rank's part of the step.
final class StepProgress {
    private let line: ProgressLine
    private let start = Date()
    private let isPart: Bool
    /// Tokens computed in this run, those of the step at hand, and of what it has in all.
    private var tokens = 0
    private var stepTokens = 0
    private var stepTotal = 1

    init(_ context: StageContext, total: Int, done: Int, isPart: Bool) {
        self.isPart = isPart
        line = ProgressLine(context, total: total, unit: "steps", done: done)
    }

    func begin(_ batches: [MicroBatch]) {
        stepTokens = 0
        stepTotal = batches.reduce(0) { $0 + $1.tokens }
    }

    func finished(_ batch: MicroBatch, loss: Double) {
        tokens += batch.tokens
        stepTokens += batch.tokens
        line.update(part: Double(stepTokens) / Double(max(1, stepTotal)), note: note(loss))
    }

    func end(loss: Double) { line.advance(note: note(loss)) }

    private func note(_ loss: Double) -> String {
        String(format: "loss %.4g  %.0f tokens/s", loss, Double(tokens) / max(1e-9, start.distance(to: Date())))
            + (isPart ? " on rank 0" : "")
    }
}
