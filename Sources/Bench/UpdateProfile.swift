import Foundation
import Models
import Optimizers
import Tensors

/// Where the time of a step goes, by kind of work, and what matrix products of the same shapes take when they run
/// alone. In this process, on the passes that crux-update makes.
struct UpdateProfile {
    let batch: UpdateCase
    let checkpoint: String
    let threads: Int
    let precision: Precision

    /// `stepSeconds`: crux-update's whole step on the same batch.
    func run(stepSeconds: Double) throws {
        let source = try Checkpoint(directory: checkpoint), clock = WorkClock()
        let training = FullTraining(
            source.architecture, parameters: try source.loadParameters(), threads: threads,
            halves: try precision.products(), clock: clock)
        let gradients = Self.written(training.layout.count, threads),
            passes = try self.passes(training, into: gradients)
        let optimizer = optimize(training, gradients), work = BatchWork(batch, source.architecture)
        let alone = ProductTimes(
            source.architecture, work, Compute(threads: threads, halves: try precision.products()))
        say("    where the time goes (one step in this process, \(text(passes + optimizer)) s):")
        for kind in Work.allCases {
            line(kind.name, clock.seconds(kind), of: passes + optimizer, note(kind, work, alone, clock))
        }
        line("rest of the passes", passes - Work.allCases.reduce(0) { $0 + clock.seconds($1) }, of: passes + optimizer)
        // The norm reads a gradient; the step reads that, weight and moments, and writes the latter three.
        let moved = 32 * Double(gradients.count)
        line("norm, AdamW", optimizer, of: passes + optimizer, ", \(text(moved / optimizer / 1e9)) GB/s")
        let rate = work.total / stepSeconds, limit = (work.linear + work.head) / (alone.linear + alone.head)
        say(
            String(
                format:
                    "    crux-update's whole step: %.0f GFLOP/s of useful work, %.1f %% of the %.0f GFLOP/s that products of the same shapes reach alone %@",
                rate / 1e9, 100 * rate / limit, limit / 1e9, Requirement(need: 70).verdict(100 * rate / limit)))
    }

    /// Forward and backward, with a loss like the step's.
    private func passes(_ training: FullTraining, into gradients: Buffer) throws -> Double {
        let queries = batch.queries
        return try seconds {
            try training.model.accumulateGradients(
                queries, units: queries.map { _ in 1 }, into: training.gradients(into: gradients)
            ) { part, scores in
                zip(part, scores).map { row, scores in
                    zip(batch.rows[row].tokenWeights, scores.logprobs).map { -$0 * exp($1 + 11.9) }
                }
            }
        }
    }

    private func optimize(_ training: FullTraining, _ gradients: Buffer) -> Double {
        let expAvg = Self.written(gradients.count, threads), expAvgSq = Self.written(gradients.count, threads),
            compute = Compute(threads: threads)
        return seconds {
            let scale = AdamW().gradientScale(norm: compute.norm(gradients))
            compute.forEachPiece(of: gradients.count) { _, range in
                AdamW().update(
                    parameters: training.parameters.pointer + range.lowerBound,
                    gradients: gradients.pointer + range.lowerBound,
                    expAvg: expAvg.pointer + range.lowerBound, expAvgSq: expAvgSq.pointer + range.lowerBound,
                    count: range.count, step: 1, gradientScale: scale)
            }
        }
    }

    /// Zeros in memory that the system has cleared already.
    private static func written(_ count: Int, _ threads: Int) -> Buffer {
        let buffer = Buffer(count)
        Compute(threads: threads).zero(buffer)
        return buffer
    }

    private func note(_ kind: Work, _ work: BatchWork, _ alone: ProductTimes, _ clock: WorkClock) -> String {
        func rates(_ operations: Double, _ seconds: Double) -> String {
            ", \(text(operations / clock.seconds(kind) / 1e9)) GFLOP/s"
                + (seconds > 0 ? " (products alone \(text(operations / seconds / 1e9)))" : "")
        }
        switch kind {
        case .linear: return rates(work.linear, alone.linear)
        case .headProduct: return rates(work.head, alone.head)
        case .attention: return rates(work.attention, 0)
        default: return ""
        }
    }

    private func line(_ name: String, _ seconds: Double, of total: Double, _ note: String = "") {
        say(
            "      " + name.padding(toLength: 20, withPad: " ", startingAt: 0)
                + String(format: "%6.2f s %5.1f %%", seconds, 100 * seconds / total) + note)
    }
}

extension UpdateCase {
    /// The tokens with weight, asked for.
    fileprivate var queries: [SequenceQuery] {
        rows.map { SequenceQuery(tokenIDs: $0.tokenIDs, wanted: $0.tokenWeights.map { $0 != 0 }, temperature: 1) }
    }
}

