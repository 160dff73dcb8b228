/// A pattern as instructions of a machine that backtracks, over UTF-8.
package struct PatternProgram: Sendable {
    private enum Instruction: Sendable {
        /// One character of a set.
        case set(Int)
        /// So many characters of a set as there are, at most `most`; fewer, down to `least`, when what follows fails.
        case run(Int, least: Int, most: Int, keepsAll: Bool)
        /// First the one, then the other.
        case fork(Int, Int)
        case jump(Int)
        /// Goes on where the part up to `end` matches here (or doesn't).
        case look(end: Int, isNegated: Bool)
        case match
    }

    private var instructions: [Instruction] = []
    private var sets: [ScalarSet] = []

    /// Instructions that one pattern may become.
    private static let longest = 20_000

    /// nil where the pattern has what is left to ICU.
    package init?(pattern: String) {
        guard let node = PatternParser.parse(pattern) else { return nil }
        self.init(node)
    }

    /// nil where it would be too long, or repeats what may be empty.
    init?(_ node: PatternNode) {
        guard compile(node) else { return nil }
        instructions.append(.match)
    }

    private mutating func compile(_ node: PatternNode) -> Bool {
        guard instructions.count < Self.longest else { return false }
        switch node {
        case .set(let set): instructions.append(.set(place(set)))
        case .sequence(let nodes): return nodes.allSatisfy { compile($0) }
        case .choice(let branches): return compile(branches)
        case .repeat(.set(let set), let least, let most, let greed) where greed != .lazy:
            instructions.append(.run(place(set), least: least, most: most, keepsAll: greed == .possessive))
        case .repeat(let inner, let least, let most, let greed):
            return compile(inner, least, most, greed)
        case .look(let inner, let isNegated):
            let own = instructions.count
            instructions.append(.match)
            guard compile(inner) else { return false }
            instructions.append(.match)
            instructions[own] = .look(end: instructions.count, isNegated: isNegated)
        }
        return true
    }

    private mutating func place(_ set: ScalarSet) -> Int {
        sets.append(set)
        return sets.count - 1
    }

    private mutating func compile(_ branches: [PatternNode]) -> Bool {
        var ends: [Int] = []
        for (number, branch) in branches.enumerated() {
            guard number < branches.count - 1 else {
                guard compile(branch) else { return false }
                break
            }
            let fork = instructions.count
            instructions.append(.match)
            guard compile(branch) else { return false }
            ends.append(instructions.count)
            instructions.append(.match)
            instructions[fork] = .fork(fork + 1, instructions.count)
        }
        for end in ends { instructions[end] = .jump(instructions.count) }
        return true
    }

    private mutating func compile(_ inner: PatternNode, _ least: Int, _ most: Int, _ greed: PatternNode.Greed) -> Bool {
        guard greed != .possessive, !Self.canBeEmpty(inner), most == .max || most <= 100 else { return false }
        for _ in 0..<least { guard compile(inner) else { return false } }
        func fork(_ inside: Int, _ outside: Int) -> Instruction {
            greed == .greedy ? .fork(inside, outside) : .fork(outside, inside)
        }
        if most == .max {
            let own = instructions.count
            instructions.append(.match)
            guard compile(inner) else { return false }
            instructions.append(.jump(own))
            instructions[own] = fork(own + 1, instructions.count)
            return true
        }
        var forks: [Int] = []
        for _ in least..<most {
            forks.append(instructions.count)
            instructions.append(.match)
            guard compile(inner) else { return false }
        }
        for own in forks { instructions[own] = fork(own + 1, instructions.count) }
        return true
    }

    private static func canBeEmpty(_ node: PatternNode) -> Bool {
        switch node {
        case .set: false
        case .sequence(let nodes): nodes.allSatisfy(canBeEmpty)
        case .choice(let branches): branches.contains(where: canBeEmpty)
        case .repeat(let inner, let least, _, _): least == 0 || canBeEmpty(inner)
        case .look: true
        }
    }

    // MARK: matching

    /// A place to go back to: an instruction with the text's place, and, of a run, how far back it may still give.
    private struct Return {
        let instruction: Int
        let position: Int
        let floor: Int
    }

    /// The whole text's matches that aren't empty, leftmost first, one behind the other.
    package func matches(in text: UnsafeBufferPointer<UInt8>, _ found: (Range<Int>) -> Void) {
        var stack: [Return] = [], position = 0
        stack.reserveCapacity(32)
        instructions.withUnsafeBufferPointer { instructions in
            sets.withUnsafeBufferPointer { sets in
                let machine = Machine(text: text, instructions: instructions, sets: sets)
                while position < text.count {
                    if let end = machine.match(0, position, &stack), end > position {
                        found(position..<end)
                        position = end
                    } else {
                        position += machine.width(position)
                    }
                }
            }
        }
    }

    private struct Machine {
        let text: UnsafeBufferPointer<UInt8>
        let instructions: UnsafeBufferPointer<Instruction>
        let sets: UnsafeBufferPointer<ScalarSet>

        @inline(__always)
        func width(_ position: Int) -> Int {
            let byte = text[position]
            return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
        }

        /// The character at a place, and its width. The text is sound UTF-8.
        @inline(__always)
        private func scalar(_ position: Int) -> (value: UInt32, width: Int) {
            let first = UInt32(text[position])
            if first < 0x80 { return (first, 1) }
            let second = UInt32(text[position + 1] & 0x3f)
            if first < 0xe0 { return ((first & 0x1f) << 6 | second, 2) }
            let third = UInt32(text[position + 2] & 0x3f)
            if first < 0xf0 { return ((first & 0x0f) << 12 | second << 6 | third, 3) }
            return ((first & 0x07) << 18 | second << 12 | third << 6 | UInt32(text[position + 3] & 0x3f), 4)
        }

        /// Where a match that begins here ends; nil where there is none.
        func match(_ start: Int, _ from: Int, _ stack: inout [Return]) -> Int? {
            let base = stack.count
            defer { stack.removeLast(stack.count - base) }
            var place = start, position = from
            while true {
                switch instructions[place] {
                case .match: return position
                case .set(let set):
                    if position < text.count {
                        let (value, width) = scalar(position)
                        if sets[set].contains(value) {
                            (place, position) = (place + 1, position + width)
                            continue
                        }
                    }
                case .run(let set, let least, let most, let keepsAll):
                    var count = 0, end = position, floor = position
                    while count < most, end < text.count {
                        let (value, width) = scalar(end)
                        guard sets[set].contains(value) else { break }
                        (count, end) = (count + 1, end + width)
                        if count == least { floor = end }
                    }
                    if count >= least {
                        if !keepsAll, end > floor {
                            stack.append(Return(instruction: place + 1, position: end, floor: floor))
                        }
                        (place, position) = (place + 1, end)
                        continue
                    }
                case .fork(let first, let second):
                    stack.append(Return(instruction: second, position: position, floor: position))
                    place = first
                    continue
                case .jump(let target):
                    place = target
                    continue
                case .look(let end, let isNegated):
                    if (match(place + 1, position, &stack) != nil) != isNegated {
                        place = end
                        continue
                    }
                }
                guard stack.count > base else { return nil }
                let back = stack.removeLast()
                (place, position) = (back.instruction, back.position)
                guard back.position > back.floor else { continue }
                // A run gives one character back.
                repeat { position -= 1 } while text[position] & 0xc0 == 0x80
                if position > back.floor {
                    stack.append(Return(instruction: place, position: position, floor: back.floor))
                }
            }
        }
    }
}
