/// Arrow's booleans are bits, least significant first; Swift's are bytes of 0 or 1. Both ways eight at a time.
enum BitPacking {
    /// Bits of `range` → one byte each.
    static func unpack(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>, into target: UnsafeMutableRawBufferPointer)
    {
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
            let eight =
                UInt16(gather(UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index, as: UInt64.self))))
                << shift
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
    private static func gather(_ bytes: UInt64) -> UInt8 {
        UInt8(truncatingIfNeeded: (bytes &* 0x0102_0408_1020_4080) >> 56)
    }

    /// How many bits of `range` are set.
    static func count(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        if let run = onlyRun(bits, range) { return run.count }
        var count = 0
        forEachWord(bits, range) { word, _ in
            count += word.nonzeroBitCount
            return true
        }
        return count
    }

    /// Where the set bits of `range` are, counted from its start, if they are all side by side; empty where none is
    /// set.
    static func onlyRun(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int>? {
        let first = firstBit(true, bits, range), end = firstBit(false, bits, first..<range.upperBound)
        guard firstBit(true, bits, end..<range.upperBound) == range.upperBound else { return nil }
        return first == range.upperBound ? 0..<0 : first - range.lowerBound..<end - range.lowerBound
    }

    /// The first bit of `range` that is set, or isn't; its end where there is none. Whole words at a time, which begin
    /// with whole bytes.
    private static func firstBit(_ wanted: Bool, _ bits: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        let flip: UInt64 = wanted ? 0 : ~0
        var byte = range.lowerBound / 8, skipped = UInt64(range.lowerBound % 8)
        while 8 * byte < range.upperBound {
            let found = (wordOfBytes(bits, byte) ^ flip) & (~0 << skipped)
            if found != 0 { return min(range.upperBound, 8 * byte + found.trailingZeroBitCount) }
            (byte, skipped) = (byte + 8, 0)
        }
        return range.upperBound
    }

    /// Eight bytes from one on; beyond the buffer there are zeros.
    private static func wordOfBytes(_ bits: UnsafeRawBufferPointer, _ byte: Int) -> UInt64 {
        guard byte + 8 > bits.count else {
            return UInt64(littleEndian: bits.loadUnaligned(fromByteOffset: byte, as: UInt64.self))
        }
        return (byte..<bits.count).reduce(0) { $0 | UInt64(bits[$1]) << UInt64(8 * ($1 - byte)) }
    }

    /// The numbers at places of set bits, one after the other; returns how many. `target` has room for as many as there
    /// are bits.
    static func gather(
        _ bits: UnsafeRawBufferPointer, _ range: Range<Int>, _ values: UnsafeRawPointer,
        into target: UnsafeMutableRawPointer
    ) -> Int {
        let size = MemoryLayout<Float>.size
        var done = 0
        forEachRun(bits, range) { run in
            (target + done * size).copyMemory(from: values + run.lowerBound * size, byteCount: run.count * size)
            done += run.count
            return true
        }
        return done
    }

    /// Where the set bits of these numbers, from 0, are: in runs, counted from the range's start.
    static func runs(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>, ofSetBits wanted: Range<Int>) -> [Range<Int>]
    {
        var runs: [Range<Int>] = [], before = 0
        forEachRun(bits, range) { run in
            let inside = wanted.clamped(to: before..<before + run.count), shift = run.lowerBound - before
            if !inside.isEmpty { runs.append(inside.lowerBound + shift..<inside.upperBound + shift) }
            before += run.count
            return before < wanted.upperBound
        }
        return runs
    }

    /// Runs of set bits as long as they go, by their places in the range; until `body` says false.
    private static func forEachRun(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>, _ body: (Range<Int>) -> Bool) {
        var run = 0..<0, goesOn = true
        forEachWord(bits, range) { word, start in
            var left = word
            while left != 0, goesOn {
                let first = left.trailingZeroBitCount, end = first + (~(left >> UInt64(first))).trailingZeroBitCount
                if start + first != run.upperBound, !run.isEmpty { goesOn = body(run) }
                run = (start + first == run.upperBound ? run.lowerBound : start + first)..<start + min(end, 64)
                left = end < 64 ? left & (~0 << UInt64(end)) : 0
            }
            return goesOn
        }
        if goesOn, !run.isEmpty { _ = body(run) }
    }

    /// Bits of `range`, 64 at a time with the place of the first within the range; those beyond its end are 0. Until
    /// `body` says false.
    private static func forEachWord(_ bits: UnsafeRawBufferPointer, _ range: Range<Int>, _ body: (UInt64, Int) -> Bool)
    {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: 64) {
            let count = min(64, range.upperBound - start)
            guard body(word(bits, start) & (~0 >> UInt64(64 - count)), start - range.lowerBound) else { return }
        }
    }

    /// The 64 bits from `start` on, 0 where the buffer ends before.
    private static func word(_ bits: UnsafeRawBufferPointer, _ start: Int) -> UInt64 {
        let byte = start / 8, shift = UInt64(start % 8)
        guard byte + 9 <= bits.count else {
            return (byte..<min(byte + 9, bits.count)).reduce(0) {
                $0 | placed(UInt64(bits[$1]), 8 * ($1 - byte) - Int(shift))
            }
        }
        let low = UInt64(littleEndian: bits.loadUnaligned(fromByteOffset: byte, as: UInt64.self))
        return shift == 0 ? low : low >> shift | UInt64(bits[byte + 8]) << (64 - shift)
    }

    private static func placed(_ byte: UInt64, _ shift: Int) -> UInt64 {
        shift >= 0 ? byte << UInt64(shift) : byte >> UInt64(-shift)
    }
}
