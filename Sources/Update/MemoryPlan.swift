import Files
import Formats
import Gang
import Models
import Objectives
import Optimizers
import Quantiles
import Recipes
import StageSupport
import Tensors

/// Where the memory of a run goes, and the micro-batches that keep it within a budget. Known before any weight is read,
/// from the plan, the shapes, the recipe and the budget alone: the same command cuts the same micro-batches whatever
/// else the machine does. All of a gang's ranks make the same plan: each stays within the budget by itself.
struct MemoryPlan {
    let budget: MemoryBudget
    /// What is there all the time.
    let standing: [Share]
    /// The optimizer's, there from the first step's end on: beside the passes, unless that step is the only one.
    private let moments: Moments
    /// Per step of the plan, of each rank.
    let shares: [[[MicroBatch]]]
    /// Rows of logits at a time.
    let headRows: Int
    /// The largest pass.
    let passBytes: Int
    private let layers: Int
    private let ranks: Int

    struct Share {
        let name: String
        let bytes: Int
    }

    private struct Moments {
        /// In memory.
        let bytes: Int
        let followPasses: Bool
        /// Their folder, where they lie on a disk.
        let folder: String?

        init(_ run: PlannedRun, trained: Int) {
            folder = run.offload
            bytes = run.offload == nil ? 8 * trained : MomentsInFile.memoryBytes(count: trained)
            followPasses = run.offload == nil && run.isFirstStepAlone
        }

        var text: String {
            let size = "moments \(MemorySize.text(bytes))"
            if let folder { return size + " at a time (all of them in \(folder))" }
            return size + (followPasses ? " (when the passes are done)" : "")
        }
        /// The most that they and passes take together.
        func beside(_ passBytes: Int) -> Int { followPasses ? max(bytes, passBytes) : bytes + passBytes }
        var besidePasses: Int { followPasses ? 0 : bytes }
    }

    init(_ budget: MemoryBudget, _ run: PlannedRun, microBatchTokens: Int?) throws {
        let rows = try RowSizes(run), standing = Self.standing(run, rows),
            moments = Moments(run, trained: Self.sliced(run))
        let left = budget.bytes - standing.bytes - moments.besidePasses
        let smallest = run.passMemory(headRows: run.fewestHeadRows).bytes(
            tokens: rows.longest, wanted: rows.mostWanted, keptLayers: 1)
        let needed = standing.bytes + moments.beside(smallest)
        guard needed <= budget.bytes else { throw Self.tooSmall(budget, needed, standing, moments, smallest, rows) }
        let headRows = Self.headRows(left, rows, run), memory = run.passMemory(headRows: headRows)
        let limits = BatchLimits(
            memory, within: left, wanted: rows.mostWanted, tokens: microBatchTokens ?? BatchLimits.usualTokens)
        let shares = try (0..<run.rows.stepCount).map { step in
            try microBatches(try run.units(ofStep: step), limits, ranks: run.ranks, run.unitCosts)
        }
        (self.budget, self.standing, self.moments, self.shares, self.headRows, layers, ranks) = (
            budget, standing, moments, shares, headRows, memory.architecture.layers, run.ranks
        )
        passBytes =
            shares.joined().joined().map {
                memory.bytes(tokens: $0.tokens, wanted: $0.wanted, keptLayers: $0.keptLayers)
            }.max() ?? 0
    }

    var predictedBytes: Int { standing.bytes + moments.beside(passBytes) }

    /// Of all steps and ranks.
    private var batches: [MicroBatch] { Array(shares.joined().joined()) }

    /// Whether the moments come when the last pass has ended.
    var momentsFollowPasses: Bool { moments.followPasses }

    /// The largest pass's arrays, once for all passes.
    func arena() -> Arena { Arena(capacity: passBytes / 4) }

    /// How the logits are cut: as many rows as fit in a quarter of what is left, beside a pass over the longest
    /// sequence.
    private static func headRows(_ left: Int, _ rows: RowSizes, _ run: PlannedRun) -> Int {
        let longest = run.passMemory(headRows: 0).bytes(tokens: rows.longest, wanted: 0, keptLayers: 1)
        let fitting = min(left / 4, left - longest) / (4 * (run.architecture.vocabulary + run.architecture.hidden))
        return min(max(fitting, run.fewestHeadRows), run.mostHeadRows)
    }

