import Formats

/// BPE: symbols are merged pair by pair, lowest rank first, the leftmost of equal pairs first. Symbols are bytes
/// (byte-level, as GPT-2 has it) or characters (as SentencePiece has it, with bytes in the place of unknown ones).
struct BytePairEncoding: Sendable {
    /// Token ids by what they stand for: bytes, or the text as it is written.
    let vocabulary: [[UInt8]: Int32]
    /// By id, as the file writes them.
    let entryTexts: [Int32: String]
    /// Ids by the vocabulary's own writing, as UTF-8: what added tokens are looked up in.
    private let entries: [[UInt8]: Int32]
    private let merges: MergeTable
    private let alphabet: Alphabet
    /// A piece that is a token as a whole is that token, whatever the merges would give (Llama 3).
    private let ignoresMerges: Bool

    /// `writesBytes`: whether the pre-tokenizer is byte-level.
    init(_ node: TokenizerNode, writesBytes: Bool) throws {
        guard node["type"].string == "BPE" else {
            throw node["type"].unsupported(
                expected: "'BPE' (of the families that Crux reads none has another kind of tokenizer)")
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"]
        where !(node[key].isNull || node[key].string == "") {
            throw node[key].unsupported(expected: "null")
        }
        guard node["dropout"].isNull || node["dropout"].number == 0 else {
            throw node["dropout"].unsupported(
                expected: "null: merges that are left out by chance give other ids each time")
        }
        ignoresMerges = node["ignore_merges"].bool ?? false
        var vocabulary: [[UInt8]: Int32] = [:], texts: [Int32: String] = [:], entries: [[UInt8]: Int32] = [:]
        for (text, value) in try node.require(node["vocab"].object, "a vocabulary") {
            let entry = TokenizerNode(file: node.file, place: node.place + ".vocab", value: value)
            guard let id = entry.tokenID else {
                throw entry.error(found: "no token id at '\(text.prefix(80))'", expected: "whole numbers from 0")
            }
            // Tokens added to the vocabulary itself may hold what no byte stands for; only their added form is ever
            // used.
            if let meaning = Self.meaning(text, writesBytes) { vocabulary[meaning] = id }
            texts[id] = text
            entries[Array(text.utf8)] = id
        }
        (self.vocabulary, entryTexts, self.entries) = (vocabulary, texts, entries)
        alphabet = try Alphabet(node, vocabulary, entries, writesBytes: writesBytes)
        merges = try Self.readMerges(node["merges"], vocabulary, writesBytes)
    }

    private static func meaning(_ text: String, _ writesBytes: Bool) -> [UInt8]? {
        writesBytes ? ByteAlphabet.bytes(of: text) : Array(text.utf8)
    }

    /// The id of an entry as the file writes it.
    func id(ofEntry text: String) -> Int32? { entries[Array(text.utf8)] }
    var entryCount: Int { entries.count }

    // MARK: merges

    private static func readMerges(
        _ node: TokenizerNode, _ vocabulary: [[UInt8]: Int32], _ writesBytes: Bool
    ) throws -> MergeTable {
        let list = try node.require(node.values, "a list of merges")
        var merges: [(left: Int32, right: Int32, token: Int32)] = []
        merges.reserveCapacity(list.count)
        for (rank, entry) in list.enumerated() {
            let parts = parts(entry).map { meaning($0, writesBytes) }
            guard parts.count == 2, let left = parts[0], let right = parts[1], let a = vocabulary[left],
                let b = vocabulary[right], let whole = vocabulary[left + right]
            else {
                throw node.error(
                    found: "merge \(rank), '\(String(describing: entry).prefix(80))'",
                    expected: "two tokens whose union is a token")
            }
            merges.append((a, b, whole))
        }
        return MergeTable(merges)
    }

    /// A list of two, or two parts with a space between.
    private static func parts(_ entry: JSONValue) -> [String] {
        switch entry {
        case .string(let text): text.utf8.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
        case .list(let values): values.compactMap { if case .string(let text) = $0 { text } else { nil } }
        default: []
        }
    }

    // MARK: encoding

    /// What encoding one piece after the other needs, kept from piece to piece.
    struct Workspace {
        fileprivate var tokens: [Int32] = []
        fileprivate var ranks: [Int32] = []
        fileprivate var made: [Int32] = []
        fileprivate var heap: [Candidate] = []
        fileprivate var previous: [Int32] = []
        fileprivate var next: [Int32] = []
    }

    /// Longer pieces are merged with a heap.
    private static let short = 48

    func encode(_ piece: ArraySlice<UInt8>, _ work: inout Workspace, into ids: inout [Int32]) {
        if ignoresMerges, let token = vocabulary[Array(piece)] { return ids.append(token) }
        work.tokens.removeAll(keepingCapacity: true)
        alphabet.read(piece, into: &work.tokens)
        if work.tokens.count > Self.short { mergeLong(&work) } else if work.tokens.count > 1 { mergeShort(&work) }
        ids += work.tokens
    }

    private static let none = Int32.max

    /// The lowest rank is looked for again after each merge: of few symbols that is fastest.
    private func mergeShort(_ work: inout Workspace) {
        var count = work.tokens.count
        work.ranks.removeAll(keepingCapacity: true)
        work.made.removeAll(keepingCapacity: true)
        work.tokens.withUnsafeMutableBufferPointer { tokens in
            for place in 0..<count - 1 {
                let merge = merges.merge(tokens[place], tokens[place + 1])
                work.ranks.append(merge?.rank ?? Self.none)
                work.made.append(merge?.token ?? 0)
            }
            work.ranks.withUnsafeMutableBufferPointer { ranks in
                work.made.withUnsafeMutableBufferPointer { made in
                    while count > 1 {
                        var best = 0
                        for place in 1..<max(1, count - 1) where ranks[place] < ranks[best] { best = place }
                        if ranks[best] == Self.none { return }
                        tokens[best] = made[best]
                        count -= 1
                        for place in best + 1..<max(best + 1, count) { tokens[place] = tokens[place + 1] }
                        for place in best..<max(best, count - 1) {
                            (ranks[place], made[place]) = (ranks[place + 1], made[place + 1])
                        }
                        for place in max(0, best - 1)...best where place < count - 1 {
                            let merge = merges.merge(tokens[place], tokens[place + 1])
                            (ranks[place], made[place]) = (merge?.rank ?? Self.none, merge?.token ?? 0)
                        }
                    }
                }
            }
        }
        work.tokens.removeLast(work.tokens.count - count)
    }

    fileprivate struct Candidate {
        /// Rank, then place: one number to compare.
        let order: UInt64
        let left: Int32
        let right: Int32
        let token: Int32

        var position: Int { Int(order & 0xffff_ffff) }
    }

    /// A doubly linked list, because merging takes from the middle, and a heap of what may be merged: a whole text may
    /// be one piece.
    private func mergeLong(_ work: inout Workspace) {
        let count = work.tokens.count
        work.heap.removeAll(keepingCapacity: true)
        work.previous = (0..<count).map { Int32($0) - 1 }
        work.next = (0..<count).map { $0 + 1 < count ? Int32($0) + 1 : -1 }
        for position in 0..<count - 1 { propose(position, &work) }
        while let best = Heap.popFirst(&work.heap) {
            let position = best.position, next = Int(work.next[position])
            // Stale where one of its symbols has been merged since.
            guard work.tokens[position] == best.left, next >= 0, work.tokens[next] == best.right else { continue }
            work.tokens[position] = best.token
            work.tokens[next] = -1
            work.next[position] = work.next[next]
            if work.next[next] >= 0 { work.previous[Int(work.next[next])] = Int32(position) }
            propose(position, &work)
            if work.previous[position] >= 0 { propose(Int(work.previous[position]), &work) }
        }
        work.tokens.removeAll { $0 < 0 }
    }

    private func propose(_ position: Int, _ work: inout Workspace) {
        let next = Int(work.next[position])
        guard next >= 0, let merge = merges.merge(work.tokens[position], work.tokens[next]) else { return }
        Heap.insert(
            Candidate(
                order: UInt64(UInt32(bitPattern: merge.rank)) << 32 | UInt64(position), left: work.tokens[position],
                right: work.tokens[next], token: merge.token), &work.heap)
    }

    /// A binary heap, smallest first.
    private enum Heap {
        static func insert(_ element: Candidate, _ elements: inout [Candidate]) {
            elements.append(element)
            var child = elements.count - 1
            while child > 0 {
                let parent = (child - 1) / 2
                guard elements[child].order < elements[parent].order else { return }
                elements.swapAt(child, parent)
                child = parent
            }
        }

        static func popFirst(_ elements: inout [Candidate]) -> Candidate? {
            guard let first = elements.first, let last = elements.popLast() else { return nil }
            guard !elements.isEmpty else { return first }
            elements[0] = last
            var parent = 0
            while true {
                var least = parent * 2 + 1
                guard least < elements.count else { return first }
                if least + 1 < elements.count, elements[least + 1].order < elements[least].order { least += 1 }
                guard elements[least].order < elements[parent].order else { return first }
                elements.swapAt(parent, least)
                parent = least
            }
        }
    }
}

/// The symbols that a piece's merging begins with.
private enum Alphabet: Sendable {
    /// By byte; -1 where there is no token: it becomes `unknown`, or is left out without one.
    case bytes([Int32], unknown: Unknown)
    /// By character. One without a token becomes its bytes' tokens, if all of these exist, else `unknown`.
    case characters([UInt32: Int32], fallback: [Int32]?, unknown: Unknown)

