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
