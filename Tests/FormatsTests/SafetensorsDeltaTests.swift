import Files
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct SafetensorsDeltaTests {
    let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// A file of one tensor for each type's bytes, after one that moves the others off their alignment.
    private func write(_ name: String, _ change: (inout [[UInt8]]) -> Void = { _ in }) throws -> SafetensorsFile {
        let infos = [
            TensorInfo(name: "bytes", dtype: .u8, shape: [3]), TensorInfo(name: "half", dtype: .bf16, shape: [2, 3]),
            TensorInfo(name: "float", dtype: .f32, shape: [4]), TensorInfo(name: "double", dtype: .f64, shape: [2]),
            TensorInfo(name: "none", dtype: .f32, shape: [0]),
        ]
        var tensors = infos.map { info in (0..<info.elementCount * info.dtype.size).map { UInt8($0) } }
        change(&tensors)
        let writer = try SafetensorsWriter(
            path: folder(name), header: SafetensorsHeader(laying: infos, metadata: ["format": "pt"]))
        for tensor in tensors { try tensor.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
        return try SafetensorsFile(path: folder(name))
    }

    /// One byte of an element is enough; a change is of bits, so that -0 is not 0.
    private static func changed(_ tensors: inout [[UInt8]]) {
        tensors[0][2] = 9
        (tensors[1][0], tensors[1][11]) = (77, 78)
        (tensors[2][4], tensors[2][5]) = (1, 1)
        tensors[3][15] = 0x80
    }

    private func delta() throws -> (base: SafetensorsFile, result: SafetensorsFile, path: String) {
        let base = try write("base"), result = try write("result", Self.changed), path = folder("delta")
        try SafetensorsDelta.write(from: base, to: result, at: path)
        return (base, result, path)
    }

    @Test func appliedToTheBaseItIsTheResultByteByByte() throws {
        let (base, result, path) = try delta(), delta = try SafetensorsDelta(path: path)
        try delta.apply(to: base, writing: folder("made"))
        #expect(try readBytes(folder("made")) == readBytes(result.path))
        #expect(delta.count(of: base).changed == 5)
        #expect(delta.count(of: base).elements == 15)
    }

    @Test func itHoldsWhatDiffersAndNothingElse() throws {
        let file = try SafetensorsFile(path: try delta().path)
        #expect(
            file.header.tensors.map(\.name)
                == ["bytes", "half", "float", "double"].flatMap { [$0 + ".positions", $0 + ".values"] })
        #expect(file.bytes(of: try file.tensor("half.positions")).map { $0 } == [0, 0, 0, 0, 5, 0, 0, 0])
        #expect(file.bytes(of: try file.tensor("half.values")).map { $0 } == [77, 1, 10, 78])
    }

    @Test func whatIsTheSameHasAnEmptyDelta() throws {
        let base = try write("base"), same = try write("same")
        try SafetensorsDelta.write(from: base, to: same, at: folder("delta"))
        let delta = try SafetensorsDelta(path: folder("delta"))
        #expect(delta.count(of: base).changed == 0)
        try delta.apply(to: base, writing: folder("made"))
        #expect(try readBytes(folder("made")) == readBytes(base.path))
    }

    @Test func anotherBaseIsRefused() throws {
        let (_, result, path) = try delta()
        let error = #expect(throws: FormatError.self) {
            try SafetensorsDelta(path: path).apply(to: result, writing: folder("made"))
        }
        #expect(error?.description.contains("Give the checkpoint that the update began with") == true)
        #expect(!FileManager.default.fileExists(atPath: folder("made")))
    }

    /// What of a delta's file is damaged, and a part of what is said.
    @Test(arguments: [
        ("half.positions", 0, UInt8(5), "5 behind 5"),
        ("half.positions", 4, UInt8(6), "expected ascending positions below 6"),
        ("half.positions", 3, UInt8(0x80), "expected ascending positions below 6"),
        ("float.values", 0, UInt8(9), "The delta is damaged"),
    ])
    func aDamagedDeltaIsRefused(_ tensor: String, _ byte: Int, _ value: UInt8, _ message: String) throws {
        let (base, _, path) = try delta(), file = try SafetensorsFile(path: path)
        var bytes = try readBytes(path)
        bytes[file.headerBytes.count + (try file.tensor(tensor)).begin + byte] = value
        try writeBytes(bytes, to: folder("damaged"))
        let error = #expect(throws: FormatError.self) {
            try SafetensorsDelta(path: folder("damaged")).apply(to: base, writing: folder("made"))
        }
        #expect(error?.description.contains(message) == true, "\(String(describing: error))")
    }

    @Test func filesOfOtherTensorsHaveNoDelta() throws {
        let base = try write("base"), other = try SafetensorsFile(path: fixture("policy/model.safetensors"))
        #expect(throws: FormatError.self) { try SafetensorsDelta.write(from: base, to: other, at: folder("delta")) }
        #expect(throws: FormatError.self) { try SafetensorsDelta(path: base.path) }
    }
}
