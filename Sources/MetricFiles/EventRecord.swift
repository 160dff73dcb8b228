/// The framing of a TFRecord: length, its checksum, the bytes, their checksum; all numbers little-endian.
package enum EventRecord {
    package static func framed(_ data: [UInt8]) -> [UInt8] {
        let length = littleEndianBytes(UInt64(data.count))
        return length + littleEndianBytes(maskedChecksum(length)) + data + littleEndianBytes(maskedChecksum(data))
    }

    /// TFRecord turns a checksum and adds a constant, because a checksum of bytes that hold checksums says little.
    package static func maskedChecksum(_ bytes: [UInt8]) -> UInt32 {
        let checksum = CRC32C.of(bytes)
        return (checksum >> 15 | checksum << 17) &+ 0xa282_ead8
    }
}

/// The cyclic redundancy check with Castagnoli's polynomial (RFC 3720, appendix B.4).
package enum CRC32C {
    package static func of(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(UInt32.max) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
    }

    /// The polynomial, its bits in reverse order.
    private static let polynomial: UInt32 = 0x82f6_3b78

    /// What each byte adds.
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { rest, _ in rest & 1 == 1 ? rest >> 1 ^ polynomial : rest >> 1 }
    }
}
