import Formats
import Randomness

/// Where a token stands in the dump.
package struct TokenPlace: Encodable, Equatable, Sendable {
    package let row: Int
    package let position: Int

    /// A number that is as good as drawn by chance, and the same on every run.
    fileprivate var lot: UInt64 {
        var generator = SplitMix64(seed: UInt64(row) << 32 ^ UInt64(position))
        return generator.next()
    }
}

/// What is known of one token over a dump.
package struct TokenFigures: Sendable {
    package fileprivate(set) var entropy = Mean()
    package fileprivate(set) var right = 0
    package fileprivate(set) var wrong = 0
    /// In the first plan, where there is one.
    package fileprivate(set) var kept = 0
    /// A few of its places, drawn by lot, in the dump's order.
    package var places: [TokenPlace] { drawn.map(\.place).sorted { ($0.row, $0.position) < ($1.row, $1.position) } }
    private var drawn: [(lot: UInt64, place: TokenPlace)] = []

    package static let mostPlaces = 6

    fileprivate mutating func draw(_ place: TokenPlace) { draw(place.lot, place) }

    /// Keeps the smallest lots.
    private mutating func draw(_ lot: UInt64, _ place: TokenPlace) {
        if drawn.count == Self.mostPlaces {
            guard let last = drawn.last, lot < last.lot else { return }
            drawn.removeLast()
        }
        drawn.insert((lot, place), at: drawn.firstIndex { $0.lot > lot } ?? drawn.endIndex)
    }

    fileprivate mutating func add(_ other: TokenFigures) {
        entropy.add(other.entropy)
        (right, wrong, kept) = (right + other.right, wrong + other.wrong, kept + other.kept)
        for (lot, place) in other.drawn { draw(lot, place) }
    }
}

/// Entropies of a dump by token: the table that forks are read from.
package struct TokenTally: RolloutTally {
    package private(set) var tokens: [Int32: TokenFigures] = [:]

    package init() {}

    package mutating func add(_ view: RolloutView) {
        guard let entropy = view.score.entropy else { return }
        let plan = view.entries.first?.rows.first, judgement = Judgement(view.score.correct)
        for t in view.trainable {
            let isKept = plan?.keeps(t) ?? false
            tokens[view.rollout.tokenIDs[t], default: TokenFigures()].update {
                $0.entropy.add(Double(entropy[t]))
                $0.right += judgement == .right ? 1 : 0
                $0.wrong += judgement == .wrong ? 1 : 0
                $0.kept += isKept ? 1 : 0
                $0.draw(TokenPlace(row: view.number, position: t))
            }
        }
    }

    /// What comes after in the dump.
    package mutating func add(_ next: TokenTally) {
        for (token, figures) in next.tokens { tokens[token, default: TokenFigures()].update { $0.add(figures) } }
    }

    /// Tokens that occur more than `minimumCount` times, highest mean first; equal means by token.
    package func table(minimumCount: Int) -> [(token: Int32, figures: TokenFigures)] {
        tokens.filter { $0.value.entropy.count > minimumCount }.map { ($0.key, $0.value) }
            .sorted { one, two in
                let means = (one.1.entropy.value ?? 0, two.1.entropy.value ?? 0)
                return means.0 == means.1 ? one.0 < two.0 : means.0 > means.1
            }
    }
}

extension TokenFigures {
    /// In place, where it lies in a dictionary.
    fileprivate mutating func update(_ change: (inout TokenFigures) -> Void) { change(&self) }
}
