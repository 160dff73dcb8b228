import ArgumentParser

/// `VALUE`, for every stage, or `STAGE=VALUE`, for one: a flag's value that may differ from stage to stage.
package struct StageValue: ExpressibleByArgument, Sendable, Equatable {
    package let stage: PipelineStage?
    package let value: String

    package init(stage: PipelineStage? = nil, _ value: String) { (self.stage, self.value) = (stage, value) }

    /// What stands before the first `=` is a stage only where it is the name of one: `--gres=gpu:1` is a value.
    package init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2, let stage = PipelineStage(rawValue: parts[0]) {
            self.init(stage: stage, parts[1])
        } else {
            self.init(argument)
        }
    }
}

extension [StageValue] {
    /// What is said of a stage by its name; else what is said of all. Later words win.
    package func value(of stage: PipelineStage) -> String? {
        last { $0.stage == stage }?.value ?? last { $0.stage == nil }?.value
    }

    /// All that is said of a stage: of all stages first, then by its name.
    package func values(of stage: PipelineStage) -> [String] {
        filter { $0.stage == nil }.map(\.value) + filter { $0.stage == stage }.map(\.value)
    }
}
