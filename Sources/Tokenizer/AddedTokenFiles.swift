import Files
import Formats
import Foundation

/// Every added token of a checkpoint: those of tokenizer.json, and those that only the files beside it know, as
/// transformers 5 reads them: `added_tokens_decoder` of tokenizer_config.json, or, without one, added_tokens.json and
/// special_tokens_map.json; then the named special tokens that are still missing.
struct AddedTokenFiles {
    private(set) var tokens: [AddedToken] = []
    /// What a reader should know of them.
    private(set) var notes: [String] = []
    private var places: [[UInt8]: Int] = [:]
    private var byID: [Int32: Int] = [:]
    private let model: BytePairEncoding

    static let names = ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"]
    private static let namedTokens = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]
    private static let namedLists = ["extra_special_tokens", "additional_special_tokens"]

    /// `folder`: where the other files may lie; nil reads none.
    init(_ node: TokenizerNode, _ model: BytePairEncoding, folder: String?) throws {
        self.model = model
        for entry in node.list {
            let token = try AddedToken(
                entry, id: try entry["id"].require(entry["id"].tokenID, "an added token with a token id"))
            guard !token.content.isEmpty else { continue }
            if let known = model.id(ofEntry: token.content), known != token.id {
                throw entry["id"].error(expected: "\(known), which '\(token.content)' has in model.vocab")
            }
            if let place = places[token.bytes], tokens[place].id != token.id {
                throw entry["id"].error(expected: "\(tokens[place].id), which '\(token.content)' has above")
            }
            try put(token, at: entry)
        }
        guard let folder else { return }
        let config = try Self.file(folder, "tokenizer_config.json"), decoder = config["added_tokens_decoder"]
        var named = config
        if decoder.isNull {
            let map = try Self.file(folder, "special_tokens_map.json")
            if !map.isNull { named = map }
            try addLegacy(try Self.file(folder, "added_tokens.json"), special: Self.special(config) + Self.special(map))
            try addNamed(config)
        } else {
            try add(decoder)
        }
        try addNamed(named)
    }

    private static func file(_ folder: String, _ name: String) throws -> TokenizerNode {
        let path = folder + "/" + name
        guard try fileExists(path) else { return TokenizerNode(file: path, place: "", value: nil) }
        let node = TokenizerNode(file: path, place: "", value: try JSONValue(file: path, expected: "a JSON object"))
        guard node.object != nil else { throw node.error(expected: "a JSON object") }
        return node
    }

    private mutating func put(_ token: AddedToken, at node: TokenizerNode) throws {
        if let place = byID[token.id], tokens[place].bytes != token.bytes {
            throw node.error(
                found: "'\(token.content)' with id \(token.id)",
                expected: "another id: '\(tokens[place].content)' has that one")
        }
        if let place = places[token.bytes] {
            tokens[place] = token
            return
        }
        places[token.bytes] = tokens.count
        byID[token.id] = tokens.count
        tokens.append(token)
    }

    /// The id that the tokenizers library gives a token that no file of its own names.
    private func nextID(of content: String) -> Int32 {
        if let known = model.id(ofEntry: content) { return known }
        let first = Int32(clamping: model.entryCount), last = byID.keys.max() ?? -1
        return last >= first ? last + 1 : first
    }

    /// `added_tokens_decoder`: its flags win over tokenizer.json's, as they do in transformers.
    private mutating func add(_ decoder: TokenizerNode) throws {
        let entries = try decoder.require(decoder.object, "an object").map { pair -> AddedToken in
            let node = decoder[pair.key]
            guard let id = Int32(pair.key), id >= 0 else {
                throw decoder.error(found: "the key '\(pair.key)'", expected: "token ids")
            }
            return try AddedToken(node, id: id)
        }
        for token in entries.sorted(by: { $0.id < $1.id }) where !token.content.isEmpty {
            let node = decoder["\(token.id)"]
            let known = places[token.bytes].map { tokens[$0].id } ?? nextID(of: token.content)
            guard token.id == known else {
                throw node.error(
                    found: "'\(token.content)' with id \(token.id)",
                    expected: "id \(known), which tokenizer.json leaves for it; the two files contradict each other")
            }
            if let place = places[token.bytes], tokens[place].flags != token.flags {
                notes.append(
                    "'\(token.content)': tokenizer_config.json and tokenizer.json differ in its flags; the former's are used, as in transformers"
                )
            }
            try put(token, at: node)
        }
    }

    private mutating func addLegacy(_ file: TokenizerNode, special: [[UInt8]]) throws {
        let entries = try (file.object ?? []).map { pair in
            (content: pair.key, id: try file[pair.key].require(file[pair.key].tokenID, "a token id"))
        }
        for (content, id) in entries.sorted(by: { $0.id < $1.id })
        where !content.isEmpty && places[Array(content.utf8)] == nil {
            let node = file[content], known = nextID(of: content)
            guard id == known else {
                throw node.error(
                    expected: "\(known), which tokenizer.json leaves for it; the two files contradict each other")
            }
            let isSpecial = special.contains(Array(content.utf8))
            try put(AddedToken(id: id, content: content, isNormalized: !isSpecial, isSpecial: isSpecial), at: node)
        }
    }

    private static func special(_ node: TokenizerNode) -> [[UInt8]] {
        let single = namedTokens.map { node[$0] }, lists = namedLists.flatMap { node[$0].list }
        return (single + lists).compactMap { ($0.string ?? $0["content"].string).map { Array($0.utf8) } }
    }

    /// bos_token and its like: a text, or a token with flags.
    private mutating func addNamed(_ node: TokenizerNode) throws {
        for entry in Self.namedTokens.map({ node[$0] }) + Self.namedLists.flatMap({ node[$0].list }) where !entry.isNull
        {
            let content = try entry.require(entry.string ?? entry["content"].string, "a token")
            guard !content.isEmpty, places[Array(content.utf8)] == nil else { continue }
            var token = AddedToken(id: nextID(of: content), content: content, isSpecial: true)
            if entry.string == nil { token = try AddedToken(entry, id: token.id) }
            token.isSpecial = true
            try put(token, at: entry)
        }
    }
}

extension AddedToken {
    fileprivate var flags: [Bool] { [stripsLeft, stripsRight, isSingleWord, isNormalized, isSpecial] }
}