    // MARK: what stands

    /// Floats that are trained.
    private static func trained(_ run: PlannedRun) -> Int { adapters(run) ?? ParameterLayout(run.architecture).count }

    /// Floats of the longest slice of what the optimizer alone reads.
    private static func sliced(_ run: PlannedRun) -> Int { Slices(of: trained(run), ranks: run.ranks).longest }

    /// Floats of the adapters; nil where the model's own parameters are trained.
    private static func adapters(_ run: PlannedRun) -> Int? {
        run.recipe.trainable.adapters.map { LowRankTraining.size(run.architecture, $0.rank, $0.targets) }
    }

    private static func standing(_ run: PlannedRun, _ rows: RowSizes) -> [Share] {
        let adapters = adapters(run), trained = trained(run)
        let shares = [
            Share(name: "weights", bytes: adapters == nil ? 4 * trained : run.checkpoint.standingSizes.bytes),
            Share(name: "adapters", bytes: 4 * (adapters ?? 0)), Share(name: "gradients", bytes: 4 * trained),
            Share(name: "target network", bytes: run.recipe.objective.targetDecay == nil ? 0 : 4 * sliced(run)),
            Share(name: "auxiliary models", bytes: run.auxiliary.reduce(0) { $0 + $1.standingSizes.bytes }),
            Share(name: "rows of a step", bytes: rows.stepBytes),
            Share(name: "program", bytes: programBytes(run, rows)),
            Share(name: "messages between ranks", bytes: run.ranks == 1 ? 0 : ExchangeRoom.bytes + messageBytes),
        ]
        return shares.filter { $0.bytes > 0 }
    }

    /// MPI's libraries and what they keep for messages: OpenMPI 4.1 took 10 MiB of a rank by itself, and some more of
    /// ranks that have neighbours.
    private static let messageBytes = 32 << 20

    /// Code, libraries with their own buffers per thread, what products with 16-bit factors round or widen into, adapters'
    /// own products, and what attention works in: scores of a chunk of queries and one head's keys, values and their
    /// gradients; or delta rules, states of one head along a path.
    private static func programBytes(_ run: PlannedRun, _ rows: RowSizes) -> Int {
        // Capped logits are kept row by row until their derivatives have passed the cap.
        let cappedRow = run.architecture.scales.logitCap == nil ? 0 : run.architecture.vocabulary
        let halves =
            run.precision == .f32
            ? WideningSpace.bytes(largestWeight: run.largestStandingHalf)
            : HalfProducts.scratchBytes(threads: run.threads)
        let thin =
            run.recipe.trainable.adapters.map {
                LowRankAdapter.scratchBytes(tokens: max(rows.longest, BatchLimits.usualTokens), rank: $0.rank)
            } ?? 0
        return (24 << 20) + halves + thin + run.threads * (productBytes(run) + 4 * cappedRow) + 4
            * max(
                attentionScratchFloats(
                    keys: rows.longest, shape: run.architecture.attention(layer: 0), threads: run.threads),
                run.architecture.deltaScratchFloats(tokens: rows.longest, threads: run.threads))
    }

    /// What OpenBLAS packs of one matrix of a product beside it, per thread: a chunk of 384 columns at most (SkylakeX's;
    /// Zen's and Cooper Lake's are of 320), of as many rows as the widest layer has, the head, divided among the threads;
    /// no more than its buffer of 128 MiB holds. On two threads and 151,936 rows 94 and 115 MiB were measured.
    private static func productBytes(_ run: PlannedRun) -> Int {
        let a = run.architecture, widest = max(a.vocabulary, a.feedForward)
        return min(128 << 20, (8 << 20) + 4 * 384 * widest / run.threads)
    }

    // MARK: words

