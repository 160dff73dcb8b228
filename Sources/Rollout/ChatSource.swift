import ChatPrompts
import Formats
import Tokenizer

/// A checkpoint's chat template, which is read when a prompt asks for it: one that Crux can't read is no hindrance to
/// prompts that are text.
final class ChatSource {
    private let folder: String
    private let tokenizer: Tokenizer?
    private let options: ChatOptions
    private var read: ChatTokens??

    init(_ folder: String, _ tokenizer: Tokenizer?, _ options: ChatOptions) {
        (self.folder, self.tokenizer, self.options) = (folder, tokenizer, options)
    }

    func tokens() throws -> ChatTokens? {
        if let read { return read }
        let found = try tokenizer.flatMap { try ChatTokens(folder, $0, options) }
        read = found
        return found
    }

    /// What prompts were found to depend on.
    var used: ChatTokens? { read ?? nil }
    var note: String? { used?.dateNote(options) }
    var settings: [String: String] {
        guard let used else { return [:] }
        return options.settings.merging(used.dayThatMatters.map { ["date": $0] } ?? [:]) { $1 }
    }
}
