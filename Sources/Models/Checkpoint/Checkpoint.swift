import CKernels
import Files
import Formats
import Foundation
import Tensors

/// A Hugging Face checkpoint on disk: configuration, safetensors files (one, or shards with an index), and whatever
/// else lies beside them.
package struct Checkpoint: Sendable {
    package let directory: String
    package let architecture: DecoderArchitecture
    package let layout: ParameterLayout
    private let files: [SafetensorsFile]
    /// Tensor name → index into `files`.
    private let places: [String: Int]
    /// What a reader should know: where the files contradict each other, and which of them counts.
    package let notes: [String]

    /// What a checkpoint is to be used as.
    package enum Role: Sendable { case languageModel, critic }

    /// True where a language model was opened as a critic: its value head is new, all zeros, and on no disk yet.
    package let hasFreshValueHead: Bool

    /// Opens and checks every name, shape and type; reads no weights yet. A language model opened as a critic gets a
    /// value head of zeros in place of its own head.
    package init(directory: String, as role: Role = .languageModel) throws {
        self.directory = directory
        var architecture = try ModelRegistry.architecture(try ModelConfiguration(directory: directory))
        if role == .languageModel, architecture.valueHead != nil {
            throw FormatError(
                file: directory + "/config.json", place: "key architectures", found: "a model with a value head",
                expected: "a causal language model",
                remedy: "Critics go with --critic, or with a recipe whose objective is value.")
        }
        hasFreshValueHead = role == .critic && architecture.valueHead == nil
        if hasFreshValueHead { architecture.valueHead = architecture.critic.valueHead }
        let weights = try WeightFiles(directory: directory)
        (files, places) = (weights.files, weights.places)
        var notes = weights.notes
        if role == .critic, architecture.isBesideOthers {
            throw FormatError(
                file: directory + "/config.json", place: "key model_type", found: "a text model beside others",
                expected: "a text model alone, for a critic",
                remedy:
                    "Critics are made of text models alone; save this one's text model with save_pretrained."
            )
        }
        weights.resolvePlace(of: &architecture)
        if architecture.valueHead == nil { notes += try weights.resolveHead(of: &architecture) }
        self.architecture = architecture
        layout = ParameterLayout(architecture)
        notes += try weights.unknownTensors(layout, architecture)
        self.notes = notes
        try layout.parameters.filter { !isFresh($0.name) }.forEach(check)
    }

    /// A value head's tensor that no file holds yet.
    private func isFresh(_ name: String) -> Bool {
        hasFreshValueHead && (name == DecoderWeights.valueWeight || name == DecoderWeights.valueBias)
    }

    private func check(_ parameter: ParameterLayout.Parameter) throws {
        let name = storedName(parameter.name)
        guard let index = places[name], let tensor = files[index].header[name] else {
            let isHead = parameter.name == architecture.headName
            throw FormatError(
                file: directory, place: "", found: "no tensor '\(parameter.name)'",
                expected: "it, of shape \(parameter.shape)",
                remedy: isHead
                    ? "config.json doesn't say tie_word_embeddings: true; a head that no file holds would be random."
                    : "Does config.json belong to these weights?")
        }
        guard tensor.shape == parameter.shape else {
            throw FormatError(
                file: files[index].path, place: "tensor '\(tensor.name)'", found: "shape \(tensor.shape)",
                expected: "\(parameter.shape) by config.json")
        }
        guard [.bf16, .f16, .f32].contains(tensor.dtype) else {
            throw FormatError(
                file: files[index].path, place: "tensor '\(tensor.name)'", found: "dtype \(tensor.dtype.rawValue)",
                expected: "BF16, F16 or F32",
                remedy: "Quantised checkpoints can't be trained; use the original weights.")
        }
    }

    /// A tied embedding may be stored as the head alone.
    private func storedName(_ name: String) -> String {
        let isHeadAlone = architecture.tiedHead && name == architecture.embeddingName && places[name] == nil
        return isHeadAlone ? architecture.headName : name
    }

    /// Every file that the weights depend on.
    package var inputPaths: [String] { [directory + "/config.json"] + weightPaths }

    /// Every file of weights.
    package var weightPaths: [String] { files.map(\.path) }

    /// True where some parameter is stored in 16 bits, so that small updates need float32 masters beside it.
    package var needsMasters: Bool {
        layout.parameters.contains { isHalf($0.name) }
    }

    /// True where `name` is stored in 16 bits.
    package func isHalf(_ name: String) -> Bool { dtype(name) != .f32 }

    /// As stored; a new value head takes the embedding's.
    private func dtype(_ name: String) -> DType? {
        let known = storedName(isFresh(name) ? layout.parameters[0].name : name)
        return places[known].flatMap { files[$0].header[known]?.dtype }
    }

    /// Where a parameter lies: its file and what that says of it; nil of a value head that no file holds yet.
    package func stored(_ name: String) -> (file: SafetensorsFile, tensor: TensorInfo)? {
        guard !isFresh(name), let file = places[name].map({ files[$0] }) else { return nil }
        return file.header[name].map { (file, $0) }
    }

    /// All parameters in float32, laid out as `layout`.
    package func loadParameters() throws -> Buffer {
        let buffer = Buffer(layout.count)
        try load(into: buffer)
        return buffer
    }

    /// The same into an array that is there already; what no file holds yet stays as it is.
    package func load(into buffer: Buffer) throws {
        for parameter in layout.parameters where !isFresh(parameter.name) {
            try load(parameter, to: buffer.pointer + parameter.range.lowerBound)
        }
    }

    private func load(_ parameter: ParameterLayout.Parameter, to start: UnsafeMutablePointer<Float>) throws {
        let (file, tensor) = try tensor(of: parameter)
        var place = 0
        try file.forEachPiece(of: tensor) { piece in
            let count = piece.count / tensor.dtype.size
            try checkFinite(piece, tensor, from: place, in: file)
            piece.widen(tensor.dtype, into: start + place, count: count)
            place += count
        }
    }

    private func tensor(of parameter: ParameterLayout.Parameter) throws -> (SafetensorsFile, TensorInfo) {
        let name = storedName(parameter.name)
        guard let place = places[name] else { preconditionFailure("no tensor \(name), which was checked") }
        return (files[place], try files[place].tensor(name))
    }

    /// `place`: elements of the tensor before this piece of it.
    private func checkFinite(
        _ piece: UnsafeRawBufferPointer, _ tensor: TensorInfo, from place: Int, in file: SafetensorsFile
    ) throws {
        guard !piece.isFinite(as: tensor.dtype) else { return }
        let count = piece.count / tensor.dtype.size
        let values = [Float](unsafeUninitializedCapacity: count) { floats, filled in
            if let base = floats.baseAddress { piece.widen(tensor.dtype, into: base, count: count) }
            filled = count
        }
        guard let bad = values.firstIndex(where: { !$0.isFinite }) else { return }
        throw FormatError(
            file: file.path, place: "tensor '\(tensor.name)'", found: "\(values[bad]) at element \(place + bad)",
            expected: "finite weights",
            remedy: "The checkpoint is damaged, or its training diverged; take an earlier one.")
    }

    // MARK: of a model that stands still

    /// All parameters, those of `masters` where it has them: 16-bit weights as they are stored, tensor by tensor.
    package func loadStanding(_ masters: Masters? = nil) throws -> StandingParameters {
        try StandingParameters(layout) { try standing($0, masters) }
    }

    /// The head's weight alone.
    func loadHead(_ masters: Masters? = nil) throws -> StandingWeight {
        guard let parameter = layout[DecoderWeights.headName(architecture)] else {
            preconditionFailure("a language model without a head")
        }
        return try standing(parameter, masters)
    }

    private func standing(_ parameter: ParameterLayout.Parameter, _ masters: Masters?) throws -> StandingWeight {
        let count = parameter.range.count
        if let format = standingFormat(parameter), masters?.has(parameter) != true {
            let buffer = Buffer(uninitialized: (count + 1) / 2)
            try copy(parameter, to: UnsafeMutableRawPointer(buffer.pointer))
            return StandingWeight(parameter, stored: buffer, as: format)
        }
        let buffer = Buffer(count)
        if try masters?.load(parameter, to: buffer.pointer) != true, !isFresh(parameter.name) {
            try load(parameter, to: buffer.pointer)
        }
        return StandingWeight(parameter, widened: buffer)
    }

    /// The elements as they are stored.
    private func copy(_ parameter: ParameterLayout.Parameter, to start: UnsafeMutableRawPointer) throws {
        let (file, tensor) = try tensor(of: parameter)
        var place = 0
        try file.forEachPiece(of: tensor) { piece in
            try checkFinite(piece, tensor, from: place / tensor.dtype.size, in: file)
            if let base = piece.baseAddress { (start + place).copyMemory(from: base, byteCount: piece.count) }
            place += piece.count
        }
    }

    /// How a parameter's 16 bits are kept; nil where it is kept in float32. What is no matrix is small and needed whole.
    private func standingFormat(_ parameter: ParameterLayout.Parameter) -> HalfFormat? {
        guard parameter.isWeightMatrix, !isFresh(parameter.name) else { return nil }
        switch dtype(parameter.name) {
        case .bf16: return .bfloat16
        case .f16: return .float16
        default: return nil
        }
    }

    /// What `loadStanding` takes without masters, and the numbers of its largest 16-bit weight.
    package var standingSizes: (bytes: Int, largestHalf: Int) {
        layout.parameters.reduce(into: (0, 0)) { sizes, parameter in
            let isHalf = standingFormat(parameter) != nil, count = parameter.range.count
            sizes.0 += (isHalf ? 2 : 4) * count
            if isHalf { sizes.1 = max(sizes.1, count) }
        }
    }

    // MARK: saving

    /// Writes a checkpoint of the same layout: same files, names and order; tokenizer and configuration copied as they
    /// are. `values`: of every parameter. As stored: same dtypes, same header bytes, 16-bit tensors rounded to nearest. As
    /// float32: every trained tensor, and the configuration says so.
    package func save(_ values: any ParameterValues, to target: String, as type: WeightType = .stored) throws {
        if hasFreshValueHead { return try saveAsCritic(values, to: target, as: type) }
        for file in files { try save(file, values, to: target, as: type) }
        guard type == .f32, needsMasters else { return try copyRest(to: target) }
        try copyRest(to: target, but: ["config.json", WeightFiles.indexName])
        try writeConfiguration(to: target) { Self.setFloat32(&$0) }
        try writeIndex(to: target)
    }

    /// Whatever names the type, in this version of transformers or an earlier one.
    private static func setFloat32(_ configuration: inout [String: Any]) {
        let keys = ["dtype", "torch_dtype"].filter { configuration[$0] != nil }
        for key in keys.isEmpty ? ["dtype"] : keys { configuration[key] = "float32" }
        guard var text = configuration["text_config"] as? [String: Any] else { return }
        setFloat32(&text)
        configuration["text_config"] = text
    }

    /// The shards' index, with the size that they have now.
    private func writeIndex(to target: String) throws {
        // Beside a single file an index names other weights.
        let isSingle = files.contains { ($0.path as NSString).lastPathComponent == WeightFiles.singleName }
        guard !isSingle, try fileStatus(directory + "/" + WeightFiles.indexName) != nil else { return }
        let written = try files.map {
            try SafetensorsFile(path: target + "/" + ($0.path as NSString).lastPathComponent)
        }
        try rewrite(WeightFiles.indexName, to: target) { index in
            var metadata = index["metadata"] as? [String: Any] ?? [:]
            metadata["total_size"] = written.reduce(0) { $0 + $1.header.dataBytes }
            index["metadata"] = metadata
        }
    }

    private func writeConfiguration(to target: String, _ change: (inout [String: Any]) -> Void) throws {
        try rewrite("config.json", to: target, change)
    }

    /// A JSON file of the checkpoint with some keys changed.
    private func rewrite(_ name: String, to target: String, _ change: (inout [String: Any]) -> Void) throws {
        let path = directory + "/" + name
        guard let data = try readFile(path),
            var object = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
        else {
            throw FormatError(file: path, place: "", found: "text that is not a JSON object", expected: "a JSON object")
        }
        change(&object)
        let options: JSONSerialization.WritingOptions = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let text = String(decoding: try JSONSerialization.data(withJSONObject: object, options: options), as: UTF8.self)
        try AtomicFile.write(text + "\n", to: target + "/" + name)
    }

    /// One file of the layout's tensors, and a configuration that says what they are now.
    private func saveAsCritic(_ values: any ParameterValues, to target: String, as type: WeightType) throws {
        let tensors = layout.parameters.map {
            TensorInfo(name: $0.name, dtype: type == .f32 ? .f32 : dtype($0.name) ?? .f32, shape: $0.shape)
        }
        let path = target + "/model.safetensors"
        let writer = try SafetensorsWriter(
            path: path, header: SafetensorsHeader(laying: tensors, metadata: ["format": "pt"]))
        for (tensor, parameter) in zip(tensors, layout.parameters) {
            try write(parameter, values, tensor, writer, path)
        }
        try writer.finish()
        try copyRest(to: target, but: ["config.json", WeightFiles.indexName])
        try writeConfiguration(to: target) {
            makeCritic(&$0)
            if type == .f32 { Self.setFloat32(&$0) }
        }
    }

    private func makeCritic(_ configuration: inout [String: Any]) {
        let name = (configuration["architectures"] as? [String])?.first ?? ""
        configuration["architectures"] = [architecture.critic.name(of: name)]
        (configuration["num_labels"], configuration["id2label"], configuration["label2id"]) = (
            1, ["0": "LABEL_0"], ["LABEL_0": 0]
        )
        (configuration["classifier_dropout"], configuration["hidden_dropout"]) = (0.0, 0.0)
    }

    private func save(
        _ file: SafetensorsFile, _ values: any ParameterValues, to target: String, as type: WeightType
    ) throws {
        let path = target + "/" + (file.path as NSString).lastPathComponent
        // Our own layout of the header only where it must be another.
        let header = type == .f32 ? widened(file.header) : file.header
        let bytes = header == file.header ? file.headerBytes : header.encoded()
        let writer = try SafetensorsWriter(path: path, headerBytes: bytes, dataBytes: header.dataBytes)
        for (old, new) in zip(file.header.tensors, header.tensors) {
            guard let parameter = trained(old.name) else {
                try file.forEachPiece(of: old) { try writer.append($0) }
                continue
            }
            try write(parameter, values, new, writer, path)
        }
        try writer.finish()
    }

    /// The same tensors in the same order, the trained ones in float32.
    private func widened(_ header: SafetensorsHeader) -> SafetensorsHeader {
        let tensors = header.tensors.map { tensor in
            TensorInfo(name: tensor.name, dtype: trained(tensor.name) == nil ? tensor.dtype : .f32, shape: tensor.shape)
        }
        return SafetensorsHeader(laying: tensors, metadata: header.metadata)
    }

    private func write(
        _ parameter: ParameterLayout.Parameter, _ values: any ParameterValues, _ tensor: TensorInfo,
        _ writer: SafetensorsWriter, _ path: String
    ) throws {
        try values.narrowed(parameter, to: tensor.dtype) { piece in
            guard piece.isFinite(as: tensor.dtype) else {
                throw FormatError(
                    file: path, place: "tensor '\(tensor.name)'",
                    found: "a weight that is not finite in \(tensor.dtype.rawValue)",
                    expected: "finite numbers", remedy: "Lower the learning rate, or write float32: --weights f32.")
            }
            try writer.append(piece)
        }
    }

    /// A stored copy of a tied head is the embedding; anything unknown is passed through.
    private func trained(_ name: String) -> ParameterLayout.Parameter? {
        if let parameter = layout[name] { return parameter }
        guard architecture.tiedHead, name == architecture.headName else { return nil }
        return layout[architecture.embeddingName]
    }

    /// Endings of weights in other formats: copying them would leave stale weights beside the new ones.
    private static let staleEndings = [".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"]

    private func isStale(_ name: String) -> Bool {
        Self.staleEndings.contains { name.hasSuffix($0) } || name.hasSuffix(".safetensors")
            || name.contains(AtomicFile.temporarySuffix)
    }

    /// Copies tokenizer, configuration and whatever else lies beside the weights.
    package func copyRest(to target: String, but left: Set<String> = []) throws {
        var own = left.union(
            files.map { ($0.path as NSString).lastPathComponent } + ["optimizer.safetensors", "manifest.json"])
        // An index beside a single file names other weights than those that were trained.
        if own.contains(WeightFiles.singleName) { own.insert(WeightFiles.indexName) }
        for name in try Folder.names(directory) where !own.contains(name) && !name.hasPrefix(".") {
            let path = directory + "/" + name
            guard try !Folder.isFolder(path), try fileExists(path), !isStale(name) else { continue }
            let source = try MappedFile(path: path)
            let copy = try AtomicFile(target + "/" + name)
            try withExtendedLifetime(source) { try copy.write(source.bytes) }
            try copy.commit()
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Elements of a 16- or 32-bit type as float32.
    package func widen(_ dtype: DType, into target: UnsafeMutablePointer<Float>, count: Int) {
        guard count > 0, let base = baseAddress else { return }
        switch dtype {
        case .bf16: crux_bf16_to_f32(base.assumingMemoryBound(to: UInt16.self), target, count)
        case .f16: crux_f16_to_f32(base.assumingMemoryBound(to: UInt16.self), target, count)
        default: UnsafeMutableRawPointer(target).copyMemory(from: base, byteCount: 4 * count)
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Whether all elements are: neither infinite nor NaN, whose exponents are all ones.
    fileprivate func isFinite(as dtype: DType) -> Bool {
        switch dtype {
        case .bf16: haveExponents(below: 0x7F80 as UInt16)
        case .f16: haveExponents(below: 0x7C00 as UInt16)
        default: haveExponents(below: 0x7F80_0000 as UInt32)
        }
    }

    /// Without a branch, so that many are looked at at a time.
    private func haveExponents<Bits: FixedWidthInteger>(below ones: Bits) -> Bool {
        var largest: Bits = 0
        for bits in assumingMemoryBound(to: Bits.self) { largest = Swift.max(largest, bits & ones) }
        return largest < ones
    }
}

/// Elements that are read and written at a time.
private let writtenAtOnce = 1 << 20

extension ParameterValues {
    /// Hands a parameter's values to `body` in pieces, in the given type, rounded to nearest.
    fileprivate func narrowed(
        _ parameter: ParameterLayout.Parameter, to dtype: DType, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let count = parameter.range.count, floats = Buffer(uninitialized: min(writtenAtOnce, count))
        for start in stride(from: 0, to: count, by: writtenAtOnce) {
            let range = start..<min(start + writtenAtOnce, count)
            read(parameter, range, into: floats.pointer)
            guard dtype != .f32 else {
                try body(UnsafeRawBufferPointer(start: floats.pointer, count: 4 * range.count))
                continue
            }
            let half = HalfPrecision.narrow(floats.pointer, count: range.count, to: dtype)
            try half.withUnsafeBytes(body)
        }
    }
}
