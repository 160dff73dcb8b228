import Formats
import Foundation
import Models
import TestSupport
import Tensors
import Testing

/// Models that stand still, with weights of 16 bits: what they compute, and adapters on them.
@Suite struct StandingParametersTests {
    enum Stored: String, CaseIterable, Sendable {
        case bf16, f16

        var dtype: DType { self == .bf16 ? .bf16 : .f16 }
        var format: HalfFormat { self == .bf16 ? .bfloat16 : .float16 }

        /// The numbers in 16 bits, and what those stand for.
        func rounded(_ values: Buffer) -> (bits: [UInt16], floats: Buffer) {
            let bits = HalfPrecision.narrow(values.pointer, count: values.count, to: dtype),
                floats = Buffer(uninitialized: values.count)
            bits.withUnsafeBytes { $0.widen(dtype, into: floats.pointer, count: values.count) }
            return (bits, floats)
        }
    }

    struct Case: CustomTestStringConvertible, Sendable {
        let decoder: SmallDecoder
        let stored: Stored
        let isTied: Bool
        var testDescription: String { "\(decoder.name), \(stored.rawValue), \(isTied ? "tied" : "own") head" }

        var architecture: DecoderArchitecture {
            get throws {
                var architecture = try decoder.architecture
                architecture.tiedHead = isTied
                return architecture
            }
        }

        /// The same numbers kept in 16 bits, and in float32.
        func parameters(_ a: DecoderArchitecture) -> (standing: StandingParameters, widened: Buffer) {
            let layout = ParameterLayout(a), (bits, floats) = stored.rounded(decoder.parameters(a))
            let standing = StandingParameters(layout) { parameter in
                guard parameter.isWeightMatrix else {
                    return StandingWeight(
                        parameter, widened: Buffer(parameter.range.map { floats.pointer[$0] }))
                }
                let storage = Buffer(uninitialized: (parameter.range.count + 1) / 2)
                bits[parameter.range].withUnsafeBytes {
                    UnsafeMutableRawPointer(storage.pointer).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
                }
                return StandingWeight(parameter, stored: storage, as: stored.format)
            }
            return (standing, floats)
        }
    }

    static let cases = SmallDecoder.all.flatMap { decoder in
        Stored.allCases.flatMap { stored in
            [false, true].map { Case(decoder: decoder, stored: stored, isTied: $0) }
        }
    }

    private let loss = LinearLoss()

    @Test(arguments: cases) func weightsOf16BitsAreComputedWithAsTheNumbersThatTheyStandFor(_ given: Case) throws {
        let a = try given.architecture, (standing, widened) = given.parameters(a)
        for question in [ModelOutputKind.logprob, .tokenLogit] {
            let one = try LanguageModel(a, standing, threads: 2).score(loss.sequences, question),
                other = try LanguageModel(a, parameters: widened, threads: 2).score(loss.sequences, question)
            for (one, other) in zip(one, other) {
                // The same products, but for how many threads other tests let OpenBLAS have.
                #expect(firstDifference(one.outputs, other.outputs, absolute: 1e-5) == nil)
            }
        }
    }

    /// Both round the same numbers to bfloat16 before they multiply.
    @Test(.enabled(if: Precision.bf16.isAvailable), arguments: cases)
    func productsIn16BitsAreThoseOfTheNumbersThatWeightsStandFor(_ given: Case) throws {
        let a = try given.architecture, (standing, widened) = given.parameters(a),
            halves = try Precision.bf16.products()
        let one = try LanguageModel(a, standing, threads: 2, halves: halves).score(loss.sequences),
            other = try LanguageModel(a, parameters: widened, threads: 2, halves: halves).score(loss.sequences)
        #expect(one.map(\.outputs) == other.map(\.outputs))
    }

    private func training(_ given: Case) throws -> LowRankTraining {
        let a = try given.architecture, base = LanguageModel(a, given.parameters(a).standing, threads: 2)
        let targets = LinearSlot.allCases.map { String(a.projections[$0].split(separator: ".").last ?? "") }
        let training = LowRankTraining(base, rank: 3, alpha: 6, targets: Array(Set(targets)), seed: 7)
        // Adapters begin with B = 0, where A has no gradient.
        fill(training.parameters, seed: 8, size: 0.3)
        return training
    }

    /// Along all adapters' gradient, where the derivative is its length, on weights that stand still.
    @Test(arguments: cases) func anAdaptersGradientEqualsCentralDifferences(_ given: Case) throws {
        let training = try training(given), gradient = Buffer(training.layout.count)
        try training.model.accumulateGradients(loss.sequences, units: [2], into: training.gradients(into: gradient)) {
            _, _ in
            loss.coefficients
        }
        let start = training.parameters.array, slope = gradient.array
        let length = slope.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot(), step = min(1e-2, 0.05 / length)
        func along(_ step: Double) throws -> Double {
            for i in start.indices {
                training.parameters.pointer[i] = Float(Double(start[i]) + step * Double(slope[i]) / length)
            }
            return loss(try training.model.score(loss.sequences))
        }
        let found = (try along(step) - along(-step)) / (2 * step)
        // Float32's noise of a sum of twenty log-probabilities, over twice the step.
        #expect(length > 0 && isClose(found, length, absolute: 2e-3, relative: 5e-3), "\(found), not \(length)")
    }

