/// Output lines of an OpenAI batch, as `vllm run-batch`, docs/run_jobs.py and others write them: completions and chat, `n` choices
/// or one; bare responses, too.
package enum OpenAIDump: DumpDialect {
    package static let name = "openai"
    package static let source = "OpenAI batch output; vLLM with return_token_ids"

    package static func rollouts(_ object: [String: Any]) -> [DumpedRollout]? {
        // A `body` of its own is a request's.
        guard object["body"] == nil, object["custom_id"] is String || object["choices"] is [Any] else { return nil }
        let results = OpenAICompletions.results(object)
        return results.enumerated().map { index, result in
            var rollout = DumpedRollout(result, index: index, of: results.count)
            rollout.take(beside: object)
            return rollout
        }
    }
}