    struct Unknown: Sendable {
        let token: Int32?
        /// Whether unknown neighbours are one token.
        let isFused: Bool
    }

    init(
        _ node: TokenizerNode, _ vocabulary: [[UInt8]: Int32], _ entries: [[UInt8]: Int32], writesBytes: Bool
    ) throws {
        var token: Int32?
        if let text = node["unk_token"].string, !text.isEmpty {
            token = try node["unk_token"].require(entries[Array(text.utf8)], "a token of the vocabulary")
        }
        let unknown = Unknown(token: token, isFused: node["fuse_unk"].bool ?? false)
        let hasFallback = node["byte_fallback"].bool ?? false
        guard writesBytes else {
            var characters: [UInt32: Int32] = [:]
            for (text, id) in vocabulary where text.count <= 4 {
                let scalars = String(decoding: text, as: UTF8.self).unicodeScalars
                if scalars.count == 1, let scalar = scalars.first { characters[scalar.value] = id }
            }
            let bytes = (0...255).map { entries[Array(Self.spelled($0).utf8)] ?? -1 }
            self = .characters(characters, fallback: hasFallback ? bytes : nil, unknown: unknown)
            return
        }
        let bytes = (0...255).map { vocabulary[[UInt8($0)]] ?? -1 }
        // A byte that is written as a character and has no token would fall back to that character's bytes.
        if hasFallback, bytes.contains(-1) {
            throw node["byte_fallback"].unsupported(expected: "false, or every byte in the vocabulary")
        }
        self = .bytes(bytes, unknown: unknown)
    }

