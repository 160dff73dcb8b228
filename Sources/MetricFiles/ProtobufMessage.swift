/// A message of Protocol Buffers in the making: fields in the order in which they are added.
struct ProtobufMessage {
    private(set) var bytes: [UInt8] = []

    /// How a field's value is laid out.
    private enum WireType: UInt64 {
        case varint = 0
        case eightBytes = 1
        case lengthAndBytes = 2
        case fourBytes = 5
    }

    mutating func add(integer value: Int64, _ field: Int) {
        begin(field, .varint)
        add(varint: UInt64(bitPattern: value))
    }

    mutating func add(double value: Double, _ field: Int) {
        begin(field, .eightBytes)
        bytes += littleEndianBytes(value.bitPattern)
    }

    mutating func add(float value: Float, _ field: Int) {
        begin(field, .fourBytes)
        bytes += littleEndianBytes(value.bitPattern)
    }

    mutating func add(text: String, _ field: Int) { add(bytes: Array(text.utf8), field) }

    mutating func add(message: ProtobufMessage, _ field: Int) { add(bytes: message.bytes, field) }

    private mutating func add(bytes value: [UInt8], _ field: Int) {
        begin(field, .lengthAndBytes)
        add(varint: UInt64(value.count))
        bytes += value
    }

    private mutating func begin(_ field: Int, _ type: WireType) { add(varint: UInt64(field) << 3 | type.rawValue) }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    private mutating func add(varint value: UInt64) {
        var rest = value
        while rest > 0x7f {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

func littleEndianBytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
