/// A reader or a stage that libFuzzer feeds. Whatever the bytes, it has to return: a value or an error that is thrown
/// inside are answers alike; a trap, a hang or a read outside of memory is a finding.
protocol FuzzTarget: AnyObject {
    static var name: String { get }
    /// What the bytes are taken for.
    static var subject: String { get }
    /// Makes what all executions read. `folder`: a place of its own for files.
    init(folder: String) throws
    func run(_ bytes: UnsafeRawBufferPointer) throws
}

enum FuzzTargets {
    /// Sorted by name, readers first. A newcomer: one file, one line here, and a corpus in fixtures/fuzz.
    static let all: [any FuzzTarget.Type] = [
        AdapterFuzz.self, ArrowFuzz.self, ConfigurationFuzz.self, FilterFuzz.self, FrameFuzz.self, JSONLineFuzz.self,
        ManifestFuzz.self, RecipeFuzz.self, RewardFuzz.self, SafetensorsFuzz.self, ShardFuzz.self, TemplateFuzz.self,
        TextFuzz.self, TokenizerFuzz.self,
        IngestFuzz.self, JoinFuzz.self, PlanFuzz.self, ReportFuzz.self, RolloutFuzz.self, RunsFuzz.self, ScoreFuzz.self,
        UpdateFuzz.self,
    ]

    static func named(_ name: String) -> (any FuzzTarget.Type)? { all.first { $0.name == name } }

    static var listing: String { all.map { "\($0.name)\t\($0.subject)\n" }.joined() }
}
