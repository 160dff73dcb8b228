/// The four normalization forms of the Unicode Standard (Annex 15), version `NormalizationTables.version`. Foundation's
/// are others: it takes supplementary characters for their lower 16 bits and leaves some marks out of order.
package enum NormalizationForm: String, Sendable, CaseIterable {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    private var composes: Bool { self == .nfc || self == .nfkc }
    private var isCompatible: Bool { self == .nfkc || self == .nfkd }

    package func apply(_ text: String) -> String {
        if isNormalized(text) { return text }
        let tables = NormalizationTables.shared
        var scalars: [UInt32] = []
        for scalar in text.unicodeScalars { tables.decompose(scalar.value, isCompatible: isCompatible, into: &scalars) }
        tables.order(&scalars)
        if composes { tables.compose(&scalars) }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: scalars.lazy.compactMap(Unicode.Scalar.init))
        return String(result)
    }

    /// True where every character is one that the form never touches and that never touches its neighbours; else it has
    /// to be tried.
    private func isNormalized(_ text: String) -> Bool {
        // Below U+0300 nothing combines, and below U+00A0 nothing has a compatible form: most texts end here.
        let plain: UInt32 = self == .nfc ? 0x300 : composes ? 0xa0 : isCompatible ? 0xa0 : 0xc0
        var tables: NormalizationTables?
        for scalar in text.unicodeScalars where scalar.value >= plain {
            let known = tables ?? NormalizationTables.shared
            tables = known
            if known.isTouched(scalar.value, composes: composes, isCompatible: isCompatible) { return false }
        }
        return true
    }
}

/// Hangul syllables are composed by arithmetic.
private enum Hangul {
    static let syllables: UInt32 = 0xac00, leading: UInt32 = 0x1100, vowels: UInt32 = 0x1161, trailing: UInt32 = 0x11a7
    static let leadingCount: UInt32 = 19, vowelCount: UInt32 = 21, trailingCount: UInt32 = 28
    static let count = leadingCount * vowelCount * trailingCount

    static func isSyllable(_ scalar: UInt32) -> Bool { scalar >= syllables && scalar < syllables + count }
}

struct NormalizationTables: Sendable {
    static let shared = NormalizationTables()

    /// By code point; 0 where there is none.
    private let classes: [UInt32: UInt8]
    /// One step, not to the end.
    private let canonical: [UInt32: [UInt32]]
    private let compatible: [UInt32: [UInt32]]
    private let compositions: [UInt64: UInt32]
    /// Characters that may join what stands before them.
    private let joining: Set<UInt32>

    private init() {
        classes = Self.readClasses(Self.combiningClasses)
        canonical = Self.readMappings(Self.canonicalMappings)
        compatible = Self.readMappings(Self.compatibilityMappings)
        let excluded = Set(Self.numbers(Self.compositionExclusions))
        var compositions: [UInt64: UInt32] = [:], joining = Set<UInt32>()
        for (whole, parts) in canonical where parts.count == 2 && !excluded.contains(whole) {
            compositions[Self.pair(parts[0], parts[1])] = whole
            joining.insert(parts[1])
        }
        joining.formUnion(Hangul.vowels..<Hangul.vowels + Hangul.vowelCount)
        joining.formUnion(Hangul.trailing + 1..<Hangul.trailing + Hangul.trailingCount)
        (self.compositions, self.joining) = (compositions, joining)
    }

    // MARK: reading

