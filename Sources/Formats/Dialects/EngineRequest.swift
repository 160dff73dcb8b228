import Foundation

/// A continuation asked of an engine, with every sampling field spelled out: engines otherwise take defaults of their
/// own (or of the model's generation_config.json).
package struct EngineRequest: Equatable, Sendable {
    package var customID = ""
    /// Token ids of the prefix.
    package var prefix: [Int32] = []
    package var maxTokens = 0
    package var seed: Int64 = 0
    package var temperature: Float = 1
    package var topP: Float = 1
    /// 0 is off.
    package var topK = 0
    package var stopTokenIDs: [Int32] = []
    /// Strings that end the text; what was sampled of them stays among the token ids.
    package var stop: [String] = []
    /// A field that is not what it should be, in words; such a request must not be run as if the field weren't there.
    package var malformedField: String?
    /// How many of the best log-probabilities to give for every token, beside the sampled one's.
    package var topLogprobs = 0
    /// The name under which a server knows the policy.
    package var model = "policy"
    /// For chat endpoints: the prompt, and the text of the response so far.
    package var prompt = ""
    package var responsePrefix = ""

    package init() {}
}
