/// The column types that stage files use. Everything else is refused by name where it is asked for, and passed over
/// where it is not.
package indirect enum ArrowType: Equatable, Sendable, CustomStringConvertible {
    case bool
    case uint16
    case int32
    case int64
    case float32
    case float64
    case utf8
    case list(ArrowType)
    /// A type we can step over but not read; the name is for the error message.
    case other(String, buffers: Int, children: [ArrowType])

    package var description: String {
        switch self {
        case .bool: "bool"
        case .uint16: "uint16"
        case .int32: "int32"
        case .int64: "int64"
        case .float32: "float32"
        case .float64: "float64"
        case .utf8: "utf8"
        case .list(let element): "list<\(element)>"
        case .other(let name, _, _): name
        }
    }

    /// Body buffers of this node alone, validity included.
    var bufferCount: Int {
        switch self {
        case .bool, .uint16, .int32, .int64, .float32, .float64, .list: 2
        case .utf8: 3
        case .other(_, let buffers, _): buffers
        }
    }

    /// Those of the nodes below it too.
    var bufferTotal: Int { children.reduce(bufferCount) { $0 + $1.bufferTotal } }

    var children: [ArrowType] {
        switch self {
        case .list(let element): [element]
        case .other(_, _, let children): children
        default: []
        }
    }
}

/// Buffer compression of a file's record batches.
package enum ArrowCompression: Equatable, Sendable {
    case none
    case zstd(level: Int32)
}

struct ArrowField: Equatable, Sendable {
    let name: String
    let type: ArrowType
    let nullable: Bool
}

/// Numbers of Arrow's Schema.fbs, Message.fbs and File.fbs.
enum ArrowFormat {
    static let magic = Array("ARROW1".utf8)
    static let version5: Int16 = 4
    enum Header { static let schema: UInt8 = 1, recordBatch: UInt8 = 3 }
    enum TypeID {
        static let int: UInt8 = 2, floatingPoint: UInt8 = 3, utf8: UInt8 = 5, bool: UInt8 = 6, list: UInt8 = 12
    }
    /// Alignment of buffers: 8 is the legal minimum, 64 lets readers map them.
    static let alignment = 64
    static func padded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }

    static let names: [UInt8: (name: String, buffers: Int)] = [
        1: ("null", 0), 2: ("int", 2), 3: ("floating point", 2), 4: ("binary", 3), 5: ("utf8", 3), 6: ("bool", 2),
        7: ("decimal", 2),
        8: ("date", 2), 9: ("time", 2), 10: ("timestamp", 2), 11: ("interval", 2), 12: ("list", 2), 13: ("struct", 1),
        15: ("fixed-size binary", 2), 16: ("fixed-size list", 1), 17: ("map", 2), 18: ("duration", 2),
        19: ("large binary", 3),
        20: ("large utf8", 3), 21: ("large list", 2),
    ]
}
