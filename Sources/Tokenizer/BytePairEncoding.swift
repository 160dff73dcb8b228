import Formats

/// Byte-level BPE: bytes are merged pair by pair, lowest rank first, the leftmost of equal pairs first.
struct BytePairEncoding: Sendable {
    /// Token ids by the bytes they stand for.
    let vocabulary: [[UInt8]: Int32]
    let bytes: [Int32: [UInt8]]
    private let merges: [Pair: Merge]
    /// -1 for a byte that has no token: it is left out, as the reference does without an unknown token.
    private let byteTokens: [Int32]
    /// A piece that is a token as a whole is that token, whatever the merges would give (Llama 3).
    private let ignoresMerges: Bool

    private struct Pair: Hashable {
        let left: Int32
        let right: Int32
    }

    private struct Merge {
        let rank: Int32
        let token: Int32
    }

    /// Ids by the vocabulary's own writing, as UTF-8: what added tokens are looked up in.
    private let entries: [[UInt8]: Int32]

    init(_ node: TokenizerNode) throws {
        guard node["type"].string == "BPE" else { throw node["type"].unsupported(expected: "'BPE'") }
        for key in ["unk_token", "continuing_subword_prefix", "end_of_word_suffix", "dropout"]
        where !(node[key].isNull || node[key].string == "") {
            throw node[key].unsupported(expected: "null")
        }
        guard node["byte_fallback"].bool != true else { throw node["byte_fallback"].unsupported(expected: "false") }
        ignoresMerges = node["ignore_merges"].bool ?? false
        var vocabulary: [[UInt8]: Int32] = [:], bytes: [Int32: [UInt8]] = [:], entries: [[UInt8]: Int32] = [:]
        for (text, value) in try node.require(node["vocab"].object, "a vocabulary") {
            let entry = TokenizerNode(file: node.file, place: node.place + ".vocab", value: value)
            guard let id = entry.tokenID else {
                throw entry.error(found: "no token id at '\(text.prefix(80))'", expected: "whole numbers from 0")
            }
            // Tokens added to the vocabulary itself may hold what no byte stands for; only their added form is ever
            // used.
            let meaning = ByteAlphabet.bytes(of: text)
            if let meaning { vocabulary[meaning] = id }
            bytes[id] = meaning ?? Array(text.utf8)
            entries[Array(text.utf8)] = id
        }
        (self.vocabulary, self.bytes, self.entries) = (vocabulary, bytes, entries)
        byteTokens = (0...255).map { vocabulary[[UInt8($0)]] ?? -1 }
        merges = try Self.readMerges(node["merges"], vocabulary)
    }

    /// The id of an entry as the file writes it.
    func id(ofEntry text: String) -> Int32? { entries[Array(text.utf8)] }
    var entryCount: Int { entries.count }

    private static func readMerges(_ node: TokenizerNode, _ vocabulary: [[UInt8]: Int32]) throws -> [Pair: Merge] {
        let list = try node.require(node.values, "a list of merges")
        var merges: [Pair: Merge] = [:]
        merges.reserveCapacity(list.count)
        for (rank, entry) in list.enumerated() {
            let parts = parts(entry).map(ByteAlphabet.bytes)
            guard parts.count == 2, let left = parts[0], let right = parts[1], let a = vocabulary[left],
                let b = vocabulary[right],
                let whole = vocabulary[left + right]
            else {
                throw node.error(
                    found: "merge \(rank), '\(String(describing: entry).prefix(80))'",
                    expected: "two tokens whose union is a token")
            }
            merges[Pair(left: a, right: b)] = Merge(rank: Int32(rank), token: whole)
        }
        return merges
    }

    /// A list of two, or two parts with a space between.
    private static func parts(_ entry: JSONValue) -> [String] {
        switch entry {
        case .string(let text): text.utf8.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
        case .list(let values): values.compactMap { if case .string(let text) = $0 { text } else { nil } }
        default: []
        }
    }

