import Files
import Formats
import Foundation
import Tensors

/// How a checkpoint stretches rotary positions beyond its training length. Every kind gives inverse frequencies [D/2]
/// and a factor on cosines and sines; formulas follow transformers' `modeling_rope_utils`, in float32 like there.
package struct RotaryScaling: Sendable {
    package let base: Double
    private let kind: any RotaryKind
    /// Of a head's elements, as far as the file says.
    private let partialFactor: Double?

    /// Reads `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (before).
    package init(_ configuration: ModelConfiguration, defaultBase: Double = 10_000, maxPositions: Int) throws {
        let fallback = try configuration.double("rope_theta", default: defaultBase)
        let section = try Self.section(configuration, defaultBase: fallback)
        try section.map { try Self.refuseLayerTypes($0, in: configuration) }
        try self.init(section, in: configuration, defaultBase: fallback, maxPositions: maxPositions)
    }

    /// Of the layers of one type: its part of `rope_parameters` (transformers 5), or `baseKey` and, for layers that see
    /// all, `rope_scaling` (before). `base`: where the file has none.
    init(
        _ configuration: ModelConfiguration, of layerType: String, baseKey: String, _ base: Double, maxPositions: Int
    ) throws {
        let fallback = try configuration.double(baseKey, default: base)
        let section = try Self.section(configuration, of: layerType)
        try self.init(section, in: configuration, defaultBase: fallback, maxPositions: maxPositions)
    }

    /// Of Phi-3, whose scaling is longrope by whatever name.
    init(longrope configuration: ModelConfiguration, maxPositions: Int) throws {
        let fallback = try configuration.double("rope_theta", default: 10_000)
        let section = try Self.section(configuration, defaultBase: fallback)
        try section.map { try Self.refuseLayerTypes($0, in: configuration) }
        let kind = try section.flatMap { try LongRotary($0, in: configuration, maxPositions: maxPositions) }
        try self.init(section, in: configuration, defaultBase: fallback, kind: kind ?? DefaultRotary())
    }

    private init(
        _ section: ModelConfiguration?, in configuration: ModelConfiguration, defaultBase fallback: Double,
        maxPositions: Int
    ) throws {
        try section.map { try Self.check($0, in: configuration) }
        let kind = try section.map { try Self.kind($0, maxPositions: maxPositions) } ?? DefaultRotary()
        try self.init(section, in: configuration, defaultBase: fallback, kind: kind)
    }

    private init(
        _ section: ModelConfiguration?, in configuration: ModelConfiguration, defaultBase fallback: Double,
        kind: any RotaryKind
    ) throws {
        self.kind = kind
        base = try section?.double("rope_theta", default: fallback) ?? fallback
        guard base > 0, base.isFinite else {
            throw (section ?? configuration).error("rope_theta", found: "\(base)", expected: "a number above 0")
        }
        let holder = [section, configuration].compactMap { $0 }.first { $0.has("partial_rotary_factor") }
        partialFactor = try holder?.double("partial_rotary_factor")
    }

    /// Longer sequences are rotated by another table than shorter ones; nil: all by the same.
    var longSequences: Int? { kind.longSequences }

    /// Elements of a head that are rotated: the file's share, else `fallback`.
    func rotatedWidth(_ headWidth: Int, _ configuration: ModelConfiguration, default fallback: Double) throws -> Int {
        let factor = partialFactor ?? fallback, width = factor * Double(headWidth)
        guard width >= 2, factor <= 1, Int(width) % 2 == 0 else {
            throw configuration.error(
                "partial_rotary_factor", found: "\(factor)",
                expected: "a share of head_dim, \(headWidth), that gives an even number of elements")
        }
        try kind.check(width: Int(width))
        return Int(width)
    }

    /// Where a family rotates whole heads.
    func refusePartial(_ configuration: ModelConfiguration) throws {
        guard let partialFactor, partialFactor != 1 else { return }
        throw configuration.error("partial_rotary_factor", found: "\(partialFactor)", expected: "1")
    }

    /// The section that counts. transformers 5 takes `rope_scaling` where both stand, with a base from outside of both;
    /// engines take the other: files in which they differ have no one meaning.
    private static func section(_ configuration: ModelConfiguration, defaultBase: Double) throws -> ModelConfiguration?
    {
        let new = configuration.isActive("rope_parameters") ? try configuration.section("rope_parameters") : nil
        let old = configuration.isActive("rope_scaling") ? try configuration.section("rope_scaling") : nil
        guard let new, let old else { return new ?? old }
        guard new.saysTheSame(as: old, defaults: ["rope_theta": defaultBase]) else {
            throw configuration.error(
                "rope_scaling", found: "\(configuration.spelled("rope_scaling")) beside another rope_parameters",
                expected: "one of the two",
                remedy:
                    "transformers 5 reads rope_scaling, others rope_parameters; keep the one that the model was trained with."
            )
        }
        return new
    }

    /// The part of `rope_parameters` that is a layer type's, else `rope_scaling`, which only layers that see all have.
    private static func section(_ configuration: ModelConfiguration, of layerType: String) throws
        -> ModelConfiguration?
    {
        let isFull = layerType == "full_attention"
        let old = configuration.isActive("rope_scaling") ? try configuration.section("rope_scaling") : nil
        guard configuration.isActive("rope_parameters"), let new = try configuration.section("rope_parameters") else {
            try old.map { try refuseLayerTypes($0, in: configuration) }
            return isFull ? old : nil
        }
        guard old == nil else {
            throw configuration.error(
                "rope_scaling", found: "\(configuration.spelled("rope_scaling")) beside rope_parameters",
                expected: "one of the two", remedy: "Keep the one that the model was trained with.")
        }
        guard !new.sections.isEmpty else {
            throw configuration.error(
                "rope_parameters", found: configuration.spelled("rope_parameters"),
                expected: "parameters for each of full_attention and sliding_attention")
        }
        guard let own = try new.section(layerType) else { return nil }
        // transformers reads it beside the layer types' parameters and passes over it within.
        guard !own.has("truncate") else {
            throw own.error("truncate", found: own.spelled("truncate"), expected: "none in a layer type's parameters")
        }
        return own
    }

    private static func refuseLayerTypes(_ section: ModelConfiguration, in configuration: ModelConfiguration) throws {
        guard let layerType = section.sections.first else { return }
        throw section.error(
            layerType, found: "parameters of its own", expected: "one rope_parameters for all layers",
            remedy: "model_type \(try configuration.string("model_type")) has no positions by layer type.")
    }

    private static func check(_ section: ModelConfiguration, in configuration: ModelConfiguration) throws {
        let key = "original_max_position_embeddings",
            type = try section.string("rope_type", default: try section.string("type", default: ""))
        guard configuration.has(key), type == "yarn" || type == "llama3" else { return }
        let outer = try configuration.size(key)
        guard try section.size(key, default: outer) == outer, section.has(key) else {
            throw configuration.error(
                key, found: "\(outer), and \(section.spelled(key)) in the rotary parameters",
                expected: "the same in both places")
        }
    }

    /// `width`: rotated elements of a head of `headWidth`.
    func table(width: Int, headWidth: Int, pairs: RotaryPairs, positions: Int) throws -> RotaryTable {
        try kind.check(positions: positions)
        return RotaryTable(
            kind.stretches(plainFrequencies(width), base: base, positions: positions),
            attentionFactor: kind.attentionFactor, headWidth: headWidth, pairs: pairs)
    }

    private func plainFrequencies(_ width: Int) -> [Float] {
        stride(from: 0, to: width, by: 2).map { 1 / Float(pow(base, Double(Float($0) / Float(width)))) }
    }

    private static func kind(_ section: ModelConfiguration, maxPositions: Int) throws -> any RotaryKind {
        let name = try section.string("rope_type", default: try section.string("type", default: "default"))
        guard let make = kinds[name] else {
            throw section.error(
                "rope_type", found: "'\(name)'", expected: "one of \(kinds.keys.sorted().joined(separator: ", "))")
        }
        return try make(section, maxPositions)
    }

    private static let kinds: [String: @Sendable (ModelConfiguration, Int) throws -> any RotaryKind] = [
        "default": { _, _ in DefaultRotary() },
        "dynamic": { section, maxPositions in DynamicRotary(path: section.path, trainedPositions: maxPositions) },
        "linear": { section, _ in LinearRotary(factor: Float(try section.double("factor"))) },
        "llama3": Llama3Rotary.init,
        "yarn": YarnRotary.init,
    ]
}

