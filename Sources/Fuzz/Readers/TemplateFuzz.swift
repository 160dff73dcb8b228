import ChatTemplates
import Formats

/// Bytes as a chat template, which then renders a chat.
final class TemplateFuzz: FuzzTarget {
    static let name = "template", subject = "a chat template"
    private let names: [(name: String, value: JSONValue)]

    init(folder: String) throws {
        let chat =
            #"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "é😀 <b>"}]},"#
            + #"{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5e-7, null, true]}}}]}],"#
            + #""tools": [{"function": {"name": "f"}}], "add_generation_prompt": true, "bos_token": "<s>"}"#
        names = JSONLine(chat).whole?.members.map { ($0.key, $0.value) } ?? []
    }

    func run(_ bytes: UnsafeRawBufferPointer) throws {
        let template = try ChatTemplate(String(decoding: bytes, as: UTF8.self), name: "template")
        _ = try template.render(names, date: TemplateDate("2026-03-05"))
    }
}
