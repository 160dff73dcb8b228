import ArgumentParser
import Foundation
import Tokenizer

/// Texts to ids and ids to texts, line by line.
struct TokensProbe: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokens",
        abstract:
            "Tokenises: lines {\"text\": …} become {\"ids\", \"plain\"}, lines {\"ids\": …} become {\"text\", \"all\"}."
    )

    @Argument(help: "Checkpoint folder, or tokenizer.json.")
    var tokenizer: String

    @Option(help: "Instead: how long the lines of this file take, one by one, on one thread.")
    var measure: String?

    @Option(help: "Times to measure; the shortest is printed.")
    var turns = 5

    private struct Line: Decodable {
        var text: String?
        var ids: [Int32]?
    }

    private struct Answer: Encodable {
        var ids: [Int32]?
        /// Without special tokens around it.
        var plain: [Int32]?
        var text: String?
        /// With special tokens.
        var all: String?
    }

    private struct Measure: Encodable {
        let seconds: Double
        let tokens: Int
        let bytes: Int
    }

    func run() throws {
        let tokenizer = try Tokenizer(path: tokenizer), encoder = JSONEncoder()
        func write(_ answer: some Encodable) throws {
            FileHandle.standardOutput.write(try encoder.encode(answer) + Data("\n".utf8))
        }
        if let measure { return try write(try self.measure(tokenizer, measure)) }
        while let line = readLine() {
            let request = try JSONDecoder().decode(Line.self, from: Data(line.utf8))
            var answer = Answer()
            if let text = request.text {
                answer.ids = tokenizer.encode(text)
                answer.plain = tokenizer.encode(text, addingSpecialTokens: false)
            }
            if let ids = request.ids {
                answer.text = tokenizer.decode(ids)
                answer.all = tokenizer.decode(ids, skippingSpecialTokens: false)
            }
            try write(answer)
        }
    }

    private func measure(_ tokenizer: Tokenizer, _ file: String) throws -> Measure {
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var tokens = 0, best = Double.infinity
        for _ in 0..<turns {
            tokens = 0
            let start = DispatchTime.now().uptimeNanoseconds
            for line in lines { tokens += tokenizer.encode(line).count }
            best = min(best, Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9)
        }
        return Measure(seconds: best, tokens: tokens, bytes: text.utf8.count)
    }
}
