import CCrypto
import Foundation

/// SHA-256 in lower-case hex.
package enum SHA256Digest {
    package static func ofFile(_ path: String) throws -> String { of(try MappedFile(path: path)) }

    /// The mapping must outlive the reading, and the compiler does not see that a pointer depends on it. Pages are
    /// given back as they are read.
    package static func of(_ file: MappedFile) -> String {
        withExtendedLifetime(file) {
            digest { update in
                for start in stride(from: 0, to: file.bytes.count, by: pieceBytes) {
                    let range = start..<min(start + pieceBytes, file.bytes.count)
                    update(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
                    file.release(range)
                }
            }
        }
    }

    private static let pieceBytes = 4 << 20

    /// A temporary array in place of `bytes` was released before OpenSSL had read it, in one caller into which the
    /// optimiser had moved all of this.
    package static func of(_ text: String) -> String {
        let bytes = Array(text.utf8)
        return withExtendedLifetime(bytes) { bytes.withUnsafeBytes { of($0) } }
    }

    @inline(never)
    package static func of(_ bytes: UnsafeRawBufferPointer) -> String { digest { $0(bytes) } }

    @inline(never)
    private static func digest(_ feed: ((UnsafeRawBufferPointer) -> Void) -> Void) -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        EVP_DigestInit_ex(context, EVP_sha256(), nil)
        feed { EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest.map { String(format: "%02x", $0) }.joined()
    }
}

/// SHA-256 of what is added piece by piece.
final class RunningDigest {
    private let context = EVP_MD_CTX_new()

    init() { EVP_DigestInit_ex(context, EVP_sha256(), nil) }

    deinit { EVP_MD_CTX_free(context) }

    func add(_ bytes: UnsafeRawBufferPointer) { EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) }

    /// In lower-case hex; once, behind everything that was added.
    func finish() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest.map { String(format: "%02x", $0) }.joined()
    }
}
