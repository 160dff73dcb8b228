/// What is wrong with a row of a table: which column, what stands there, what should.
package struct RowFault: Equatable, Sendable {
    package let column: String
    package let found: String
    package let expected: String

    package init(_ column: String, _ found: String, _ expected: String) {
        (self.column, self.found, self.expected) = (column, found, expected)
    }
}

/// Something that every row of a table keeps beyond the types of its columns, so that whoever reads the table may trust
/// it.
package struct RowRule<Row>: Sendable {
    /// Columns that it looks at: it is held where all of those are read.
    let columns: Set<String>
    let fault: @Sendable (Row) -> RowFault?

    /// One that looks at one column, its own.
    package init(_ column: String, _ fault: @escaping @Sendable (_ row: Row, _ column: String) -> RowFault?) {
        columns = [column]
        self.fault = { fault($0, column) }
    }

    /// One that looks at several.
    package init(columns: Set<String>, _ fault: @escaping @Sendable (Row) -> RowFault?) {
        (self.columns, self.fault) = (columns, fault)
    }

    package static func named(_ column: String, _ name: @escaping @Sendable (Row) -> String) -> RowRule {
        RowRule(column) { name($0).isEmpty ? RowFault($1, "an empty name", "one that tells rows apart") : nil }
    }

    package static func finite(_ column: String, _ value: @escaping @Sendable (Row) -> Float?) -> RowRule {
        RowRule(column) { row, column in
            guard let value = value(row), !value.isFinite else { return nil }
            return RowFault(column, "\(value)", "a finite number")
        }
    }

    package static func positive(_ column: String, _ value: @escaping @Sendable (Row) -> Float) -> RowRule {
        RowRule(column) { row, column in
            let value = value(row)
            return value > 0 && value.isFinite ? nil : RowFault(column, "\(value)", "a number above 0")
        }
    }

    /// A whole number from `least` on.
    package static func atLeast<Value: FixedWidthInteger & Sendable>(
        _ least: Value, _ column: String, _ value: @escaping @Sendable (Row) -> Value?
    ) -> RowRule {
        RowRule(column) { row, column in
            guard let value = value(row), value < least else { return nil }
            return RowFault(column, "\(value)", "a number from \(least) on")
        }
    }

    /// At least one token, ids from 0 on. Whether a model or logits know them is for who has those.
    package static func tokens(_ column: String, _ tokens: @escaping @Sendable (Row) -> [Int32]) -> RowRule {
        RowRule(column) { row, column in
            let tokens = tokens(row)
            guard !tokens.isEmpty else { return RowFault(column, "no tokens", "at least one") }
            return Self.negative(tokens, column)
        }
    }

    /// Token ids from 0 on, if any.
    package static func ids(_ column: String, _ ids: @escaping @Sendable (Row) -> [Int32]) -> RowRule {
        RowRule(column) { Self.negative(ids($0), $1) }
    }

    private static func negative(_ ids: [Int32], _ column: String) -> RowFault? {
        guard ids.withUnsafeBufferPointer({ $0.reduce(0, |) }) < 0, let place = ids.firstIndex(where: { $0 < 0 }) else {
            return nil
        }
        return RowFault(column, "token id \(ids[place]) at position \(place)", "ids from 0")
    }

    /// The first token is never trainable, because no distribution produced it.
    package static func mask(_ column: String, _ mask: @escaping @Sendable (Row) -> [Bool]) -> RowRule {
        RowRule(column) { row, column in
            let mask = mask(row)
            guard let first = mask.first else { return RowFault(column, "no entries", "one for each token") }
            return first ? RowFault(column, "true on the first token", "false: no distribution produced it") : nil
        }
    }

    package static func trainable(_ column: String, _ mask: @escaping @Sendable (Row) -> [Bool]) -> RowRule {
        RowRule(column) { mask($0).contains(true) ? nil : RowFault($1, "no trainable token", "at least one") }
    }

    /// As many entries in a column, where it has any value, as there are tokens.
    package static func perToken(
        _ column: String, of tokens: String, _ length: @escaping @Sendable (Row) -> Int,
        _ count: @escaping @Sendable (Row) -> Int?
    ) -> RowRule {
        RowRule(columns: [column, tokens]) { row in
            guard let count = count(row) else { return nil }
            return perToken(column, count, length(row))
        }
    }

    package static func perToken(_ column: String, _ count: Int, _ length: Int) -> RowFault? {
        count == length ? nil : RowFault(column, "\(count) entries in \(column)", "\(length), one per token")
    }

    package static func allFinite(_ column: String, _ values: @escaping @Sendable (Row) -> [Float]?) -> RowRule {
        RowRule(column) { row, column in
            guard let values = values(row), !values.withUnsafeBufferPointer(\.areFinite),
                let place = values.firstIndex(where: { !$0.isFinite })
            else { return nil }
            return RowFault(column, "\(values[place]) at position \(place)", "finite numbers")
        }
    }

    package static func noNaN(_ column: String, _ values: @escaping @Sendable (Row) -> [Float]?) -> RowRule {
        RowRule(column) { row, column in
            guard let values = values(row), !values.withUnsafeBufferPointer(\.areFinite),
                let place = values.firstIndex(where: \.isNaN)
            else { return nil }
            return RowFault(column, "NaN at position \(place)", "numbers")
        }
    }

    /// Any other.
    package static func rule(_ column: String, _ fault: @escaping @Sendable (_ row: Row, _ column: String) -> RowFault?)
        -> RowRule
    { RowRule(column, fault) }
}

extension UnsafeBufferPointer<Float> {
    /// All at once, without a branch: exponents of ones are infinities and NaN.
    package var areFinite: Bool {
        let exponent: UInt32 = 0x7f80_0000
        var odd: UInt32 = 0
        for index in 0..<count { odd |= self[index].bitPattern & exponent == exponent ? 1 : 0 }
        return odd == 0
    }
}
