import Files
import Formats
import Foundation
import Scratch

/// What data sets know of prompts that dumps don't repeat: the answer that a reward compares with, and where the prompt
/// is from. Rollouts find their prompt by its name, its token ids, or its text.
struct PromptBook: Sendable {
    private struct Entry: Equatable {
        var id: String?
        var reference: String?
        var source: String?
    }

    private var entries: [Entry] = []
    /// By name, by ids, and by text; nil where entries that differ share it.
    private var byID: [ByteText: Int?] = [:]
    private var byTokens: [String: Int?] = [:]
    private var byText: [ByteText: Int?] = [:]
    private var holder = PromptHolder([])
    /// Lines of the files.
    private(set) var count = 0

    /// Throws where a line is no prompt, or says its answer in two ways.
    init(_ files: [String]) throws {
        var texts: [(String, Int)] = []
        for file in files {
            try ForeignFile.refuse(file)
            try forEachLine(of: file) { line, data in
                let line_ = PromptLine(file: file, line: line)
                let json = JSONLine(data)
                guard let object = json.whole else {
                    throw line_.fail(
                        "'\(String(decoding: data.prefix(60), as: UTF8.self))'",
                        "a JSON object (\(json.damage?.description ?? ""))")
                }
                let keys = try line_.keys(object), number = entries.count
                entries.append(Entry(id: keys.id, reference: keys.reference, source: keys.source))
                if let id = keys.id { add(&byID, ByteText(id), number) }
                if let tokens = keys.tokens { add(&byTokens, prefixDigest(tokens[...]), number) }
                for text in keys.texts {
                    add(&byText, ByteText(text), number)
                    texts.append((text, number))
                }
            }
        }
        count = entries.count
        guard count > 0 else {
            throw FormatError(
                file: files.joined(separator: ", "), place: "", found: "no prompt", expected: "JSON lines of prompts")
        }
        holder = PromptHolder(texts.map(\.0))
    }

    /// Two entries of one key are one where they say the same.
    private func add<Key: Hashable>(_ table: inout [Key: Int?], _ key: Key, _ number: Int) {
        guard let known = table[key] else { return table[key] = .some(number) }
        if let known, entries[known].reference != entries[number].reference { table[key] = .some(nil) }
    }

    enum Place: Equatable {
        case found(Int), ambiguous, nowhere
    }

    /// Where a rollout's prompt stands.
    func place(_ row: RolloutRow, ids: [String]) -> Place {
        for id in ids { if let number = byID[ByteText(id)] { return Place(number) } }
        let prompt = row.tokenIDs[..<(row.lossMask.firstIndex(of: true) ?? 0)]
        if !byTokens.isEmpty, let number = byTokens[prefixDigest(prompt)] { return Place(number) }
        guard !row.prompt.isEmpty else { return .nowhere }
        for text in [row.prompt, trimmed(row.prompt)] {
            if let number = byText[ByteText(text)] { return Place(number) }
        }
        guard let held = holder.longest(in: row.prompt), let number = byText[ByteText(held)] else { return .nowhere }
        return Place(number)
    }

    /// Fills in what a row at a place doesn't say itself.
    fileprivate func fill(_ row: inout RolloutRow, _ remarks: inout Set<RolloutRemark>, at place: Place) {
        switch place {
        case .nowhere: remarks.insert(.promptUnplaced)
        case .ambiguous: remarks.insert(.promptAmbiguous)
        case .found(let number):
            if row.referenceAnswer.isEmpty { row.referenceAnswer = entries[number].reference ?? "" }
            if row.dataSource.isEmpty { row.dataSource = entries[number].source ?? "" }
        }
    }

    /// Names by which a row's prompt may be known.
    fileprivate static func ids(of row: RolloutRow) -> [String] {
        guard row.extras.contains("\"prompt_id\""),
            let extras = try? JSONSerialization.jsonObject(with: Data(row.extras.utf8)) as? [String: Any],
            let id = extras["prompt_id"] as? String
        else { return [row.groupID] }
        return [id, row.groupID]
    }
}

/// Finds rows' prompts one after the other: rollouts of a prompt stand side by side mostly, and a search is not made
/// twice.
struct PromptPlaces {
    private let book: PromptBook
    private var last: (group: ByteText, place: PromptBook.Place)?

    init(_ book: PromptBook) { self.book = book }

    mutating func fill(_ row: inout RolloutRow, _ remarks: inout Set<RolloutRemark>) {
        let group = ByteText(row.groupID)
        let place = last.flatMap { $0.group == group ? $0.place : nil } ?? book.place(row, ids: PromptBook.ids(of: row))
        last = (group, place)
        book.fill(&row, &remarks, at: place)
    }
}