    private static func tooSmall(
        _ budget: MemoryBudget, _ needed: Int, _ standing: [Share], _ moments: Moments, _ pass: Int, _ rows: RowSizes
    ) -> StageError {
        StageError(
            .usage,
            "\(budget.origin): found a budget of \(MemorySize.text(budget.bytes)), expected at least \(MemorySize.text(needed)): \(standing.text), "
                + "\(moments.text), \(MemorySize.text(pass)) for a pass over the longest sequence alone (\(rows.longest) tokens, every layer but one computed again). "
                + "Give --memory more, \(moments.folder == nil ? "give --offload a folder, " : "")"
                + "train adapters instead (trainable: lora), or plan shorter sequences."
        )
    }

    /// A line for the user.
    var text: String {
        let all = batches, kept = all.map(\.keptLayers)
        let recomputed =
            kept.allSatisfy { $0 == layers }
            ? "all activations kept"
            : "activations kept of \(kept.min() ?? 0) to \(kept.max() ?? 0) of \(layers) layers"
                + (moments.folder.map { ", the others' in \($0)" } ?? "")
        return
            "memory: \(MemorySize.text(predictedBytes)) foreseen of \(MemorySize.text(budget.bytes)) (\(budget.origin))\(ranks == 1 ? "" : " by each of \(ranks) ranks"): \(standing.text), "
            + "\(moments.text), passes \(MemorySize.text(passBytes)); \(all.count) micro-batches in \(shares.count) steps, at most \(all.map(\.tokens).max() ?? 0) tokens each, \(recomputed)"
    }

    /// The same for machines.
    var foreseen: [String: Int] {
        let all = batches
        return [
            "budget_bytes": budget.bytes, "foreseen_bytes": predictedBytes, "micro_batches": all.count,
            "fewest_kept_layers": all.map(\.keptLayers).min() ?? layers,
        ]
    }

    /// With what each rank has really taken; `peak_bytes`: the most of them.
    func summary(peaks: [Int]) -> [String: any Sendable] {
        var summary: [String: any Sendable] = foreseen
        summary["peak_bytes"] = peaks.max() ?? 0
        if ranks > 1 { summary["peak_bytes_of_ranks"] = peaks }
        return summary
    }

    /// What of the plan the result's last bits depend on. Which layers are computed again is no part of it.
    var fingerprint: String {
        let rows = min(headRows, batches.map(\.wanted).max() ?? 0)
        let steps = shares.map { step in
            step.map { $0.map { "\($0.units)" }.joined(separator: ";") }.joined(separator: "|")
        }
        let text = "\(rows)\n" + steps.joined(separator: "\n")
        return "\(batches.count) in \(shares.count) steps, \(SHA256Digest.of(text).prefix(16))"
    }
}

extension [MemoryPlan.Share] {
    var bytes: Int { reduce(0) { $0 + $1.bytes } }
    var text: String { map { "\($0.name) \(MemorySize.text($0.bytes))" }.joined(separator: ", ") }
}

/// How much memory a run may use, and who says so.
struct MemoryBudget {
    let bytes: Int
    let origin: String

    /// Each rank's: what isn't given is shared by those of a machine, and the smallest machine's counts for all, so
    /// that all cut the same micro-batches. Every rank asks.
    init(_ given: MemorySize?, _ gang: any Gang) throws {
        if let given {
            (bytes, origin) = (given.bytes, "--memory")
            return
        }
        let limit = ProcessMemory.limit(), neighbours = try gang.ranksOfThisMachine()
        bytes = try gang.gather(limit / 5 * 4 / neighbours).min() ?? 0
        let machine = "80 % of the \(MemorySize.text(limit)) of this machine, its control group or ulimit -v"
        origin = neighbours == 1 ? machine : machine + ", shared by \(neighbours) ranks"
    }
}

/// What is to be computed, as far as memory is concerned.
struct PlannedRun {
    let rows: PlanReader
    let recipe: Recipe
    let checkpoint: Checkpoint
    /// Models that stand still.
    let auxiliary: [Checkpoint]
    let threads: Int
    let seed: UInt64
    let precision: Precision
    /// Whether the moments begin at zero.
    let startsAfresh: Bool
    /// Processes that share each step.
    let ranks: Int
    /// The folder on whose disk moments lie; nil: they are in memory.
    let offload: String?

    /// One step and no more, from moments of zero: they are not there while its passes run.
    var isFirstStepAlone: Bool { startsAfresh && rows.stepCount * recipe.credit.schedule.epochs == 1 }

