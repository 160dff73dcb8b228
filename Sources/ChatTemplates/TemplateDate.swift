import Foundation

/// A day, for templates that print today's: given, so that prompts are the same tomorrow.
package struct TemplateDate: Equatable, Sendable {
    package let year: Int
    package let month: Int
    package let day: Int

    /// `YYYY-MM-DD`; nil where there is no such day.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, [4, 2, 2] == parts.map(\.utf8.count), text.utf8.allSatisfy({ $0 != 0x2b }),
            let year = Int(parts[0]), let month = Int(parts[1]), let day = Int(parts[2]), year > 0,
            (1...12).contains(month), day >= 1, day <= Self.days(of: month, year)
        else { return nil }
        (self.year, self.month, self.day) = (year, month, day)
    }

    /// By the machine's own clock and zone, as Python's `datetime.now()`.
    package static var today: TemplateDate {
        var now = time(nil), parts = tm()
        localtime_r(&now, &parts)
        return TemplateDate(year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday))
    }

    private init(year: Int, month: Int, day: Int) { (self.year, self.month, self.day) = (year, month, day) }

    package var description: String { Self.padded(year, 4) + "-" + Self.padded(month, 2) + "-" + Self.padded(day, 2) }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func days(of month: Int, _ year: Int) -> Int {
        [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
    }

    private var dayOfYear: Int { (1..<month).reduce(day) { $0 + Self.days(of: $1, year) } }

    /// 0 is Sunday; Zeller's rule.
    private var weekday: Int {
        let shifts = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4], own = month < 3 ? year - 1 : year
        return (own + own / 4 - own / 100 + own / 400 + shifts[month - 1] + day) % 7
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    /// `strftime` in the C locale, at midnight.
    func formatted(_ format: String) throws(TemplateFault) -> String {
        var result = "", scalars = format.unicodeScalars.makeIterator()
        while let scalar = scalars.next() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            var letter = scalars.next()
            let isBare = letter == "-"
            if isBare { letter = scalars.next() }
            guard let letter, let text = field(letter) else {
                throw .unsupported("'%\(letter.map(String.init) ?? "")' in a format of 'strftime_now'")
            }
            // %-d: without its zeros.
            let bare = text.drop { $0 == "0" || $0 == " " }
            result += isBare && text.count > 1 ? (bare.isEmpty ? "0" : String(bare)) : text
        }
        return result
    }

    private func field(_ letter: Unicode.Scalar) -> String? {
        switch letter {
        case "Y": "\(year)"
        case "y": Self.padded(year % 100, 2)
        case "m": Self.padded(month, 2)
        case "d": Self.padded(day, 2)
        case "e": day < 10 ? " \(day)" : "\(day)"
        case "j": Self.padded(dayOfYear, 3)
        case "B": Self.months[month - 1]
        case "b", "h": String(Self.months[month - 1].prefix(3))
        case "A": Self.weekdays[weekday]
        case "a": String(Self.weekdays[weekday].prefix(3))
        case "w": "\(weekday)"
        case "u": "\(weekday == 0 ? 7 : weekday)"
        case "F": description
        case "H", "M", "S": "00"
        case "I": "12"
        case "p": "AM"
        case "T": "00:00:00"
        case "R": "00:00"
        case "n": "\n"
        case "t": "\t"
        case "%": "%"
        default: nil
        }
    }
}