private protocol RotaryKind: Sendable {
    var attentionFactor: Float { get }
    /// See `RotaryScaling.longSequences`.
    var longSequences: Int? { get }
    func scale(_ frequencies: [Float], base: Double) -> [Float]
    func stretches(_ frequencies: [Float], base: Double, positions: Int) -> [RotaryTable.Stretch]
    func check(positions: Int) throws
    func check(width: Int) throws
}

extension RotaryKind {
    var attentionFactor: Float { 1 }
    var longSequences: Int? { nil }
    func stretches(_ frequencies: [Float], base: Double, positions: Int) -> [RotaryTable.Stretch] {
        [RotaryTable.Stretch(inverseFrequencies: scale(frequencies, base: base), positions: positions)]
    }
    func check(positions: Int) throws {}
    func check(width: Int) throws {}
}

private struct DefaultRotary: RotaryKind {
    func scale(_ frequencies: [Float], base: Double) -> [Float] { frequencies }
}

private struct LinearRotary: RotaryKind {
    let factor: Float
    func scale(_ frequencies: [Float], base: Double) -> [Float] { frequencies.map { $0 / factor } }
}

/// Dynamic NTK leaves frequencies alone up to the trained length and changes them with the length of each sequence
/// beyond it, so shared prefixes would have no single value there: longer sequences are refused.
private struct DynamicRotary: RotaryKind {
    let path: String
    let trainedPositions: Int