    var architecture: DecoderArchitecture { checkpoint.architecture }

    /// Numbers of the largest weight that stays in 16 bits.
    var largestStandingHalf: Int {
        ((recipe.trainable.adapters == nil ? [] : [checkpoint]) + auxiliary).map(\.standingSizes.largestHalf).max() ?? 0
    }

    var fewestHeadRows: Int { smallChunkRows(vocabulary: architecture.vocabulary) }
    var mostHeadRows: Int { headChunkRows(vocabulary: architecture.vocabulary) }

    func passMemory(headRows: Int) -> TrainingMemory {
        TrainingMemory(architecture, head: head, headRows: headRows)
    }

    var unitCosts: UnitCosts {
        let output = recipe.objective.output
        return UnitCosts(
            token: architecture.layerMultiplications,
            wanted: output.needsVocabulary ? architecture.headMultiplications : architecture.hidden)
    }

    private var head: TrainingMemory.Head {
        switch recipe.objective.output {
        case .logprob: .logprob
        case .value, .tokenLogit: .scalar
        case .divergence: .divergence(auxiliary.map(\.architecture))
        }
    }

    /// What of a step's rows is computed. Where weights are made anew from the policy as it stands, all that may be.
    func units(ofStep step: Int) throws -> [BatchUnit] {
        let rows = try rows.rows(ofStep: step), isOpen = StepPreview.isNeeded(recipe)
        let asked =
            isOpen
            ? nil
            : EvaluatedTokens(
                rows.map { SequenceInputs($0, outputs: []) }, recipe, architecture, seed: askedSeed(rows, seed))
        let queries = rows.indices.map {
            SequenceQuery(
                tokenIDs: rows[$0].tokenIDs, wanted: asked?.wanted($0) ?? rows[$0].lossMask, temperature: 1,
                routes: rows[$0].routes)
        }
        let keys = PrefixKeys(queries).keys
        return rowUnits(rows).map { unit in
            BatchUnit(
                sequences: unit.map { keys[$0] }, lengths: unit.map { queries[$0].tokenIDs.count },
                wanted: unit.reduce(0) { $0 + queries[$1].wanted.count { $0 } })
        }
    }
}

/// The largest of what a plan's rows make.
private struct RowSizes {
    /// Tokens of the longest unit.
    private(set) var longest = 1
    /// Wanted tokens of the step that has most.
    private(set) var mostWanted = 1
    /// Rows of the largest step, with what a step keeps beside them for each token: scores, derivatives, inputs of
    /// objectives.
    private(set) var stepBytes = 0

    init(_ run: PlannedRun) throws {
        for step in 0..<run.rows.stepCount {
            let units = try run.units(ofStep: step), tokens = units.reduce(0) { $0 + $1.tokens }
            longest = max(longest, units.map(\.tokens).max() ?? 0)
            mostWanted = max(mostWanted, units.reduce(0) { $0 + $1.wanted })
            stepBytes = max(stepBytes, Self.bytesPerToken(run.recipe) * tokens)
        }
        // Each in the row, and once more while a table's batch is read.
        stepBytes += 8 * run.rows.mostSupportIDs + 4 * run.rows.mostRoutedExperts
    }

    /// Weights of terms beside the objective lie in the rows and in their inputs; an entropy bonus has derivatives too.
    private static func bytesPerToken(_ recipe: Recipe) -> Int {
        let terms = [recipe.loss.bonus != nil, recipe.loss.auxiliary != nil, recipe.loss.staleRows != nil]
        return 96 + 8 * terms.count { $0 } + (recipe.loss.bonus == nil ? 0 : 8)
            + (recipe.objective.distillation?.importanceCap == nil ? 0 : 8)
    }
}

/// Rows that an objective sees together, by index: each alone, or the two of a pair.
func rowUnits(_ rows: [PlanRow]) -> [[Int]] {
    var units: [[Int]] = []
    for index in rows.indices {
        if let pair = rows[index].pair, index > 0, rows[index - 1].pair == pair {
            units[units.count - 1].append(index)
        } else {
            units.append([index])
        }
    }
    return units
}
