/// One tensor of a safetensors header. `begin` and `end` are byte offsets within the data area.
package struct TensorInfo: Equatable, Sendable {
    package var name: String
    package var dtype: DType
    package var shape: [Int]
    package var begin: Int
    package var end: Int

    package init(name: String, dtype: DType, shape: [Int], begin: Int = 0, end: Int = 0) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.begin = begin
        self.end = end
    }

    /// The product of the shape; a zero is looked for first because hostile shapes overflow on the way to it.
    package var elementCount: Int { shape.contains(0) ? 0 : shape.reduce(1, *) }
}
