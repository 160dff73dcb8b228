/// What ends a continuation before its limit, beside the model's own end-of-sequence tokens. As in vLLM: the tokens
/// that were sampled stay, those of a stop string too.
package struct StopCondition: Equatable, Sendable {
    package var tokens: Set<Int32> = []
    /// Sampling ends with the token that completes one of these, none of them empty.
    package var texts: [String] = []

    package init(tokens: Set<Int32> = [], texts: [String] = []) {
        self.tokens = tokens
        self.texts = texts
    }
}

/// What ended a continuation.
package enum StopCause: Equatable, Sendable {
    /// One of the model's own end-of-sequence tokens, the continuation's last.
    case endOfSequence
    /// A token of the request's condition, the continuation's last.
    case token(Int32)
    /// A stop string; `start` is where it begins in the UTF-8 of the sampled text.
    case text(String, start: Int)
}

/// Finds stop strings in text that comes piece by piece: they may lie across pieces, and pieces may end within a
/// character. Bytes are compared, so that equality is that of code points.
package struct StopTextSearch: Sendable {
    private let texts: [(text: String, bytes: [UInt8])]
    /// The text's end, as far back as a stop string can begin that is yet to be completed.
    private var tail: [UInt8] = []
    /// Bytes before the tail.
    private var forgotten = 0

    package init(_ texts: [String]) { self.texts = texts.map { ($0, Array($0.utf8)) } }

    var isOff: Bool { texts.isEmpty }

    /// The stop string that `piece` completes and where it begins: of several the one that ends first, of those the
    /// first in the list.
    package mutating func append(_ piece: [UInt8]) -> (text: String, start: Int)? {
        let seen = tail.count
        tail += piece
        var found: (text: String, start: Int, end: Int)?
        for stop in texts {
            guard let end = firstEnd(of: stop.bytes, after: seen), end < found?.end ?? Int.max else { continue }
            found = (stop.text, forgotten + end - stop.bytes.count, end)
        }
        let kept = (texts.map(\.bytes.count).max() ?? 1) - 1
        if tail.count > kept {
            forgotten += tail.count - kept
            tail.removeFirst(tail.count - kept)
        }
        return found.map { ($0.text, $0.start) }
    }

    /// Where in the tail an occurrence ends that wasn't complete before.
    private func firstEnd(of bytes: [UInt8], after seen: Int) -> Int? {
        let first = max(bytes.count, seen + 1)
        guard first <= tail.count else { return nil }
        return (first...tail.count).first { tail[$0 - bytes.count..<$0].elementsEqual(bytes) }
    }
}
