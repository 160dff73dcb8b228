import GRDB

extension CatalogValue: DatabaseValueConvertible {
    /// SQLite has no truth values: they are 1 and 0.
    package var databaseValue: DatabaseValue {
        switch self {
        case .integer(let number): Int64(number).databaseValue
        case .real(let number): number.isFinite ? number.databaseValue : "\(number)".databaseValue
        case .text(let text): text.databaseValue
        case .truth(let flag): (flag ? Int64(1) : 0).databaseValue
        case .null: .null
        }
    }

    package static func fromDatabaseValue(_ value: DatabaseValue) -> CatalogValue? {
        switch value.storage {
        case .null: .null
        case .int64(let number): .integer(Int(number))
        case .double(let number): .real(number)
        case .string(let text): .text(text)
        case .blob(let data): .text("\(data.count) bytes")
        }
    }
}

/// Columns as they are in a file that may be damaged: what GRDB converts itself ends the process where it doesn't fit.
extension Row {
    func value(_ column: String) -> CatalogValue {
        let stored: (any DatabaseValueConvertible)? = self[column]
        return stored.flatMap { CatalogValue.fromDatabaseValue($0.databaseValue) } ?? .null
    }

    func text(_ column: String) -> String? { if case .text(let text) = value(column) { text } else { nil } }

    func integer(_ column: String) -> Int? { if case .integer(let number) = value(column) { number } else { nil } }

    func real(_ column: String) -> Double? {
        switch value(column) {
        case .integer(let number): Double(number)
        case .real(let number): number
        default: nil
        }
    }
}
