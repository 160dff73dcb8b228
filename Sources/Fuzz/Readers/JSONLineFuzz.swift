import Formats
import Foundation

/// Bytes as a line of another program's dump, a request and a result.
final class JSONLineFuzz: FuzzTarget {
    static let name = "json-line", subject = "a line of another program's dump, of requests or of results"

    init(folder: String) {}

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let line = Data(bytes)
        // What was asked, by the line itself: its own settings as those of the request.
        let own = try JSONLine(line).objects.first.map { try SamplingRequest($0) }
        _ = DumpDialects.decode(line, in: LineContext(file: "step3") { _ in own })
        _ = DumpDialects.decode(line)
        _ = EngineDialects.decodeRequest(line)
    }
}
