import CKernels
import Foundation
import Models
import TestSupport
import Tensors
import Testing

/// False on processors without 16-bit products, and where oneDNN isn't installed.
private let isAvailable = Precision.bf16.isAvailable

/// Products in 16 bits. bf16 has 8 bits of precision: rounding a factor moves it by at most u = 2⁻⁸ of itself, and a
/// product of two such numbers is exact in float32. Sums of k of them in float32, in whatever order, are off by at most
/// k · 2⁻²⁴ of the sum of magnitudes (twice that is allowed, because the processor's instruction adds two products at a
/// time and takes what is denormal for 0).
@Suite struct HalfProductTests {
    private struct Shape: CustomTestStringConvertible, Sendable {
        let m: Int
        let n: Int
        let k: Int
        var testDescription: String { "\(m)x\(k)x\(n)" }
    }

    private static let shapes = [
        (1, 1, 1), (0, 5, 3), (5, 0, 3), (4, 6, 0), (3, 17, 5), (16, 16, 32), (33, 7, 129), (1, 300, 64), (257, 1, 31),
        (100, 515, 77), (2049, 3, 5), (5, 2049, 3), (3, 5, 4100), (270, 520, 2050),
    ].map { Shape(m: $0, n: $1, k: $2) }

    private static func numbers(_ count: Int, seed: UInt64) -> [Float] {
        var generator = SplitMix(seed: seed)
        return (0..<count).map { _ in Float(Double(generator.next() >> 11) / Double(1 << 53) * 2 - 1) }
    }

    /// To the nearest bf16 number, ties to even.
    private static func rounded(_ x: Float) -> Float {
        let bits = x.bitPattern
        return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
    }

    private enum Form: CaseIterable { case plain, secondTransposed, firstTransposed }

