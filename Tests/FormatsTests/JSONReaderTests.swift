import Formats
import Foundation
import Scratch
import Testing

/// JSON as other programs write it: Python's `json.loads` is the measure of what is read.
@Suite struct JSONReaderTests {
    private func encoded(_ text: String) -> String? { JSONLine(text).whole?.encoded }

    @Test func whatStandardJSONHasIsRead() {
        #expect(
            encoded(#" { "b" : [ 1 , -2.50 , 1e9 , true , false , null ] , "a" : { } , "c" : [ ] } "#)
                == #"{"a":{},"b":[1,-2.50,1e9,true,false,null],"c":[]}"#)
        #expect(
            encoded(#"{"s":"\" \\ \/ \b \f \n \r \t é \u00e9 \ud83d\ude00"}"#)
                == "{\"s\":\"\\\" \\\\ / \\u0008 \\u000c \\n \\r \\t é é 😀\"}")
        #expect(encoded("\u{feff}{\"a\":1}") == #"{"a":1}"#)
        // Of equal keys the last one counts; canonically equivalent ones are not equal.
        let object = JSONLine("{\"a\":1,\"a\":2,\"caf\u{e9}\":3,\"cafe\u{301}\":4}").whole
        #expect(object?["a"]?.int == 2 && object?["caf\u{e9}"]?.int == 3 && object?["cafe\u{301}"]?.int == 4)
    }

    @Test func numbersStayWhatTheyAre() throws {
        let object = try #require(
            JSONLine(
                #"{"i":7,"n":-7,"f":2.0,"t":true,"big":18446744073709551617,"nan":NaN,"inf":-Infinity,"e":1E400,"z":-0}"#
            ).whole)
        #expect(
            object["i"]?.int == 7 && object["n"]?.int == -7 && object["f"]?.int == nil && object["t"]?.int == nil
                && object["big"]?.int == nil)
        #expect(
            object["f"]?.double == 2 && object["t"]?.double == nil && object["nan"]?.float?.isNaN == true
                && object["inf"]?.float == -.infinity)
        #expect(object["e"]?.double == .infinity && object["z"]?.double == 0)
        #expect(
            object["big"]?.text == "18446744073709551617" && object["f"]?.text == "2.0" && object["t"]?.text == "true")
        #expect(
            tokenID(object["i"]) == 7
                && ["n", "f", "t", "big", "nan", "z", "none"].allSatisfy { tokenID(object[$0]) == nil })
    }

    /// The text has U+FFFD; names that differ in nothing else stay apart.
    @Test func whatIsNoUnicodeCostsItselfAlone() throws {
        let one = try #require(JSONLine(#"{"id":"cut \ud83d"}"#).whole?["id"]),
            other = try #require(JSONLine(#"{"id":"cut \ude00"}"#).whole?["id"])
        #expect(
            one.string == "cut \u{fffd}" && other.string == one.string && one.identifier == #"cut \ud83d"#
                && other.identifier == #"cut \ude00"#)
        let bytes = JSONLine(Data([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0x62, 0xff, 0xc3, 0x22, 0x7d]))
        #expect(
            bytes.whole?["a"]?.string == "b\u{fffd}\u{fffd}" && bytes.whole?["a"]?.identifier == #"b\xff\xc3"#
                && bytes.brokenTexts == 1)
        #expect(JSONLine(#"{"a":"\ud83d\ud83d\ude00"}"#).whole?["a"]?.string == "\u{fffd}😀")
    }

    @Test func damageIsFoundAndWhatStandsBeforeItIsKept() {
        for text in [
            "", "no", "[1]", "[]", #"[{"a":1},2]"#, #"[{"a":1}"#, #"[{"a":1}] 2"#, "{", #"{"a""#, #"{"a":}"#,
            #"{"a":1,}"#, #"{"a":01}"#, #"{"a":.5}"#, #"{"a":1.}"#, #"{"a":+1}"#, #"{"a":1 2}"#, #"{"a":[1,]}"#,
            #"{"a":nul}"#, #"{"a":"\x"}"#, #"{"a":"\u12g4"}"#, #"{"a":"b"#, "{\"a\":\"\u{1}\"}", #"{"a":1} {"b":2}"#,
            #"{a:1}"#, #"{"a":[1}"#, #"{"a":'b'}"#,
        ] {
            #expect(JSONLine(text).damage != nil && JSONLine(text).whole == nil, "\(text)")
        }
        let cut = JSONLine(#"{"custom_id":"a","response":{"b":[1,2"#)
        #expect(cut.object?["custom_id"]?.string == "a" && cut.object?["response"] == nil && cut.damage?.offset == 37)
    }

    @Test func aListOfObjectsIsAllOfThem() {
        #expect(JSONLine(#" [ {"a":1} , {"a":2} ] "#).objects.map { $0["a"]?.int } == [1, 2])
        #expect(JSONLine(#"{"a":1}"#).objects.count == 1 && JSONLine("[[{}]]").objects.isEmpty)
    }

    /// A smaller stack than any thread of a stage has; what is too deep is null, what stands beside it is there.
    /// (The limit ends a reader that never does. All tests run at once: a short one measured the machine.)
    @Test(.timeLimit(.minutes(20))) func noNestingExhaustsTheStack() {
        for (open, close) in [("[", "]"), (#"{"a":"#, "}")] {
            let nested = String(repeating: open, count: 200_000) + "1" + String(repeating: close, count: 200_000)
            for (text, isWhole) in [(nested, true), (String(repeating: open, count: 200_000), false)] {
                let line = Results()
                let thread = Thread { line.found = JSONLine("{\"id\":\"x\",\"deep\":\(text),\"behind\":\"]}\"}") }
                thread.stackSize = 512 << 10
                thread.start()
                while !thread.isFinished { Thread.sleep(forTimeInterval: 0.01) }
                #expect(
                    line.found?.object?["id"]?.string == "x"
                        && (line.found?.whole?["behind"]?.string == "]}") == isWhole)
                #expect(line.found?.tooDeep == (isWhole ? 1 : 0))
            }
        }
    }

    private final class Results: @unchecked Sendable { var found: JSONLine? }

    @Test func textIsComparedByItsBytes() {
        let composed = "Qu\u{e8}", decomposed = "Que\u{300}"
        #expect(
            composed == decomposed && ByteText(composed) != ByteText(decomposed)
                && !composed.isSameBytes(as: decomposed))
        #expect(Set([composed, decomposed, composed].map(ByteText.init)).count == 2)
        #expect(
            ByteText(decomposed) < ByteText(composed)
                && [ByteText("b"), ByteText("a")].sorted().map(\.text) == ["a", "b"])
    }

    @Test(arguments: [
        ("stop", FinishReason.finished), ("tool_calls", .finished), ("length", .truncated), ("max_tokens", .truncated),
        ("repetition", .truncated),
        ("content_filter", .truncated), ("abort", .failed), ("ABORT", .failed), ("error", .failed),
        ("cancelled", .failed), ("", .unknown), ("weary", .unknown),
    ]) func everyWordForAnEndHasItsKind(_ word: String, _ kind: FinishReason) { #expect(FinishReason(word) == kind) }
}
