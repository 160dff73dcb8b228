import CSystem
import Files
import Foundation

/// Where the catalog lies: where CRUX_CATALOG says, else beside the runs, in the nearest folder above them that has one.
package struct CatalogPlace: Equatable, Sendable {
    package let path: String
    /// Whether somebody has named it: then it is made where it is missing.
    package let isNamed: Bool

    package static let variable = "CRUX_CATALOG"
    package static let fileName = "crux-catalog.sqlite"
    /// What CRUX_CATALOG says where no catalog is wanted.
    package static let noWord = "none"

    package init(path: String, isNamed: Bool) { (self.path, self.isNamed) = (path, isNamed) }

    /// The catalog of a file's name, or of the folder that it is to lie in.
    package init(named name: String) {
        let isFolder = (try? Folder.isFolder(name)) ?? false
        self.init(path: resolvedPath(isFolder ? name + "/" + Self.fileName : name), isNamed: true)
    }

    /// The catalog of a stage directory; nil where there is none, or none is wanted.
    package static func ofRun(
        _ directory: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> CatalogPlace? {
        near(parentFolder(resolvedPath(directory)), environment: environment)
    }

    /// The catalog in a folder or above it.
    package static func near(
        _ folder: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> CatalogPlace? {
        if let name = environment[variable], !name.isEmpty {
            return name == noWord ? nil : CatalogPlace(named: name)
        }
        var folder = resolvedPath(folder)
        while true {
            let path = (folder == "/" ? "" : folder) + "/" + fileName
            if (try? fileExists(path)) == true { return CatalogPlace(path: path, isNamed: false) }
            guard folder != "/" else { return nil }
            folder = parentFolder(folder)
        }
    }

    /// Whether several machines may have the file open at once. WAL needs memory that all who write share.
    var isShared: Bool {
        let folder = parentFolder(path)
        return crux_is_network_file_system(folder.isEmpty ? "." : folder) != 0
    }
}
