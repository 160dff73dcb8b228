/// A chat as a line or a request has it, before a template makes text of it.
package struct GivenChat: Sendable {
    package let messages: JSONValue
    /// What stands beside: tools, documents, chat_template_kwargs.
    package let fields: JSONObject
    package let addsGenerationPrompt: Bool
    package let continuesLastMessage: Bool
    package let hasOwnTemplate: Bool

    private static let keys = ["tools", "documents", "chat_template_kwargs"]

    /// `fields`: the line, or the request's body.
    package init(_ messages: JSONValue, in fields: JSONObject) {
        self.messages = messages
        self.fields = JSONObject(fields.members.filter { Self.keys.contains($0.key) })
        continuesLastMessage = fields["continue_final_message"]?.bool ?? false
        addsGenerationPrompt = fields["add_generation_prompt"]?.bool ?? true
        hasOwnTemplate = fields.given("chat_template") != nil
    }

    /// A list of objects with roles is a chat; anything else that a prompt can be is none.
    package static func isChat(_ value: JSONValue?) -> Bool {
        guard let list = value?.list, !list.isEmpty else { return false }
        return list.allSatisfy { $0.object?.given("role") != nil }
    }
}
