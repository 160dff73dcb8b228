import Formats
import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct UpdateTests {
    /// A run up to the plan; `edit` changes the recipe's text.
    private func planned(_ recipe: String = "dapo-top20", edit: (String) -> String = { $0 }) throws -> Pipeline {
        let run = try Pipeline()
        try run.ingest()
        try run.score()
        let text = try String(contentsOfFile: fixture("recipes/\(recipe).yaml"), encoding: .utf8)
        try edit(text).write(toFile: run.folder("recipe.yaml"), atomically: true, encoding: .utf8)
        try run.plan(run.folder("recipe.yaml"))
        return run
    }

    /// All files but metrics.arrow, which carries wall-clock seconds.
    private func files(_ folder: String) throws -> [String: Data] {
        try contents(of: folder).filter { $0.key != "metrics.arrow" }
    }

    @Test func anUpdateGoneOnFromAnotherEqualsOneWithTwoEpochs() throws {
        let run = try planned(edit: { $0.replacingOccurrences(of: "epochs: 1", with: "epochs: 2") })
        try run.update(to: "both")
        let once = try planned()
        try once.update(to: "first")
        try once.update(to: "second", ["--resume-from", once.folder("first")])
        for part in ["step", "optimizer"] {
            #expect(
                try contents(of: run.folder("both/\(part)-000012"))
                    == contents(of: once.folder("second/\(part)-000012")))
        }
    }

    /// Engines load every *.safetensors of the folder they are given.
    @Test func aStepIsAPlainCheckpointAndTheOptimizerLiesBesideIt() throws {
        let run = try planned()
        try run.update(to: "update", ["--save-every", "4"])
        let plain = try FileManager.default.contentsOfDirectory(atPath: fixture("policy")).sorted()
        let manifest = try String(contentsOfFile: run.folder("update/manifest.json"), encoding: .utf8)
        for step in ["000004", "000006"] {
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: run.folder("update/step-" + step)).sorted() == plain
            )
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: run.folder("update/optimizer-" + step)) == [
                    "optimizer.safetensors"
                ])
            #expect(
                manifest.contains("\"step-\(step)/model.safetensors\"")
                    && manifest.contains("\"optimizer-\(step)/optimizer.safetensors\""))
        }
    }

    /// Moves an update's optimizers to where earlier versions put them.
    private func makeOld(_ update: String) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: update) where name.hasPrefix("optimizer-") {
            let step = update + "/step-" + name.dropFirst(10)
            try FileManager.default.moveItem(
                atPath: "\(update)/\(name)/optimizer.safetensors", toPath: step + "/optimizer.safetensors")
            try FileManager.default.removeItem(atPath: "\(update)/\(name)")
        }
        let manifest = update + "/manifest.json"
        guard let text = try? String(contentsOfFile: manifest, encoding: .utf8) else { return }
        try text.replacingOccurrences(of: "\"optimizer-", with: "\"step-").write(
            toFile: manifest, atomically: true, encoding: .utf8)
    }

    @Test func directoriesOfEarlierVersionsAreGoneOnFrom() throws {
        let run = try planned()
        try run.update(to: "first", ["--save-every", "2"])
        try run.update(to: "second", ["--resume-from", run.folder("first")])
        let second = try files(run.folder("second"))
        try makeOld(run.folder("first"))
        try FileManager.default.removeItem(atPath: run.folder("second"))
        try run.update(to: "second", ["--resume-from", run.folder("first")])
        #expect(
            try files(run.folder("second")).filter { $0.key != "manifest.json" }
                == second.filter { $0.key != "manifest.json" })
        #expect(try contents(of: run.folder("second/optimizer-000012")).count == 1)
    }

    @Test func anEarlierVersionsInterruptedRunEndsInFoldersOfToday() throws {
        let run = try planned()
        try run.update(to: "whole", ["--save-every", "1"])
        let process = try Executable("crux-update").start(run.updateArguments(to: "killed") + ["--save-every", "1"])
        while process.isRunning, !FileManager.default.fileExists(atPath: run.folder("killed/step-000003")) {
            usleep(500)
        }
        process.signal(SIGKILL)
        _ = process.wait()
        try makeOld(run.folder("killed"))
        try run.update(to: "killed", ["--save-every", "1"])
        #expect(try files(run.folder("killed")) == files(run.folder("whole")))
    }

    @Test func aStepWithoutItsOptimizerIsNotGoneOnFrom() throws {
        let run = try planned()
        try run.update(to: "first", ["--save-every", "3"])
        try FileManager.default.removeItem(atPath: run.folder("first/optimizer-000006"))
        // Not from step 3 instead, without a word.
        let refused = try run.runUpdate(to: "second", ["--resume-from", run.folder("first")])
        #expect(
            refused.status == 3 && refused.errors.contains("optimizer-000006/optimizer.safetensors"),
            "\(refused.errors)")
        try FileManager.default.moveItem(
            atPath: run.folder("first/optimizer-000003"), toPath: run.folder("first/optimizer-000006"))
        let mixed = try run.runUpdate(to: "second", ["--resume-from", run.folder("first"), "--no-verify"])
        #expect(mixed.status == 3 && mixed.errors.contains("found step 3, expected step 6"), "\(mixed.errors)")
    }

    @Test func overwritingLeavesNoOptimizerWithoutItsStep() throws {
        let run = try planned()
        try run.update(to: "update", ["--save-every", "1"])
        try run.update(to: "update", ["--overwrite"])
        let names = try FileManager.default.contentsOfDirectory(atPath: run.folder("update")).filter {
            $0.contains("-0")
        }
        #expect(names.sorted() == ["optimizer-000006", "step-000006"])
    }

    @Test func aKilledUpdateEndsWithTheBytesOfAnUndisturbedOne() throws {
        let run = try planned()
        try run.update(to: "undisturbed", ["--save-every", "1"])
        let process = try Executable("crux-update").start(run.updateArguments(to: "killed") + ["--save-every", "1"])
        while process.isRunning, !FileManager.default.fileExists(atPath: run.folder("killed/step-000002")) {
            usleep(500)
        }
        process.signal(SIGKILL)
        _ = process.wait()
        try run.update(to: "killed", ["--save-every", "1"])
        #expect(try files(run.folder("killed")) == files(run.folder("undisturbed")))
        #expect(try files(run.folder("killed")).keys.contains("step-000006/model.safetensors"))
    }

    @Test func aRerunWithTheSameThreadsHasTheSameBytes() throws {
        let run = try planned()
        try run.update(to: "one")
        try run.update(to: "two")
        #expect(try files(run.folder("one")) == files(run.folder("two")))
    }

    // MARK: memory

    private func memory(_ result: Executable.Result) throws -> [String: Int] {
        try #require(result.summary["memory"] as? [String: Int], "\(result.errors)")
    }

    @Test func layersThatAreComputedAgainLeaveTheSameBytes() throws {
        let run = try planned(), single = ["--micro-batch-tokens", "1"]
        let ample = try memory(run.runUpdate(to: "ample", single)), foreseen = try #require(ample["foreseen_bytes"])
        // About a layer's activations of the longest rollout less: some of the four must go.
        let tight = try memory(run.runUpdate(to: "tight", single + ["--memory", "\((foreseen >> 10) - 200)K"]))
        #expect(try ample["fewest_kept_layers"] == 4 && #require(tight["fewest_kept_layers"]) < 4)
        #expect(try files(run.folder("tight")) == files(run.folder("ample")))
    }

    @Test func aBudgetCutsMicroBatchesAndIsKept() throws {
        let run = try planned(edit: { $0.replacingOccurrences(of: "lr: 1.0e-3", with: "lr: 1.0e-6") })
        let ample = try memory(run.runUpdate(to: "ample")),
            tight = try memory(run.runUpdate(to: "tight", ["--memory", "60M"]))
        #expect(try #require(tight["micro_batches"]) > 2 * #require(ample["micro_batches"]))
        for figures in [ample, tight] {
            let peak = try Double(#require(figures["peak_bytes"])),
                foreseen = try Double(#require(figures["foreseen_bytes"]))
            #expect(try foreseen <= Double(#require(figures["budget_bytes"])))
            // The program itself, some 40 MiB, is most of it here, and not the same on every system.
            #expect(peak < 1.1 * foreseen + Double(16 << 20) && peak > 0.7 * foreseen, "\(figures)")
        }
        // The same sum in another order, in float32.
        #expect(try relativeDistance(moments(run.lastState("tight")), moments(run.lastState("ample"))) < 1e-5)
    }

    private func moments(_ file: SafetensorsFile) throws -> [Float] {
        file.header.tensors.filter { $0.name.hasPrefix("exp_avg.") }.flatMap { tensor in
            withExtendedLifetime(file) { Array(file.bytes(of: tensor).bindMemory(to: Float.self)) }
        }
    }

    @Test func aBudgetThatCannotBeMetSaysWhatIsNeededAndWhy() throws {
        let run = try planned(), refused = try run.runUpdate(["--memory", "20M"])
        #expect(refused.status == 2)
        for word in [
            "--memory", "20 MiB", "expected at least", "weights", "gradients", "moments", "longest sequence", "lora",
        ] {
            #expect(refused.errors.contains(word), "\(refused.errors)")
        }
        // What it asks for is enough.
        let number = try #require(refused.errors.firstMatch(of: /at least (\d+) MiB/)),
            needed = try #require(Int(number.1))
        #expect(try run.runUpdate(["--memory", "\(needed + 1)M"]).status == 0)
        #expect(try run.runUpdate(to: "other", ["--memory", "\(needed - 1)M"]).status == 2)
        #expect(try run.runUpdate(to: "other", ["--memory", "8"]).status == 2)
    }

    @Test func aTerminalSeesHowFarItIs() throws {
        let run = try planned(),
            arguments = run.updateArguments(to: "seen").filter { $0 != "--quiet" } + ["--micro-batch-tokens", "64"]
        let seen = try Executable("crux-update").runOnTerminal(arguments)
        let lines = seen.split(separator: "\r").filter { $0.contains("crux-update: steps") }
        // Refreshed within a step, and ended with the last.
        #expect(lines.contains { $0.contains("steps 0/6") } && lines.contains { $0.contains("steps 6/6") }, "\(seen)")
        #expect(
            lines.allSatisfy { $0.contains("loss ") && $0.contains(" tokens/s") && $0.contains(" left") }, "\(lines)")
        #expect(try !Executable("crux-update").runOnTerminal(run.updateArguments(to: "quiet")).contains("steps"))
        #expect(try !run.runUpdate(to: "piped").errors.contains("tokens/s"))
    }

    @Test func updatesTooSmallFor16BitsAreKeptInTheMasters() throws {
        // Six steps of 1e-6 on weights near 1.2: half a unit in the last place is 6e-8 in float32, 4e-3 in bf16.
        let run = try planned(edit: { $0.replacingOccurrences(of: "lr: 1.0e-3", with: "lr: 1.0e-6") })
        try run.update()
        let step = run.folder("update/step-000006"), name = "model.norm.weight"
        let before = try halves(fixture("policy/model.safetensors"), name),
            after = try halves(step + "/model.safetensors", name)
        #expect(before == after)
        let state = try run.lastState("update"), tensor = try state.tensor("master." + name)
        let masters = withExtendedLifetime(state) { Array(state.bytes(of: tensor).bindMemory(to: Float.self)) }
        #expect(masters != before)
        #expect(firstDifference(masters, before, absolute: 1e-5) == nil)
    }

    /// A bf16 tensor.
    private func halves(_ path: String, _ name: String) throws -> [Float] {
        let file = try SafetensorsFile(path: path), tensor = try file.tensor(name)
        return withExtendedLifetime(file) {
            file.bytes(of: tensor).bindMemory(to: UInt16.self).map { Float(bitPattern: UInt32($0) << 16) }
        }
    }

    @Test func adaptersAreTrainedAloneAndGoneOnFrom() throws {
        let lora = "\ntrainable: {type: lora, rank: 4, alpha: 8, targets: [q_proj, up_proj], merged: true}\n"
        let both = try planned(edit: {
            $0.replacingOccurrences(of: "epochs: 1", with: "epochs: 2").replacingOccurrences(
                of: "lr: 1.0e-6", with: "lr: 1.0e-3") + lora
        })
        try both.update(to: "both")
        let once = try planned(edit: { $0.replacingOccurrences(of: "lr: 1.0e-6", with: "lr: 1.0e-3") + lora })
        try once.update(to: "first")
        try once.update(to: "second", ["--resume-from", once.folder("first")])
        let step = both.folder("both/step-000012")
        for part in ["step", "optimizer"] {
            #expect(
                try contents(of: both.folder("both/\(part)-000012"))
                    == contents(of: once.folder("second/\(part)-000012")))
        }
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: step).sorted() == [
                "adapter_config.json", "adapter_model.safetensors", "merged",
            ])
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: step + "/merged").sorted()
                == FileManager.default.contentsOfDirectory(atPath: fixture("policy")).sorted())

        let adapters = try SafetensorsFile(path: step + "/adapter_model.safetensors"), layers = 4
        #expect(adapters.header.tensors.count == 2 * 2 * layers)
        #expect(adapters.header["base_model.model.model.layers.3.mlp.up_proj.lora_B.weight"]?.shape == [352, 4])
        let settings = try #require(
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(fileURLWithPath: step + "/adapter_config.json"))) as? [String: Any])
        #expect(
            settings["peft_type"] as? String == "LORA" && settings["r"] as? Int == 4
                && settings["target_modules"] as? [String] == ["q_proj", "up_proj"])
        // Merged, only what was adapted has moved.
        let merged = try SafetensorsFile(path: step + "/merged/model.safetensors"),
            base = try SafetensorsFile(path: fixture("policy/model.safetensors"))
        for info in base.header.tensors {
            let same = try withExtendedLifetime((merged, base)) {
                try Array(merged.bytes(of: merged.tensor(info.name))) == Array(base.bytes(of: base.tensor(info.name)))
            }
            #expect(same != (info.name.contains("q_proj") || info.name.contains("up_proj")), "\(info.name)")
        }
    }

    @Test func aCheckpointOfAnotherVocabularyIsRefused() throws {
        let run = try planned()
        let folder = try run.folder.folder("small")
        // A family fixture of vocabulary 40 accepts the dump's ids below 32, so score must see the logits' width.
        let result = try Executable("crux-score").run([
            "--quiet", "--input", run.folder("ingest"), "--output", folder + "/score", "--checkpoint",
            fixture("families/qwen2-tied"),
        ])
        #expect(result.status == 3)
        #expect(result.errors.contains("32") && result.errors.contains("40"))
        let update = try run.runUpdate(checkpoint: fixture("families/qwen2-tied"))
        #expect(update.status == 3)
        #expect(update.errors.contains("32") && update.errors.contains("40"))
    }

    @Test func aMissingShardOfACheckpointIsNamed() throws {
        let run = try planned(), copy = run.folder("sharded")
        try FileManager.default.copyItem(atPath: fixture("families/qwen2-untied-sharded"), toPath: copy)
        try FileManager.default.removeItem(atPath: copy + "/model-00002-of-00003.safetensors")
        let result = try run.runUpdate(checkpoint: copy)
        #expect(result.status == 3)
        #expect(result.errors.contains("model-00002-of-00003.safetensors"))
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/manifest.json")))
    }

    @Test func anotherPlanIntoTheSameDirectoryIsRefusedUnlessOverwritten() throws {
        let run = try planned()
        try run.update()
        try run.plan(fixture("recipes/raft.yaml"), to: "other")
        #expect(try run.runUpdate(plan: "other").status == 5)
        try "mine".write(toFile: run.folder("update/notes.txt"), atomically: true, encoding: .utf8)
        #expect(try run.runUpdate(plan: "other", ["--overwrite"]).status == 0)
        #expect(FileManager.default.fileExists(atPath: run.folder("update/notes.txt")))
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/step-000006")))
    }

    @Test func aFullDiskLeavesNothingThatLooksWhole() throws {
        let run = try planned()
        // 512 KiB: less than the checkpoint.
        let result = try Executable("crux-update").run(run.updateArguments(), fileSizeLimit: 1024)
        #expect(result.status == 4)
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/step-000006")))
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/manifest.json")))
        try run.update()
    }

    // MARK: on a disk in place of memory

    /// Moments and activations, in several steps, also where a saved step is gone on from.
    @Test func whatLiesOnADiskHasTheSameBytes() throws {
        let run = try planned(edit: { $0.replacingOccurrences(of: "epochs: 1", with: "epochs: 2") }),
            once = try planned()
        try run.update(to: "in-memory")
        let disk = try run.folder.folder("disk"), result = try run.runUpdate(to: "offloaded", ["--offload", disk])
        try #require(result.status == 0, "\(result.errors)")
        #expect(try files(run.folder("offloaded")) == files(run.folder("in-memory")))
        // Twelve steps read and write two float32 moments of each parameter; six of them are saved, too.
        let cost = try #require(result.summary["offload"] as? [String: Double]),
            written = try #require(cost["bytes_written"])
        let parameters = try SafetensorsFile(path: fixture("policy/model.safetensors")).header.dataBytes / 2
        #expect(written >= Double(12 * 8 * parameters) && (cost["bytes_read"] ?? 0) >= written, "\(cost)")
        // Nothing is left behind.
        #expect(try FileManager.default.contentsOfDirectory(atPath: disk).isEmpty)
        try once.update(to: "first", ["--offload", disk])
        try once.update(to: "second", ["--offload", disk, "--resume-from", once.folder("first")])
        for part in ["step", "optimizer"] {
            #expect(
                try contents(of: run.folder("in-memory/\(part)-000012"))
                    == contents(of: once.folder("second/\(part)-000012")))
        }
    }

    @Test func aDiskThatHasNoRoomForMomentsIsToldAtOnce() throws {
        let run = try planned(), disk = try run.folder.folder("disk")
        let full = try Executable("crux-update").run(
            run.updateArguments() + ["--offload", disk], fileSizeLimit: 1024)
        #expect(full.status == 4 && full.errors.contains("make room") && full.errors.contains(disk), "\(full.errors)")
        let missing = try run.runUpdate(["--offload", run.folder("nowhere")])
        #expect(missing.status == 4 && missing.errors.contains("nowhere"), "\(missing.errors)")
        #expect(!FileManager.default.fileExists(atPath: run.folder("update/manifest.json")))
        try run.update()
    }

    @Test func anUnknownRecipeKeyIsNamedWithTheKnownOnes() throws {
        let run = try planned()
        try "name: x\nobjective: {type: ppo_clip, clip_hgih: 0.3}\n".write(
            toFile: run.folder("bad.yaml"), atomically: true, encoding: .utf8)
        let result = try run.runPlan(run.folder("bad.yaml"), to: "bad")
        #expect(result.status == 3)
        #expect(result.errors.contains("clip_hgih") && result.errors.contains("clip_high"))
    }
}
