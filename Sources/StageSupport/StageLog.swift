import Formats
import Foundation
import Logging
import Synchronization

/// Writes a stage's notes and warnings to stderr, one line each, as text or JSON.
struct StageLogHandler: LogHandler {
    let stage: String
    let format: LogFormat
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { Terminal.line(render(event.level, "\(event.message)")) }

    private func render(_ level: Logger.Level, _ message: String) -> String {
        switch format {
        case .json: JSONValue.object(["level": .string(level.rawValue), "stage": .string(stage), "message": .string(message)]).encoded()
        case .text: level < .warning ? "\(stage): \(message)" : "\(stage): \(level.rawValue): \(message)"
        }
    }
}

/// The one writer to stderr, so that a progress line and messages don't run into each other.
enum Terminal {
    static let isInteractive = isatty(STDERR_FILENO) == 1
    private static let progressShown = Mutex(false)
    private static let clearLine = "\r\u{1B}[K"

    static func line(_ text: String) {
        progressShown.withLock { shown in
            write((shown ? clearLine : "") + text + "\n")
            shown = false
        }
    }

    static func progress(_ text: String) {
        progressShown.withLock { shown in
            write(clearLine + text)
            shown = !text.isEmpty
        }
    }

    private static func write(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}
