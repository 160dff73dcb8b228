/// Something that is done to text before it is cut.
protocol NormalizerStep: Sendable {
    /// Its `type` in a tokenizer.json.
    static var names: [String] { get }
    init(_ node: TokenizerNode) throws
    func apply(_ text: String) -> String
}

enum NormalizerRegistry {
    /// A newcomer: one type, one line here.
    static let all: [any NormalizerStep.Type] = [
        FormNormalizer.self, NormalizerSequence.self, PrependNormalizer.self, ReplaceNormalizer.self,
    ]

    static func step(_ node: TokenizerNode) throws -> any NormalizerStep {
        let name = try node.require(node["type"].string, "a normalizer with a type")
        guard let kind = all.first(where: { $0.names.contains(name) }) else {
            let known = all.flatMap { $0.names }.joined(separator: ", ")
            throw node["type"].unsupported(expected: "no normalizer, or one of \(known)")
        }
        return try kind.init(node)
    }
}

/// What a tokenizer.json says under `normalizer`; nothing is done where it says null.
struct Normalizer: Sendable {
    private let step: (any NormalizerStep)?

    init(_ node: TokenizerNode) throws { step = node.isNull ? nil : try NormalizerRegistry.step(node) }

    func apply(_ text: String) -> String { step?.apply(text) ?? text }
}

/// NFC, NFD, NFKC, NFKD.
struct FormNormalizer: NormalizerStep {
    static let names = NormalizationForm.allCases.map(\.rawValue)
    private let form: NormalizationForm

    init(_ node: TokenizerNode) throws {
        form = try node["type"].require(node["type"].string.flatMap(NormalizationForm.init), "a normalization form")
    }

    func apply(_ text: String) -> String { form.apply(text) }
}

struct NormalizerSequence: NormalizerStep {
    static let names = ["Sequence"]
    private let steps: [any NormalizerStep]

    init(_ node: TokenizerNode) throws {
        _ = try node.require(node["normalizers"].values, "a list of normalizers")
        steps = try node["normalizers"].list.map(NormalizerRegistry.step)
    }

    func apply(_ text: String) -> String { steps.reduce(text) { $1.apply($0) } }
}

/// Puts something before every text that isn't empty, also before one that begins with it.
struct PrependNormalizer: NormalizerStep {
    static let names = ["Prepend"]
    private let start: String

    init(_ node: TokenizerNode) throws {
        start = try node["prepend"].require(node["prepend"].string, "a text to put before others")
    }

    func apply(_ text: String) -> String { text.isEmpty ? text : start + text }
}

/// Every match by one text, taken literally.
struct ReplaceNormalizer: NormalizerStep {
    static let names = ["Replace"]
    private let replacement: Replacement

    init(_ node: TokenizerNode) throws { replacement = try Replacement(node) }

    func apply(_ text: String) -> String { replacement.apply(text) }
}

/// `pattern` and `content`, of normalizers and of decoders.
struct Replacement: Sendable {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ node: TokenizerNode) throws {
        pattern = try TextPattern(node["pattern"])
        content = Array(try node["content"].require(node["content"].string, "a text to put in its place").utf8)
    }

    func apply(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var result: [UInt8] = [], done = 0
        pattern.matches(in: bytes[...]) { match in
            result += bytes[done..<match.lowerBound]
            result += content
            done = match.upperBound
        }
        return done == 0 ? text : String(decoding: result + bytes[done...], as: UTF8.self)
    }
}
