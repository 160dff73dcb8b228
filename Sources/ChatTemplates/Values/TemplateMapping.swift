import Scratch

/// A dict: in the order in which its keys came.
struct TemplateMapping {
    struct Entry {
        let key: TemplateValue
        var value: TemplateValue
    }

    private(set) var entries: [Entry] = []
    private var places: [Key: Int] = [:]

    private enum Key: Hashable {
        case none
        case integer(Int)
        case float(Double)
        case text(ByteText)

        init(_ value: TemplateValue) throws(TemplateFault) {
            if let text = value.text {
                self = .text(ByteText(text))
            } else if let number = value.integer {
                self = .integer(number)
            } else if case .float(let number) = value {
                self = Int(exactly: number).map(Key.integer) ?? .float(number)
            } else if value.isNone {
                self = .none
            } else {
                throw .failed("a value of kind '\(value.typeName)' is no key")
            }
        }
    }

    var count: Int { entries.count }

    mutating func set(_ key: TemplateValue, _ value: TemplateValue) throws(TemplateFault) {
        put(try Key(key), key, value)
    }

    mutating func set(_ key: String, _ value: TemplateValue) { put(.text(ByteText(key)), .string(key), value) }

    private mutating func put(_ place: Key, _ key: TemplateValue, _ value: TemplateValue) {
        if let known = places[place] {
            entries[known].value = value
        } else {
            places[place] = entries.count
            entries.append(Entry(key: key, value: value))
        }
    }

    func value(_ key: TemplateValue) throws(TemplateFault) -> TemplateValue? {
        places[try Key(key)].map { entries[$0].value }
    }

    func value(_ key: String) -> TemplateValue? { places[.text(ByteText(key))].map { entries[$0].value } }

    func equals(_ other: TemplateMapping) -> Bool {
        count == other.count
            && places.allSatisfy { key, place in
                other.places[key].map { other.entries[$0].value.equals(entries[place].value) } ?? false
            }
    }
}
