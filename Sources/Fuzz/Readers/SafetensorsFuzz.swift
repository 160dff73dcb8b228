import Formats

/// Bytes as a safetensors file, every element read.
final class SafetensorsFuzz: FuzzTarget {
    static let name = "safetensors", subject = "a safetensors file"
    private let path: String

    init(folder: String) { path = folder + "/fuzz.safetensors" }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: path)
        let file = try SafetensorsFile(path: path)
        var sum = 0
        for tensor in file.header.tensors {
            _ = try file.tensor(tensor.name)
            file.forEachPiece(of: tensor) { for byte in $0 { sum &+= Int(byte) } }
        }
        _ = file.header.encoded()
    }
}
