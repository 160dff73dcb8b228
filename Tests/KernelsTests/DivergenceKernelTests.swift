import CKernels
import Foundation
import TestSupport
import Testing

/// A policy beside a teacher, by worked numbers and by the slow form in double.
@Suite struct DivergenceKernelTests {
    private static let policy: [Float] = [2, 1, 0, -1], teacher: [Float] = [0.5, 2, 0, 0]

    private func settings(
        _ kind: crux_divergence_kind, _ share: Float, _ support: crux_divergence_support = CRUX_SUPPORT_ALL,
        _ chosen: Int = 0, _ rest: crux_divergence_rest = CRUX_REST_BUCKET
    ) -> crux_divergence {
        crux_divergence(kind: kind, share: share, support: support, chosen: chosen, rest: rest)
    }

    private func evaluate(
        _ what: crux_divergence, _ policy: [Float] = policy, _ teacher: [Float] = teacher, derivative: Float = 1,
        inverseTemperature: Float = 1
    ) -> (value: Double, gradient: [Double]) {
        var what = what, z = policy, t = teacher, chosen = [Int32](repeating: 0, count: max(1, what.chosen))
        let value = crux_divergence_row(&z, &t, z.count, inverseTemperature, &what, &chosen, derivative)
        return (value, z.map { Double($0) })
    }

