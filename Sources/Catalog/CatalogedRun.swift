/// A stage directory as the catalog knows it: what its manifest, its run record and its tables say.
package struct CatalogedRun: Sendable {
    /// Absolute, links resolved: what tells runs apart.
    package var path: String
    package var stage: String
    /// Of the Crux that made it.
    package var version: String
    package var state: RunState
    /// SHA-256 of its manifest; nil of an unfinished directory.
    package var manifestSHA256: String?
    /// Digest of all that the row was made of: a run that still has it need not be recorded again.
    package var fingerprint = ""
    /// The recipe's own name.
    package var recipeName: String?
    package var attempts: [CatalogedAttempt] = []
    package var inputs: [CatalogedFile] = []
    package var outputs: [CatalogedFile] = []
    package var recipes: [CatalogedRecipe] = []
    package var figures: [CatalogedFigure] = []
    package var metrics: [CatalogedMetric] = []
    /// Calls its argument with each job that the run asks for. Not a list, since there may be millions.
    package var forEachJob: @Sendable (_ body: (CatalogedJob) throws -> Void) throws -> Void = { _ in }
    package var join: CatalogedJoin?

    package init(path: String, stage: String, version: String, state: RunState) {
        (self.path, self.stage, self.version, self.state) = (path, stage, version, state)
    }
}

/// How far a run is.
package enum RunState: String, CaseIterable, Sendable {
    /// Somebody is at work in its directory.
    case running
    /// Its manifest is there.
    case finished
    /// Its last process ended with an error.
    case failed
    /// Its last process was asked to stop (75), or waits for other tasks: run again.
    case interrupted
    /// Its last process ended without a word.
    case killed
    /// Its directory is no longer there.
    case gone
}

/// One process that worked in the directory.
package struct CatalogedAttempt: Sendable {
    package var rank: Int
    package var tasks: Int
    package var host: String
    package var process: Int
    /// ISO 8601, UTC.
    package var started: String
    package var ended: String?
    package var seconds: Double?
    /// Exit code.
    package var status: Int?
    package var command: [String]
    /// The folder that it was started in.
    package var folder: String
    /// What the scheduler calls it, by the names of its variables.
    package var scheduler: [String: String]

    package init(
        rank: Int, tasks: Int, host: String, process: Int, started: String, ended: String?, seconds: Double?,
        status: Int?, command: [String], folder: String, scheduler: [String: String]
    ) {
        (self.rank, self.tasks, self.host, self.process) = (rank, tasks, host, process)
        (self.started, self.ended, self.seconds, self.status) = (started, ended, seconds, status)
        (self.command, self.folder, self.scheduler) = (command, folder, scheduler)
    }
}

/// A file that a manifest lists.
package struct CatalogedFile: Equatable, Sendable {
    /// As the manifest has it: `ingest/manifest.json` of an input, a path within the directory of an output.
    package var path: String
    package var bytes: Int?
    /// SHA-256, or the digest that large inputs have in its place.
    package var digest: String?
    package var rows: Int?

    package init(path: String, bytes: Int?, digest: String?, rows: Int? = nil) {
        (self.path, self.bytes, self.digest, self.rows) = (path, bytes, digest, rows)
    }

    /// Whether it stands for a whole stage directory.
    package var isManifest: Bool { path.hasSuffix("/manifest.json") }
}

/// A recipe that a run follows, with its resolved keys.
package struct CatalogedRecipe: Sendable {
    /// `recipe`, or `companion_critic` and the like: what the run's configuration calls it.
    package var role: String
    package var sha256: String
    /// By dotted key, such as `entropy.mask.top`.
    package var values: [String: CatalogValue]

    package init(role: String, sha256: String, values: [String: CatalogValue]) {
        (self.role, self.sha256, self.values) = (role, sha256, values)
    }

    /// The role of the recipe that a plan or a loop is named by.
    package static let mainRole = "recipe"
}

/// A number or word of a run that has a name.
package struct CatalogedFigure: Equatable, Sendable {
    package var kind: NameKind
    package var name: String
    package var value: CatalogValue

    package init(_ kind: NameKind, _ name: String, _ value: CatalogValue) {
        (self.kind, self.name, self.value) = (kind, name, value)
    }
}

/// What a name is that a filter can use, in the order in which a bare name is looked for.
package enum NameKind: String, CaseIterable, Sendable {
    /// A resolved key of a recipe.
    case recipe
    /// A figure of a manifest that is no count.
    case measure
    case count
    /// A column of a table of metrics.
    case metric
    /// What the run was configured with, as its manifest says it.
    case setting
}

/// A metric at a step.
package struct CatalogedMetric: Sendable {
    package var name: String
    package var step: Int
    package var value: Double

    package init(name: String, step: Int, value: Double) { (self.name, self.step, self.value) = (name, step, value) }
}

/// A job that a plan asks an engine for.
package struct CatalogedJob: Sendable {
    package var jobID: String
    package var customID: String
    package var baseRolloutID: String
    package var stateIndex: Int
    package var replicate: Int

    package init(jobID: String, customID: String, baseRolloutID: String, stateIndex: Int, replicate: Int) {
        (self.jobID, self.customID, self.baseRolloutID) = (jobID, customID, baseRolloutID)
        (self.stateIndex, self.replicate) = (stateIndex, replicate)
    }
}

/// That a run has joined results to jobs.
package struct CatalogedJoin: Sendable {
    /// Digest of the table of jobs.
    package var jobsSHA256: String
    /// custom_id of the jobs that had no usable result.
    package var missing: [String]

    package init(jobsSHA256: String, missing: [String]) { (self.jobsSHA256, self.missing) = (jobsSHA256, missing) }
}

/// What the catalog holds under a name.
package enum CatalogValue: Equatable, Sendable {
    case integer(Int)
    case real(Double)
    case text(String)
    case truth(Bool)
    case null
}
