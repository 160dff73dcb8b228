import Files
import Formats

/// Float32 weights that an optimizer keeps of a checkpoint in 16 bits.
package struct Masters: Sendable {
    package let file: SafetensorsFile
    /// `master.` or, of a target network, `target.`
    package let prefix: String

    package init(path: String, prefix: String = "master.") throws {
        (file, self.prefix) = (try SafetensorsFile(path: path), prefix)
    }

    package var isEmpty: Bool { !file.header.tensors.contains { $0.name.hasPrefix(prefix) } }

    func has(_ parameter: ParameterLayout.Parameter) -> Bool { file.header[prefix + parameter.name] != nil }

    /// Loads a parameter where it is there; false where it isn't.
    @discardableResult
    func load(_ parameter: ParameterLayout.Parameter, to target: UnsafeMutablePointer<Float>) throws -> Bool {
        guard let tensor = file.header[prefix + parameter.name] else { return false }
        guard tensor.dtype == .f32, tensor.shape == parameter.shape else {
            throw FormatError(
                file: file.path, place: "tensor '\(tensor.name)'", found: "\(tensor.dtype.rawValue) \(tensor.shape)",
                expected: "F32 \(parameter.shape), as the checkpoint beside it has it")
        }
        var place = target
        file.forEachPiece(of: tensor) { piece in
            piece.widen(.f32, into: place, count: piece.count / 4)
            place += piece.count / 4
        }
        return true
    }
}