    @Test func divergencesAreTheWorkedNumbers() {
        let forward = evaluate(settings(CRUX_FORWARD_REVERSE, 1)),
            reverse = evaluate(settings(CRUX_FORWARD_REVERSE, 0)),
            even = evaluate(settings(CRUX_JENSEN_SHANNON, 0.5)), lean = evaluate(settings(CRUX_JENSEN_SHANNON, 0.3)),
            mixed = evaluate(settings(CRUX_FORWARD_REVERSE, 0.5))
        for (found, value) in [
            (forward, 0.574841), (reverse, 0.658064), (even, 0.144127), (lean, 0.119351), (mixed, 0.616453),
        ] { #expect(isClose(found.value, value, absolute: 2e-6), "\(found.value) against \(value)") }
        for (found, gradient) in [
            (forward, [0.494543, -0.432551, -0.003454, -0.058539]),
            (reverse, [0.517108, -0.401974, -0.060733, -0.054401]),
            (even, [0.112266, -0.092918, -0.006773, -0.012575]),
        ] { #expect(firstDifference(found.gradient, gradient, absolute: 2e-6) == nil, "\(found.gradient)") }
    }

    @Test(arguments: [CRUX_SUPPORT_TEACHER, CRUX_SUPPORT_POLICY])
    func theLikeliestTwoAreTheWorkedNumbers(_ support: crux_divergence_support) {
        for (share, rest, value) in [
            (Float(1), CRUX_REST_DROPPED, 0.477201), (1, CRUX_REST_RENORMALIZED, 0.655785),
            (0, CRUX_REST_RENORMALIZED, 0.715798), (1, CRUX_REST_BUCKET, 0.553077), (0, CRUX_REST_BUCKET, 0.644839),
        ] {
            let found = evaluate(settings(CRUX_FORWARD_REVERSE, share, support, 2, rest)).value
            #expect(isClose(found, value, absolute: 2e-6), "\(found) against \(value)")
        }
    }

    // MARK: the slow form

    private func logSoftmax(_ z: [Double], _ inverseTemperature: Double) -> [Double] {
        let scaled = z.map { $0 * inverseTemperature }, top = scaled.max() ?? 0
        let sum = top + log(scaled.reduce(0) { $0 + exp($1 - top) })
        return scaled.map { $0 - sum }
    }

    private func slow(_ what: crux_divergence, _ z: [Double], _ t: [Double], _ inverseTemperature: Double) -> Double {
        var s = logSoftmax(z, inverseTemperature), q = logSoftmax(t, inverseTemperature)
        if what.support != CRUX_SUPPORT_ALL {
            let by = what.support == CRUX_SUPPORT_TEACHER ? q : s
            let chosen = by.indices.sorted { (by[$0], $1) > (by[$1], $0) }.prefix(what.chosen)
            let mass = { (p: [Double]) in chosen.reduce(0) { $0 + exp(p[$1]) } }, (own, other) = (mass(s), mass(q))
            (s, q) = (chosen.map { s[$0] }, chosen.map { q[$0] })
            switch what.rest {
            case CRUX_REST_BUCKET: (s, q) = (s + [log(1 - own)], q + [log(1 - other)])
            case CRUX_REST_RENORMALIZED: (s, q) = (s.map { $0 - log(own) }, q.map { $0 - log(other) })
            default: break
            }
        }
        let share = Double(what.share)
        return zip(s, q).reduce(0) { sum, pair in
            let (s, q) = pair
            guard what.kind == CRUX_JENSEN_SHANNON else {
                return sum + share * exp(q) * (q - s) + (1 - share) * exp(s) * (s - q)
            }
            let m = log((1 - share) * exp(s) + share * exp(q))
            return sum + share * exp(q) * (q - m) + (1 - share) * exp(s) * (s - m)
        }
    }

    @Test(arguments: [5, 1000, 3001]) func derivativesEqualCentralDifferencesOfTheSlowForm(_ n: Int) {
        var generator = SplitMix(seed: UInt64(n))
        let numbers = (0..<2 * n).map { _ in Float(8 * (Double(generator.next() >> 11) / Double(1 << 53) - 0.5)) }
        let policy = Array(numbers[..<n]), teacher = Array(numbers[n...])
        for (kind, share) in [
            (CRUX_FORWARD_REVERSE, Float(1)), (CRUX_FORWARD_REVERSE, 0), (CRUX_FORWARD_REVERSE, 0.25),
            (CRUX_JENSEN_SHANNON, 0.5), (CRUX_JENSEN_SHANNON, 0.75),
        ] {
            for support in [CRUX_SUPPORT_ALL, CRUX_SUPPORT_TEACHER, CRUX_SUPPORT_POLICY] {
                for rest in [CRUX_REST_BUCKET, CRUX_REST_RENORMALIZED, CRUX_REST_DROPPED] {
                    check(settings(kind, share, support, 3, rest), policy, teacher)
                }
            }
        }
    }

    private func check(_ what: crux_divergence, _ policy: [Float], _ teacher: [Float]) {
        let found = evaluate(what, policy, teacher, derivative: 0.7, inverseTemperature: 0.8)
        let z = policy.map { Double($0) }, t = teacher.map { Double($0) }, value = slow(what, z, t, 0.8)
        // A sum over a part may be negative, where it is raised to 0 and flat.
        let isRaised =
            value < 0 && what.rest == CRUX_REST_DROPPED && what.share == 1 && what.support != CRUX_SUPPORT_ALL
        #expect(isClose(found.value, isRaised ? 0 : value, absolute: 5e-6), "\(what): \(found.value) against \(value)")
        let likeliest = [z, t].map { numbers in numbers.indices.max { numbers[$0] < numbers[$1] } ?? 0 }
        for v in likeliest + [0, 1, 2, policy.count - 1] {
            var above = z, below = z
            above[v] += 1e-5
            below[v] -= 1e-5
            let slope = isRaised ? 0 : (slow(what, above, t, 0.8) - slow(what, below, t, 0.8)) / 2e-5
            #expect(isClose(found.gradient[v], 0.7 * slope, absolute: 5e-6), "\(what) at \(v)")
        }
    }

    @Test func aPolicyThatIsItsTeacherHasNothingToLearn() {
        for support in [CRUX_SUPPORT_ALL, CRUX_SUPPORT_TEACHER] {
            for kind in [CRUX_FORWARD_REVERSE, CRUX_JENSEN_SHANNON] {
                let found = evaluate(settings(kind, 0.4, support, 2), Self.teacher)
                let steepest = found.gradient.map { abs($0) }.max() ?? 1
                #expect(abs(found.value) < 1e-6 && steepest < 1e-6)
            }
        }
    }

    @Test func whatTheTeacherExcludesCostsAFiniteAmount() {
        let found = evaluate(settings(CRUX_FORWARD_REVERSE, 0), [0, 0], [0, -.infinity])
        #expect(isClose(found.value, 0.5 * log(0.5) + 0.5 * (log(0.5) + 30), absolute: 1e-5))
        let steepest = found.gradient.map { abs($0) }.max() ?? .infinity
        #expect(steepest < 20)
    }
}
