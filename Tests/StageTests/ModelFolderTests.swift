import Foundation
import TestSupport
import Testing

/// Models that are given by their name in the Hugging Face cache.
@Suite struct ModelNameTests {
    private let folder: TemporaryDirectory
    private static let commit = "0123456789abcdef0123456789abcdef01234567"

    /// A cache as huggingface_hub lays it out: files of snapshots are links to blobs.
    init() throws {
        folder = try TemporaryDirectory()
        let model = try folder.folder("hub/models--ORG--tiny"), snapshot = model + "/snapshots/" + Self.commit
        for path in [snapshot, model + "/blobs", model + "/refs"] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
        for name in try FileManager.default.contentsOfDirectory(atPath: fixture("policy")) {
            try FileManager.default.copyItem(atPath: fixture("policy/" + name), toPath: model + "/blobs/" + name)
            try FileManager.default.createSymbolicLink(
                atPath: snapshot + "/" + name, withDestinationPath: "../../blobs/" + name)
        }
        try Data(Self.commit.utf8).write(to: URL(fileURLWithPath: model + "/refs/main"))
    }

    private func score(_ name: String, to output: String, _ environment: [String: String]) throws -> Executable.Result {
        let pipeline = try Pipeline()
        try pipeline.ingest()
        return try Executable("crux-score").run(
            ["--input", pipeline.folder("ingest"), "--output", folder(output), "--checkpoint", name],
            environment: environment)
    }

    @Test func aNameIsLookedUpInTheCache() throws {
        for (number, environment) in [["HF_HUB_CACHE": folder("hub")], ["HF_HOME": folder.path, "HF_HUB_CACHE": ""]]
            .enumerated()
        {
            let result = try score("ORG/tiny", to: "score\(number)", environment)
            #expect(result.status == 0, "\(result.errors)")
        }
        #expect(try score("ORG/tiny@\(Self.commit)", to: "commit", ["HF_HUB_CACHE": folder("hub")]).status == 0)
        let line = #"{"input":"Q: ","output":"4","gts":"4","score":1,"step":1}"# + "\n"
        try writeBytes(Array(line.utf8), to: folder("x.jsonl"))
        let text = try ingest.run(
            ["--input", folder("x.jsonl"), "--output", folder("ingest"), "--tokenizer", "ORG/tiny"],
            environment: ["HF_HUB_CACHE": folder("hub")])
        #expect(text.status == 0, "\(text.errors)")
    }

    @Test(arguments: ["ORG/other", "ORG/tiny@v2"]) func aNameThatIsNotThereIsToldWhereItWasLookedFor(_ name: String)
        throws
    {
        let result = try score(name, to: "no", ["HF_HUB_CACHE": folder("hub")])
        #expect(result.status == 3 && result.errors.contains(folder("hub") + "/models--ORG--"), "\(result.errors)")
        #expect(result.errors.contains("hf download ORG/"), "\(result.errors)")
    }
}
