/// Whether what a tokenizer's template puts around a text is put there.
package enum SpecialTokenRule: String, Sendable, CaseIterable {
    /// Unless the text begins with the template's first token itself: a rendered chat prompt brings its own.
    case auto
    case always
    case never
}

/// Ids that are put before and after every text.
struct SpecialTokenTemplate: Sendable {
    private var before: [Int32] = []
    private var after: [Int32] = []

    init(_ node: TokenizerNode) throws {
        switch node["type"].string {
        case nil where node.isNull: break
        case "ByteLevel": break
        case "TemplateProcessing": try read(node)
        case "Sequence": for step in node["processors"].list where step["type"].string != "ByteLevel" { try read(step) }
        default: throw node["type"].unsupported(expected: "TemplateProcessing, ByteLevel, a Sequence of these, or null")
        }
    }

    private mutating func read(_ node: TokenizerNode) throws {
        guard node["type"].string == "TemplateProcessing" else {
            throw node["type"].unsupported(expected: "TemplateProcessing")
        }
        // One template behind another goes around what the first has put there.
        var isAfter = false, first: [Int32] = []
        for step in node["single"].list {
            if !step["Sequence"].isNull { isAfter = true }
            guard let name = step["SpecialToken"]["id"].string else { continue }
            let ids = try node["special_tokens"][name]["ids"].list.map { try $0.require($0.tokenID, "a token id") }
            guard !ids.isEmpty else {
                throw step.error(found: "special token '\(name)' without ids", expected: "its ids in special_tokens")
            }
            if isAfter { after += ids } else { first += ids }
        }
        before = first + before
    }

    func apply(_ ids: [Int32], _ rule: SpecialTokenRule) -> [Int32] {
        let isThere = before.first.map { ids.first == $0 } ?? false
        return rule == .never || rule == .auto && isThere ? ids : before + ids + after
    }
}
