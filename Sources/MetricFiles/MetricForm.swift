import Files

/// What metrics can be written as beside `metrics.arrow`.
package enum MetricForm: String, CaseIterable, Sendable {
    /// One JSON object a step.
    case jsonl
    /// An event file of TensorBoard.
    case tensorboard

    /// TensorBoard takes every file with `tfevents` in its name. What it writes itself has a time and a host there,
    /// which a run that is repeated wouldn't have again.
    package var fileName: String {
        switch self {
        case .jsonl: "metrics.jsonl"
        case .tensorboard: "events.out.tfevents.0.crux"
        }
    }

    /// Writes a series whole, or not at all.
    ///
    /// - Parameter path: Where it will appear; a file of that name is replaced.
    @discardableResult
    package func write(_ series: MetricSeries, to path: String) throws -> WrittenFile {
        let file = try AtomicFile(path, digests: true)
        switch self {
        case .jsonl: try MetricLines.write(series, to: file)
        case .tensorboard: try EventFile.write(series, to: file)
        }
        return try file.finish(rows: series.steps.count)
    }
}
