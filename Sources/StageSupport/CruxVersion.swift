/// The version that manifests and table metadata name.
package enum CruxVersion {
    package static let current = "0.1.0"
}
