/// A rollout that may be gone back into: tokens, what is known of them, and its outcome. Arrays of length L.
package struct BaseRollout: Sendable {
    package var id = ""
    package var groupID = ""
    package var tokenIDs: [Int32] = []
    package var mask: [Bool] = []
    /// Empty where unknown.
    package var entropy: [Float] = []
    /// Of the sampled tokens; empty where unknown.
    package var logprobs: [Float] = []
    package var reward = 0.0
    package var correct: Bool?
    package var isTruncated = false
    /// Index of the token that ends the thinking; set by a method that looks for it.
    package var thoughtEnd: Int?
    /// The response's text by token, where a tokenizer was there to tell.
    package var text: ResponseText?
    /// The answer as the reward found it.
    package var answer = ""
    /// Who wrote each token; empty where unknown.
    package var roles: [Role] = []
    /// Size of the vocabulary, where the dump has it.
    package var vocabulary: Int?
    /// Where it left another rollout, where an earlier round sampled it from there. Its mask is then that of the whole
    /// response, the other's tokens before the cut included.
    package var branch: Branch?

    /// Who may have written a token, as far as a method cares.
    package enum Role: Sendable { case policy, tool, other }

    /// A cut in another rollout.
    package struct Branch: Equatable, Sendable {
        /// Id of the rollout that was gone back into.
        package var parent: String
        /// Index of the first token that is no longer the other's.
        package var position: Int

        package init(parent: String, position: Int) { (self.parent, self.position) = (parent, position) }
    }

    package init() {}

    /// First token of the response: everything before is prompt.
    package var responseStart: Int { mask.firstIndex(of: true) ?? mask.count }
    /// Behind the last trainable token.
    package var responseEnd: Int { (mask.lastIndex(of: true) ?? -1) + 1 }
    /// Tokens that the final answer lies in.
    var answerTokens: Range<Int> {
        guard let text, let range = text.lastRange(of: answer) else { return 0..<0 }
        let first = text.token(holding: range.lowerBound), last = text.token(holding: range.upperBound - 1)
        return responseStart + first..<responseStart + last + 1
    }

    /// Where its own tokens begin: those before are the prompt's, or of the rollout that it left.
    var ownStart: Int { max(responseStart, branch?.position ?? 0) }

    /// Its own sampled tokens that may be sampled anew: the end-of-sequence token is none of them.
    var content: Range<Int> { ownStart..<max(ownStart, isTruncated ? responseEnd : responseEnd - 1) }
}

/// A response's text with the place of each token in it.
package struct ResponseText: Sendable {
    /// UTF-8.
    package let bytes: [UInt8]
    /// Per token from the response's start, where its first byte lies.
    package let starts: [Int]

    /// `tokens`: bytes of each token from the response's start; special tokens have none.
    package init(tokens: [[UInt8]]) {
        var place = 0
        starts = tokens.map { token in
            defer { place += token.count }
            return place
        }
        bytes = Array(tokens.joined())
    }

    /// The first token that starts at `byte` or behind, counted from the response's start. A token across the border
    /// belongs to what comes before.
    package func token(startingAt byte: Int) -> Int { starts.firstIndex { $0 >= byte } ?? starts.count }

    /// The token that holds `byte`.
    package func token(holding byte: Int) -> Int { max(0, (starts.lastIndex { $0 <= byte }) ?? 0) }

    package func firstRange(of text: String, from start: Int = 0) -> Range<Int>? {
        let wanted = Array(text.utf8)
        guard !wanted.isEmpty, bytes.count >= wanted.count else { return nil }
        return (start...max(start, bytes.count - wanted.count)).first {
            $0 + wanted.count <= bytes.count && bytes[$0..<$0 + wanted.count].elementsEqual(wanted)
        }
        .map { $0..<$0 + wanted.count }
    }

    package func lastRange(of text: String) -> Range<Int>? {
        var found: Range<Int>?, start = 0
        while let next = firstRange(of: text, from: start) { (found, start) = (next, next.lowerBound + 1) }
        return found
    }
}

/// A place to go back to: the base's first `position` tokens, then tokens put in by the method.
package struct ExpansionState: Equatable, Sendable {
    package var position: Int
    package var injected: [Int32] = []
    package var anchorEntropy: Float?
    /// Continuations of this state; nil: as many as the method has for every state.
    package var replicates: Int?

    package init(position: Int, injected: [Int32] = [], anchorEntropy: Float? = nil, replicates: Int? = nil) {
        (self.position, self.injected, self.anchorEntropy) = (position, injected, anchorEntropy)
        self.replicates = replicates
    }
}

/// A continuation from a state, as it came back.
package struct Outcome: Equatable, Sendable {
    /// Index of its row.
    package var row: Int
    package var reward: Double
    package var correct: Bool?
    package var mask: [Bool]

    package init(row: Int, reward: Double, correct: Bool?, mask: [Bool]) {
        (self.row, self.reward, self.correct, self.mask) = (row, reward, correct, mask)
    }
}

/// A base with its states in order of position — state 0 is the prompt — and what came back from each.
package struct ExpandedBase: Sendable {
    package var base: BaseRollout
    /// Index of the base's own row.
    package var row: Int
    package var states: [ExpansionState]
    package var outcomes: [[Outcome]]
    /// Whether the base itself is left out: too far from the policy that trains.
    package var isBaseRejected = false

    package init(base: BaseRollout, row: Int, states: [ExpansionState], outcomes: [[Outcome]]) {
        (self.base, self.row, self.states, self.outcomes) = (base, row, states, outcomes)
    }
}

