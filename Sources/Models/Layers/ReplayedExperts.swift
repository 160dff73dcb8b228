import Formats
import Tensors

/// The experts that a sampler chose for a forest's tokens: routers take them again, with weights of their own.
struct ReplayedExperts {
    private let recordings: [RoutedExperts?]
    /// [T]: the sequence that a token was laid out from.
    private let sequences: [Int32]
    /// [T], place in the sequence.
    private let positions: [Int32]
    private let architecture: DecoderArchitecture

    /// nil where no sequence has a recording.
    init?(_ recordings: [RoutedExperts?]?, _ forest: TokenForest, _ architecture: DecoderArchitecture) {
        guard let recordings, architecture.experts != nil else { return nil }
        (self.recordings, self.architecture) = (recordings, architecture)
        (sequences, positions) = (forest.origins, forest.positions)
    }

    /// The choices of one layer for some of the tokens, which are all that its router sees.
    func choices(layer: Int, _ tokens: RowSubset) -> RecordedChoices {
        RecordedChoices(
            lists: (0..<tokens.count).map { place in
                let token = tokens[place]
                guard let recording = recordings[Int(sequences[token])],
                    let axis = architecture.layer(layer, of: recording)
                else { return nil }
                return recording[Int(positions[token]), axis]
            })
    }
}

/// [S]: the experts of each row, in their order; nil where the router chooses.
struct RecordedChoices {
    let lists: [ArraySlice<UInt16>?]
}

extension DecoderArchitecture {
    /// Layers that have experts.
    package var sparseLayers: Int { experts == nil ? 0 : layers - denseLayers.count }

    /// Where a recording speaks of one of this model's layers: engines count all layers, or those with experts.
    fileprivate func layer(_ layer: Int, of recording: RoutedExperts) -> Int? {
        guard recording.layers != layers else { return layer }
        return layer - denseLayers.count { $0 < layer }
    }

    /// What keeps a recording from being this model's, with what would not; nil where nothing does.
    package func fault(of recording: RoutedExperts) -> (found: String, expected: String)? {
        guard let experts else { return ("routed_experts", "none: the checkpoint has no experts") }
        guard recording.layers == layers || recording.layers == sparseLayers else {
            let either = sparseLayers == layers ? "\(layers)" : "\(layers) or, of those with experts, \(sparseLayers)"
            return ("routed_experts of \(recording.layers) layers", either)
        }
        guard recording.perToken == experts.chosen else {
            return ("\(recording.perToken) routed_experts of a token", "\(experts.chosen), as num_experts_per_tok")
        }
        for layer in 0..<layers where self.experts(ofLayer: layer) != nil {
            guard let axis = self.layer(layer, of: recording) else { continue }
            // With one expert to a token it may be the first one's turn throughout.
            if experts.chosen > 1, recording.isEmpty(layer: axis) {
                return ("zeros throughout in layer \(layer)", "the experts of its tokens")
            }
            for token in recording.start..<recording.start + recording.rows {
                guard let far = recording[token, axis]?.first(where: { Int($0) >= experts.count }) else { continue }
                return ("expert \(far) of token \(token) in layer \(layer)", "numbers below \(experts.count)")
            }
        }
        return nil
    }
}
