/// Turns of one agent, each with its whole prompt and its answer as token ids, put together to sequences: where a
/// turn's prompt begins with the sequence so far, what is new of it follows with mask 0 and the answer with mask 1;
/// else the history was written anew, and another sequence begins.
struct TurnSequences {
    struct Sequence: Equatable {
        var ids: [Int32]
        var mask: [Bool]
        /// nil once a turn has none.
        var logprobs: GivenLogprobs?

        fileprivate mutating func append(_ more: ArraySlice<Int32>, _ values: GivenLogprobs?, trainable: Bool) {
            ids += more
            mask += more.map { _ in trainable }
            guard !trainable || values != nil else { return logprobs = nil }
            logprobs?.append(values ?? GivenLogprobs(more.map { _ in .integer(0) }))
        }
    }

    private(set) var sequences: [Sequence] = []

    /// `logprobs`: one for each token of the answer.
    mutating func add(prompt: [Int32], answer: [Int32], logprobs: GivenLogprobs?) throws(RolloutFault) {
        if let logprobs, logprobs.count != answer.count {
            throw RolloutFault(
                .lengthMismatch, found: "\(logprobs.count) log-probabilities of a turn",
                expected: "\(answer.count), one for each of its tokens")
        }
        if let last = sequences.last, prompt.starts(with: last.ids) {
            sequences[sequences.count - 1].append(prompt[last.ids.count...], nil, trainable: false)
        } else {
            sequences.append(Sequence(ids: [], mask: [], logprobs: GivenLogprobs([])))
            sequences[sequences.count - 1].append(prompt[...], nil, trainable: false)
        }
        sequences[sequences.count - 1].append(answer[...], logprobs, trainable: true)
    }
}

extension DumpedRollout {
    /// The tokens of a sequence.
    mutating func take(_ sequence: TurnSequences.Sequence) {
        let start = sequence.mask.firstIndex(of: true) ?? sequence.ids.count
        promptIDs = Array(sequence.ids[..<start])
        (completionIDs, completionMask) = (Array(sequence.ids[start...]), Array(sequence.mask[start...]))
        logprobs = sequence.logprobs?.dropping(start)
    }
}