    /// [m, n] of [m, k] and [k, n], each kept the other way where `form` says so, and with rows further apart than
    /// they are long.
    private func multiply(
        _ shape: Shape, _ form: Form, adding: Bool, threads: Int, _ a: [Float], _ b: [Float], _ c: [Float]
    ) throws -> [Float] {
        let compute = Compute(threads: threads, halves: try Precision.bf16.products()), gap = 3
        func spread(_ values: [Float], rows: Int, columns: Int) -> (Buffer, Matrix) {
            let buffer = Buffer([Float](repeating: .nan, count: rows * (columns + gap)))
            for i in 0..<rows * columns { buffer.pointer[i / columns * (columns + gap) + i % columns] = values[i] }
            return (buffer, Matrix(buffer.pointer, rows: rows, columns: columns, stride: columns + gap))
        }
        func turned(_ values: [Float], rows: Int, columns: Int) -> [Float] {
            (0..<rows * columns).map { values[$0 % rows * columns + $0 / rows] }
        }
        let (m, n, k) = (shape.m, shape.n, shape.k), isFirst = form == .firstTransposed,
            isSecond = form == .secondTransposed
        let (aBuffer, x) =
            isFirst ? spread(turned(a, rows: m, columns: k), rows: k, columns: m) : spread(a, rows: m, columns: k)
        let (bBuffer, y) =
            isSecond ? spread(turned(b, rows: k, columns: n), rows: n, columns: k) : spread(b, rows: k, columns: n)
        let (cBuffer, z) = spread(c, rows: m, columns: n)
        return withExtendedLifetime((aBuffer, bBuffer, cBuffer)) {
            switch form {
            case .plain: compute.multiply(x, y, into: z, adding: adding)
            case .secondTransposed: compute.multiplyTransposed(x, y, into: z, adding: adding)
            case .firstTransposed: compute.transposedMultiply(x, y, into: z, adding: adding)
            }
            for row in 0..<m { #expect(z.row(row)[n].isNaN, "wrote beyond the row") }
            return (0..<m * n).map { z.row($0 / n)[$0 % n] }
        }
    }

    @Test(.enabled(if: isAvailable), arguments: shapes) private func everyProductIsWithinTheBoundOfRoundedFactors(
        _ shape: Shape
    ) throws {
        let (m, n, k) = (shape.m, shape.n, shape.k), a = Self.numbers(m * k, seed: 1), b = Self.numbers(k * n, seed: 2),
            c = Self.numbers(m * n, seed: 3)
        let halfA = a.map(Self.rounded), halfB = b.map(Self.rounded)
        for form in Form.allCases {
            for adding in [false, true] {
                let found = try multiply(shape, form, adding: adding, threads: 2, a, b, c)
                var worst = 0.0, far = 0.0
                // Every element of small products, some of each row and column of large ones.
                for i in stride(from: 0, to: m * n, by: m * n * k > 1 << 22 ? 613 : 1) {
                    let (row, column) = (i / n, i % n)
                    var sum = adding ? Double(c[i]) : 0, exact = sum, size = abs(sum)
                    for j in 0..<k {
                        sum += Double(halfA[row * k + j]) * Double(halfB[j * n + column])
                        exact += Double(a[row * k + j]) * Double(b[j * n + column])
                        size += abs(Double(a[row * k + j]) * Double(b[j * n + column]))
                    }
                    let added = 2 * Double(k + 2) * 0x1p-24 * size * 1.01 + 1e-30, u = 0x1p-8
                    worst = max(worst, abs(Double(found[i]) - sum) / added)
                    far = max(far, abs(Double(found[i]) - exact) / (added + (2 * u + u * u) * size))
                }
                #expect(worst <= 1, "\(form) adding \(adding): \(worst) of the bound of sums")
                #expect(far <= 1, "\(form) adding \(adding): \(far) of the bound of rounding")
            }
        }
    }

    @Test(.enabled(if: isAvailable)) func bytesAreTheSameForAnyNumberOfThreads() throws {
        let shape = Shape(m: 700, n: 1100, k: 300), c = [Float](repeating: 0.5, count: 700 * 1100)
        let a = Self.numbers(shape.m * shape.k, seed: 4), b = Self.numbers(shape.k * shape.n, seed: 5)
        for form in Form.allCases {
            let one = try multiply(shape, form, adding: true, threads: 1, a, b, c)
            for threads in [2, 3, 8] {
                #expect(try multiply(shape, form, adding: true, threads: threads, a, b, c) == one)
            }
        }
    }

    /// On every processor.
    @Test func packedWeightsThatBF16HoldsGiveFloat32sBytes() {
        for (rows, outputs, inputs) in [(1, 1, 1), (1, 40, 33), (3, 5, 8), (9, 33, 64), (17, 70, 895), (23, 31, 2)] {
            let x = Buffer(Self.numbers(rows * inputs, seed: 6)),
                w = Buffer(Self.numbers(outputs * inputs, seed: 7).map(Self.rounded)),
                bias = Buffer(Self.numbers(outputs, seed: 8)), compute = Compute(threads: 2)
            func forward(_ precision: GenerationPrecision, _ w: Buffer) -> [Float] {
                let y = Buffer(rows * outputs)
                let packed = PackedLinear(
                    w.matrix(rows: outputs), bias: bias.matrix(rows: 1), as: precision, compute)
                packed.forward(x.matrix(rows: rows), into: y.matrix(rows: rows), compute)
                return y.array
            }
            #expect(forward(.bf16Weights, w) == forward(.f32, w))
            // Others are rounded to the nearest.
            let fine = Buffer(Self.numbers(outputs * inputs, seed: 9)), near = Buffer(fine.array.map(Self.rounded))
            #expect(forward(.bf16Weights, fine) == forward(.f32, near))
            #expect(forward(.bf16Weights, fine) != forward(.f32, fine))
        }
    }

    /// On every processor: each sum is the same chain of fused multiply-adds, whatever is multiplied beside it.
    @Test(arguments: [CRUX_PLAIN, CRUX_AVX2, CRUX_AVX512, CRUX_AVX512_BY_HAND])
    func rowsInBF16AreAChainOfFusedMultiplyAdds(_ set: crux_instruction_set) {
        let shapes = [(1, 1, 1), (2, 40, 33), (7, 5, 8), (12, 33, 64), (13, 64, 7), (31, 70, 895)]
        expectSums(.bf16, set, shapes) { x, w in
            var sum: Float = 0
            for k in stride(from: 0, to: x.count, by: 2) {
                for one in [k + 1, k] where one < x.count { sum.addProduct(x[one], w[one]) }
            }
            return sum
        }
    }

    /// On every processor, by AMX's tiles where there are some: of every 32 inputs two chains, the last 32 filled up with
    /// zeros; rows that fill one tile, two, and a part of one.
    @Test(arguments: [CRUX_PLAIN, CRUX_AVX2, CRUX_AVX512, CRUX_AVX512_BY_HAND])
    func rowsInTilesAreTwoChainsOfEvery32Inputs(_ set: crux_instruction_set) {
        let shapes = [(1, 1, 1), (2, 40, 33), (7, 5, 8), (16, 33, 64), (17, 64, 7), (32, 32, 96), (49, 70, 895)]
        expectSums(.bf16AMX, set, shapes) { x, w in
            var sum: Float = 0
            for step in stride(from: 0, to: x.count, by: 32) {
                var chains: [Float] = [0, 0]
                for k in step..<min(step + 32, x.count) { chains[k % 2].addProduct(x[k], w[k]) }
                sum += chains[0] + chains[1]
            }
            return sum
        }
    }

    /// Holds a linear layer in 16 bits against sums that are formed one by one, bit by bit.
    ///
    /// - Parameters:
    ///   - shapes: rows, outputs and inputs.
    ///   - sum: of a row's factors and an output's, rounded to bf16.
    private func expectSums(
        _ precision: GenerationPrecision, _ set: crux_instruction_set, _ shapes: [(Int, Int, Int)],
        _ sum: (_ x: [Float], _ w: [Float]) -> Float
    ) {
        crux_set_instruction_set(set)
        defer { crux_set_instruction_set(crux_best_instruction_set()) }
        for (rows, outputs, inputs) in shapes {
            let x = Buffer(Self.numbers(rows * inputs, seed: 10)), w = Buffer(Self.numbers(outputs * inputs, seed: 11)),
                bias = Buffer(Self.numbers(outputs, seed: 12)), compute = Compute(threads: 1)
            let packed = PackedLinear(w.matrix(rows: outputs), bias: bias.matrix(rows: 1), as: precision, compute)
            let result = Buffer(rows * outputs)
            packed.forward(x.matrix(rows: rows), into: result.matrix(rows: rows), compute)
            let y = result.array, xs = x.array.map(Self.rounded), ws = w.array.map(Self.rounded)
            for row in 0..<rows {
                let factors = Array(xs[row * inputs..<(row + 1) * inputs])
                for output in 0..<outputs {
                    let weights = Array(ws[output * inputs..<(output + 1) * inputs])
                    #expect(y[row * outputs + output] == sum(factors, weights) + bias.array[output])
                }
            }
        }
    }

    @Test func whatIsSlowHereIsSaidWithWhatIsFaster() {
        let tiles = Processor(multipliesHalves: true, multipliesTiles: true, name: "one with AMX"),
            none = Processor(multipliesHalves: false, name: "one with AVX2")
        for precision in [GenerationPrecision.f32, .bf16Weights] {
            #expect([tiles, none].allSatisfy { precision.slownessWarning(on: $0) == nil })
        }
        #expect(GenerationPrecision.bf16AMX.slownessWarning(on: tiles) == nil)
        #expect(GenerationPrecision.bf16AMX.slownessWarning(on: none)?.contains("bf16-weights reads") == true)
        #expect(GenerationPrecision.bf16.slownessWarning(on: tiles)?.contains("bf16-amx is several times") == true)
    }

    /// Of every family: near float32's, and not float32's.
    @Test(.enabled(if: isAvailable), arguments: SmallDecoder.all) func aGradientIsNearFloat32s(_ small: SmallDecoder)
        throws
    {
        let a = try small.architecture, parameters = small.parameters(a)
        let sequences: [SequenceQuery] = [[3, 9, 4, 11, 6, 2, 30, 21, 7], [3, 9, 4, 7, 5, 0, 8, 12]].map {
            (tokens: [Int32]) in
            SequenceQuery(tokenIDs: tokens, wanted: tokens.indices.map { $0 > 0 }, temperature: 1)
        }
        func gradient(_ halves: HalfProducts?, threads: Int = 2, _ parameters: Buffer) throws -> [Float] {
            let model = LanguageModel(a, parameters: parameters, threads: threads, halves: halves),
                gradient = Buffer(model.layout.count)
            try model.accumulateGradients(sequences, into: gradient) { $0.map { $0.outputs.map { $0 == 0 ? 0 : -1 } } }
            return gradient.array
        }
        let exact = try gradient(nil, parameters), halves = try #require(try Precision.bf16.products()),
            found = try gradient(halves, parameters)
        func length(_ values: [Float]) -> Double { values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }
        func error(_ values: [Float]) -> Double { length(zip(values, exact).map(-)) / length(exact) }
        // Weights of size 0.8 make these decoders far wilder than trained ones, and gated delta rules, whose gates are
        // exponentials of exponentials, wilder still: how wild, the same weights tell, rounded alone.
        var limit = 0.15
        if a.deltaNet != nil {
            let rounded = Buffer(parameters.count)
            for (place, weight) in parameters.array.enumerated() {
                rounded.pointer[place] = Float(bitPattern: (weight.bitPattern &+ 0x8000) & 0xffff_0000)
            }
            limit = 3 * error(try gradient(nil, rounded))
        }
        #expect(error(found) > 1e-5 && error(found) < limit, "off by \(error(found)), limit \(limit)")
        #expect(try gradient(halves, threads: 1, parameters) == gradient(halves, threads: 3, parameters))
    }

    @Test func aProcessorWithoutThemIsRefusedAndFloat32NeverIs() throws {
        let old = Processor(multipliesHalves: false, name: "one with AVX2")
        let refusal = #expect(throws: NoHalfProducts.self) { _ = try Precision.bf16.products(old) }
        let text = try #require(refusal).description
        #expect(text.contains("one with AVX2") && text.contains("expected") && text.contains("Leave --precision out"))
        #expect(try Precision.f32.products(old) == nil)
    }
}