/// A row to train on, with its mask and per-token advantages, [L] each.
package struct CreditedRow: Equatable, Sendable {
    package var row: Int
    package var groupID: String
    package var reward: Double
    package var mask: [Bool]
    package var advantages: [Double]

    init(row: Int, groupID: String, reward: Double, mask: [Bool], advantage: Double) {
        (self.row, self.groupID, self.reward, self.mask) = (row, groupID, reward, mask)
        advantages = mask.map { $0 ? advantage : 0 }
    }

    init(row: Int, groupID: String, reward: Double, mask: [Bool], advantages: [Double]) {
        (self.row, self.groupID, self.reward, self.mask, self.advantages) = (row, groupID, reward, mask, advantages)
    }
}

/// What an expansion makes of one base: rows to train on, and what it learned on the way, for the report.
package struct ExpansionCredit: Sendable {
    package var rows: [CreditedRow] = []
    package var dropped: [(row: Int, reason: DropReason)] = []
    /// V(S_j), nil where nothing came back.
    package var values: [Double?] = []
    /// Factors on a state's advantages, where the method has any.
    package var factors: [Double] = []

    package init() {}
}

/// A method that goes back into rollouts and samples again from there. The conforming struct's properties are the
/// recipe's keys of `expansion`. Two plans: `states` before sampling, `credit` after.
package protocol Expansion: Codable, Sendable {
    static var name: String { get }
    static var source: String { get }
    init()
    var problems: [String] { get }
    /// Keys that have no effect beside the others, with what stands against them.
    var unread: [String: String] { get }
    /// Whether it makes rewards of its own out of what is right or wrong.
    var rewardsByVerdict: Bool { get }
    /// Whether tokens before the cut are trained on in a continuation, and bases beside their continuations.
    var trainsPrefixes: Bool { get }
    var trainsBases: Bool { get }
    /// How a KL term in the loss is aggregated, where the method has a way of its own; nil: as the loss is.
    var klAggregation: (any Aggregation)? { get }
    /// Continuations per state.
    var replicates: Int { get }
    /// Most tokens of a response, prefix included; nil: the longest response of the dump.
    var maxTokens: Int? { get }
    var readsEntropy: Bool { get }
    var readsLogprobs: Bool { get }
    /// Needs a tokenizer: for the response's text, or to write tokens of its own.
    var readsText: Bool { get }
    /// Needs to know who wrote each token.
    var readsRoles: Bool { get }
    /// Needs the size of the dump's vocabulary.
    var readsVocabulary: Bool { get }
    /// Continuations are sampled from the first this many states only; nil: from all.
    var sampledStates: Int? { get }
    /// The token that ends a base's thinking, for methods that cut it short.
    func thoughtEnd(of base: BaseRollout) -> Int?
    /// Bases with the same prefix share its continuations.
    var sharesPrefixes: Bool { get }
    /// Whether what was cut off by length counts as wrong, whatever its text says.
    var judgesTruncatedWrong: Bool { get }
    /// Whether advantages are whitened over the plan.
    var whitens: Bool { get }
    /// Which of a group's rollouts to go back into; indices in order.
    func bases(among group: [BaseRollout]) -> [Int]
    /// States in order of position; state 0, where there is one, is the prompt. `encode` turns text of the method's own
    /// into tokens.
    func states(of base: BaseRollout, seed: UInt64, encode: (String) -> [Int32]) -> [ExpansionState]
    /// Times that it goes back: each round is planned from what came back of the one before.
    var rounds: Int { get }
    /// The states of all of a group's bases, in their order: for methods that deal a budget out among them, or that go
    /// back more than once. `round`: the one that is planned, the first is 1.
    func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32]) -> BranchPlan
    func credit(_ expanded: ExpandedBase) -> ExpansionCredit
    /// Whether bases of one prompt are credited together.
    var comparesBases: Bool { get }
    /// The same of these, in order.
    func credit(group: [ExpandedBase]) -> [ExpansionCredit]
}

extension Expansion {
    package var unread: [String: String] { [:] }
    package var rewardsByVerdict: Bool { false }
    package var trainsPrefixes: Bool { false }
    package var trainsBases: Bool { false }
    package var klAggregation: (any Aggregation)? { nil }
    package var readsEntropy: Bool { false }
    package var readsLogprobs: Bool { false }
    package var readsText: Bool { false }
    package var sharesPrefixes: Bool { false }
    package var whitens: Bool { false }
    package var readsRoles: Bool { false }
    package var readsVocabulary: Bool { false }
    package var comparesBases: Bool { false }
    package var rounds: Int { 1 }
    package func branches(of group: [BaseRollout], round: Int, seeds: [UInt64], encode: (String) -> [Int32])
        -> BranchPlan
    {
        BranchPlan(states: zip(group, seeds).map { states(of: $0, seed: $1, encode: encode) })
    }
    package func credit(group: [ExpandedBase]) -> [ExpansionCredit] { group.map { credit($0) } }
    package var sampledStates: Int? { nil }
    package func thoughtEnd(of base: BaseRollout) -> Int? { nil }
    package var judgesTruncatedWrong: Bool { false }
    package func bases(among group: [BaseRollout]) -> [Int] { Array(group.indices) }

    var commonProblems: [String] {
        Bounds.problems("expansion.replicates", replicates, Bounds.branches)
            + Bounds.problems("expansion.max_tokens", maxTokens, Bounds.tokens, orNull: true)
    }
}
