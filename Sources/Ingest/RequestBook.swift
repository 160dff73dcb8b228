import Files
import Formats
import Foundation
import Scratch

/// What engines were asked, from the request files of batches and from prompt files: results name it by `custom_id`.
struct RequestBook: Sendable {
    let requests: [SamplingRequest]
    private let numbers: [ByteText: Int]
    /// Where each stands: its file, and its line from 1.
    private let places: [(file: String, line: Int)]

    /// Throws where a line is no request, or where two requests have one id: results could not be told apart.
    init(_ files: [String]) throws {
        var requests: [SamplingRequest] = [], numbers: [ByteText: Int] = [:], places: [(file: String, line: Int)] = [],
            seen: [Int: Data] = [:]
        for file in files {
            try forEachLine(of: file) { line, text in
                let request = try Self.request(text, file, line)
                if let earlier = numbers[ByteText(request.id)] {
                    if seen[earlier] == text { return }
                    throw Self.fail(
                        file, line,
                        "custom_id '\(request.id)' again, as in line \(places[earlier].line) of \(places[earlier].file)",
                        "each id once")
                }
                numbers[ByteText(request.id)] = requests.count
                seen[requests.count] = text
                requests.append(request)
                places.append((file, line))
            }
        }
        guard !requests.isEmpty else {
            throw FormatError(
                file: files.joined(separator: ", "), place: "", found: "no request",
                expected: "JSON lines of a batch's requests or of prompts")
        }
        (self.requests, self.numbers, self.places) = (requests, numbers, places)
    }

    private static func fail(_ file: String, _ line: Int, _ found: String, _ expected: String) -> FormatError {
        FormatError(file: file, place: "line \(line)", found: found, expected: expected)
    }

    private static func request(_ text: Data, _ file: String, _ line: Int) throws -> SamplingRequest {
        let json = JSONLine(text)
        guard let object = json.whole else {
            let words = String(decoding: text.prefix(60), as: UTF8.self)
            throw fail(file, line, "'\(words)'", "a JSON object (\(json.damage?.description ?? ""))")
        }
        do { return try SamplingRequest(object) } catch { throw fail(file, line, error.found, error.expected) }
    }

    var lookup: RequestLookup {
        { [numbers, requests] id in numbers[ByteText(id)].map { requests[$0] } }
    }

    /// How far results answer them. `rollouts`: the request of each accepted rollout.
    struct Answers {
        var missing: [Int] = []
        /// Answered, but by fewer rollouts than were asked for.
        var incomplete = 0
    }

    func answers(_ rollouts: some Sequence<String>) -> Answers {
        var counts = [Int](repeating: 0, count: requests.count)
        for id in rollouts { if let number = numbers[ByteText(id)] { counts[number] += 1 } }
        var answers = Answers()
        for (number, request) in requests.enumerated() {
            if counts[number] == 0 {
                answers.missing.append(number)
            } else if counts[number] < request.prompts.count * request.choicesPerPrompt {
                answers.incomplete += 1
            }
        }
        return answers
    }

    /// The missing requests' own lines, byte for byte, to be submitted again.
    func write(_ missing: [Int], to file: AtomicFile) throws {
        let wanted = Set(missing.map { "\(places[$0].line) \(places[$0].file)" })
        var read = Set<String>()
        for number in missing where read.insert(places[number].file).inserted {
            let path = places[number].file
            try forEachLine(of: path) { line, text in
                if wanted.contains("\(line) \(path)") { try file.write(Array(text) + [0x0a]) }
            }
        }
    }
}
