import Foundation

/// The absolute path that a name leads to: links resolved as far as there is something, the rest as it is written.
package func resolvedPath(_ path: String) -> String {
    let absolute = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    var current = "/"
    for part in absolute.split(separator: "/") where part != "." {
        if part == ".." {
            current = parentFolder(current)
            continue
        }
        let next = (current == "/" ? "" : current) + "/" + part
        if let real = realpath(next, nil) {
            current = String(cString: real)
            free(real)
        } else {
            current = next
        }
    }
    return current
}