extension PromptBook.Place {
    fileprivate init(_ number: Int?) { self = number.map { .found($0) } ?? .ambiguous }
}

private func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }

/// A line of a prompt file: how data sets name what it holds.
private struct PromptLine {
    let file: String
    let line: Int

    struct Keys {
        var id: String?
        var tokens: [Int32]?
        var texts: [String] = []
        var reference: String?
        var source: String?
    }

    func fail(_ found: String, _ expected: String) -> FormatError {
        FormatError(file: file, place: "line \(line)", found: found, expected: expected)
    }

    func keys(_ object: JSONObject) throws -> Keys {
        var keys = Keys()
        keys.id = ["group_id", "prompt_id", "id", "custom_id"].lazy.compactMap { object.given($0)?.identifier }.first
        keys.source = object.given("data_source")?.text
        keys.reference = try reference(object)
        do { keys.tokens = try tokens(object) } catch { throw fail(error.found, error.expected) }
        let prompt = object.given("prompt") ?? object.given("question") ?? object.given("problem")
        let messages = object.given("messages")?.list ?? prompt?.list.flatMap { $0.first?.object == nil ? nil : $0 }
        keys.texts = [prompt?.string, messages.flatMap(lastOfUser)].compactMap { $0 }.map(trimmed).filter {
            !$0.isEmpty
        }
        if keys.id == nil, keys.tokens == nil, keys.texts.isEmpty {
            throw fail(
                "neither an id nor a prompt", "prompt (or question, problem), messages, prompt_token_ids or an id")
        }
        return keys
    }

    private func tokens(_ object: JSONObject) throws(RolloutFault) -> [Int32]? {
        for key in ["prompt_token_ids", "input_ids"] {
            if let ids = try tokenIDs(object.given(key), key) { return ids }
        }
        guard let list = object.given("prompt")?.list, list.first?.int != nil else { return nil }
        return try tokenIDs(.list(list), "prompt")
    }

    /// Names that data sets have for it; verl's lies in `reward_model`. Two of them must not differ.
    private func reference(_ object: JSONObject) throws -> String? {
        let names = ["reference_answer", "answer", "solution", "ground_truth", "label"]
        var given = names.compactMap { name in object.given(name)?.text.map { (name, $0) } }
        if let truth = object["reward_model"]?.object?.given("ground_truth")?.text {
            given.append(("reward_model.ground_truth", truth))
        }
        guard let first = given.first else { return nil }
        if let other = given.first(where: { $0.1 != first.1 }), first.0 != names[0] {
            throw fail("\(first.0) and \(other.0), which differ", "one answer; reference_answer wins where it is there")
        }
        return first.1
    }

    private func lastOfUser(_ messages: [JSONValue]) -> String? {
        let last = messages.last { $0.object?["role"]?.string == "user" }?.object?["content"]
        return last?.string ?? last?.list?.compactMap { $0.object?["text"]?.string }.joined()
    }
}

/// Finds which of many texts a longer one holds: a question within its chat template.
private struct PromptHolder {
    /// Texts by their first bytes, the longest first; shorter ones are too likely to be found by chance.
    private let heads: [[UInt8]: [[UInt8]]]
    private static let headLength = 12

    init(_ texts: [String]) {
        var heads: [[UInt8]: [[UInt8]]] = [:]
        for text in Set(texts.map { Array($0.utf8) }) where text.count >= Self.headLength {
            heads[Array(text.prefix(Self.headLength)), default: []].append(text)
        }
        self.heads = heads.mapValues { $0.sorted { $0.count > $1.count } }
    }

    /// The longest of the texts that stands in `text` with nothing of a word or number directly around it.
    func longest(in text: String) -> String? {
        guard !heads.isEmpty else { return nil }
        let bytes = Array(text.utf8)
        var best: [UInt8] = []
        guard bytes.count >= Self.headLength else { return nil }
        for start in 0...bytes.count - Self.headLength where start == 0 || !Self.isOfWord(bytes[start - 1]) {
            guard let texts = heads[Array(bytes[start..<start + Self.headLength])] else { continue }
            for candidate in texts where candidate.count > best.count {
                let end = start + candidate.count
                guard end <= bytes.count, bytes[start..<end].elementsEqual(candidate),
                    end == bytes.count || !Self.isOfWord(bytes[end])
                else { continue }
                best = candidate
                break
            }
        }
        return best.isEmpty ? nil : String(decoding: best, as: UTF8.self)
    }

    /// Letters, digits, what may belong to a number or formula, and all beyond ASCII.
    private static func isOfWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "_"), 0x80...:
            true
        default: false
        }
    }
}
