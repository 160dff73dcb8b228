import ChatTemplates
import Formats
import Foundation
import TestSupport
import Testing

/// Templates beside transformers 5.24 with Jinja 3.1.6, whose output stands in fixtures/chat-templates/cases.json.
@Suite struct ChatTemplateTests {
    private struct Case {
        let name: String
        let template: String
        let names: [(name: String, value: JSONValue)]
        let output: String?
        let error: String?
        let generation: [Range<Int>]?

        init(_ object: JSONObject) throws {
            name = try #require(object["name"]?.string)
            template = try #require(object["template"]?.string)
            let arguments = try #require(object["arguments"]?.object)
            names =
                [("tools", .null), ("documents", .null), ("add_generation_prompt", .bool(false))]
                + [("messages", try #require(object["messages"]))] + arguments.members.map { ($0.key, $0.value) }
            (output, error) = (object["output"]?.string, object["error"]?.string)
            generation = object["generation"]?.list?.compactMap { pair in
                guard let ends = pair.list, let from = ends.first?.int, let to = ends.last?.int else { return nil }
                return from..<to
            }
        }
    }

    private func cases() throws -> [Case] {
        let text = try String(contentsOfFile: fixture("chat-templates/cases.json"), encoding: .utf8)
        return try #require(JSONLine(text).objects.isEmpty ? nil : JSONLine(text).objects).map(Case.init)
    }

    @Test func everyCaseIsTransformersByteForByte() throws {
        let cases = try cases()
        #expect(cases.count >= 8)
        for one in cases {
            do {
                let template = try ChatTemplate(one.template, name: one.name)
                let found = try template.render(one.names, date: nil)
                #expect(found.text.utf8.elementsEqual((one.output ?? "an error").utf8), "\(one.name): \(found.text)")
                if let spans = one.generation { #expect(found.generation == spans && template.hasGenerationMarks) }
            } catch let error as TemplateError {
                #expect(error.reason == .raised(one.error ?? "none"), "\(error)")
                #expect(one.error != nil, "\(one.name): \(error)")
            }
        }
    }

    private func render(_ source: String, _ json: String = "{}", date: String? = nil) throws -> String {
        let object = try #require(JSONLine(json).whole)
        return try ChatTemplate(source, name: "t").render(
            object.members.map { ($0.key, $0.value) }, date: date.flatMap { TemplateDate($0) }
        ).text
    }

    /// Each beside what Jinja makes of it.
    @Test(arguments: [
        (
            "{{ -5|abs }} {{ 2**3**2 }} {{ -2**2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 1e16 }} {{ 5/2 }}",
            "5 64 4 -4 2 1e+16 2.5"
        ),
        (
            "{{ [1, 2.0, 'a', none, true, (1,)] }}{{ {'a': \"it's\"} }}",
            "[1, 2.0, 'a', None, True, (1,)]{'a': \"it's\"}"
        ),
        ("{{ 'x' if 0 else 'y' if 0 else 'z' }}{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}", "zTrueFalse"),
        ("{{ 'abc'[::-1] }}{{ [1,2,3,4][1:-1] }}{{ 'abc'[5] }}{{ [1][3] is defined }}", "cba[2, 3]False"),
        ("{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "231"),
        ("{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(b=2, a=3) }}", "1132"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x }}{% set y | upper %}q{% endset %}{{ y }}", "a1Q"),
        ("{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        (
            "{{ 'a\\n b\\tc'.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}",
            "['a', 'b', 'c']['a', 'b,c']['a,b', 'c']"
        ),
        ("{{ [3,1,2]|sort|join(',') }}{{ ['b','A']|sort|join }}{{ [1,1,2]|unique|list }}", "1,2,3Ab[1, 2]"),
        ("{% for i in range(3) %}{{ loop.revindex }}{{ loop.length }}{% endfor %}{{ range(5)[-1] }}", "3323134"),
        ("{{ 'a' in {'a': 1} }}{{ 2 not in [1] }}{{ not true or true }}{{ 'x' is not string }}", "TrueTrueTrueFalse"),
        ("{{ [] is sequence }}{{ {} is iterable }}{{ nothing is iterable }}{{ 1 is number }}", "TrueTrueTrueTrue"),
        ("{% if [1]|select('equalto', 2) %}always{% endif %}{{ ([1]|map('string')|list)[0] ~ 'x' }}", "always1x"),
        ("{{ {'items': 1}['items'] }}{{ {'a': 1}.get('b', 2) }}{{ {'a': 1}.get('b') }}", "12None"),
        ("{{ 'ΑΣ'|lower }}{{ 'ß'|upper }}{{ 'ǆa'|capitalize }}{{ \"they're ok\"|title }}", "αςSSǅaThey're Ok"),
        ("{{ strftime_now('%d %B %Y, %a %b %-d %j') }}", "05 March 2026, Thu Mar 5 064"),
        ("{{ {'a': [1, {}], 'b': []}|tojson(indent=1) }}", "{\n \"a\": [\n  1,\n  {}\n ],\n \"b\": []\n}"),
        (
            "{{ 'é\u{7f}\u{1}😀'|tojson(ensure_ascii=true) }}{{ 'é\u{7f}'|tojson }}",
            "\"\\u00e9\\u007f\\u0001\\ud83d\\ude00\"\"é\u{7f}\""
        ),
        ("a \n {%- if true -%} \n b {%- endif %} \n{{ 'c' }}\n", "ab \nc"),
        ("{{ '{{ x }}' }}{# {{ y }} #}{{ \"%}\" }}{{ 'a' 'b' }}", "{{ x }}%}ab"),
        ("{{ 'a\r\nb' }}\r\n", "a\nb"),
        ("{{ x.y.z }}{{ x['y']['z'] }}", "11"),
    ]) func expressionsAreJinjas(_ source: String, _ expected: String) throws {
        let found = try render(source, #"{"x": {"y": {"z": 1}}}"#, date: "2026-03-05")
        #expect(found.utf8.elementsEqual(expected.utf8), "\(source): \(found)")
    }

    private func failure(_ source: String, _ json: String = "{}") -> TemplateError? {
        do {
            _ = try render(source, json)
            return nil
        } catch { return error as? TemplateError }
    }

    /// What is no part of it is named, with its line.
    @Test(arguments: [
        ("a\n{% include 'x' %}", 2, "the statement 'include'"), ("{{ 1|urlize }}", 1, "the filter 'urlize'"),
        ("\n\n{{ 1 is nonsense }}", 3, "the test 'nonsense'"), ("{{ 'a'.zfill(3) }}", 1, "the method 'zfill'"),
        ("{{ lipsum() }}", 1, "the function 'lipsum'"), ("{{ 'a %s' % 1 }}", 1, "formatted by '%'"),
        ("{{ f(*x) }}", 1, "a list or a dict"), ("{% for x in y recursive %}{% endfor %}", 1, "recursive"),
        ("{{ [1].append(2) }}", 1, "the method 'append'"), ("{% raw %}{% endraw %}", 1, "'raw'"),
        ("{{ loop.cycle(1) }}{% for a in [1] %}\n{{ loop.cycle(1) }}{% endfor %}", 1, "'loop' is undefined"),
        ("{{ '<'|safe + '<' }}", 1, "marked by 'safe'"),
        ("{{ raise_exception('no\nway') }}", 1, "refuses this chat: no\nway"),
        ("{{ a.b.c }}", 1, "'a' is undefined"), ("{{ {}.a.b }}", 1, "'dict' has no attribute 'a'"),
        ("{{ 1 + 'a' }}", 1, "'int' and 'str'"), ("{{ none|length }}", 1, "has no length"), ("{{ 1/0 }}", 1, "by zero"),
        ("{{ 9223372036854775807 + 1 }}", 1, "beyond 64 bits"),
        ("{% if x %}", 1, "{% elif %} or {% else %} or {% endif %}"),
        ("{{ x", 1, "a tag without its end"), ("{# x", 1, "a comment without its end"),
        ("{{ 'x }}", 1, "a text without its end"),
        ("{% endfor %}", 1, "'endfor'"), ("{{ (1 }}", 1, "'}'"), ("{% break %}", 1, "within a loop"),
        ("{{ strftime_now('%Y') }}", 1, "--date"), ("{% set a.b = 1 %}", 1, "no namespace"),
        ("{{ namespace(_a=1) }}", 1, "underscore"),
    ]) func whatIsNoPartOfItIsRefusedWithItsLine(_ source: String, _ line: Int, _ words: String) throws {
        let error = try #require(failure(source), "\(source) was taken")
        #expect(error.line == line && error.description.contains(words), "\(error)")
    }

    /// None of these may take long, or the process with it.
    @Test(arguments: [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ range(1000000) }}", "{{ 'a' * 10000000000 }}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x|replace('a', n.x) %}{% endfor %}",
        "{{ [1]|tojson(indent=100000000) }}",
        "{{ " + String(repeating: "(", count: 5000) + "1" + String(repeating: ")", count: 5000) + " }}",
        "{{ " + String(repeating: "-", count: 5000) + "1 }}", "{{ " + String(repeating: "not ", count: 5000) + "1 }}",
        "{{ 1" + String(repeating: " + 1", count: 5000) + " }}", "{{ a" + String(repeating: ".a", count: 5000) + " }}",
        String(repeating: "{% if 1 %}", count: 5000) + String(repeating: "{% endif %}", count: 5000),
    ]) func hostileTemplatesEnd(_ source: String) throws {
        let error = try #require(failure(source), "was taken")
        if case .bound = error.reason { return }
        Issue.record("\(error)")
    }

    @Test func daysThatAreNoneAreNotTaken() {
        for text in ["2026-02-29", "2026-13-01", "26-01-01", "2026-1-1", "2026/01/01", "", "2026-00-10"] {
            #expect(TemplateDate(text) == nil, "\(text)")
        }
        #expect(TemplateDate("2028-02-29") != nil)
    }

    @Test func generationsWithinMacrosAreSaid() throws {
        let source = "{% macro m(x) %}\n{% generation %}{{ x }}{% endgeneration %}{% endmacro %}{{ m('a') }}"
        #expect(try ChatTemplate(source, name: "t").render([], date: nil).misplacedGeneration == 2)
    }
}
