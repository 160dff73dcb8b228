import Catalog
import Testing

/// The language of `--where`: what it says, and what it says of what it can't read.
@Suite struct RunFilterTests {
    private func name(_ text: String, _ position: Int, _ reduction: MetricReduction? = nil) -> FilterName {
        FilterName(text, reduction: reduction, position: position)
    }

    @Test func andBindsTighterThanOr() throws {
        let filter = try RunFilter("a = 1 or b < 2.5 and not c >= 'x'")
        let expected = RunFilter.or([
            .comparison(.name(name("a", 1)), .equal, .value(.integer(1))),
            .and([
                .comparison(.name(name("b", 10)), .less, .value(.real(2.5))),
                .not(.comparison(.name(name("c", 26)), .greaterOrEqual, .value(.text("x")))),
            ]),
        ])
        #expect(filter == expected)
    }

    @Test func parenthesesBindTightest() throws {
        let filter = try RunFilter("(a = 1 OR b = 2) AND c = 3")
        guard case .and(let parts) = filter, case .or = parts[0] else {
            Issue.record("\(filter)")
            return
        }
        #expect(parts.count == 2)
    }

    @Test(arguments: [
        ("a == 1", FilterComparison.equal), ("a != 1", .notEqual), ("a <> 1", .notEqual), ("a<=1", .lessOrEqual),
        ("a >=1", .greaterOrEqual),
    ])
    func comparisonsHaveTheirUsualSpellings(_ text: String, _ comparison: FilterComparison) throws {
        #expect(try RunFilter(text) == .comparison(.name(name("a", 1)), comparison, .value(.integer(1))))
    }

    @Test(arguments: [
        ("-3", CatalogValue.integer(-3)), ("1e-5", .real(1e-5)), (".5", .real(0.5)), ("+2E+3", .real(2000)),
        ("'it''s'", .text("it's")), ("\"a\"", .text("a")), ("true", .truth(true)), ("FALSE", .truth(false)),
    ])
    func valuesAreNumbersTextsAndTruths(_ text: String, _ value: CatalogValue) throws {
        #expect(try RunFilter("a = \(text)") == .comparison(.name(name("a", 1)), .equal, .value(value)))
    }

    @Test func membershipPatternsAndNull() throws {
        #expect(try RunFilter("stage in ('plan', 3)") == .among(name("stage", 1), [.text("plan"), .integer(3)]))
        #expect(try RunFilter("path not like '%x'") == .not(.like(name("path", 1), pattern: "%x")))
        #expect(
            try RunFilter("a is null and b is not null")
                == .and([
                    .isNull(name("a", 1)), .not(.isNull(name("b", 15))),
                ]))
    }

    @Test func metricsHaveReductionsAndNamesMayBeQuoted() throws {
        let filter = try RunFilter("max(heldout_accuracy) > 0.5 and `and` = 1")
        #expect(filter.names.map(\.description) == ["max(heldout_accuracy)", "and"])
        #expect(try FilterName.list("a, mean(b)").map(\.description) == ["a", "mean(b)"])
    }

    @Test(arguments: [
        ("", 1, "the end", "a name"), ("a", 2, "the end", "a comparison"), ("a = ", 5, "the end", "a name"),
        ("a = 1 b", 7, "'b'", "and, or, or the end"), ("(a = 1", 7, "the end", "and, or, or )"),
        ("a = 'x", 5, "' without another", "the text's end"), ("a = 1x", 5, "'1x'", "a number"),
        ("a =< 1", 3, "'=<'", "=, !="), ("a in 1", 6, "'1'", "( and a list"),
        ("a like 3", 8, "'3'", "a text in quotes"),
        ("sum(a) > 1", 1, "'sum'", "min(…)"), ("a ; b", 3, "';'", "a comparison"), ("and = 1", 1, "'and'", "a name"),
        ("3 like 'x'", 3, "'like'", "a comparison"),
    ])
    func whatCannotBeReadIsNamedWithItsPlace(_ text: String, _ place: Int, _ found: String, _ expected: String) {
        #expect { try RunFilter(text) } throws: { error in
            guard let error = error as? FilterError else { return false }
            return error.position == place && error.found.contains(found) && error.expected.contains(expected)
        }
    }

    @Test func nestingAndLengthAreBounded() {
        let deep = String(repeating: "(", count: 500) + "a = 1" + String(repeating: ")", count: 500)
        #expect(throws: FilterError.self) { try RunFilter(deep) }
        #expect(throws: FilterError.self) { try RunFilter(String(repeating: "not ", count: 4_000) + "a = 1") }
        #expect(throws: FilterError.self) { try RunFilter(String(repeating: " ", count: 30_000) + "a = 1") }
    }
}
