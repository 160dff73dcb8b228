/// Guesses at what sequences say next: what followed the same few tokens in their prompt or in another rollout of it,
/// which often goes on alike. A guess costs a row of the next pass and changes nothing: a token is drawn from its own
/// logits with its own random number, whether it was guessed or not, and a wrong guess ends the row of them. (Prompt
/// lookup, which vLLM and transformers have too, with the group's other rollouts beside the prompt.)
struct SpeculativeCopies {
    /// Rows that a pass takes in about the time of one: its weights come from memory then.
    static let freeRows = 8
    /// Tokens that have to be the same.
    fileprivate static let matched = 3

    /// By request, which group it is of.
    private let groupOf: [Int]
    private var groups: [Group]

    /// Requests of one prompt, in the making or done; forgotten when the last has ended.
    fileprivate struct Group {
        var waiting = 0
        /// The prompt, then each continuation that has begun, one behind the other.
        var texts: [[Int32]]
        /// Of each request that has begun; the prompt is looked through when the first one has.
        var textOf: [Int: Int] = [:]
        /// What came last behind these tokens.
        var places: [Matched: Place] = [:]
    }

    fileprivate struct Matched: Hashable {
        let first: Int32, second: Int32, third: Int32
    }

    fileprivate struct Place {
        let text: Int
        let index: Int
    }

    init(_ prompts: [[Int32]]) {
        var known: [[Int32]: Int] = [:], groups: [Group] = [], groupOf: [Int] = []
        for prompt in prompts {
            let group = known[prompt] ?? groups.count
            if group == groups.count {
                known[prompt] = group
                groups.append(Group(texts: [prompt]))
            }
            groups[group].waiting += 1
            groupOf.append(group)
        }
        (self.groupOf, self.groups) = (groupOf, groups)
    }

    /// A request has got more tokens: `continuation` is all of them.
    mutating func add(_ continuation: [Int32], of request: Int) { groups[groupOf[request]].add(continuation, request) }

    mutating func finish(_ request: Int) {
        let group = groupOf[request]
        groups[group].waiting -= 1
        if groups[group].waiting == 0 { groups[group] = Group(texts: []) }
    }

    /// At most `most` tokens that may follow what the request has so far.
    func guess(_ request: Int, most: Int) -> ArraySlice<Int32> {
        most > 0 ? groups[groupOf[request]].guess(request, most) : []
    }
}

extension SpeculativeCopies.Group {
    fileprivate mutating func add(_ continuation: [Int32], _ request: Int) {
        if textOf.isEmpty { learn(text: 0, from: 0) }
        let text = textOf[request] ?? texts.count
        if text == texts.count {
            textOf[request] = text
            // Its first tokens follow the prompt's last ones.
            texts.append(Array(texts[0].suffix(SpeculativeCopies.matched)))
        }
        let head = min(SpeculativeCopies.matched, texts[0].count), known = texts[text].count - head
        texts[text] += continuation[known...]
        learn(text: text, from: head + known)
    }

    /// Remembers what stands before each token from a place on.
    fileprivate mutating func learn(text: Int, from start: Int) {
        let tokens = texts[text]
        for index in max(start, SpeculativeCopies.matched)..<max(tokens.count, start, SpeculativeCopies.matched) {
            places[Self.matched(tokens[..<index])] = SpeculativeCopies.Place(text: text, index: index)
        }
    }

    fileprivate func guess(_ request: Int, _ most: Int) -> ArraySlice<Int32> {
        guard let own = textOf[request], texts[own].count >= SpeculativeCopies.matched,
            let place = places[Self.matched(texts[own][...])]
        else { return [] }
        return texts[place.text][place.index...].prefix(most)
    }

    private static func matched(_ tokens: ArraySlice<Int32>) -> SpeculativeCopies.Matched {
        let end = tokens.endIndex
        return SpeculativeCopies.Matched(first: tokens[end - 3], second: tokens[end - 2], third: tokens[end - 1])
    }
}
