/// What stands in a template, as a tree.
struct Expression: Sendable {
    let line: Int
    let form: Form

    indirect enum Form: Sendable {
        case literal(Literal)
        case name(String)
        case list([Expression])
        case tuple([Expression])
        case mapping([(key: Expression, value: Expression)])
        /// `a.b`.
        case attribute(Expression, String)
        /// `a[b]`.
        case item(Expression, Expression)
        /// `a[b:c:d]`.
        case slice(Expression, SliceBounds)
        case call(Expression, ArgumentList)
        case filter(Expression, TemplateFilter, ArgumentList)
        case test(Expression, TemplateTest, ArgumentList)
        case negative(Expression)
        case positive(Expression)
        case not(Expression)
        case and(Expression, Expression)
        case or(Expression, Expression)
        case arithmetic(Arithmetic, Expression, Expression)
        case concatenation([Expression])
        case comparison(Expression, [(operation: Comparison, operand: Expression)])
        /// `a if b else c`; without an else it is undefined.
        case choice(condition: Expression, then: Expression, otherwise: Expression?)
    }

    enum Literal: Sendable { case none, bool(Bool), integer(Int), float(Double), string(String) }

    enum Arithmetic: Sendable { case add, subtract, multiply, divide, divideWhole, remainder, power }

    enum Comparison: Sendable { case equal, unequal, less, lessOrEqual, greater, greaterOrEqual, isIn, isNotIn }
}

struct SliceBounds: Sendable {
    var from: Expression?
    var to: Expression?
    var step: Expression?
}

struct ArgumentList: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
}

struct Statement: Sendable {
    let line: Int
    let form: Form

    indirect enum Form: Sendable {
        case text(String)
        case output(Expression)
        case loop(Loop)
        case branches([(condition: Expression, body: [Statement])], otherwise: [Statement])
        case set(Target, Expression)
        /// `{% set x | filter %}…{% endset %}`.
        case capture(Target, filters: [(filter: TemplateFilter, arguments: ArgumentList)], body: [Statement])
        case macro(MacroDefinition)
        case breakLoop
        case continueLoop
        /// What the model itself would have written.
        case generation([Statement])
    }

    struct Loop: Sendable {
        let target: Target
        let source: Expression
        let filter: Expression?
        let body: [Statement]
        let otherwise: [Statement]
    }
}

/// What a value is given to.
indirect enum Target: Sendable {
    case name(String)
    /// `{% set ns.x = … %}`.
    case attribute(String, String)
    case tuple([Target])
}

struct MacroDefinition: Sendable {
    let name: String
    let parameters: [(name: String, fallback: Expression?)]
    let body: [Statement]
}
