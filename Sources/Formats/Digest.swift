import CCrypto
import Foundation

/// SHA-256 in lower-case hex.
package enum SHA256Digest {
    package static func ofFile(_ path: String) throws -> String { of(try MappedFile(path: path)) }

    /// The mapping must outlive the reading, and the compiler does not see that a pointer depends on it.
    package static func of(_ file: MappedFile) -> String { withExtendedLifetime(file) { of(file.bytes) } }

    package static func of(_ text: String) -> String { Array(text.utf8).withUnsafeBytes { of($0) } }

    package static func of(_ bytes: UnsafeRawBufferPointer) -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        EVP_DigestInit_ex(context, EVP_sha256(), nil)
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        EVP_DigestFinal_ex(context, &digest, nil)
        return digest.map { String(format: "%02x", $0) }.joined()
    }
}
