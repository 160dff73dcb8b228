import Arrow
import Files

/// An event file as TensorBoard reads it: records of `tensorflow.Event` (event.proto, summary.proto), the first of which
/// names the version, each other one the numbers of a step.
enum EventFile {
    private static let version = "brain.Event:2"

    static func write(_ series: MetricSeries, to file: AtomicFile) throws {
        try file.write(EventRecord.framed(header()))
        for step in series.steps { try file.write(EventRecord.framed(event(step, series))) }
    }

    private static func header() -> [UInt8] {
        var event = ProtobufMessage()
        event.add(text: version, Field.fileVersion)
        return event.bytes
    }

    /// Nulls have no value there: TensorBoard draws a line through what is known.
    private static func event(_ step: MetricSeries.Step, _ series: MetricSeries) -> [UInt8] {
        var summary = ProtobufMessage()
        for (name, value) in zip(series.names, step.values) {
            guard let number = value.double else { continue }
            summary.add(message: scalar("\(series.group)/\(name)", number), Field.value)
        }
        var event = ProtobufMessage()
        event.add(double: step.time, Field.wallTime)
        event.add(integer: step.number, Field.step)
        event.add(message: summary, Field.summary)
        return event.bytes
    }

    private static func scalar(_ tag: String, _ number: Double) -> ProtobufMessage {
        var value = ProtobufMessage()
        value.add(text: tag, Field.tag)
        value.add(float: Float(number), Field.simpleValue)
        return value
    }

    /// Numbers of the fields that are written.
    private enum Field {
        // Event
        static let wallTime = 1
        static let step = 2
        static let fileVersion = 3
        static let summary = 5
        // Summary
        static let value = 1
        // Summary.Value
        static let tag = 1
        static let simpleValue = 2
    }
}

extension CellNumber {
    fileprivate var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .real(let value): value
        case .null: nil
        }
    }
}
