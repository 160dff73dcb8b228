import Foundation
import Tensors
import TestSupport
import Testing

/// Attention over random trees of runs against one token after the other in Double: the slow obvious version.
@Suite struct AttentionTests {
    static let shapes = [
        AttentionShape(queryHeads: 4, keyValueHeads: 4, headWidth: 8),
        AttentionShape(queryHeads: 14, keyValueHeads: 2, headWidth: 16),
        AttentionShape(queryHeads: 6, keyValueHeads: 1, headWidth: 10, window: 7),
        AttentionShape(queryHeads: 2, keyValueHeads: 1, headWidth: 64, window: 150),
        AttentionShape(queryHeads: 4, keyValueHeads: 2, headWidth: 8, window: 30, scale: 0.2, cap: 1.5),
    ]

    @Test(arguments: shapes.indices, [1, 2, 3] as [UInt64]) func itsHalvesAreThoseOfTheSlowVersion(
        _ index: Int, _ seed: UInt64
    ) {
        let shape = Self.shapes[index], tree = RunTree(seed: seed),
            problem = AttentionProblem(tokens: tree.tokens, shape, seed: seed)
        let slow = SlowAttention(problem, tree), fast = problem.solve(tree.runs, threads: 2)
        for (name, found, expected) in [
            ("out", fast.out, slow.out), ("dq", fast.dq, slow.dq), ("dk", fast.dk, slow.dk), ("dv", fast.dv, slow.dv),
        ] {
            // float32 sums over up to some hundred keys.
            #expect(relativeDistance(found.array, expected.map { Float($0) }) < 2e-6, "\(name)")
        }
    }

    /// In a process of its own: other tests of this one set OpenBLAS's threads and the kernels' instruction set meanwhile.
    @Test func theBytesDoNotDependOnThreads() async {
        await #expect(processExitsWith: .success) {
            let tree = RunTree(seed: 4),
                problem = AttentionProblem(tokens: tree.tokens, AttentionTests.shapes[1], seed: 4)
            let one = problem.solve(tree.runs, threads: 1), two = problem.solve(tree.runs, threads: 3)
            let same =
                one.dk.array == two.dk.array && one.dv.array == two.dv.array && one.dq.array == two.dq.array
                && one.out.array == two.out.array
            #expect(same)
            exit(same ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }

    @Test func theNormIsSummedInDouble() {
        let count = 3_000_003, norm = Compute(threads: 2).norm(Buffer([Float](repeating: 0.1, count: count)))
        // Float lanes within a block of 1,024; a plain float32 sum would be off in the second digit.
        #expect(isClose(norm, Double(Float(0.1)) * Double(count).squareRoot(), relative: 1e-7))
        #expect(norm == Compute(threads: 1).norm(Buffer([Float](repeating: 0.1, count: count))))
    }
}

/// Runs that hang on each other at random, some longer than a chunk of queries.
private struct RunTree {
    private(set) var runs: [AttentionRun] = []
    private(set) var tokens = 0

    init(seed: UInt64) {
        var generator = SplitMix(seed: seed)
        for index in 0..<9 {
            let length = [1, 5, 40, 150][Int(generator.next() % 4)],
                parent = index < 2 ? nil : runs[Int(generator.next() % UInt64(runs.count))]
            runs.append(
                AttentionRun(tokens: tokens..<tokens + length, prefix: parent.map { $0.prefix + [$0.tokens] } ?? []))
            tokens += length
        }
    }

    /// Tokens that each token may see, itself last.
    var paths: [[Int]] {
        runs.flatMap { run in run.tokens.map { run.prefix.flatMap { Array($0) } + Array(run.tokens.lowerBound...$0) } }
    }
}

private struct AttentionProblem {
    let shape: AttentionShape
    let tokens: Int
    let q: Buffer
    let k: Buffer
    let v: Buffer
    let dout: Buffer

