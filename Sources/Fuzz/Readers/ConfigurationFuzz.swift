import Foundation
import Models

/// Bytes as the config.json beside a policy's weights.
final class ConfigurationFuzz: FuzzTarget {
    static let name = "configuration", subject = "a checkpoint's config.json"
    private let folder: String

    init(folder: String) throws {
        self.folder = folder
        for name in ["model.safetensors", "generation_config.json"] {
            try FileManager.default.copyItem(
                atPath: fixture("families/qwen2-tied/" + name), toPath: folder + "/" + name)
        }
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: folder + "/config.json")
        for role in [Checkpoint.Role.languageModel, .critic] {
            do { _ = try Checkpoint(directory: folder, as: role).loadParameters() } catch {}
        }
    }
}

/// Bytes as the adapter_config.json of adapters.
final class AdapterFuzz: FuzzTarget {
    static let name = "adapter", subject = "an adapter_config.json"
    private let folder: String
    private let checkpoint: Checkpoint

    init(folder: String) throws {
        self.folder = folder
        checkpoint = try Checkpoint(directory: fixture("families/qwen2-tied"))
        try FileManager.default.copyItem(
            atPath: fixture("families/qwen2-tied/model.safetensors"), toPath: folder + "/" + SavedAdapters.weightsName)
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        try bytes.write(to: folder + "/" + SavedAdapters.configurationName)
        _ = try SavedAdapters(directory: folder).model(on: checkpoint, threads: 1)
    }
}
