import Foundation

/// What a stage is about to make, and from what. Everything that could be wrong about that is found before anything is
/// written or emptied, and `--dry-run` finds the same.
package struct Undertaking: Sendable {
    package let output: String
    /// Configuration and inputs, without outputs.
    package let plan: Manifest
    /// Whatever the run reads.
    package let reads: [InputPlace]
    private var opening: StageDirectory.Opening
    private let isDryRun: Bool

    /// `share`: how tasks share the work, as the options say; `.whole` where one task does all of it.
    package init(_ plan: Manifest, output: String, reads: [InputPlace], options: StageOptions, share: TaskShare? = nil)
    {
        (self.output, self.plan, self.reads, isDryRun) = (output, plan, reads, options.dryRun)
        opening = StageDirectory.Opening(overwrite: options.overwrite, share: share ?? options.share)
        opening.reads = reads.map(\.path)
    }

    /// Texts whose digest stands in the configuration under the same key: differences are then told key by key.
    package func explaining(_ documents: [String: String]) -> Undertaking {
        var copy = self
        copy.opening.documents = documents
        return copy
    }

    /// A finished directory is enough only where this says so.
    package func finished(when isEnough: @escaping @Sendable (Manifest) -> Bool) -> Undertaking {
        var copy = self
        copy.opening.isEnough = isEnough
        return copy
    }

    /// Throws (2) where the output would harm what is read. Cheap: before anything else is looked at.
    package static func requireApart(_ output: String, _ reads: [InputPlace], _ options: StageOptions) throws {
        for place in reads { try place.requireApart(from: output, overwrite: options.overwrite) }
    }

    /// Opens the directory and has `work` fill it; says so where nothing is left to do. `would`: what a dry run adds to
    /// its summary.
    package func run(
        _ context: StageContext, would: [String: any Sendable] = [:], work: (StageDirectory) throws -> StageSummary
    ) throws -> StageSummary {
        for place in reads { try place.requireApart(from: output, overwrite: opening.overwrite) }
        if isDryRun { return try dryRun(would) }
        switch try StageDirectory.open(output, for: plan, opening, context) {
        case .done(let manifest):
            context.say("\(output) is finished already; nothing to do", ["output": output])
            return StageSummary(["output": output, "counts": manifest.counts, "already_done": true])
        case .work(let directory):
            let catalog = StageCatalog(directory: output)
            catalog.begin()
            let result = Result {
                let summary = try work(directory)
                try requireFinished(summary)
                return summary
            }
            directory.end(result.exitStatus)
            directory.release()
            catalog.end(context)
            return try result.get()
        }
    }

    private func dryRun(_ would: [String: any Sendable]) throws -> StageSummary {
        let done = try StageDirectory.check(output, for: plan, opening)
        return StageSummary(["would_write": output, "already_done": done != nil].merging(would) { $1 })
    }

    /// Where one task does everything, success is a finished directory and nothing less.
    private func requireFinished(_ summary: StageSummary) throws {
        guard summary.status == .done, opening.share.isWhole, try Manifest.read(output) == nil else { return }
        throw StageError(
            .outputFailure,
            "\(output): found it unfinished at the end of the run: somebody else has changed its files meanwhile. Run again."
        )
    }
}

extension Result<StageSummary, any Error> {
    fileprivate var exitStatus: ExitStatus {
        switch self {
        case .success(let summary): summary.status
        case .failure(let error): ExitStatus(of: error)
        }
    }
}
