import CKernels
import Foundation
import TestSupport
import Testing

/// Kernels over two or three whole distributions.
@Suite struct DistributionKernelTests {
    private let policy: [Float] = [0.6, 0.3, 0.1], reference: [Float] = [0.5, 0.3, 0.2], q: [Float] = [1, 0, -0.5]

    private func logits(_ p: [Float], shift: Float = 3) -> [Float] { p.map { log($0) + shift } }

    @Test func softValuesAreTheWorkedExample() {
        var kl = 0.0, expectedQ = 0.0
        crux_joint_row(logits(policy), logits(reference, shift: -7), q, 3, 1, &kl, &expectedQ)
        #expect(isClose(kl, 0.040078, absolute: 1e-6))
        #expect(isClose(expectedQ - 0.5 * kl, 0.529961, absolute: 1e-6))
        // V* - V_π = β KL(π || π*)
        var z = logits(policy), r = logits(reference)
        let divergence = crux_target_row(&z, &r, q, 3, 1, 2, 0, 0, 0)
        #expect(isClose(divergence, 0.343255, absolute: 1e-6))
        #expect(isClose(0.701589 - 0.529961, 0.5 * divergence, absolute: 2e-6))
    }

    /// The same in Double, term by term.
    private func divergence(
        _ z: [Double], _ r: [Double], _ q: [Double]?, _ inverseTemperature: Double, _ inverseBeta: Double, _ token: Int,
        _ bonus: Double
    ) -> Double {
        func logSoftmax(_ x: [Double]) -> [Double] {
            let top = x.max()!, sum = log(x.reduce(0) { $0 + exp($1 - top) }) + top
            return x.map { $0 - sum }
        }
        let lp = logSoftmax(z.map { $0 * inverseTemperature })
        var u = logSoftmax(r.map { $0 * inverseTemperature }).map { $0 == -.infinity ? -30 : $0 }
        for v in u.indices { u[v] += (q?[v] ?? 0) * inverseBeta }
        u[token] += bonus
        return zip(lp, logSoftmax(u)).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    }

    @Test(arguments: [3, 1000, 5001]) func theDerivativeEqualsCentralDifferences(_ n: Int) {
        var generator = SplitMix(seed: UInt64(n))
        func numbers(_ scale: Double) -> [Float] {
            (0..<n).map { _ in Float(scale * (Double(generator.next() >> 11) / Double(1 << 53) - 0.5)) }
        }
        let z = numbers(8), r = numbers(8), q = numbers(2)
        for (useQ, bonus) in [(true, Float(0)), (false, 2.5)] {
            var gradient = z, work = r
            let value = crux_target_row(&gradient, &work, useQ ? q : nil, n, 0.8, useQ ? 1.5 : 0, 1, bonus, 0.7)
            let wide = (z: z.map(Double.init), r: r.map(Double.init), q: useQ ? q.map(Double.init) : nil)
            #expect(
                isClose(
                    value, divergence(wide.z, wide.r, wide.q, Double(Float(0.8)), useQ ? 1.5 : 0, 1, Double(bonus)),
                    absolute: 2e-6))
            for v in [0, 1, 2, n - 1] {
                var above = wide.z, below = wide.z
                above[v] += 1e-4
                below[v] -= 1e-4
                let slope =
                    (divergence(above, wide.r, wide.q, 0.8, useQ ? 1.5 : 0, 1, Double(bonus))
                        - divergence(below, wide.r, wide.q, 0.8, useQ ? 1.5 : 0, 1, Double(bonus)))
                    / 2e-4
                #expect(isClose(Double(gradient[v]), 0.7 * slope, absolute: 1e-6))
            }
        }
    }

    @Test func aTokenThatTheReferenceExcludesCostsAFiniteAmount() {
        var kl = 0.0, expectedQ = 0.0
        crux_joint_row([0, 0], [0, -.infinity], nil, 2, 1, &kl, &expectedQ)
        #expect(isClose(kl, 0.5 * (log(0.5) - 0) + 0.5 * (log(0.5) + 30), absolute: 1e-5) && expectedQ == 0)
        crux_joint_row([0, -.infinity], [0, 0], [1, 5], 2, 1, &kl, &expectedQ)
        #expect(isClose(kl, log(2), absolute: 1e-6) && isClose(expectedQ, 1, absolute: 1e-6))
    }
}
