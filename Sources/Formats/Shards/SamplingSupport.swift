/// Which tokens the sampler could have drawn, token by token of a rollout's trainable ones: under top-p, top-k or min-p
/// less than the vocabulary. With it log-probabilities, entropies and gradients are exact: of the softmax over these
/// tokens alone.
package struct SamplingSupport: Equatable, Sendable {
    /// One token's behind the other's.
    package let tokenIDs: [Int32]
    /// [M + 1]: the k-th trainable token's are `offsets[k]..<offsets[k + 1]`; none stands for the whole vocabulary.
    package let offsets: [Int32]

    package init(tokenIDs: [Int32], offsets: [Int32]) { (self.tokenIDs, self.offsets) = (tokenIDs, offsets) }

    /// Of lists as engines return them.
    package init(_ lists: [[Int32]]) {
        tokenIDs = lists.flatMap { $0 }
        var end: Int32 = 0
        offsets =
            [0]
            + lists.map {
                end += Int32($0.count)
                return end
            }
    }

    package var count: Int { max(0, offsets.count - 1) }

    /// The k-th trainable token's; nil is the whole vocabulary.
    package subscript(k: Int) -> ArraySlice<Int32>? {
        let range = Int(offsets[k])..<Int(offsets[k + 1])
        return range.isEmpty ? nil : tokenIDs[range]
    }

    /// What is wrong with it, beside tokens that were sampled; nil where nothing is.
    package func fault(sampled: [Int32]) -> SamplingSupportFault? {
        if let fault = placeFault(sampled: sampled) { return fault }
        return sampled.indices.first { k in self[k].map { Set($0).count != $0.count } ?? false }.map { .twice($0) }
    }

    /// The same but for tokens that come twice, which takes longer to see.
    package func placeFault(sampled: [Int32]) -> SamplingSupportFault? {
        guard offsets.count == sampled.count + 1 else { return .count(count) }
        guard offsets[0] == 0, Int(offsets[count]) == tokenIDs.count, zip(offsets, offsets.dropFirst()).allSatisfy(<=)
        else { return .offsets }
        for k in sampled.indices {
            guard let support = self[k] else { continue }
            if let bad = support.first(where: { $0 < 0 }) { return .tokenID(bad, k) }
            guard support.contains(sampled[k]) else { return .missesToken(k, size: support.count) }
        }
        return nil
    }

    /// The support of each token of a sequence, by the mask of its trainable ones; [L], nil outside of it.
    package func byPosition(_ mask: [Bool]) -> [ArraySlice<Int32>?] {
        var next = 0
        return mask.map { isTrainable in
            guard isTrainable, next < count else { return nil }
            defer { next += 1 }
            return self[next]
        }
    }
}

package enum SamplingSupportFault: Equatable, Sendable {
    case count(Int)
    case offsets
    case tokenID(Int32, Int)
    case missesToken(Int, size: Int)
    case twice(Int)
}
