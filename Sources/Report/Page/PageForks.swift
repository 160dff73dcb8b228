import RunViews

/// The table of tokens by mean entropy, and contexts of those at its ends.
struct PageForks: Encodable {
    struct Entry: Encodable {
        let token: Int32
        let count: Int
        let mean: Double
        let right: Int
        let wrong: Int
        let kept: Int
        let contexts: [Context]
    }

    /// A place of a token: what stands before and after it, its entropy and its rollout.
    struct Context: Encodable {
        let rollout: String
        let position: Int
        let before: [Int32]
        let after: [Int32]
        let entropy: Float
    }

    /// Tokens that were seen, and those of them that occur often enough for the table.
    let distinct: Int
    let minimumCount: Int
    let entries: [Entry]
    /// Entries at each end that have contexts.
    let withContexts: Int

    private static let contextEntries = 300, contextTokens = 12

    init(_ run: RunView, _ tally: TokenTally, minimumCount: Int) throws {
        let table = tally.table(minimumCount: minimumCount)
        let wanted = table.indices.filter {
            $0 < Self.contextEntries || $0 >= table.count - Self.contextEntries
        }
        let contexts = try Self.contexts(of: wanted.map { ($0, table[$0].figures.places) }, run)
        entries = table.enumerated().map { index, row in
            Entry(
                token: row.token, count: row.figures.entropy.count, mean: row.figures.entropy.value ?? 0,
                right: row.figures.right, wrong: row.figures.wrong, kept: row.figures.kept,
                contexts: contexts[index] ?? [])
        }
        (distinct, self.minimumCount, withContexts) = (tally.tokens.count, minimumCount, Self.contextEntries)
    }

    /// Tokens that occur in it.
    var tokens: Set<Int32> {
        entries.reduce(into: []) { tokens, entry in
            tokens.insert(entry.token)
            for context in entry.contexts { tokens.formUnion(context.before + context.after) }
        }
    }

    /// By entry. Rows are read once each, in their order.
    private static func contexts(of entries: [(index: Int, places: [TokenPlace])], _ run: RunView) throws -> [Int:
        [Context]]
    {
        let places = entries.flatMap { entry in entry.places.map { (entry.index, $0) } }
            .sorted { ($0.1.row, $0.1.position, $0.0) < ($1.1.row, $1.1.position, $1.0) }
        var contexts: [Int: [Context]] = [:], row = -1, current: RolloutView?
        for (index, place) in places {
            if place.row != row { (row, current) = (place.row, try run.rollout(place.row)) }
            if let current { contexts[index, default: []].append(context(current, place.position)) }
        }
        return contexts
    }

    private static func context(_ view: RolloutView, _ position: Int) -> Context {
        let tokens = view.rollout.tokenIDs
        return Context(
            rollout: view.rollout.rolloutID, position: position,
            before: Array(tokens[max(0, position - contextTokens)..<position]),
            after: Array(tokens[position + 1..<min(tokens.count, position + 1 + contextTokens)]),
            entropy: view.score.entropy?[position] ?? 0)
    }
}