    init(tokens: Int, _ shape: AttentionShape, seed: UInt64) {
        var generator = SplitMix(seed: seed + 50)
        func random(_ heads: Int) -> Buffer {
            Buffer(
                (0..<tokens * heads * shape.headWidth).map { _ in 4 * Float(generator.next() >> 40) / Float(1 << 24) - 2
                })
        }
        (self.shape, self.tokens) = (shape, tokens)
        (q, k, v, dout) = (
            random(shape.queryHeads), random(shape.keyValueHeads), random(shape.keyValueHeads), random(shape.queryHeads)
        )
    }

    func solve(_ runs: [AttentionRun], threads: Int) -> (out: Buffer, dq: Buffer, dk: Buffer, dv: Buffer) {
        let compute = Compute(threads: threads), out = Buffer(q.count), lse = Buffer(tokens * shape.queryHeads)
        let dq = Buffer(q.count), dk = Buffer(k.count), dv = Buffer(v.count)
        func rows(_ buffer: Buffer) -> Matrix { buffer.matrix(rows: tokens) }
        attentionForward(
            q: rows(q), k: rows(k), v: rows(v), runs: runs, shape: shape, into: rows(out),
            logSumExp: lse.matrix(rows: shape.queryHeads), compute)
        attentionBackward(
            dout: rows(dout), out: rows(out), q: rows(q), k: rows(k), v: rows(v),
            logSumExp: lse.matrix(rows: shape.queryHeads), runs: runs, shape: shape, dq: rows(dq),
            dk: rows(dk), dv: rows(dv), compute)
        return (out, dq, dk, dv)
    }
}

/// softmax and its derivative written out, in Double.
private struct SlowAttention {
    private(set) var out: [Double]
    private(set) var dq: [Double]
    private(set) var dk: [Double]
    private(set) var dv: [Double]
    private let problem: AttentionProblem

    init(_ problem: AttentionProblem, _ tree: RunTree) {
        self.problem = problem
        out = [Double](repeating: 0, count: problem.q.count)
        dq = out
        dk = [Double](repeating: 0, count: problem.k.count)
        dv = dk
        for (token, path) in tree.paths.enumerated() {
            let seen = Array(path.suffix(problem.shape.window ?? path.count))
            for head in 0..<problem.shape.queryHeads { add(token, head, seen) }
        }
    }

    private mutating func add(_ token: Int, _ head: Int, _ seen: [Int]) {
        let shape = problem.shape, width = shape.headWidth, group = shape.queryHeads / shape.keyValueHeads
        let own = (token * shape.queryHeads + head) * width,
            keys = seen.map { ($0 * shape.keyValueHeads + head / group) * width }
        func dot(_ a: Buffer, _ i: Int, _ b: Buffer, _ j: Int) -> Double {
            (0..<width).reduce(0) { $0 + Double(a.pointer[i + $1]) * Double(b.pointer[j + $1]) }
        }
        let scale = Double(shape.scale)
        let scaled = keys.map { scale * dot(problem.q, own, problem.k, $0) }
        let scores = scaled.map { z in shape.cap.map { Double($0) * tanh(z / Double($0)) } ?? z },
            top = scores.max() ?? 0
        let total = scores.reduce(0) { $0 + exp($1 - top) }, p = scores.map { exp($0 - top) / total }
        let dp = keys.map { dot(problem.dout, own, problem.v, $0) }, delta = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
        for (index, key) in keys.enumerated() {
            let slope = shape.cap.map { 1 - pow(tanh(scaled[index] / Double($0)), 2) } ?? 1
            let ds = scale * slope * p[index] * (dp[index] - delta)
            for d in 0..<width {
                out[own + d] += p[index] * Double(problem.v.pointer[key + d])
                dq[own + d] += ds * Double(problem.k.pointer[key + d])
                dk[key + d] += ds * Double(problem.q.pointer[own + d])
                dv[key + d] += p[index] * Double(problem.dout.pointer[own + d])
            }
        }
    }
}