    func scale(_ frequencies: [Float], base: Double) -> [Float] { frequencies }

    func check(positions: Int) throws {
        guard positions > trainedPositions else { return }
        throw FormatError(
            file: path, place: "rope_type dynamic", found: "a sequence of \(positions) tokens",
            expected: "at most max_position_embeddings, \(trainedPositions)",
            remedy: "Use a checkpoint with yarn or linear scaling.")
    }
}

/// Llama 3.1: long wavelengths are slowed by `factor`, short ones kept, those between interpolated.
private struct Llama3Rotary: RotaryKind {
    let factor: Float, lowFrequencyFactor: Float, highFrequencyFactor: Float, trainedPositions: Float

    init(_ section: ModelConfiguration, maxPositions: Int) throws {
        factor = Float(try section.double("factor"))
        lowFrequencyFactor = Float(try section.double("low_freq_factor"))
        highFrequencyFactor = Float(try section.double("high_freq_factor"))
        trainedPositions = Float(try section.int("original_max_position_embeddings", default: maxPositions))
    }

    func scale(_ frequencies: [Float], base: Double) -> [Float] {
        frequencies.map { frequency in
            let wavelength = 2 * Float.pi / frequency
            if wavelength > trainedPositions / lowFrequencyFactor { return frequency / factor }
            if wavelength < trainedPositions / highFrequencyFactor { return frequency }
            let smooth =
                (trainedPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
            return (1 - smooth) * frequency / factor + smooth * frequency
        }
    }
}

/// LongRoPE: each frequency is divided by a factor of its own, from one list up to the trained length and from another in
/// longer sequences, from their first token on. A table of both has the short one's positions first.
private struct LongRotary: RotaryKind {
    let attentionFactor: Float
    private let short: [Float], long: [Float]
    private let trainedPositions: Int
    private let section: ModelConfiguration

    var longSequences: Int? { trainedPositions }

    /// nil where the section asks for no scaling.
    init?(_ section: ModelConfiguration, in configuration: ModelConfiguration, maxPositions: Int) throws {
        let name = try section.string("rope_type", default: try section.string("type", default: "default"))
        guard name != "default" else { return nil }
        guard ["longrope", "su", "yarn"].contains(name) else {
            throw section.error("rope_type", found: "'\(name)'", expected: "default or longrope (older: su, yarn)")
        }
        self.section = section
        trainedPositions = try Self.trainedPositions(section, configuration)
        (short, long) = (try Self.factors("short_factor", section), try Self.factors("long_factor", section))
        let ratio = Double(maxPositions) / Double(trainedPositions),
            factor = try section.double("factor", default: ratio)
        let usual = factor <= 1 ? 1 : (1 + log(factor) / log(Double(trainedPositions))).squareRoot()
        attentionFactor = Float(try section.double("attention_factor", default: usual))
    }

