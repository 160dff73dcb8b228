/// Arrow's booleans are bits, least significant first; Swift's are bytes of 0 or 1. Both ways eight at a time.
enum BitPacking {
    /// Bits of `range` → one byte each.
    static func unpack(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer) {
        var index = range.lowerBound, place = 0
        while index % 8 != 0, index < range.upperBound {
            target[place] = bits[index / 8] >> UInt8(index % 8) & 1
            (index, place) = (index + 1, place + 1)
        }
        while index + 8 <= range.upperBound {
            target.storeBytes(of: spread(bits[index / 8]).littleEndian, toByteOffset: place, as: UInt64.self)
            (index, place) = (index + 8, place + 8)
        }
        while index < range.upperBound {
            target[place] = bits[index / 8] >> UInt8(index % 8) & 1
            (index, place) = (index + 1, place + 1)
        }
    }

    /// Bit i goes to byte i: the factor puts a copy of the seven low bits at every seventh bit.
    private static func spread(_ byte: UInt8) -> UInt64 {
        (UInt64(byte & 0x7f) &* 0x0002_0408_1020_4081) & 0x0101_0101_0101_0101 | UInt64(byte >> 7) << 56
    }

    /// Bytes of 0 or 1 → bits of `target` from bit `start` on, which must be 0 so far.
    static func pack(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, at start: Int) {
        let shift = UInt16(start % 8)
        var place = start / 8, index = 0
        while index + 8 <= source.count {
            let eight = UInt16(gather(UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index, as: UInt64.self)))) << shift
            target[place] |= UInt8(truncatingIfNeeded: eight)
            if shift > 0 { target[place + 1] = UInt8(eight >> 8) }
            (place, index) = (place + 1, index + 8)
        }
        while index < source.count {
            target[(start + index) / 8] |= source[index] << UInt8((start + index) % 8)
            index += 1
        }
    }

    /// Byte i's lowest bit goes to bit i.
    private static func gather(_ bytes: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: (bytes &* 0x0102_0408_1020_4080) >> 56) }
}
