import Files
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct SafetensorsTests {
    /// A file with this JSON as its header and `data` bytes of zeros after it.
    private func open(json: String, data: Int, declaredLength: UInt64? = nil) throws -> SafetensorsHeader {
        let folder = try TemporaryDirectory()
        let length = declaredLength ?? UInt64(json.utf8.count)
        let bytes =
            withUnsafeBytes(of: length.littleEndian) { Array($0) } + Array(json.utf8)
            + [UInt8](repeating: 0, count: data)
        try writeBytes(bytes, to: folder("x.safetensors"))
        return try SafetensorsFile(path: folder("x.safetensors")).header
    }

    @Test func writtenFileReadsBackTensorByTensor() throws {
        let folder = try TemporaryDirectory()
        let header = SafetensorsHeader(
            laying: [
                TensorInfo(name: "b", dtype: .f32, shape: [2, 2]), TensorInfo(name: "a", dtype: .u8, shape: [3]),
            ], metadata: ["format": "pt"])
        let writer = try SafetensorsWriter(path: folder("x"), header: header)
        try [Float](arrayLiteral: 1, 2, 3, 4).withUnsafeBytes { try writer.append($0) }
        try [UInt8](arrayLiteral: 7, 8, 9).withUnsafeBytes { try writer.append($0) }
        try writer.finish()
        let file = try SafetensorsFile(path: folder("x"))
        #expect(file.header == header)
        #expect(file.headerBytes.count % 8 == 0)
        #expect(Array(file.bytes(of: try file.tensor("a"))) == [7, 8, 9])
        #expect(file.bytes(of: try file.tensor("b")).loadUnaligned(fromByteOffset: 12, as: Float.self) == 4)
    }

    @Test func theFixturePolicyOpens() throws {
        let file = try SafetensorsFile(path: fixture("policy/model.safetensors"))
        #expect(file.header.tensors.allSatisfy { $0.dtype == .bf16 })
        #expect(file.header["model.embed_tokens.weight"] != nil)
    }

    @Test func emptyAndScalarTensorsAreLegal() throws {
        let json =
            #"{"e":{"dtype":"F32","shape":[4,0,9223372036854775807],"data_offsets":[0,0]},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#
        let header = try open(json: json, data: 8)
        #expect(header["e"]?.elementCount == 0)
        #expect(header["s"]?.elementCount == 1)
    }

    @Test func escapesInNamesAndMetadataAreRead() throws {
        let json =
            #"{"__metadata__":{"k\u00e9":"\ud83d\ude00\n\"\\"},"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}  "#
        #expect(try open(json: json, data: 1).metadata == ["ké": "😀\n\"\\"])
    }

    /// Each line breaks one rule of the format.
    @Test(arguments: [
        (
            #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2, "twice"
        ),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "gap"),
        (
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3, "overlap"
        ),
        (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,3]}}"#, 3, "2 bytes"),
        (#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "fits"),
        (#"{"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,1]}}"#, 1, "Q7"),
        (#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, 1, "whole number"),
        (#"{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#, 1, "expected ','"),
        (#"{"a":{"dtype":"U8","shape":[1]}}"#, 1, "all three"),
        (#"{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}"#, 1, "whole number"),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}"#, 1, "the key 'x'"),
        (#"{"__metadata__":{"k":1}}"#, 0, "__metadata__"),
        (#" {}"#, 0, "'{'"),
        (#"{} x"#, 0, "only spaces"),
        (#"{"a"#, 0, "closing quote"),
        (#"{"\ud800":{}}"#, 0, "surrogate"),
        (#"[]"#, 0, "'{'"),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 2, "2 bytes"),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 0, "0 bytes"),
    ])
    func brokenHeaderIsRefusedByName(json: String, data: Int, word: String) throws {
        let error = #expect(throws: FormatError.self) { try open(json: json, data: data) }
        #expect("\(error as Any)".contains(word))
    }

    @Test(arguments: [UInt64.max, 1 << 40, 100_000_001, 3])
    func headerLengthBeyondTheFileIsRefused(length: UInt64) {
        #expect(throws: FormatError.self) { try open(json: "{}", data: 0, declaredLength: length) }
    }

    @Test func fileOfSevenBytesIsRefused() throws {
        let folder = try TemporaryDirectory()
        try writeBytes([1, 2, 3, 4, 5, 6, 7], to: folder("x"))
        #expect(throws: FormatError.self) { try SafetensorsFile(path: folder("x")) }
    }

    /// Whatever a header is damaged into, reading it ends in a header or an error, never in a crash.
    @Test func damagedHeadersNeverCrash() throws {
        let good = Array(
            #"{"__metadata__":{"a":"é\u0041"},"t":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#.utf8)
        var random = SplitMix(seed: 7)
        for _ in 0..<4000 {
            var bytes = good
            for _ in 0..<Int(random.next() % 3) + 1 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
            _ = try? SafetensorsHeader(json: Data(bytes), file: "x", place: "header")
        }
    }
}
