/// One rollout as a producer wrote it, without its logits.
package struct RolloutFrame: Sendable {
    package var metadata: [String: String] = [:]
    package var tokenIDs: [Int32] = []
    package var lossMask: [Bool] = []
    package var rolloutLogprobs: [Float]?
    /// Under the trainer's policy before its step, and what the trainer made of the rewards.
    package var oldLogprobs: [Float]?
    package var advantages: [Float]?
    package var values: [Float]?
    package var referenceLogprobs: [Float]?
    package var teacherLogprobs: [Float]?
    /// What a teacher reads in place of the prompt.
    package var teacherPromptIDs: [Int32]?
    /// [M, topk], row by row.
    package var topkTokenIDs: [Int32]?
    package var topkLogprobs: [Float]?
    package var topk = 0
    /// [L], as `TokenRole` numbers them.
    package var tokenRoles: [UInt8]?
    /// [S] and [M + 1]: which tokens could have been drawn, as in `SamplingSupport`.
    package var supportTokenIDs: [Int32]?
    package var supportOffsets: [Int64]?
    package var experts: RoutedExperts?
    package var logits: LogitsInfo?
    /// Shape and type of the final hidden states, [rows, width]; its `vocabulary` is their width.
    package var hiddenStates: LogitsInfo?
    package init() {}

    package var trainableTokens: Int { lossMask.count { $0 } }
}
