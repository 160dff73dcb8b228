import CKernels

/// In what precision layers and heads take the factors of their matrix products. Sums, and everything else, are float32
/// in both.
package enum Precision: String, CaseIterable, Sendable {
    case f32
    /// Both factors rounded to bfloat16, where the processor multiplies those.
    case bf16
}

/// In what precision generation takes the factors of its matrix products. Sums, and everything else, are float32 in all.
/// Each gives the same bytes on every processor.
package enum GenerationPrecision: String, CaseIterable, Sendable {
    case f32
    /// Weights are kept in bfloat16 and what they stand for is multiplied in float32: the bytes of float32 where the
    /// checkpoint is in bfloat16.
    case bf16Weights = "bf16-weights"
    /// Both factors rounded to bfloat16, sums in the order of AVX-512 BF16's vectors. Twice as fast as float32 on many
    /// rows on AMD's processors.
    case bf16
    /// Both factors rounded to bfloat16, sums in the order of AMX's tiles: on processors with those several times as fast
    /// as any other on many rows.
    case bf16AMX = "bf16-amx"

    /// What to say where another one is faster on this processor.
    package func slownessWarning(on processor: Processor = .this) -> String? {
        let slow: String
        switch self {
        case .f32, .bf16Weights: return nil
        case .bf16AMX:
            if processor.multipliesTiles { return nil }
            slow = "this processor has no tiles of 16-bit products (AMX), whose order of sums is formed without them"
        case .bf16:
            guard processor.multipliesTiles || Processor.halfSpeed < 0.9 else { return nil }
            slow = "this processor has no vectors of 16-bit products, or slower ones than others it has"
        }
        return "--precision \(rawValue): \(slow). "
            + (processor.multipliesTiles
                ? "\(Self.bf16AMX.rawValue) is several times as fast on many rollouts at a time"
                : "\(Self.bf16Weights.rawValue) reads as little memory, may be faster, and is exacter")
    }

    package var bytesPerWeight: Int { self == .f32 ? 4 : 2 }
}

/// What a processor can do, as far as it decides what is computed with.
package struct Processor: Sendable {
    /// AVX-512 BF16. A processor with AMX has it too.
    package let multipliesHalves: Bool
    /// AMX, where Linux lets this process use it.
    package let multipliesTiles: Bool
    /// What stands in an error.
    package let name: String

    /// bf16 products in the time of one float32 product, by vectors: below 1 on Intel's processors, 2 on AMD's.
    package static var halfSpeed: Double { crux_half_speed() }

    package init(multipliesHalves: Bool, multipliesTiles: Bool = false, name: String) {
        (self.multipliesHalves, self.multipliesTiles, self.name) = (multipliesHalves, multipliesTiles, name)
    }

    /// The one that this runs on.
    package static let this = Processor(
        multipliesHalves: crux_has_half_products() != 0, multipliesTiles: crux_has_tiles() != 0,
        name: Self.name(of: crux_best_instruction_set()))

    private static func name(of set: crux_instruction_set) -> String {
        switch set {
        case CRUX_PLAIN: "one without AVX2"
        case CRUX_AVX2: "one with AVX2"
        default: "one with AVX-512"
        }
    }
}

/// Why there are no 16-bit products here: what was found, what was expected, what can be done.
package struct NoHalfProducts: Error, Equatable, CustomStringConvertible {
    package let description: String
}

extension Precision {
    /// What passes over whole sequences compute with; nil for float32. Throws where this precision isn't to be had.
    package func products(_ processor: Processor = .this) throws -> HalfProducts? {
        guard self == .bf16 else { return nil }
        guard processor.multipliesHalves else {
            throw NoHalfProducts(
                description:
                    "found no 16-bit products on this processor (\(processor.name), but not AVX-512 BF16), expected a "
                    + "processor with them (Cooper Lake, Sapphire Rapids, Zen 4 or newer). Leave --precision out: "
                    + "float32 runs everywhere.")
        }
        return try HalfProducts.loaded()
    }

    /// What to say where this processor has 16-bit products that are no gain; nil elsewhere.
    package var slownessWarning: String? {
        guard self == .bf16, isAvailable, !Processor.this.multipliesTiles, Processor.halfSpeed < 0.9 else { return nil }
        return "--precision \(rawValue): this processor's instructions multiply 16-bit numbers more slowly than "
            + "float32 ones (AVX-512 BF16 without AMX): float32 may be faster, and is exacter"
    }

    /// Whether `products` gives them here.
    package var isAvailable: Bool {
        do {
            _ = try products()
            return true
        } catch { return false }
    }
}