    /// Σ_k s·B[o, k]·A[k, i] in Double beside what files get, and the passes of both.
    @Test(arguments: cases.filter { $0.stored == .bf16 }) func mergedWeightsAreTheSumAndGiveTheSameScores(_ given: Case)
        throws
    {
        let training = try training(given), a = training.model.architecture, layout = ParameterLayout(a)
        let base = given.parameters(a).widened, merged = Buffer(uninitialized: layout.count), values = training.merged
        for parameter in layout.parameters {
            // In two parts that end inside a row.
            let cut = parameter.range.count / 2 + 1, start = merged.pointer + parameter.range.lowerBound
            values.read(parameter, 0..<min(cut, parameter.range.count), into: start)
            if cut < parameter.range.count { values.read(parameter, cut..<parameter.range.count, into: start + cut) }
        }
        for parameter in layout.parameters {
            let name = "base_model.model." + parameter.name.replacingOccurrences(of: ".weight", with: "")
            let factors = [".lora_A.weight", ".lora_B.weight"].compactMap { training.layout[name + $0] }
            for element in parameter.range {
                var expected = Double(base.pointer[element])
                if factors.count == 2, parameter.name.hasSuffix(".weight") {
                    let columns = parameter.shape[1],
                        (row, column) = (element - parameter.range.lowerBound).quotientAndRemainder(dividingBy: columns)
                    for k in 0..<3 {
                        expected +=
                            2 * Double(training.parameters.pointer[factors[1].range.lowerBound + row * 3 + k])
                            * Double(training.parameters.pointer[factors[0].range.lowerBound + k * columns + column])
                    }
                }
                #expect(isClose(Double(merged.pointer[element]), expected, absolute: 1e-6), "\(parameter.name)")
            }
        }
        let beside = try training.model.score(loss.sequences),
            summed = try LanguageModel(a, parameters: merged, threads: 2).score(loss.sequences)
        for (one, other) in zip(beside, summed) {
            // The adapters' share is added before rounding in one, after it in the other.
            #expect(firstDifference(one.outputs, other.outputs, absolute: 2e-4) == nil)
        }
    }

    // MARK: products

    /// Rows so long that a weight of five comes in three stretches.
    @Test(arguments: Stored.allCases) func aWeightThatComesInStretchesIsMultipliedWhole(_ stored: Stored) throws {
        let (rows, columns, tokens) = (5, 3_000_000, 2), values = Buffer(uninitialized: rows * columns)
        fill(values, seed: 3, size: 1)
        let (bits, floats) = stored.rounded(values), compute = Compute(threads: 2)
        let x = Buffer(uninitialized: tokens * columns), dy = Buffer(uninitialized: tokens * rows)
        fill(x, seed: 4, size: 1)
        fill(dy, seed: 5, size: 1)
        let y = Buffer([Float](repeating: 2, count: tokens * rows)),
            dx = Buffer([Float](repeating: 2, count: tokens * columns))
        bits.withUnsafeBufferPointer { bits in
            guard let base = bits.baseAddress else { return }
            let weight = WeightMatrix.half(HalfMatrix(base, rows: rows, columns: columns, as: stored.format))
            compute.multiplyTransposed(x.matrix(rows: tokens), weight, into: y.matrix(rows: tokens), adding: true)
            compute.multiply(dy.matrix(rows: tokens), weight, into: dx.matrix(rows: tokens))
        }
        for token in 0..<tokens {
            for row in 0..<rows {
                var sum = 2.0, size = 0.0
                for i in 0..<columns {
                    let product = Double(x.pointer[token * columns + i]) * Double(floats.pointer[row * columns + i])
                    sum += product
                    size += abs(product)
                }
                // Sums of 384 products and more at a time, in float32, each off by less than 2⁻²⁴ of what it adds up.
                #expect(isClose(Double(y.pointer[token * rows + row]), sum, absolute: 1e-3 * size.squareRoot()))
            }
            for i in stride(from: 0, to: columns, by: 7_919) {
                let sum = (0..<rows).reduce(0.0) {
                    $0 + Double(dy.pointer[token * rows + $1]) * Double(floats.pointer[$1 * columns + i])
                }
                #expect(isClose(Double(dx.pointer[token * columns + i]), sum, absolute: 1e-6))
            }
        }
    }

    // MARK: loading

    @Test(arguments: families) func whatIsLoadedToStandIsWhatIsLoadedToBeTrained(_ family: String) throws {
        let checkpoint = try Checkpoint(directory: fixture("families/" + family)),
            trained = try checkpoint.loadParameters(), standing = try checkpoint.loadStanding()
        for parameter in checkpoint.layout.parameters {
            let values = Buffer(uninitialized: parameter.range.count)
            standing.read(parameter, 0..<parameter.range.count, into: values.pointer)
            #expect(values.array == parameter.range.map { trained.pointer[$0] }, "\(parameter.name)")
        }
    }

    @Test func whatStandsTakesAsManyBytesAsItIsStoredIn() throws {
        let checkpoint = try Checkpoint(directory: fixture("policy"))
        let vectors = checkpoint.layout.parameters.filter { $0.shape.count == 1 }.reduce(0) { $0 + $1.range.count }
        #expect(checkpoint.standingSizes.bytes == 2 * checkpoint.layout.count + 2 * vectors)
        let embedding = checkpoint.layout.parameters[0]
        #expect(checkpoint.layout.parameters.allSatisfy { $0.range.count <= checkpoint.standingSizes.largestHalf })
        #expect(embedding.range.count <= checkpoint.standingSizes.largestHalf)
    }
}
