/// The folder that a path's last name lies in, as the path has it: "" of a name alone, "/" of what lies in the root and
/// of the root itself. Slashes at the end don't count.
///
/// NSString's deletingLastPathComponent ends the process where the path is a single character (Foundation of Swift 6.3):
/// `--output r` did.
package func parentFolder(_ path: String) -> String {
    let slash = UInt8(ascii: "/")
    var bytes = Array(path.utf8)[...]
    func dropSlashes() { while bytes.count > 1, bytes.last == slash { bytes.removeLast() } }
    dropSlashes()
    guard let last = bytes.lastIndex(of: slash) else { return "" }
    bytes = bytes[...last]
    dropSlashes()
    return String(decoding: bytes, as: UTF8.self)
}
