import Formats

/// A chat template: the part of Jinja that the templates of released models use, in the environment that transformers
/// gives them. Everything else is refused with its line.
package struct ChatTemplate: Sendable {
    /// For messages: the file.
    package let name: String
    private let body: [Statement]
    /// Whether `{% generation %}` says which text the model itself would have written.
    package let hasGenerationMarks: Bool
    /// Whether it prints the day on which it is used.
    package let asksForDate: Bool

    /// Far above any template's length.
    private static let longest = 4 << 20

    package init(_ source: String, name: String) throws {
        self.name = name
        guard source.utf8.count <= Self.longest else {
            throw TemplateError(
                template: name, line: 1, reason: .bound("a template of more than \(Self.longest >> 20) MiB"))
        }
        let parsed = try TemplateParser.parse(source, name: name)
        (body, hasGenerationMarks, asksForDate) = (parsed.body, parsed.hasGenerationMarks, parsed.asksForDate)
    }

    /// What a template made of a chat.
    package struct Rendering: Equatable, Sendable {
        package let text: String
        /// Spans of the text that the template marks as sampled, in Unicode characters (as Python counts).
        package let generation: [Range<Int>]
        /// The line of a mark within a macro or a capture, whose place in the text nobody knows.
        package let misplacedGeneration: Int?
    }

    /// `names`: what the template can ask for; of equal ones the last counts.
    package func render(_ names: [(name: String, value: JSONValue)], date: TemplateDate?) throws -> Rendering {
        let scope = Scope(nil), renderer = Renderer(name: name, context: FunctionContext(date: date))
        for (name, value) in names {
            do { scope.set(name, try TemplateValue(value)) } catch {
                throw TemplateError(template: self.name, line: 1, reason: error.reason)
            }
        }
        let text = try renderer.run(body, scope)
        return Rendering(
            text: text, generation: renderer.generation, misplacedGeneration: renderer.misplacedGeneration)
    }
}