    /// transformers takes the configuration's own key, which has a default, and never the section's.
    private static func trainedPositions(_ section: ModelConfiguration, _ configuration: ModelConfiguration) throws
        -> Int
    {
        let key = "original_max_position_embeddings"
        let trained = try configuration.size(key, default: 4096)
        guard try section.size(key, default: trained) == trained else {
            throw section.error(
                key, found: section.spelled(key), expected: "\(trained), as config.json itself has it or by default")
        }
        return trained
    }

    private static func factors(_ key: String, _ section: ModelConfiguration) throws -> [Float] {
        guard let factors = try section.doubles(key), factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw section.error(key, found: section.spelled(key), expected: "a list of numbers above 0")
        }
        return factors.map { Float($0) }
    }

    func check(width: Int) throws {
        for (key, factors) in [("short_factor", short), ("long_factor", long)] where factors.count != width / 2 {
            throw section.error(
                key, found: "\(factors.count) numbers", expected: "\(width / 2), half of the rotated width")
        }
    }

    func scale(_ frequencies: [Float], base: Double) -> [Float] { divide(frequencies, by: short) }

    func stretches(_ frequencies: [Float], base: Double, positions: Int) -> [RotaryTable.Stretch] {
        let own = RotaryTable.Stretch(
            inverseFrequencies: divide(frequencies, by: short), positions: min(positions, trainedPositions))
        guard positions > trainedPositions else { return [own] }
        return [
            own, RotaryTable.Stretch(inverseFrequencies: divide(frequencies, by: long), positions: positions),
        ]
    }

    private func divide(_ frequencies: [Float], by factors: [Float]) -> [Float] { zip(frequencies, factors).map(/) }
}

/// YaRN: fast dimensions kept, slow ones interpolated, a ramp between; attention is tempered by `attentionFactor`.
private struct YarnRotary: RotaryKind {
    let attentionFactor: Float
    let factor: Float, fastRotations: Double, slowRotations: Double, truncate: Bool, trainedPositions: Double

    init(_ section: ModelConfiguration, maxPositions: Int) throws {
        let trained = try section.int("original_max_position_embeddings", default: maxPositions)
        let factor = try section.double("factor", default: Double(maxPositions) / Double(trained))
        self.factor = Float(factor)
        trainedPositions = Double(trained)
        fastRotations = try section.double("beta_fast", default: 32)
        slowRotations = try section.double("beta_slow", default: 1)
        truncate = try section.bool("truncate", default: true)
        attentionFactor = try Self.attentionFactor(section, factor: factor)
    }

    private static func attentionFactor(_ section: ModelConfiguration, factor: Double) throws -> Float {
        if section.has("attention_factor") { return Float(try section.double("attention_factor")) }
        let mscale = try section.double("mscale", default: 0),
            allDimensions = try section.double("mscale_all_dim", default: 0)
        func temper(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
        return Float(mscale != 0 && allDimensions != 0 ? temper(mscale) / temper(allDimensions) : temper(1))
    }

    func scale(_ frequencies: [Float], base: Double) -> [Float] {
        let (low, high) = correctionRange(width: 2 * frequencies.count, base: base)
        return frequencies.enumerated().map { index, frequency in
            let ramp = min(max((Float(index) - Float(low)) / Float(high - low), 0), 1)
            return frequency / factor * ramp + frequency * (1 - ramp)
        }
    }

    private func correctionRange(width: Int, base: Double) -> (Double, Double) {
        func dimension(_ rotations: Double) -> Double {
            Double(width) * log(trainedPositions / (rotations * 2 * .pi)) / (2 * log(base))
        }
        var low = dimension(fastRotations), high = dimension(slowRotations)
        if truncate { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        (low, high) = (max(low, 0), min(high, Double(width - 1)))
        return (low, low == high ? high + 0.001 : high)
    }
}
