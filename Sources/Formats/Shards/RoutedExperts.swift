/// Which experts the sampler's routers chose, token by token of a rollout: replayed, a mixture of experts is trained on
/// the way that the sampler went. Engines round otherwise than a trainer does, and one other expert in an early layer
/// changes log-probabilities by more than a step of training.
package struct RoutedExperts: Equatable, Sendable {
    /// Layers of the recording: all of the model's, or those that have experts.
    package let layers: Int
    /// Experts that a token takes in a layer.
    package let chosen: Int
    /// [rows, layers, chosen]; row t is of token t as an input. The last token of a rollout was never one.
    package let experts: [UInt16]

    package init(layers: Int, chosen: Int, experts: [UInt16]) {
        (self.layers, self.chosen, self.experts) = (layers, chosen, experts)
    }

    private var width: Int { layers * chosen }
    package var rows: Int { width == 0 ? 0 : experts.count / width }

    /// A token's, [layers, chosen]; nil where nothing was recorded of it.
    package subscript(token: Int) -> ArraySlice<UInt16>? {
        token < rows ? experts[token * width..<(token + 1) * width] : nil
    }

    /// A token's in one layer of the recording; nil where nothing was recorded of it.
    package subscript(token: Int, layer layer: Int) -> ArraySlice<UInt16>? {
        guard token < rows else { return nil }
        let start = token * width + layer * chosen
        return experts[start..<start + chosen]
    }

    /// What is wrong with it, of `tokens` tokens; nil where nothing is.
    package func fault(tokens: Int) -> RoutedExpertsFault? {
        guard layers > 0, chosen > 0, experts.count % width == 0 else { return .shape }
        guard rows <= tokens else { return .rows(rows) }
        for row in 0..<rows {
            for layer in 0..<layers {
                guard let list = self[row, layer: layer], Self.isTwice(list) else { continue }
                return .twice(row: row, layer: layer)
            }
        }
        return nil
    }

    /// A dense layer of the recording says 0 of all its experts: that is no choice.
    package static func isNoChoice(_ list: ArraySlice<UInt16>) -> Bool { list.count > 1 && list.allSatisfy { $0 == 0 } }

    private static func isTwice(_ list: ArraySlice<UInt16>) -> Bool {
        for (place, expert) in zip(list.indices, list) where list[..<place].contains(expert) {
            return !isNoChoice(list)
        }
        return false
    }
}

package enum RoutedExpertsFault: Equatable, Sendable {
    /// Numbers that make no whole rows.
    case shape
    /// More than the rollout has tokens.
    case rows(Int)
    /// An expert that a token takes twice in a layer would count twice.
    case twice(row: Int, layer: Int)
}
