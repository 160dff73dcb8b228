/// Characters that a place of a pattern takes.
struct ScalarSet: Sendable {
    enum Item: Sendable {
        case range(ClosedRange<UInt32>)
        case categories(CategorySet)
        case space
        indirect case not(ScalarSet)
    }

    private(set) var items: [Item] = []
    private(set) var isNegated = false
    /// The answer for each ASCII character, which most texts are made of.
    private var low: UInt64 = 0
    private var high: UInt64 = 0

    init(_ items: [Item], isNegated: Bool = false) {
        (self.items, self.isNegated) = (items, isNegated)
        for value in 0..<UInt8(64) where asked(UInt32(value)) { low |= 1 << UInt64(value) }
        for value in 0..<UInt8(64) where asked(UInt32(value) + 64) { high |= 1 << UInt64(value) }
    }

    init(_ scalar: Unicode.Scalar) { self.init([.range(scalar.value...scalar.value)]) }

    var inverted: ScalarSet { ScalarSet(items, isNegated: !isNegated) }

    @inline(__always)
    func contains(_ value: UInt32) -> Bool {
        if value < 64 { return low >> UInt64(value) & 1 != 0 }
        if value < 128 { return high >> UInt64(value - 64) & 1 != 0 }
        return asked(value)
    }

    private func asked(_ value: UInt32) -> Bool { items.contains { $0.contains(value) } != isNegated }
}

extension ScalarSet.Item {
    fileprivate func contains(_ value: UInt32) -> Bool {
        switch self {
        case .range(let range): range.contains(value)
        case .categories(let categories): categories.contains(value)
        case .space: Unicode.Scalar(value)?.properties.isWhitespace ?? false
        case .not(let set): !set.contains(value)
        }
    }
}

/// General categories, as `\p{L}`, `\p{Lu}` and their like name them.
struct CategorySet: Sendable {
    private var bits: UInt64

    init?(_ name: String) {
        let found = Self.names.filter { $0.name == name || name.count == 1 && $0.name.hasPrefix(name) }
        guard !found.isEmpty else { return nil }
        bits = found.reduce(0) { $0 | 1 << UInt64(Self.place($1.category)) }
    }

    func contains(_ value: UInt32) -> Bool {
        guard let scalar = Unicode.Scalar(value) else { return false }
        return bits >> UInt64(Self.place(scalar.properties.generalCategory)) & 1 != 0
    }

    private static let names: [(name: String, category: Unicode.GeneralCategory)] = [
        ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
        ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
        ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
        ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
        ("Cn", .unassigned),
    ]

    @inline(__always)
    private static func place(_ category: Unicode.GeneralCategory) -> Int {
        switch category {
        case .uppercaseLetter: 0
        case .lowercaseLetter: 1
        case .titlecaseLetter: 2
        case .modifierLetter: 3
        case .otherLetter: 4
        case .nonspacingMark: 5
        case .spacingMark: 6
        case .enclosingMark: 7
        case .decimalNumber: 8
        case .letterNumber: 9
        case .otherNumber: 10
        case .connectorPunctuation: 11
        case .dashPunctuation: 12
        case .openPunctuation: 13
        case .closePunctuation: 14
        case .initialPunctuation: 15
        case .finalPunctuation: 16
        case .otherPunctuation: 17
        case .mathSymbol: 18
        case .currencySymbol: 19
        case .modifierSymbol: 20
        case .otherSymbol: 21
        case .spaceSeparator: 22
        case .lineSeparator: 23
        case .paragraphSeparator: 24
        case .control: 25
        case .format: 26
        case .surrogate: 27
        case .privateUse: 28
        case .unassigned: 29
        @unknown default: 30
        }
    }
}
