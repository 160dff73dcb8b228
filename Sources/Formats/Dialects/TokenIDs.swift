/// Token ids of a JSON value; nil where nothing is given. `name`: what they are called there.
func tokenIDs(_ value: JSONValue?, _ name: String) throws(RolloutFault) -> [Int32]? {
    guard let value, !value.isNull else { return nil }
    guard let list = value.list else {
        throw RolloutFault(.invalidTokenID, found: "\(name) \(value.excerpt)", expected: "a list of token ids")
    }
    var ids: [Int32] = []
    ids.reserveCapacity(list.count)
    for (place, entry) in list.enumerated() {
        guard let id = tokenID(entry) else {
            throw RolloutFault(
                .invalidTokenID, found: "token id \(entry.excerpt) at position \(place) of \(name)",
                expected: "whole numbers from 0 below 2^31")
        }
        ids.append(id)
    }
    return ids
}

/// A truth value or a fraction is no id, also where it could be read as a number.
package func tokenID(_ value: JSONValue?) -> Int32? {
    guard case .integer(let number) = value, number >= 0 else { return nil }
    return Int32(exactly: number)
}
