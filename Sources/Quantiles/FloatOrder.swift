/// Unsigned integers in the order of the floats.
enum FloatOrder {
    /// Of a float's bits; those of -0 are to have been made those of 0 before.
    static func key(_ bits: UInt32) -> UInt32 {
        bits ^ (UInt32(bitPattern: Int32(bitPattern: bits) >> 31) | 0x8000_0000)
    }

    /// Adding 0 makes -0 what it equals.
    static func key(_ value: Float) -> UInt32 { key((value + 0).bitPattern) }

    /// The other way.
    static func bits(_ key: UInt32) -> UInt32 { key >> 31 == 1 ? key ^ 0x8000_0000 : ~key }

    static func value(_ key: UInt32) -> Float { Float(bitPattern: bits(key)) }
}
