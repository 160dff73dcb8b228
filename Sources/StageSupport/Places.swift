import Files
import Foundation

/// A file or folder that a run reads.
package struct InputPlace: Sendable {
    package let path: String
    /// Whether the output may lie inside: a dump or a jobs folder, of which only certain files are read.
    private let mayHoldOutput: Bool

    /// A file, or a folder that belongs to what lies in it: a stage directory, a checkpoint.
    package init(_ path: String) { (self.path, mayHoldOutput) = (path, false) }

    private init(dump path: String) { (self.path, mayHoldOutput) = (path, true) }

    package static func dump(_ path: String) -> InputPlace { InputPlace(dump: path) }

    /// Throws (2) where writing to `output` could harm this input. With `overwrite` they must lie apart.
    func requireApart(from output: String, overwrite: Bool) throws {
        func refuse(_ what: String) -> StageError {
            StageError(
                .usage,
                "--output \(output): \(what). A stage's output needs a folder of its own: choose another --output.")
        }
        switch PlaceRelation(output: output, input: path) {
        case .same: throw refuse("it is the same as the input \(path)")
        case .outputHoldsInput: throw refuse("the input \(path) lies inside")
        case .inputHoldsOutput where overwrite:
            throw refuse("it lies inside of the input \(path), and --overwrite empties it")
        case .inputHoldsOutput where !mayHoldOutput: throw refuse("it lies inside of the input \(path)")
        case .inputHoldsOutput, .apart: return
        }
    }
}

/// How an output lies to an input, by what the names lead to: symbolic links are followed, and two names of one folder
/// are the same.
enum PlaceRelation {
    case apart, same, outputHoldsInput, inputHoldsOutput

    init(output: String, input: String) {
        let outputs = Self.chain(resolvedPath(output)), inputs = Self.chain(resolvedPath(input))
        guard let output = outputs.first, let input = inputs.first else {
            self = .apart
            return
        }
        if output.isSame(input) {
            self = .same
        } else if inputs.contains(where: output.isSame) {
            self = .outputHoldsInput
        } else {
            self = outputs.contains(where: input.isSame) ? .inputHoldsOutput : .apart
        }
    }

    private struct Place {
        let path: String
        let identity: (device: UInt, node: UInt)?

        init(_ path: String) {
            var status = stat()
            self.path = path
            identity = stat(path, &status) == 0 ? (UInt(status.st_dev), UInt(status.st_ino)) : nil
        }

        func isSame(_ other: Place) -> Bool {
            if path == other.path { return true }
            guard let identity, let others = other.identity else { return false }
            return identity == others
        }
    }

    /// A path and all folders above it, the nearest first.
    private static func chain(_ path: String) -> [Place] {
        var path = path, places = [Place(path)]
        while path != "/" {
            path = parentFolder(path)
            places.append(Place(path))
        }
        return places
    }
}
