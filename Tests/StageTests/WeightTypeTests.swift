import Arrow
import Formats
import Foundation
import Models
import TestSupport
import Testing

/// What the files of a step carry, in 16 bits and in float32, and who is scored by what.
@Suite(.serialized) struct WeightTypeTests {
    private func planned(lr: String = "1e-6", _ set: [String] = []) throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        try run.plan(
            fixture("recipes/dapo-top20.yaml"), to: "plan", (["optimizer.lr=\(lr)"] + set).flatMap { ["--set", $0] })
        return run
    }

    /// Every tensor of a file in float32, by name.
    private func tensors(_ path: String, _ prefix: String = "") throws -> [String: [Float]] {
        let file = try SafetensorsFile(path: path)
        let own = file.header.tensors.filter { $0.name.hasPrefix(prefix) }
        return Dictionary(
            uniqueKeysWithValues: own.map { tensor in
                var values = [Float](repeating: 0, count: tensor.elementCount)
                withExtendedLifetime(file) {
                    file.bytes(of: tensor).widen(tensor.dtype, into: &values, count: values.count)
                }
                return (String(tensor.name.dropFirst(prefix.count)), values)
            })
    }

    private func configuration(_ folder: String) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(fileURLWithPath: folder + "/config.json"))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    private func oldLogprobs(_ run: Pipeline, _ scores: String) throws -> [[Float]] {
        try FileManager.default.contentsOfDirectory(atPath: run.folder(scores)).filter { $0.hasSuffix(".arrow") }
            .sorted().flatMap {
                try ArrowTableReader(path: run.folder(scores) + "/" + $0, table: Tables.scores).rows().map {
                    $0.oldLogprobs ?? []
                }
            }
    }

    // MARK: files

    @Test func float32FilesAreTheMastersAndAreGoneOnFromAsThose() throws {
        let run = try planned(lr: "1e-3")
        try run.update(to: "half")
        try run.update(to: "full", ["--weights", "f32"])
        let files = try tensors(run.lastStep("full") + "/model.safetensors"), state = try run.lastState("half")
        #expect(try files == tensors(state.path, "master."))
        #expect(try !run.lastState("full").header.tensors.contains { $0.name.hasPrefix("master.") })
        #expect(try configuration(run.lastStep("full"))["dtype"] as? String == "float32")
        #expect(try configuration(run.lastStep("half"))["dtype"] as? String == "bfloat16")
        // On from either, with the dtypes of the checkpoint that is given.
        try run.update(to: "half2", ["--resume-from", run.folder("half")])
        try run.update(to: "full2", ["--resume-from", run.folder("full"), "--weights", "f32"])
        try run.update(to: "turned", ["--resume-from", run.folder("full")])
        #expect(try contents(of: run.lastStep("turned")) == contents(of: run.lastStep("half2")))
        #expect(
            try tensors(run.lastStep("full2") + "/model.safetensors") == tensors(run.lastState("half2").path, "master.")
        )
        #expect(try run.runUpdate(to: "half", ["--weights", "f32"]).status == 5)
        #expect(try run.runUpdate(to: "other", ["--weights", "f8"]).status == 2)
    }

    @Test func shardsTheirIndexAndPassengersAreWrittenInFloat32() throws {
        let source = fixture("families/llama-biased-sharded"), folder = try TemporaryDirectory(),
            checkpoint = try Checkpoint(directory: source)
        try checkpoint.save(try checkpoint.loadParameters(), to: folder.path, as: .f32)
        let written = try Checkpoint(directory: folder.path)
        let before = try checkpoint.loadParameters(), after = try written.loadParameters()
        #expect(before.count == after.count && memcmp(before.pointer, after.pointer, 4 * before.count) == 0)
        #expect(!written.needsMasters)
        let data = try Data(contentsOf: URL(fileURLWithPath: folder("model.safetensors.index.json")))
        let index = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect((index["metadata"] as? [String: Any])?["total_size"] as? Int == 4 * before.count)
        #expect((index["weight_map"] as? [String: String])?.count == checkpoint.layout.parameters.count)
        #expect(try configuration(folder.path)["dtype"] as? String == "float32")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(try names == FileManager.default.contentsOfDirectory(atPath: source).sorted())
    }

    @Test func theReportSaysWhatOfAStepTheFilesCarry() throws {
        let run = try planned()
        let half = try run.runUpdate(to: "half"), full = try run.runUpdate(to: "full", ["--weights", "f32"])
        let found = try #require(half.summary["files"] as? [String: Double], "\(half.errors)")
        let before = try tensors(fixture("policy/model.safetensors")),
            after = try tensors(run.lastStep("half") + "/model.safetensors")
        let masters = try tensors(run.lastState("half").path, "master.")
        var (weights, changed, moved, followed, lacking) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for (name, old) in before {
            let new = try #require(after[name]), master = try #require(masters[name])
            for i in old.indices {
                let step = Double(master[i]) - Double(old[i])
                weights += 1
                changed += new[i] == old[i] ? 0 : 1
                moved += step * step
                followed += step * (Double(new[i]) - Double(old[i]))
                lacking += pow(Double(master[i]) - Double(new[i]), 2)
            }
        }
        // The same sums in Double, in another order.
        for (key, value) in [
            "weights_changed_share": changed / weights, "step_carried_share": followed / moved,
            "step_lacking_share": (lacking / moved).squareRoot(),
        ] { #expect(isClose(found[key] ?? -1, value, relative: 1e-9), "\(key): \(found)") }
        #expect(changed > 0 && changed < 0.2 * weights)
        // One byte of two, or both.
        let bytes = try #require(found["bytes_changed_share"])
        #expect(bytes >= 0.5 * changed / weights && bytes <= changed / weights)
        // In float32 all of it is there, and bytes of another type are not compared.
        let whole = try #require(full.summary["files"] as? [String: Double])
        #expect(
            whole["step_carried_share"] == 1 && whole["step_lacking_share"] == 0 && whole["bytes_changed_share"] == nil)
        let manifest = try String(contentsOfFile: run.folder("half/manifest.json"), encoding: .utf8)
        #expect(manifest.contains("\"step_carried_share\"") && manifest.contains("\"rounded_tensors\""))
        let said = try Executable("crux-update").run(run.updateArguments(to: "said").filter { $0 != "--quiet" }).errors
        #expect(
            said.contains("of the weights and") && said.contains("of the bytes changed; the files carry"), "\(said)")
    }

    @Test func theReportOfAResumedRunIsAboutItsOwnSteps() throws {
        let run = try planned()
        try run.update(to: "first")
        let second = try run.runUpdate(to: "second", ["--resume-from", run.folder("first")])
        let found = try #require(second.summary["files"] as? [String: Double])
        let before = try tensors(run.lastStep("first") + "/model.safetensors"),
            after = try tensors(run.lastStep("second") + "/model.safetensors")
        let counts = before.map { name, old in (zip(old, after[name] ?? []).count { $0 != $1 }, old.count) }
        let share = Double(counts.reduce(0) { $0 + $1.0 }) / Double(counts.reduce(0) { $0 + $1.1 })
        #expect(isClose(found["weights_changed_share"] ?? -1, share, relative: 1e-9))
    }

    @Test func mergedAdaptersAreWrittenInFloat32AndReported() throws {
        let lora = "trainable={type: lora, rank: 4, merged: true}", run = try planned(lr: "1e-4", [lora])
        let half = try run.runUpdate(to: "half"), full = try run.runUpdate(to: "full", ["--weights", "f32"])
        #expect(try configuration(run.lastStep("full") + "/merged")["dtype"] as? String == "float32")
        let found = try #require(half.summary["files"] as? [String: Double]),
            whole = try #require(full.summary["files"] as? [String: Double])
        let carried = try #require(found["step_carried_share"])
        #expect(carried != 1 && whole["step_carried_share"] == 1)
        // By the update directory score computes with the adapters beside the weights, by the float32 files with their
        // sum: the same but for float32's rounding.
        try run.score(["--checkpoint", run.folder("half")], to: "by-adapters")
        try run.score(["--checkpoint", run.lastStep("full") + "/merged"], to: "by-files")
        let beside = try oldLogprobs(run, "by-adapters").flatMap { $0 },
            summed = try oldLogprobs(run, "by-files").flatMap { $0 }
        #expect(firstDifference(beside, summed, absolute: 2e-5) == nil)
        let broken = run.folder("half/step-000006/adapter_config.json")
        let text = try String(contentsOfFile: broken, encoding: .utf8).replacingOccurrences(
            of: "fixtures/policy", with: "fixtures/gone")
        try text.write(toFile: broken, atomically: true, encoding: .utf8)
        let lost = try Executable("crux-score").run([
            "--input", run.folder("ingest"), "--output", run.folder("x"), "--checkpoint", run.folder("half"),
        ])
        #expect(
            lost.status == 3 && lost.errors.contains("fixtures/gone") && lost.errors.contains("/merged"),
            "\(lost.errors)")
    }

    // MARK: scoring by masters

    @Test func anUpdateDirectoryIsScoredByItsMasters() throws {
        let run = try planned(lr: "1e-4")
        try run.update(to: "half")
        try run.update(to: "full", ["--weights", "f32"])
        try run.score(["--checkpoint", run.folder("half")], to: "by-masters")
        try run.score(["--checkpoint", run.lastStep("half")], to: "by-files")
        try run.score(["--checkpoint", run.folder("full")], to: "by-float32")
        #expect(try oldLogprobs(run, "by-masters") == oldLogprobs(run, "by-float32"))
        #expect(try oldLogprobs(run, "by-masters") != oldLogprobs(run, "by-files"))
        func said(_ checkpoint: String, _ output: String) throws -> Executable.Result {
            try Executable("crux-score").run([
                "--input", run.folder("ingest"), "--output", run.folder(output), "--checkpoint", checkpoint,
            ])
        }
        let masters = try said(run.folder("half"), "said-masters"), files = try said(run.lastStep("half"), "said-files")
        #expect(
            masters.errors.contains("the float32 masters of")
                && masters.summary["policy_weights"] as? String == "masters", "\(masters.errors)")
        #expect(
            files.errors.contains("give \(run.folder("half"))")
                && files.summary["policy_weights"] as? String == "files", "\(files.errors)")
        // Other weights are another configuration.
        #expect(try said(run.folder("half"), "by-files").status == 5)
    }

    /// A dump sampled from the first update's files, and the second update resumed from its masters.
    @Test func aResumedUpdateIsWarnedWhereItsFirstRatiosAreOff() throws {
        let run = try planned(lr: "1e-4")
        try run.update(to: "first")
        let prompts = fixture("prompts-heldout.jsonl")
        let sampled = try Executable("crux-rollout").run([
            "--quiet", "--checkpoint", run.lastStep("first"), "--prompts", prompts, "--output", run.folder("sampled"),
            "--group-size", "4", "--max-tokens", "40",
            "--batch", "256",
        ])
        #expect(sampled.status == 0, "\(sampled.errors)")
        try run.ingest([run.folder("sampled")], to: "ingest2")
        try run.score(from: "ingest2", to: "sampler")
        try run.score(["--checkpoint", run.folder("first")], from: "ingest2", to: "trainer")
        func second(_ scores: String, resumed: Bool = true) throws -> (Executable.Result, [String: Double]) {
            let name = scores + (resumed ? "" : "-afresh")
            try run.plan(repository("recipes/grpo.yaml"), to: "plan-" + name, scores: scores, input: "ingest2")
            let arguments = run.updateArguments(
                plan: "plan-" + name, to: "update-" + name, checkpoint: try run.lastStep("first"))
            let result = try Executable("crux-update").run(
                arguments.filter { $0 != "--quiet" } + (resumed ? ["--resume-from", run.folder("first")] : []))
            return (result, try #require(result.summary["first_ratios"] as? [String: Double], "\(result.errors)"))
        }
        let (rounded, off) = try second("sampler"), (right, on) = try second("trainer"),
            (_, afresh) = try second("sampler", resumed: false)
        #expect(
            rounded.errors.contains("the first ratios")
                && rounded.errors.contains("--checkpoint \(run.folder("first"))"), "\(rounded.errors)")
        #expect(!right.errors.contains("the first ratios"))
        // By the same weights, two passes that sum in other orders.
        let largest = try [off, on, afresh].map { try #require($0["largest_log_difference"]) }
        #expect(largest[0] > 0.02 && largest[1] < 1e-4 && largest[2] < 1e-4, "\(largest)")
    }

    /// Some of its tokens are so unlikely that no temperature fits.
    @Test func firstRatiosThatAreNotOneAreWarnedAbout() throws {
        let run = try Pipeline(), folder = fixture("cases/F12-first-ratio-not-1")
        try run.ingest(folder + "/dump")
        try run.score(["--reward", "given"])
        try run.plan(folder + "/r.yaml")
        let result = try Executable("crux-update").run(run.updateArguments().filter { $0 != "--quiet" })
        #expect(result.status == 0 && result.errors.contains("the first ratios"), "\(result.errors)")
        // Scored by the policy itself they are right.
        try run.score(["--reward", "given", "--checkpoint", fixture("policy")], to: "by-policy")
        try run.plan(folder + "/r.yaml", to: "plan2", scores: "by-policy")
        let right = try Executable("crux-update").run(
            run.updateArguments(plan: "plan2", to: "update2").filter { $0 != "--quiet" })
        #expect(right.status == 0 && !right.errors.contains("first ratios"), "\(right.errors)")
    }

    /// An engine's raw log-probabilities, of temperature 1; and the sampler's, in a dump that forgets its temperature.
    @Test(arguments: [("1", "0.6"), ("0.7", "")])
    func logprobsOfAnotherTemperatureAreRecognised(_ sampled: String, _ written: String) throws {
        let run = try Pipeline()
        let done = try Executable("crux-rollout").run([
            "--quiet", "--checkpoint", fixture("policy"), "--prompts", fixture("prompts-heldout.jsonl"), "--output",
            run.folder("sampled"), "--group-size", "4",
            "--max-tokens", "40", "--batch", "256", "--temperature", sampled,
        ])
        #expect(done.status == 0, "\(done.errors)")
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: run.folder("sampled")).first { $0.hasSuffix(".zst") })
        let shard = try RolloutShard(path: run.folder("sampled/" + name)),
            writer = try RolloutShardWriter(path: run.folder("forgetful.rollouts.zst"))
        for entry in shard.entries {
            let stream = try FrameStream(shard.compressed(entry.span), file: name, place: "")
            var frame = try RolloutFrameReader.read(stream, file: name, place: "", logitsRow: nil)
            frame.metadata["temperature"] = written.isEmpty ? nil : written
            try writer.append(frame)
        }
        try writer.finish()
        try run.ingest([run.folder("forgetful.rollouts.zst")], to: "ingest")
        try run.score()
        try run.plan(repository("recipes/grpo.yaml"))
        let result = try Executable("crux-update").run(run.updateArguments().filter { $0 != "--quiet" })
        #expect(result.errors.contains("They fit temperature \(sampled) "), "\(result.errors)")
        #expect(result.errors.contains("sampled at \(written.isEmpty ? "1" : written)."), "\(result.errors)")
    }

    // MARK: numbers that are none

    @Test func whatIsNotFiniteIsNeverAStep() throws {
        let run = try planned(lr: "3e38")
        let far = try run.runUpdate(to: "far")
        #expect(far.status == 3 && far.errors.contains("finite"), "\(far.errors)")
        // A NaN among the weights.
        let broken = run.folder("broken")
        try FileManager.default.copyItem(atPath: fixture("policy"), toPath: broken)
        let file = try SafetensorsFile(path: broken + "/model.safetensors"),
            tensor = try file.tensor("model.norm.weight")
        var bytes = try readBytes(broken + "/model.safetensors")
        let place = file.headerBytes.count + tensor.begin
        (bytes[place], bytes[place + 1]) = (0xFF, 0x7F)
        try writeBytes(bytes, to: broken + "/model.safetensors")
        try run.plan(fixture("recipes/grpo.yaml"), to: "plan2")
        let nan = try run.runUpdate(plan: "plan2", to: "nan", checkpoint: broken)
        #expect(nan.status == 3, "\(nan.errors)")
        for name in ["far", "nan"] {
            let left = try FileManager.default.contentsOfDirectory(atPath: run.folder(name)).filter {
                $0.contains("-0") && !$0.contains("tmp")
            }
            #expect(left.isEmpty, "\(left)")
        }
    }
}
