import Tensors

/// How much memory a training pass takes, before there is any model: the sums of what
/// `LanguageModel.accumulateGradients` asks its space for.
package struct TrainingMemory: Sendable {
    package let architecture: DecoderArchitecture
    package let head: Head
    /// Most logits at a time.
    package let headRows: Int

    /// What decides the size of the head's arrays.
    package enum Head: Sendable {
        case logprob
        /// One number per token: no logits at all.
        case scalar
        /// Beside models of these shapes.
        case divergence([DecoderArchitecture])
    }

    package init(_ architecture: DecoderArchitecture, head: Head, headRows: Int) {
        (self.architecture, self.head, self.headRows) = (architecture, head, headRows)
    }

    /// Bytes of a pass over `tokens` distinct tokens that keeps `keptLayers` and asks at most `wanted` times.
    /// `outputPositions`: how many tokens' final states are read, where that is known; no more than are wanted.
    package func bytes(tokens: Int, outputPositions: Int? = nil, wanted: Int, keptLayers: Int) -> Int {
        if let outputPositions { return passBytes(tokens, outputPositions, wanted, keptLayers) }
        let most = passBytes(tokens, min(tokens, wanted), wanted, keptLayers)
        // What is copied where not all are read: one fewer can take more.
        return wanted < tokens || tokens < 2 ? most : max(most, passBytes(tokens, tokens - 1, wanted, keptLayers))
    }

    private func passBytes(_ tokens: Int, _ outputPositions: Int, _ wanted: Int, _ keptLayers: Int) -> Int {
        let tally = SizingAllocator(), memory = PassMemory(keptLayers: keptLayers, headRows: headRows, space: tally)
        _ = TrainingArrays(architecture, tokens: tokens, outputPositions: outputPositions, memory)
        takeHead(tokens: tokens, outputPositions: outputPositions, wanted: wanted, tally)
        return 4 * tally.peak
    }

    private func takeHead(tokens: Int, outputPositions: Int, wanted: Int, _ tally: SizingAllocator) {
        let vocabulary = architecture.vocabulary
        switch head {
        case .scalar: break
        case .logprob:
            _ = HeadArrays(
                queries: min(wanted, headRows), width: architecture.hidden, vocabulary: vocabulary, in: tally)
        case .divergence(let others):
            for other in others {
                _ = FinalNorm(other, tokens: outputPositions, in: tally)
                tally.scoped { _ = PassingArrays(other, tokens: tokens, outputPositions: outputPositions, in: tally) }
            }
            let rows = min(wanted, smallChunkRows(vocabulary: 3 * vocabulary))
            for model in [architecture] + others {
                _ = HeadArrays(queries: rows, width: model.hidden, vocabulary: vocabulary, in: tally)
            }
        }
    }

    /// The most distinct tokens of a pass that stays within `bytes`; 0 where none does.
    package func mostTokens(within bytes: Int, wanted: Int, keptLayers: Int) -> Int {
        guard self.bytes(tokens: 1, wanted: wanted, keptLayers: keptLayers) <= bytes else { return 0 }
        var fits = 1, tooMany = 2
        while tooMany < 1 << 32, self.bytes(tokens: tooMany, wanted: wanted, keptLayers: keptLayers) <= bytes {
            (fits, tooMany) = (tooMany, 2 * tooMany)
        }
        while tooMany - fits > 1 {
            let middle = (fits + tooMany) / 2
            if self.bytes(tokens: middle, wanted: wanted, keptLayers: keptLayers) <= bytes {
                fits = middle
            } else {
                tooMany = middle
            }
        }
        return fits
    }

    /// Time to compute a layer's activations once more, in shares of its forward and backward pass: by multiplications,
    /// of which a backward pass has twice as many.
    package var recomputedShare: Double {
        let a = architecture
        let mixers = (0..<a.layers).reduce(0) { $0 + a.mixerMultiplications(layer: $1) }
        let feedForward = (0..<a.layers).reduce(0) { $0 + a.feedForwardMultiplications(layer: $1) }
        // Of three products of a gated half, the last is not needed again.
        return (Double(mixers) + 2 / 3 * Double(feedForward)) / Double(3 * (mixers + feedForward))
    }
}
