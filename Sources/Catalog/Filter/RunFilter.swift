/// A condition on runs, as `--where` says it:
///
///     entropy.mask.top = 0.2 and accuracy > 0.3
///     stage in ('plan', 'update') and not (recipe like 'grpo%' or seconds >= 3600)
///     max(heldout_accuracy) > 0.5 and entropy.mask is not null
package indirect enum RunFilter: Equatable, Sendable {
    case comparison(FilterOperand, FilterComparison, FilterOperand)
    case like(FilterName, pattern: String)
    case among(FilterName, [CatalogValue])
    case isNull(FilterName)
    case not(RunFilter)
    case and([RunFilter])
    case or([RunFilter])

    /// - Throws: `FilterError`.
    package init(_ text: String) throws {
        var parser = FilterParser(try FilterTokens(text).all())
        self = try parser.filter()
    }

    /// All that it names, in order and each once.
    package var names: [FilterName] {
        var found: [FilterName] = []
        collect { name in
            if !found.contains(where: { $0.isSame(as: name) }) { found.append(name) }
        }
        return found
    }

    private func collect(_ take: (FilterName) -> Void) {
        switch self {
        case .comparison(let left, _, let right): [left, right].compactMap(\.name).forEach(take)
        case .like(let name, _), .among(let name, _), .isNull(let name): take(name)
        case .not(let filter): filter.collect(take)
        case .and(let filters), .or(let filters): filters.forEach { $0.collect(take) }
        }
    }
}

package enum FilterComparison: String, CaseIterable, Sendable {
    case equal = "="
    case notEqual = "<>"
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="

    /// With its sides exchanged.
    var mirrored: FilterComparison {
        switch self {
        case .equal, .notEqual: self
        case .less: .greater
        case .lessOrEqual: .greaterOrEqual
        case .greater: .less
        case .greaterOrEqual: .lessOrEqual
        }
    }
}

package enum FilterOperand: Equatable, Sendable {
    case name(FilterName)
    case value(CatalogValue)

    var name: FilterName? { if case .name(let name) = self { name } else { nil } }
}

/// A field of runs, a key of recipes, a figure or a metric.
package struct FilterName: Equatable, Sendable, CustomStringConvertible {
    package let text: String
    /// What becomes of a metric's steps; nil: the last one counts.
    package let reduction: MetricReduction?
    /// Where it stands, from 1.
    package let position: Int

    package init(_ text: String, reduction: MetricReduction? = nil, position: Int = 1) {
        (self.text, self.reduction, self.position) = (text, reduction, position)
    }

    /// As it is written.
    package var description: String { reduction.map { "\($0.rawValue)(\(text))" } ?? text }

    func isSame(as other: FilterName) -> Bool { text == other.text && reduction == other.reduction }
}

/// A metric's steps as one number.
package enum MetricReduction: String, CaseIterable, Sendable {
    case first, last, min, max, mean
}

/// What is wrong with a filter, and where.
package struct FilterError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The character, from 1.
    package let position: Int
    package let found: String
    package let expected: String

    package init(position: Int, found: String, expected: String) {
        (self.position, self.found, self.expected) = (position, found, expected)
    }

    package var description: String { "at character \(position): found \(found), expected \(expected)" }
}
