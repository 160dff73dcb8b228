import Files
import Foundation
import Logging

/// Plain lines for people, JSON lines for machines, on stderr. In JSON a message's numbers and names are fields of
/// their own.
struct StageLog: LogHandler {
    let label: String
    let format: LogFormat
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    init(label: String, format: LogFormat) {
        self.label = label
        self.format = format
    }

    func log(event: LogEvent) {
        let (level, message) = (event.level, event.message)
        switch format {
        case .text: writeError(level >= .warning ? "\(label): \(level): \(message)" : "\(label): \(message)")
        case .json:
            var object = (event.metadata ?? [:]).compactMapValues(Self.json)
            (object["command"], object["level"], object["message"], object["time"]) = (
                label, "\(level)", "\(message)", timestamp()
            )
            let data = try? JSONSerialization.data(
                withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
            writeError(String(decoding: data ?? Data(), as: UTF8.self))
        }
    }

    /// Numbers stay numbers.
    private static func json(_ value: Logger.MetadataValue) -> Any? {
        switch value {
        case .string(let text): text
        case .array(let values): values.compactMap(json)
        case .dictionary(let values): values.compactMapValues(json)
        case .stringConvertible(let value):
            switch value {
            case let value as LogNumber: value.json
            default: "\(value)"
            }
        }
    }

    /// Fields as swift-log takes them.
    static func metadata(_ fields: [String: any Sendable]) -> Logger.Metadata { fields.compactMapValues(value) }

    private static func value(_ field: any Sendable) -> Logger.MetadataValue? {
        switch field {
        case let text as String: .string(text)
        case let number as Bool: .stringConvertible(LogNumber(json: NSNumber(value: number)))
        case let number as Int: .stringConvertible(LogNumber(json: NSNumber(value: number)))
        case let number as Double where number.isFinite: .stringConvertible(LogNumber(json: NSNumber(value: number)))
        case let number as Double: .string("\(number)")
        case let values as [any Sendable]: .array(values.compactMap(value))
        case let values as [String: any Sendable]: .dictionary(values.compactMapValues(value))
        default: .string("\(field)")
        }
    }
}

/// A number or truth value on its way through swift-log, whose values are texts.
private struct LogNumber: CustomStringConvertible, @unchecked Sendable {
    let json: NSNumber
    var description: String { "\(json)" }
}

extension FormatError {
    /// Its parts, for a log that machines read.
    var logFields: [String: any Sendable] {
        ["file": file, "place": place, "found": found, "expected": expected, "remedy": remedy]
    }
}
