import Foundation
import Optimizers
import TestSupport
import Testing

@Suite struct AdamWTests {
    @Test(arguments: [0.0, 0.1]) func tenStepsEqualAPlainDoubleLoop(_ weightDecay: Double) {
        var settings = AdamW()
        (settings.lr, settings.weightDecay, settings.eps) = (1e-2, weightDecay, 1e-6)
        let count = 37
        var p = (0..<count).map { Float(sin(Double($0))) }, m = [Float](repeating: 0, count: count), v = m
        var (pd, md, vd) = (
            p.map { Double($0) }, [Double](repeating: 0, count: count), [Double](repeating: 0, count: count)
        )
        for step in 1...10 {
            let g = (0..<count).map { Float(cos(Double($0 * step))) }
            settings.update(
                parameters: &p, gradients: g, expAvg: &m, expAvgSq: &v, count: count, step: step, gradientScale: 0.5)
            for i in 0..<count {
                let gradient = 0.5 * Double(g[i])
                pd[i] *= 1 - 1e-2 * weightDecay
                md[i] = 0.9 * md[i] + 0.1 * gradient
                vd[i] = 0.999 * vd[i] + 0.001 * gradient * gradient
                let denominator = sqrt(vd[i]) / sqrt(1 - pow(0.999, Double(step))) + 1e-6
                pd[i] -= 1e-2 / (1 - pow(0.9, Double(step))) * md[i] / denominator
            }
        }
        // Float32 state over ten steps.
        #expect(firstDifference(p.map { Double($0) }, pd, absolute: 1e-6) == nil)
        // Tight enough to notice 1 - 0.999f in place of 0.001, which is wrong by 1.3e-5.
        #expect(firstDifference(v.map { Double($0) }, vd, relative: 1e-6) == nil)
    }

    @Test func clippingScalesToTheNormAndNeverUp() {
        let settings = AdamW()
        #expect(isClose(settings.gradientScale(norm: 4), 0.25, relative: 1e-6))
        #expect(settings.gradientScale(norm: 0.1) == 1)
        var off = settings
        off.maxGradNorm = nil
        #expect(off.gradientScale(norm: 1e9) == 1)
    }
}
