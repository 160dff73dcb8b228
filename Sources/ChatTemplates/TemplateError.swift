/// Why a template can't be read, or made no text of a chat: with the template's name and the line.
package struct TemplateError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Reason: Equatable, Sendable {
        /// What is no Jinja.
        case syntax(found: String, expected: String)
        /// Jinja, but not of the part that chat templates use.
        case unsupported(String)
        /// `raise_exception`: the template's own words.
        case raised(String)
        /// What Python would raise an error for.
        case failed(String)
        /// A bound that only a hostile or a broken template reaches.
        case bound(String)
    }

    package let template: String
    /// From 1.
    package let line: Int
    package let reason: Reason

    package var description: String {
        let place = "\(template): line \(line): "
        switch reason {
        case .syntax(let found, let expected): return place + "found \(found), expected \(expected)."
        case .unsupported(let what):
            return place
                + "found \(what), expected the part of Jinja that chat templates use (docs/chat-templates.md). "
                + "Render these chats elsewhere, and give prompt_token_ids."
        case .raised(let words): return place + "the template refuses this chat: \(words)"
        case .failed(let words): return place + words + "."
        case .bound(let words): return place + words + "; expected a template that ends."
        }
    }
}

/// A reason whose place is not known yet: whoever walks the template knows it.
struct TemplateFault: Error {
    let reason: TemplateError.Reason

    static func failed(_ words: String) -> TemplateFault { TemplateFault(reason: .failed(words)) }
    static func unsupported(_ what: String) -> TemplateFault { TemplateFault(reason: .unsupported(what)) }
    static func bound(_ words: String) -> TemplateFault { TemplateFault(reason: .bound(words)) }
}
