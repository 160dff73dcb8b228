import Compression
import Files
import Foundation
import StageSupport

/// One HTML file that holds everything: form, program and data. Data never become markup: they stand in base64, which
/// has no character that HTML reads, and the program writes them as text alone. The browser is told to load nothing
/// from anywhere and to run nothing but this program.
struct PageFile {
    let path: String

    private static let start = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    private static let generator = "<meta name=\"generator\" content=\"crux-report page"

    /// Throws (5) where something lies under the name that is no page of ours.
    func requireOwn(overwrite: Bool) throws {
        guard !overwrite, try fileStatus(path) != nil else { return }
        let own = Array((Self.start + Self.generator).utf8), file = try MappedFile(path: path)
        guard !file.bytes.prefix(own.count).elementsEqual(own) else { return }
        throw StageError(
            .otherConfiguration,
            "\(path): found a file that is no page of crux-report, expected none or a page to write anew. "
                + "Choose another --output, or give --overwrite.")
    }

    /// Returns how many bytes it has.
    func write(_ content: PageContent, threads: Int) throws -> Int {
        let blocks = try parallelMap(content.blocks.count, threads: threads) {
            try Self.packed(content.blocks[$0])
        }
        let file = try AtomicFile(path)
        try file.write(Self.head(title: content.overview.title))
        try file.write(PageProgram.markup)
        try file.write(Self.element("overview", try Self.packed(content.overview)))
        for (number, block) in blocks.enumerated() { try file.write(Self.element("rollouts-\(number)", block)) }
        try file.write("<script>\(PageProgram.script)</script>\n</body>\n</html>\n")
        let bytes = file.position
        try file.commit()
        return bytes
    }

    private static func head(title: String) -> String {
        let policy = [
            "default-src 'none'", "script-src '\(hash(PageProgram.script))'",
            "style-src '\(hash(PageProgram.style))'", "img-src data: blob:", "base-uri 'none'", "form-action 'none'",
        ].joined(separator: "; ")
        return start + generator + " \(cruxVersion)\">\n"
            + "<meta http-equiv=\"Content-Security-Policy\" content=\"\(policy)\">\n"
            + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            + "<meta name=\"referrer\" content=\"no-referrer\">\n"
            + "<title>\(escaped(title))</title>\n<style>\(PageProgram.style)</style>\n</head>\n"
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }

    /// A source that the browser may use, as its content policy names it.
    private static func hash(_ text: String) -> String {
        let digits = Array(SHA256Digest.of(text).utf8)
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
        return "sha256-" + Data(bytes).base64EncodedString()
    }

    private static func packed(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
        return Data(Gzip.compress(Array(try encoder.encode(value)))).base64EncodedString()
    }

    private static func element(_ id: String, _ base64: String) -> String {
        "<script type=\"application/gzip\" id=\"\(id)\">\(base64)</script>\n"
    }
}

/// The page's own text: the files of Resources/, of which the scripts are one program.
enum PageProgram {
    static let markup = text(PackageResources.page_html)
    static let style = "\n" + text(PackageResources.page_css)
    static let script =
        "'use strict';\n"
        + [
            PackageResources.elements_js, PackageResources.numbers_js, PackageResources.data_js,
            PackageResources.charts_js, PackageResources.tokens_js, PackageResources.overview_js,
            PackageResources.forks_js, PackageResources.rollouts_js, PackageResources.rollout_js,
            PackageResources.expansions_js,
            PackageResources.plans_js, PackageResources.training_js, PackageResources.page_js,
        ].map(text).joined(separator: "\n")

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
