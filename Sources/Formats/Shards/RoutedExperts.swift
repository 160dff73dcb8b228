import Files

/// To which experts each token of a rollout was routed while it was sampled, layer by layer. A model that replays them
/// gives the probabilities that the sampler's gave, whatever its own router would choose by a hair.
package struct RoutedExperts: Equatable, Sendable {
    /// Name of the tensor in shards, and of the metadata key that says which token its first row is of.
    package static let key = "routed_experts", startKey = "routed_experts_start"

    /// The first token that has a row. Row t is of token t as an input; the last token of a sequence was never fed, so
    /// that engines have one row less than tokens.
    package let start: Int
    package let rows: Int
    /// All layers of the model, those without experts all zeros, or the layers with experts alone.
    package let layers: Int
    /// Experts of each token.
    package let perToken: Int
    /// [rows, layers, perToken]
    package let values: [UInt16]

    /// nil where there are not as many values as the shape says.
    package init?(values: [UInt16], start: Int = 0, rows: Int, layers: Int, perToken: Int) {
        guard start >= 0, rows >= 0, layers > 0, perToken > 0, layers <= Self.most, perToken <= Self.most,
            values.count == rows * layers * perToken
        else { return nil }
        (self.values, self.start, self.rows, self.layers, self.perToken) = (values, start, rows, layers, perToken)
    }

    /// Bound on layers and on experts of a token: their product with a context's length stays a number.
    package static let most = 1 << 12

    /// Shape and first token, as the column `routed_experts_shape` has them.
    package var shape: [Int32] { [rows, layers, perToken, start].map { Int32(clamping: $0) } }

    /// The experts of a token, by its position in the sequence, in a layer of those that are recorded; nil where the
    /// token has none: it is routed freely then.
    package subscript(token: Int, layer: Int) -> ArraySlice<UInt16>? {
        let row = token - start
        guard (0..<rows).contains(row), (0..<layers).contains(layer) else { return nil }
        let first = (row * layers + layer) * perToken
        return values[first..<first + perToken]
    }

    /// Whether a layer has zeros throughout, as those without experts have where all layers are recorded.
    package func isEmpty(layer: Int) -> Bool {
        (0..<rows).allSatisfy { self[$0 + start, layer]?.allSatisfy { $0 == 0 } ?? true }
    }

    /// What is wrong with it for a sequence of so many tokens, of a model with so many experts where that is known; nil
    /// where nothing is.
    package func fault(tokens: Int, experts: Int? = nil) -> RoutedExpertsFault? {
        let end = start + rows
        guard rows > 0, end == tokens || end == tokens - 1 else { return .rows(end, tokens) }
        let isDense = (0..<layers).map(isEmpty)
        if !isDense.contains(false) { return .nothing }
        for row in 0..<rows {
            for layer in 0..<layers where !isDense[layer] {
                let chosen = values[(row * layers + layer) * perToken..<(row * layers + layer + 1) * perToken]
                if let experts, let bad = chosen.first(where: { Int($0) >= experts }) {
                    return .outOfRange(Int(bad), token: row + start, layer: layer)
                }
                // Their shares would be added twice.
                if let twice = Self.firstTwice(chosen) { return .twice(Int(twice), token: row + start, layer: layer) }
            }
        }
        return nil
    }

    /// Few they are: comparing all with all is quicker than a set.
    private static func firstTwice(_ chosen: ArraySlice<UInt16>) -> UInt16? {
        for place in chosen.indices.dropFirst() where chosen[chosen.startIndex..<place].contains(chosen[place]) {
            return chosen[place]
        }
        return nil
    }
}

extension RoutedExperts {
    /// Those of a rollout that crux-ingest has taken, from the file that its `logits_path` names; nil where it has
    /// none. Logits beside them are passed over.
    package static func read(_ row: RolloutRow, in file: MappedFile) throws -> RoutedExperts? {
        guard row.expertsShape != nil, row.logitsLength > 0 else { return nil }
        let place = "rollout '\(row.rolloutID)'"
        let stream = try FrameStream(
            FrameSpan(offset: Int(row.logitsOffset), length: Int(row.logitsLength)), in: file, place: place)
        return try RolloutFrameReader.read(stream, file: file.path, place: place, logitsRow: nil).experts
    }
}

package enum RoutedExpertsFault: Equatable, Sendable {
    /// Rows end there, in a sequence of so many tokens.
    case rows(Int, Int)
    case outOfRange(Int, token: Int, layer: Int)
    case twice(Int, token: Int, layer: Int)
    /// Zeros in every layer.
    case nothing

    package var found: String {
        switch self {
        case .rows(let end, _): "rows of routed experts up to token \(end)"
        case .outOfRange(let expert, let token, let layer): "expert \(expert) of token \(token) in layer \(layer)"
        case .twice(let expert, let token, let layer): "expert \(expert) twice for token \(token) in layer \(layer)"
        case .nothing: "routed experts that are zero in every layer"
        }
    }

    package var expected: String {
        switch self {
        case .rows(_, let tokens): "\(tokens - 1) or \(tokens), one for each token that was fed"
        case .outOfRange: "those that the model has"
        case .twice: "each once"
        case .nothing: "a layer that has experts"
        }
    }
}
