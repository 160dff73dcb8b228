import Files
import Formats
import Foundation
import RunViews
import Scratch

/// What a trainer wrote of one rollout, as prime-rl's token exports have it: a number for each of `token_ids`.
struct TrainerLine {
    let rolloutID: String
    let file: String
    /// From 1.
    let line: Int
    let tokenIDs: [Int32]
    /// By the name of its key. NaN stands for null.
    let columns: [TrainerColumn: [Double]]

    /// nil where the line is none of such an export, or has no numbers of a trainer.
    init?(_ data: Data, file: String, line: Int) {
        guard let object = JSONLine(data).whole,
            let rollout = PrimeRLDump.rollouts(object, in: LineContext())?.first, let id = rollout.id,
            let ids = object["token_ids"]?.list?.compactMap(\.double)
        else { return nil }
        var columns: [TrainerColumn: [Double]] = [:]
        for column in TrainerColumn.allCases {
            guard let values = object[column.key]?.list, values.count == ids.count, !values.allSatisfy(\.isNull) else {
                continue
            }
            columns[column] = values.map { $0.double ?? $0.bool.map { $0 ? 1 : 0 } ?? .nan }
        }
        guard !columns.isEmpty else { return nil }
        (rolloutID, self.file, self.line, self.columns) = (id, file, line, columns)
        tokenIDs = ids.map { Int32(exactly: $0) ?? -1 }
    }
}

/// Numbers that both a trainer and a run have, in the order in which one follows from the other.
enum TrainerColumn: String, CaseIterable, Sendable {
    case lossMask = "loss_mask"
    case rolloutLogprobs = "rollout_logprobs"
    case oldLogprobs = "old_logprobs"
    case entropy
    case advantages

    /// As the export calls it.
    var key: String {
        switch self {
        case .lossMask: "loss_mask"
        case .rolloutLogprobs: "inference_logprobs"
        case .oldLogprobs: "trainer_logprobs"
        case .entropy: "entropy"
        case .advantages: "advantages"
        }
    }

    /// What the run has, by position; nil where it has none.
    func values(_ view: RolloutView) -> [Double]? {
        switch self {
        case .lossMask: view.rollout.lossMask.map { $0 ? 1 : 0 }
        case .rolloutLogprobs: view.rollout.rolloutLogprobs?.map { Double($0) }
        case .oldLogprobs: view.score.oldLogprobs?.map { Double($0) }
        case .entropy: view.score.entropy?.map { Double($0) }
        case .advantages: view.entries.first?.rows.first?.advantages.map { Double($0) }
        }
    }

    /// Masks are compared everywhere, the others where the policy sampled.
    func positions(_ view: RolloutView) -> [Int] {
        self == .lossMask ? Array(view.rollout.lossMask.indices) : view.trainable
    }
}

/// A number that differs from the trainer's.
struct TrainerDivergence: Sendable {
    let column: TrainerColumn
    let rolloutID: String
    let file: String
    let line: Int
    let position: Int
    let trainer: Double
    let ours: Double

    var size: Double { abs(trainer - ours) }
}

/// A trainer's numbers held against a run's.
struct TrainerComparison: Sendable {
    struct Column: Sendable {
        var tokens = 0
        /// By more than the tolerance.
        var differing = 0
        var first: TrainerDivergence?
        var largest: TrainerDivergence?
    }

    let tolerance: Double
    private(set) var columns: [TrainerColumn: Column] = [:]
    private(set) var lines = 0
    /// Lines without numbers of a trainer; those of rollouts that the run doesn't have, or has with other tokens.
    private(set) var unread = 0
    private(set) var unknown = 0
    private(set) var otherTokens = 0
    /// The first of all: by line, then by position, then in the order of the columns.
    private(set) var first: TrainerDivergence?

    init(tolerance: Double) { self.tolerance = tolerance }

    mutating func add(_ line: TrainerLine?, _ find: (String) throws -> RolloutView?) rethrows {
        lines += 1
        guard let line else { return unread += 1 }
        guard let view = try find(line.rolloutID) else { return unknown += 1 }
        guard view.rollout.tokenIDs == line.tokenIDs else { return otherTokens += 1 }
        var found: [TrainerDivergence] = []
        for column in TrainerColumn.allCases {
            guard let trainer = line.columns[column], let ours = column.values(view) else { continue }
            if let divergence = compare(column, line, trainer, ours, column.positions(view)) {
                found.append(divergence)
            }
        }
        // Of equal positions the earlier column comes first, as `min` keeps the first of equals.
        if first == nil { first = found.min { $0.position < $1.position } }
    }

    /// The first position of the line that differs.
    private mutating func compare(
        _ column: TrainerColumn, _ line: TrainerLine, _ trainer: [Double], _ ours: [Double], _ positions: [Int]
    ) -> TrainerDivergence? {
        var sum = columns[column] ?? Column(), first: TrainerDivergence?
        for t in positions where !trainer[t].isNaN {
            sum.tokens += 1
            let found = TrainerDivergence(
                column: column, rolloutID: line.rolloutID, file: line.file, line: line.line, position: t,
                trainer: trainer[t], ours: ours[t])
            if found.size > sum.largest?.size ?? 0 { sum.largest = found }
            guard found.size > tolerance else { continue }
            sum.differing += 1
            first = first ?? found
        }
        sum.first = sum.first ?? first
        columns[column] = sum
        return first
    }
}

/// Files of an export: as they are given, and of folders their *.jsonl, at any depth, sorted by name.
enum TrainerFiles {
    static func find(_ paths: [String]) throws -> [String] {
        try paths.flatMap { path -> [String] in
            guard try fileExists(path) else {
                throw FormatError(
                    file: path, place: "", found: "no such file or folder", expected: "JSON lines of a trainer",
                    remedy: "Check --trainer.")
            }
            guard try Folder.isFolder(path) else { return [path] }
            return try Folder.files(below: path).filter { $0.hasSuffix(".jsonl") }.sorted().map { path + "/" + $0 }
        }
    }
}
