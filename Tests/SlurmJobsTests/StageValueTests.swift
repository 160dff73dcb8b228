import SlurmJobs
import Testing

@Suite struct StageValueTests {
    @Test func aValueMayBeForOneStage() {
        #expect(StageValue(argument: "score=8") == StageValue(stage: .score, "8"))
        #expect(StageValue(argument: "--gres=gpu:1") == StageValue("--gres=gpu:1"))
        #expect(StageValue(argument: "update=--gres=gpu:1") == StageValue(stage: .update, "--gres=gpu:1"))
        let values = ["2", "score=8", "rollout=4", "score=9"].compactMap { StageValue(argument: $0) }
        #expect(values.value(of: .score) == "9" && values.value(of: .ingest) == "2")
        #expect(values.values(of: .score) == ["2", "8", "9"] && values.values(of: .plan) == ["2"])
        #expect([StageValue]().value(of: .plan) == nil)
    }
}
