import Foundation

/// Numbers of one rollout as a page holds them: little-endian, side by side, in base64.
struct PackedNumbers: Encodable {
    private let text: String

    init(_ values: [Int32]) { text = values.map(\.littleEndian).withUnsafeBytes(Self.base64) }
    init(_ values: [Float]) { text = values.map(\.bitPattern.littleEndian).withUnsafeBytes(Self.base64) }
    /// A byte for each.
    init(_ values: [Bool]) { text = values.map { $0 ? UInt8(1) : 0 }.withUnsafeBytes(Self.base64) }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }

    private static func base64(_ bytes: UnsafeRawBufferPointer) -> String { Data(bytes).base64EncodedString() }
}
