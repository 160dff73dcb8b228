import Foundation
import Models
import Tensors

/// Sampling from models of real shapes, beside other programs on the same cores, turn by turn.
struct GenerationBench {
    let machine: MachineLimits
    let threads: Int
    let peers: [SamplingPeer]
    /// The peers' models have this type.
    let precision: GenerationPrecision
    /// Rollouts at a time.
    let batches: [Int]
    var shapes = SamplingShape.all

    private static let prompt = 32
    private static let new = 128
    private static let rounds = 2
    private static let groupSize = 8

    func run() throws {
        for shape in shapes { try run(shape) }
    }

    private func run(_ shape: SamplingShape) throws {
        let architecture = try ModelRegistry.architecture(
            try ModelConfiguration(json: Data(shape.configuration.utf8), path: "bench"))
        let model = LanguageModel(
            architecture, parameters: Self.weights(ParameterLayout(architecture).count), threads: threads)
        say(
            "generation, \(shape.name) shape (\(architecture.layers) layers, \(precision.rawValue)), prompts of \(Self.prompt) tokens, \(Self.new) new ones each:"
        )
        // One that doesn't run here costs its figures, not the others'.
        let baselines = peers.compactMap { peer -> (SamplingPeer, Baseline)? in
            do {
                return (
                    peer,
                    try Baseline(
                        python: peer.python,
                        [peer.script, shape.configuration, precision == .f32 ? "f32" : "bf16"])
                )
            } catch {
                say("  \(peer.name): left out: \(error)")
                return nil
            }
        }
        for batch in batches { try run(batch, shape, model, baselines) }
    }

    private static func weights(_ count: Int) -> Buffer {
        let buffer = Buffer(uninitialized: count)
        for i in 0..<count { buffer.pointer[i] = Float((i &* 2_654_435_761) & 0xffff) / 65536 * 0.04 - 0.02 }
        return buffer
    }

    /// Ours with different prompts and with groups, and each peer, in turns; the best of each.
    private func run(
        _ batch: Int, _ shape: SamplingShape, _ model: LanguageModel, _ baselines: [(SamplingPeer, Baseline)]
    ) throws {
        let generator = Generator(model, stopTokens: [], slots: batch, precision: precision)
        let asked = baselines.filter { $0.0.batches.contains(batch) }
        var different = 0.0, grouped = 0.0, theirs = [Double](repeating: 0, count: asked.count)
        for _ in 0..<Self.rounds {
            different = max(different, try rate(generator, batch, rolloutsPerPrompt: 1))
            if batch > 1 { grouped = max(grouped, try rate(generator, batch, rolloutsPerPrompt: Self.groupSize)) }
            for (index, (_, baseline)) in asked.enumerated() {
                let answer = try baseline.ask("\(batch) \(Self.prompt) \(Self.new) \(threads)")
                theirs[index] = max(theirs[index], answer[0])
            }
        }
        let bytes = Double(precision.bytesPerWeight * model.layout.count), isDense = model.architecture.experts == nil
        say(
            "  batch \(batch): different prompts \(text(different)) tokens/s"
                + (batch > 1 ? ", groups of \(Self.groupSize) \(text(grouped))" : "")
                + (isDense
                    ? " (reading the weights alone would allow \(text(machine.readBandwidth / bytes * Double(batch))))"
                    : ""))
        for (index, (peer, _)) in asked.enumerated() {
            let ours = [(different, false)] + (batch > 1 ? [(grouped, true)] : [])
            let ratios = ours.map { rate, sharesPrompts in
                (sharesPrompts ? "groups" : "different prompts")
                    + String(format: " %.2f times as fast", rate / theirs[index])
                    + ((shape.requirement ?? peer.requirement(batch, sharesPrompts)).map {
                        " " + $0.verdict(rate / theirs[index])
                    } ?? "")
            }
            say("    \(peer.name) \(text(theirs[index])) tokens/s: \(ratios.joined(separator: "; "))")
        }
    }

    private func rate(_ generator: Generator, _ batch: Int, rolloutsPerPrompt: Int) throws -> Double {
        let requests = (0..<batch).map { (index: Int) -> GenerationRequest in
            let prompt = (0..<Self.prompt).map { (place: Int) -> Int32 in
                Int32((place * 61 + index / rolloutsPerPrompt * 1009 + 7) % generator.vocabulary)
            }
            return GenerationRequest(
                prompt: prompt, maxTokens: Self.new, seed: UInt64(index), sampling: SamplingParameters())
        }
        return Double(batch * Self.new) / (try seconds { try generator.run(requests) { _, _ in } })
    }
}