    /// A symbol of the piece; a doubly linked list, because merging takes from the middle.
    private struct Symbol {
        var token: Int32
        var previous: Int
        var next: Int
    }

    private struct Candidate: Comparable {
        let rank: Int32
        let position: Int
        let left: Int32
        let right: Int32
        let token: Int32

        static func < (a: Candidate, b: Candidate) -> Bool {
            a.rank != b.rank ? a.rank < b.rank : a.position < b.position
        }
    }

    func encode(_ piece: [UInt8]) -> [Int32] {
        if ignoresMerges, let token = vocabulary[piece] { return [token] }
        let tokens = piece.map { byteTokens[Int($0)] }.filter { $0 >= 0 }
        guard tokens.count > 1 else { return tokens }
        var symbols = tokens.enumerated().map {
            Symbol(token: $1, previous: $0 - 1, next: $0 + 1 < tokens.count ? $0 + 1 : -1)
        }
        var queue = Heap<Candidate>()
        for position in 0..<symbols.count - 1 { propose(position, symbols, &queue) }
        while let best = queue.popFirst() { merge(best, &symbols, &queue) }
        var result: [Int32] = [], position = 0
        while position >= 0 {
            result.append(symbols[position].token)
            position = symbols[position].next
        }
        return result
    }

    private func propose(_ position: Int, _ symbols: [Symbol], _ queue: inout Heap<Candidate>) {
        let next = symbols[position].next
        guard next >= 0 else { return }
        let left = symbols[position].token, right = symbols[next].token
        guard let merge = merges[Pair(left: left, right: right)] else { return }
        queue.insert(Candidate(rank: merge.rank, position: position, left: left, right: right, token: merge.token))
    }

    /// A candidate is stale where one of its symbols has been merged since.
    private func merge(_ best: Candidate, _ symbols: inout [Symbol], _ queue: inout Heap<Candidate>) {
        let next = symbols[best.position].next
        guard symbols[best.position].token == best.left, next >= 0, symbols[next].token == best.right else { return }
        symbols[best.position].token = best.token
        symbols[best.position].next = symbols[next].next
        symbols[next].token = -1
        if symbols[next].next >= 0 { symbols[symbols[next].next].previous = best.position }
        propose(best.position, symbols, &queue)
        if symbols[best.position].previous >= 0 { propose(symbols[best.position].previous, symbols, &queue) }
    }
}

/// A binary heap, smallest first.
struct Heap<Element: Comparable> {
    private var elements: [Element] = []

    mutating func insert(_ element: Element) {
        elements.append(element)
        var child = elements.count - 1
        while child > 0, elements[child] < elements[(child - 1) / 2] {
            elements.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func popFirst() -> Element? {
        guard let first = elements.first else { return nil }
        elements.swapAt(0, elements.count - 1)
        elements.removeLast()
        var parent = 0
        while true {
            let children = (2 * parent + 1...2 * parent + 2).filter { $0 < elements.count }
            guard let least = children.min(by: { elements[$0] < elements[$1] }), elements[least] < elements[parent]
            else { return first }
            elements.swapAt(parent, least)
            parent = least
        }
    }
}

/// GPT-2's writing of bytes as visible characters: printable Latin-1 stands for itself, the rest for U+0100 onwards.
enum ByteAlphabet {
    private static let visible = Array(0x21...0x7e) + Array(0xa1...0xac) + Array(0xae...0xff)

    private static let byteOf: [UInt32: UInt8] = {
        var table = Dictionary(uniqueKeysWithValues: visible.map { (UInt32($0), UInt8($0)) })
        for (index, byte) in (0...255).filter({ !visible.contains($0) }).enumerated() {
            table[UInt32(0x100 + index)] = UInt8(byte)
        }
        return table
    }()

    /// nil where some character stands for no byte.
    static func bytes(of text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            guard let byte = byteOf[scalar.value] else { return nil }
            bytes.append(byte)
        }
        return bytes
    }
}
