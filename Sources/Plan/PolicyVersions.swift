/// Versions of the policies that sampled a dump, in their order: as numbers where all are numbers, otherwise as people
/// read names with numbers in them, step-9 before step-10.
enum PolicyVersions {
    /// What the report says where there are several.
    static func line(_ versions: [String]) -> [String] {
        let sorted = sorted(versions)
        guard let first = sorted.first, let last = sorted.last, sorted.count > 1 else { return [] }
        return ["policy versions: \(sorted.count), from \(first) to \(last)"]
    }

    static func sorted(_ versions: [String]) -> [String] {
        let numbers = versions.compactMap { Double($0) }.filter(\.isFinite)
        guard numbers.count == versions.count else {
            return versions.sorted { pieces($0).lexicographicallyPrecedes(pieces($1)) }
        }
        // Equal as floating-point numbers, long ones may differ as names.
        return zip(numbers, versions).sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1)
    }

    /// Runs of digits and single other bytes.
    private enum Piece: Comparable {
        case digits(count: Int, [UInt8])
        case byte(UInt8)

        static func < (a: Piece, b: Piece) -> Bool {
            switch (a, b) {
            case (.digits(let count, let digits), .digits(let other, let others)):
                count != other ? count < other : digits.lexicographicallyPrecedes(others)
            case (.byte(let byte), .byte(let other)): byte < other
            case (.digits, .byte(let byte)): UInt8(ascii: "0") < byte
            case (.byte(let byte), .digits): byte < UInt8(ascii: "0")
            }
        }
    }

    private static func pieces(_ name: String) -> [Piece] {
        var pieces: [Piece] = [], rest = Array(name.utf8)[...]
        while let first = rest.first {
            let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            guard !digits.isEmpty else {
                pieces.append(.byte(first))
                rest.removeFirst()
                continue
            }
            let value = digits.drop { $0 == UInt8(ascii: "0") }
            pieces.append(.digits(count: value.count, Array(value)))
            rest.removeFirst(digits.count)
        }
        return pieces
    }
}
