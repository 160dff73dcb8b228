/// Every entry of this room checks the shapes that it is given: a wrong one is a mistake of the caller, and would read
/// or write beyond an array. It traps.
extension Matrix {
    /// Traps unless this is a [rows, columns] matrix. One without rows has any number of columns.
    @inline(__always)
    func check(_ rows: Int, _ columns: Int, _ name: StaticString) {
        precondition(
            self.rows == rows && (rows == 0 || self.columns == columns),
            "\(name) is [\(self.rows), \(self.columns)], expected [\(rows), \(columns)]")
    }

    /// Traps unless this has the other's shape.
    @inline(__always)
    func check(like other: Matrix, _ name: StaticString) { check(other.rows, other.columns, name) }
}
