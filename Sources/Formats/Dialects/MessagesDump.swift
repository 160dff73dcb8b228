/// Rows of chats as data sets and drivers have them: `messages` with the assistant's turns among them, as text, and
/// beside it `tools`, `chat_template_kwargs`, `group_id`, `reward` and whatever else a driver knows. A checkpoint's chat
/// template says which tokens the turns are.
package enum MessagesDump: DumpDialect {
    package static let name = "messages"
    package static let source = "rows with a list of messages; the checkpoint's chat template"

    /// Keys by which other dialects, and requests, are told.
    private static let others = [
        "custom_id", "choices", "body", "meta_info", "output", "prompt_token_ids", "token_ids", "turns", "responses",
    ]
    /// What a chat's row has as something else than a driver's name for it.
    private static let own = [
        "messages", "tools", "documents", "chat_template_kwargs", "prompt", "input_ids", "text", "rollout_id", "id",
        "uid",
        "group_id", "reward", "score", "finish_reason", "add_generation_prompt", "continue_final_message",
    ]

    package static func rollouts(_ object: JSONObject, in context: LineContext) -> [DumpedRollout]? {
        guard GivenChat.isChat(object["messages"]), !others.contains(where: { object[$0] != nil }) else { return nil }
        var rollout = DumpedRollout()
        rollout.id = ["rollout_id", "id", "uid"].lazy.compactMap { object.given($0)?.identifier }.first
        rollout.conversation = object["messages"].map { GivenChat($0, in: object) }
        // `prompt` repeats the first messages, in whatever form: the chat is the truth.
        rollout.takeAdded(to: JSONObject(object.members.filter { !["prompt", "input_ids"].contains($0.key) }))
        if rollout.reward == nil, object.given("reward") == nil { rollout.takeReward(object["score"], "score") }
        rollout.finishReason = object["finish_reason"]?.text ?? ""
        if FinishReason(rollout.finishReason) == .unknown { rollout.remarks.insert(.finishReasonUnknown) }
        for member in object.members where !own.contains(member.key) && rollout.metadata[member.key] == nil {
            rollout.metadata[member.key] = member.value.text
        }
        return [rollout]
    }
}
