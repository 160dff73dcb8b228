import Files
import Formats
import Foundation

/// The safetensors files of a checkpoint's folder and where each tensor lies: a single file, else the shards of an
/// index.
struct WeightFiles {
    let files: [SafetensorsFile]
    /// Tensor name → index into `files`.
    let places: [String: Int]
    private(set) var notes: [String] = []
    private let directory: String

    static let singleName = "model.safetensors", indexName = "model.safetensors.index.json"

    init(directory: String) throws {
        self.directory = directory
        let index = try WeightIndex(directory: directory), hasSingle = try fileExists(directory + "/" + Self.singleName)
        let names = hasSingle ? [Self.singleName] : index?.names ?? [Self.singleName]
        if hasSingle, let index, index.names != names {
            notes.append(
                "\(directory): \(Self.singleName) is read, as in transformers; \(Self.indexName) beside it names other files "
                    + "(\(index.names.prefix(3).joined(separator: ", "))), which engines may load instead: remove what is stale"
            )
        }
        files = try names.map { try SafetensorsFile(path: directory + "/" + $0) }
        places = try Self.places(files)
        if !hasSingle { try index?.check(files) }
    }

    private static func places(_ files: [SafetensorsFile]) throws -> [String: Int] {
        var places: [String: Int] = [:]
        for (index, file) in files.enumerated() {
            for tensor in file.header.tensors {
                if let other = places.updateValue(index, forKey: tensor.name) {
                    throw FormatError(
                        file: file.path, place: "", found: "tensor '\(tensor.name)' again",
                        expected: "it only in \(files[other].path)")
                }
            }
        }
        return places
    }

    // MARK: a model beside others

    /// The place under which there are layers; where there is none, the errors name the first.
    func resolvePlace(of architecture: inout DecoderArchitecture) {
        let known = architecture.places.first { place in places.keys.contains { $0.hasPrefix(place.prefix + "layers.") }
        }
        guard let place = known ?? architecture.places.first else { return }
        (architecture.prefix, architecture.headName) = (place.prefix, place.headName)
    }

    // MARK: the head

    /// `tie_word_embeddings: true` beside a stored head, as transformers 5 reads it: one that equals the embedding is
    /// tied to it, another is a parameter of its own. To tell costs a look at both tensors, and only where both are
    /// stored.
    func resolveHead(of architecture: inout DecoderArchitecture) throws -> [String] {
        guard architecture.tiedHead, let head = tensor(architecture.headName) else { return [] }
        guard let embedding = tensor(architecture.embeddingName) else {
            return ["\(directory): the embedding is tied to \(architecture.headName), which alone is stored"]
        }
        if try equal(head, embedding) { return [] }
        architecture.tiedHead = false
        return [
            "\(directory): config.json says tie_word_embeddings: true, but the stored \(architecture.headName) differs from the embedding. It counts as "
                + "a parameter of its own, as in transformers 5; older versions and engines tie it and compute another model"
        ]
    }

    private typealias Stored = (file: SafetensorsFile, tensor: TensorInfo)

    private func tensor(_ name: String) -> Stored? {
        places[name].flatMap { place in files[place].header[name].map { (files[place], $0) } }
    }

    private func equal(_ a: Stored, _ b: Stored) throws -> Bool {
        guard a.tensor.shape == b.tensor.shape else { return false }
        if a.tensor.dtype == b.tensor.dtype {
            var same = true, position = 0
            let other = b.file.bytes(of: b.tensor)
            a.file.forEachPiece(of: a.tensor) { piece in
                let part = UnsafeRawBufferPointer(rebasing: other[position..<position + piece.count])
                same = same && memcmp(piece.baseAddress!, part.baseAddress!, piece.count) == 0
                position += piece.count
            }
            return same
        }
        let count = a.tensor.elementCount
        func values(_ stored: Stored) -> [Float] {
            var values: [Float] = []
            values.reserveCapacity(count)
            stored.file.forEachPiece(of: stored.tensor) { piece in
                let size = piece.count / stored.tensor.dtype.size
                values += [Float](unsafeUninitializedCapacity: size) { target, filled in
                    if let base = target.baseAddress { piece.widen(stored.tensor.dtype, into: base, count: size) }
                    filled = size
                }
            }
            return values
        }
        return values(a) == values(b)
    }

    // MARK: unknown tensors

    /// Tensors that the model has no place for. A weight or bias within one of its layers is refused: it would be left
    /// out of the computation in silence. Others are passed through, and said.
    func unknownTensors(_ layout: ParameterLayout, _ architecture: DecoderArchitecture) throws -> [String] {
        let unknown = places.keys.filter {
            layout[$0] == nil && $0 != architecture.headName && !$0.hasSuffix("rotary_emb.inv_freq")
        }.sorted()
        if let name = unknown.first(where: { isInLayer($0, architecture) }), let place = places[name] {
            throw FormatError(
                file: files[place].path, place: "tensor '\(name)'",
                found: "a parameter that config.json's model doesn't have",
                expected: "only those of its layers", remedy: "Does config.json belong to these weights?")
        }
        guard !unknown.isEmpty else { return [] }
        let first = unknown.prefix(3).joined(separator: ", ")
        return [
            "\(directory): \(unknown.count) stored tensors are no part of the model (\(first)); they are passed through as they are"
        ]
    }

    private func isInLayer(_ name: String, _ architecture: DecoderArchitecture) -> Bool {
        guard name.hasPrefix(architecture.layersPrefix), name.hasSuffix(".weight") || name.hasSuffix(".bias") else {
            return false
        }
        return name.dropFirst(architecture.layersPrefix.count).split(separator: ".").first.flatMap { Int($0) }.map {
            $0 < architecture.layers
        }
            ?? false
    }
}

/// `model.safetensors.index.json`: which file holds which tensor.
private struct WeightIndex {
    let path: String
    let map: [String: String]
    /// In a fixed order, each once.
    var names: [String] { Set(map.values).sorted() }

    /// nil where there is none.
    init?(directory: String) throws {
        path = directory + "/" + WeightFiles.indexName
        guard let data = try readFile(path) else { return nil }
        guard let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
            let map = object["weight_map"] as? [String: String]
        else { throw FormatError(file: path, place: "", found: "no weight_map", expected: "a safetensors index") }
        self.map = map
        for name in names
        where name.contains("/") || name.contains("\0") || !name.hasSuffix(".safetensors") || name.hasPrefix(".") {
            throw FormatError(
                file: path, place: "weight_map", found: "'\(name)'",
                expected: "names of safetensors files in the same folder",
                remedy: "Two folders' files, or one outside, could not be written back beside each other.")
        }
        // A single file counts whatever the index says.
        guard try !fileExists(directory + "/" + WeightFiles.singleName) else { return }
        for name in names where try !fileExists(directory + "/" + name) {
            throw FormatError(
                file: directory + "/" + name, place: "", found: "no such file",
                expected: "a shard that \(WeightFiles.indexName) names",
                remedy: "The checkpoint is incomplete; copy it again.")
        }
    }

    /// An index that belongs to other files is no guide to these.
    func check(_ files: [SafetensorsFile]) throws {
        let held = Dictionary(
            files.map { (($0.path as NSString).lastPathComponent, Set($0.header.tensors.map(\.name))) }
        ) { first, _ in first }
        for (tensor, name) in map.sorted(by: { $0.key < $1.key }) where held[name]?.contains(tensor) != true {
            throw FormatError(
                file: path, place: "weight_map", found: "tensor '\(tensor)' in \(name), which doesn't hold it",
                expected: "an index of these files", remedy: "The checkpoint is mixed from two; copy it again.")
        }
    }
}