/// A linear layer's shape and how many tokens go through it.
struct LinearProduct {
    let rows: Int
    let outputs: Int
    let inputs: Int
    /// Layers of that kind.
    let count: Int

    /// Forward and backward.
    var operations: Double { 6 * Double(rows) * Double(outputs) * Double(inputs) * Double(count) }

    /// Of a decoder: every token goes through every layer, but for what of the last one stands above its attention.
    /// Only `outputPositions` tokens need that.
    static func all(_ a: DecoderArchitecture, tokens: Int, outputPositions: Int) -> [LinearProduct] {
        let deltas = a.deltaLayers.count, isDeltaLast = a.deltaLayers.contains(a.layers - 1)
        func products(_ shapes: [(Int, Int, Int)], _ rows: Int, _ layers: Int) -> [LinearProduct] {
            shapes.map { LinearProduct(rows: rows, outputs: $0.0, inputs: $0.1, count: $0.2 * layers) }
        }
        func half(_ below: [(Int, Int, Int)], output inputs: Int, layers: Int, hasLast: Bool) -> [LinearProduct] {
            let above = [(a.hidden, inputs, 1), (a.feedForward, a.hidden, 2), (a.hidden, a.feedForward, 1)]
            return products(below, tokens, layers) + products(above, tokens, layers - (hasLast ? 1 : 0))
                + products(above, outputPositions, hasLast ? 1 : 0)
        }
        let queries = (a.hasOutputGate ? 2 : 1) * a.queryColumns
        let attention = half(
            [(queries, a.hidden, 1), (a.keyValueColumns, a.hidden, 2)], output: a.queryColumns,
            layers: a.layers - deltas, hasLast: !isDeltaLast)
        guard let shape = a.deltaNet?.shape, deltas > 0 else { return attention }
        return attention
            + half(
                [(shape.columns, a.hidden, 1), (shape.valueColumns, a.hidden, 1), (shape.valueHeads, a.hidden, 2)],
                output: shape.valueColumns, layers: deltas, hasLast: isDeltaLast)
    }
}

/// Useful floating-point operations of a batch, forward and backward: linear layers for each distinct token that needs
/// them, the head for each asked one, attention over the keys that a token sees.
struct BatchWork {
    let products: [LinearProduct]
    let asked: Int
    let linear: Double
    let head: Double
    let attention: Double
    var total: Double { linear + head + attention }

    init(_ batch: UpdateCase, _ a: DecoderArchitecture) {
        let forest = TokenForest(batch.queries)
        products = LinearProduct.all(a, tokens: forest.tokenIDs.count, outputPositions: forest.outputPositions.count)
        asked = batch.rows.reduce(0) { $0 + $1.tokenWeights.count { $0 != 0 } }
        linear = products.reduce(0) { $0 + $1.operations }
        head = 6 * Double(a.headMultiplications) * Double(asked)
        // Scores and their product with the values, each once forward and twice backward.
        let keys = forest.positions.reduce(0.0) { $0 + Double($1 + 1) }
        attention = 2 * 6 * Double((a.layers - a.deltaLayers.count) * a.queryColumns) * keys
    }
}

/// What the step's matrix products take one by one, best of three, with nothing between them.
struct ProductTimes {
    private(set) var linear = 0.0
    private(set) var head = 0.0

    init(_ a: DecoderArchitecture, _ work: BatchWork, _ compute: Compute) {
        for product in work.products {
            linear +=
                Double(product.count)
                * Self.layer(
                    rows: product.rows, product.outputs, product.inputs, compute)
        }
        let rows = min(work.asked, headChunkRows(vocabulary: a.vocabulary))
        head = Double(work.asked) / Double(rows) * Self.layer(rows: rows, a.vocabulary, a.hidden, compute)
    }

    /// y = x wᵀ, dx = dy w, dw += dyᵀ x.
    private static func layer(rows: Int, _ outputs: Int, _ inputs: Int, _ compute: Compute) -> Double {
        func filled(_ count: Int) -> Buffer { Buffer([Float](repeating: 0.5, count: count)) }
        let x = filled(rows * inputs), w = filled(outputs * inputs), y = filled(rows * outputs),
            dw = filled(outputs * inputs)
        let products: [() -> Void] = [
            { compute.multiplyTransposed(x.matrix(rows: rows), w.matrix(rows: outputs), into: y.matrix(rows: rows)) },
            { compute.multiply(y.matrix(rows: rows), w.matrix(rows: outputs), into: x.matrix(rows: rows)) },
            {
                compute.transposedMultiply(
                    y.matrix(rows: rows), x.matrix(rows: rows), into: dw.matrix(rows: outputs), adding: true)
            },
        ]
        return products.reduce(0) { sum, product in sum + ((0..<3).map { _ in seconds(product) }.min() ?? 0) }
    }
}
