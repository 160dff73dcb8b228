import Credit
import Formats

/// What the words of tables mean, as documentation has it, in brackets behind the word; nothing for a word of another
/// version.
enum WordMeanings {
    static func ofRejectReason(_ word: String) -> String { bracketed(RejectReason(rawValue: word)?.documentation) }

    static func ofVerdict(_ word: String) -> String { bracketed(Verdict(rawValue: word)?.documentation) }

    static func ofDropReason(_ word: String) -> String {
        bracketed(Verdict(rawValue: word)?.documentation ?? DropReason.all.first { $0.name == word }?.meaning)
    }

    private static func bracketed(_ meaning: String?) -> String { meaning.map { " (\($0))" } ?? "" }
}