    private static func numbers(_ text: String) -> [UInt32] {
        text.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt32($0, radix: 16) }
    }

    /// `CLASS:FIRST-LAST,…`, the class in decimal, FIRST alone where it is LAST.
    private static func readClasses(_ text: String) -> [UInt32: UInt8] {
        var classes: [UInt32: UInt8] = [:]
        for entry in text.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
            let parts = entry.split(separator: ":")
            guard parts.count == 2, let number = UInt8(parts[0]) else { continue }
            for range in parts[1].split(separator: ",") {
                let ends = range.split(separator: "-").compactMap { UInt32($0, radix: 16) }
                for scalar in ends[0]...(ends.last ?? ends[0]) { classes[scalar] = number }
            }
        }
        return classes
    }

    /// `CODE=PART,PART,…`.
    private static func readMappings(_ text: String) -> [UInt32: [UInt32]] {
        var mappings: [UInt32: [UInt32]] = [:]
        for entry in text.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
            let sides = entry.split(separator: "=")
            guard sides.count == 2, let code = UInt32(sides[0], radix: 16) else { continue }
            mappings[code] = sides[1].split(separator: ",").compactMap { UInt32($0, radix: 16) }
        }
        return mappings
    }

    private static func pair(_ a: UInt32, _ b: UInt32) -> UInt64 { UInt64(a) << 32 | UInt64(b) }

    // MARK: the algorithms

    /// Whether a form can change this character or let it join or pass a neighbour.
    func isTouched(_ scalar: UInt32, composes: Bool, isCompatible: Bool) -> Bool {
        if classes[scalar] != nil || isCompatible && compatible[scalar] != nil { return true }
        guard composes else { return canonical[scalar] != nil || Hangul.isSyllable(scalar) }
        if joining.contains(scalar) { return true }
        guard let parts = canonical[scalar] else { return false }
        // A composite that comes back as itself, unless its first part has a compatible form of its own.
        return parts.count != 2 || compositions[Self.pair(parts[0], parts[1])] != scalar || isCompatible
    }

    func decompose(_ scalar: UInt32, isCompatible: Bool, into result: inout [UInt32]) {
        if Hangul.isSyllable(scalar) {
            let index = scalar - Hangul.syllables, tail = index % Hangul.trailingCount
            result.append(Hangul.leading + index / (Hangul.vowelCount * Hangul.trailingCount))
            result.append(Hangul.vowels + index / Hangul.trailingCount % Hangul.vowelCount)
            if tail > 0 { result.append(Hangul.trailing + tail) }
        } else if let parts = canonical[scalar] ?? (isCompatible ? compatible[scalar] : nil) {
            for part in parts { decompose(part, isCompatible: isCompatible, into: &result) }
        } else {
            result.append(scalar)
        }
    }

    /// Each run of marks by its class, equal ones as they stood.
    func order(_ scalars: inout [UInt32]) {
        var start = 0
        while start < scalars.count {
            guard classes[scalars[start]] != nil else {
                start += 1
                continue
            }
            var end = start
            while end < scalars.count, classes[scalars[end]] != nil { end += 1 }
            if end - start > 1 {
                let marks = scalars[start..<end].enumerated().map { (place: $0, class: classes[$1] ?? 0, scalar: $1) }
                let sorted = marks.sorted { $0.class != $1.class ? $0.class < $1.class : $0.place < $1.place }
                scalars.replaceSubrange(start..<end, with: sorted.map(\.scalar))
            }
            start = end
        }
    }

    /// Each character with the last starter before it, where nothing between blocks it.
    func compose(_ scalars: inout [UInt32]) {
        var result: [UInt32] = [], starter: Int?, lastClass: UInt8 = 0
        for scalar in scalars {
            let own = classes[scalar] ?? 0
            if let place = starter, place == result.count - 1 || lastClass < own,
                let whole = composition(result[place], scalar)
            {
                result[place] = whole
                continue
            }
            if own == 0 { starter = result.count }
            lastClass = own
            result.append(scalar)
        }
        scalars = result
    }

    private func composition(_ a: UInt32, _ b: UInt32) -> UInt32? {
        if let whole = compositions[Self.pair(a, b)] { return whole }
        if a >= Hangul.leading, a < Hangul.leading + Hangul.leadingCount, b >= Hangul.vowels,
            b < Hangul.vowels + Hangul.vowelCount
        {
            return Hangul.syllables + ((a - Hangul.leading) * Hangul.vowelCount + (b - Hangul.vowels))
                * Hangul.trailingCount
        }
        guard Hangul.isSyllable(a), (a - Hangul.syllables) % Hangul.trailingCount == 0 else { return nil }
        return b > Hangul.trailing && b < Hangul.trailing + Hangul.trailingCount ? a + b - Hangul.trailing : nil
    }
}
