import CKernels

/// Floats as 16-bit elements and back: rounded to nearest, ties to even; NaN stays NaN.
package enum HalfPrecision {
    /// `dtype`: bf16 or f16.
    package static func narrow(_ values: UnsafePointer<Float>, count: Int, to dtype: DType) -> [UInt16] {
        precondition(dtype == .bf16 || dtype == .f16, "\(dtype.rawValue) has no 16 bits of a float")
        var half = [UInt16](repeating: 0, count: count)
        if dtype == .bf16 { crux_f32_to_bf16(values, &half, count) } else { crux_f32_to_f16(values, &half, count) }
        return half
    }

    package static func widen(f16 half: UnsafePointer<UInt16>, count: Int) -> [Float] {
        var values = [Float](repeating: 0, count: count)
        crux_f16_to_f32(half, &values, count)
        return values
    }
}
