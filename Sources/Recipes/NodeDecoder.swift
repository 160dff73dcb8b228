/// Reads values out of a recipe's tree as the properties that want them have their types: a scalar is what is asked
/// for, where it can be read so.
struct NodeDecoder: Decoder {
    let node: RecipeNode
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    init(_ node: RecipeNode, codingPath: [any CodingKey] = []) { (self.node, self.codingPath) = (node, codingPath) }

    /// What is wrong, with the keys that lead there.
    struct Mismatch: Error {
        let path: [any CodingKey]
        let found: String
        let expected: String
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .map(let map) = node else { throw mismatch("a section") }
        return KeyedDecodingContainer(Keyed<Key>(map: map, codingPath: codingPath))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .list(let list) = node else { throw mismatch("a list") }
        return Unkeyed(list: list, codingPath: codingPath)
    }

    func singleValueContainer() throws -> any SingleValueDecodingContainer { Single(decoder: self) }

    private func mismatch(_ expected: String) -> Mismatch {
        Mismatch(path: codingPath, found: node.description, expected: expected)
    }

    fileprivate func decode<T: Decodable>(_ type: T.Type) throws -> T {
        switch type {
        case is Bool.Type: return try bool() as! T
        case is Int.Type: return try int() as! T
        case is Double.Type: return try double() as! T
        case is String.Type: return try string() as! T
        default:
            do { return try T(from: self) } catch DecodingError.dataCorrupted(let context) {
                let names = (T.self as? any CaseIterable.Type).map { Self.names($0) } ?? []
                throw mismatch(
                    names.isEmpty
                        ? context.debugDescription.replacing("expected ", with: "") : names.joined(separator: ", "))
            }
        }
    }

    /// What an enumeration's cases are called.
    private static func names<Choice: CaseIterable>(_ type: Choice.Type) -> [String] {
        type.allCases.compactMap { ($0 as? any RawRepresentable)?.rawValue as? String }
    }

    private func bool() throws -> Bool {
        guard case .plain(let text) = node, let value = RecipeScalar.bool(text) else { throw mismatch("true or false") }
        return value
    }

    private func int() throws -> Int {
        guard let text = node.scalar, let value = RecipeScalar.int(text) else {
            let isWhole = node.scalar.flatMap { RecipeScalar.double($0) }.map { $0 == $0.rounded() } ?? false
            throw mismatch(isWhole ? "a whole number that 64 bits can hold" : "a whole number")
        }
        return value
    }

    /// What float32 can hold: no figure of a plan can be more.
    private func double() throws -> Double {
        guard let text = node.scalar, let value = RecipeScalar.double(text),
            abs(value) <= Double(Float.greatestFiniteMagnitude)
        else {
            let isNumber = node.scalar.map { RecipeScalar.decimal($0) != nil || RecipeScalar.isSpecial($0) } ?? false
            throw mismatch(isNumber ? "a finite number that float32 can hold" : "a number")
        }
        return value
    }

    /// Numbers as text are digits as they were written.
    private func string() throws -> String {
        guard let text = node.scalar else { throw mismatch("a word") }
        if case .plain = node, let decimal = RecipeScalar.decimal(text), text.contains("_") { return decimal }
        return text
    }

    fileprivate var isNull: Bool { node == .null }

    private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let map: [String: RecipeNode]
        let codingPath: [any CodingKey]
        var allKeys: [Key] { map.keys.compactMap { Key(stringValue: $0) } }

        /// A property's, or a name that the recipe chose itself.
        private func name(_ key: Key) -> String {
            map[key.stringValue] == nil ? SectionReader.snakeCase(key.stringValue) : key.stringValue
        }

        private func child(_ key: Key) throws -> NodeDecoder {
            guard let node = map[name(key)] else {
                throw Mismatch(path: codingPath + [key], found: "missing", expected: "a value")
            }
            return NodeDecoder(node, codingPath: codingPath + [key])
        }

        func contains(_ key: Key) -> Bool { map[name(key)] != nil }
        func decodeNil(forKey key: Key) throws -> Bool { try child(key).isNull }
        func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { try child(key).decode(type) }

        func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) throws
            -> KeyedDecodingContainer<Nested>
        {
            try child(key).container(keyedBy: type)
        }

        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
            try child(key).unkeyedContainer()
        }
        func superDecoder() throws -> any Decoder { NodeDecoder(.map(map), codingPath: codingPath) }
        func superDecoder(forKey key: Key) throws -> any Decoder { try child(key) }
    }

    private struct Unkeyed: UnkeyedDecodingContainer {
        let list: [RecipeNode]
        let codingPath: [any CodingKey]
        private(set) var currentIndex = 0

        init(list: [RecipeNode], codingPath: [any CodingKey]) { (self.list, self.codingPath) = (list, codingPath) }

        var count: Int? { list.count }
        var isAtEnd: Bool { currentIndex == list.count }

        private mutating func next() throws -> NodeDecoder {
            guard !isAtEnd else {
                throw Mismatch(path: codingPath, found: "a list of \(list.count)", expected: "more entries")
            }
            defer { currentIndex += 1 }
            return NodeDecoder(list[currentIndex], codingPath: codingPath)
        }

        mutating func decodeNil() throws -> Bool {
            guard !isAtEnd, list[currentIndex] == .null else { return false }
            currentIndex += 1
            return true
        }

        mutating func decode<T: Decodable>(_ type: T.Type) throws -> T { try next().decode(type) }

        mutating func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<
            Nested
        > {
            try next().container(keyedBy: type)
        }

        mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { try next().unkeyedContainer() }
        mutating func superDecoder() throws -> any Decoder { try next() }
    }

    private struct Single: SingleValueDecodingContainer {
        let decoder: NodeDecoder
        var codingPath: [any CodingKey] { decoder.codingPath }

        func decodeNil() -> Bool { decoder.isNull }
        func decode<T: Decodable>(_ type: T.Type) throws -> T { try decoder.decode(type) }
    }
}