    static func spelled(_ byte: Int) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return "<0x" + (digits.count < 2 ? "0" : "") + digits + ">"
    }

    func read(_ piece: ArraySlice<UInt8>, into tokens: inout [Int32]) {
        switch self {
        case .bytes(let known, let unknown):
            var pending = false
            for byte in piece {
                let token = known[Int(byte)]
                if token >= 0 {
                    if pending, let id = unknown.token { tokens.append(id) }
                    pending = false
                    tokens.append(token)
                } else if let id = unknown.token {
                    if pending, !unknown.isFused { tokens.append(id) }
                    pending = true
                }
            }
            if pending, let id = unknown.token { tokens.append(id) }
        case .characters(let known, let fallback, let unknown):
            read(piece, known, fallback, unknown, into: &tokens)
        }
    }

    private func read(
        _ piece: ArraySlice<UInt8>, _ known: [UInt32: Int32], _ fallback: [Int32]?, _ unknown: Unknown,
        into tokens: inout [Int32]
    ) {
        // An unknown one waits for the next known one; tokens of bytes pass it, in the library as here.
        var pending = false, place = piece.startIndex
        while place < piece.endIndex {
            let first = piece[place], width = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
            let own = piece[place..<min(piece.endIndex, place + width)]
            place = own.endIndex
            if let token = known[Self.scalar(own)] {
                if pending, let id = unknown.token { tokens.append(id) }
                pending = false
                tokens.append(token)
                continue
            }
            if let fallback, own.allSatisfy({ fallback[Int($0)] >= 0 }) {
                for byte in own { tokens.append(fallback[Int(byte)]) }
                continue
            }
            guard let id = unknown.token else { continue }
            if pending, !unknown.isFused { tokens.append(id) }
            pending = true
        }
        if pending, let id = unknown.token { tokens.append(id) }
    }

    /// The bytes are one sound character's.
    private static func scalar(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let first = UInt32(bytes[bytes.startIndex]), count = bytes.count
        if count == 1 { return first }
        let head = first & (count == 2 ? 0x1f : count == 3 ? 0x0f : 0x07)
        return bytes.dropFirst().reduce(head) { $0 << 6 | UInt32($1 & 0x3f) }
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
