/// Token ids of a JSON value; nil where nothing is given. `name`: what they are called there.
package func tokenIDs(_ value: JSONValue?, _ name: String) throws(RolloutFault) -> [Int32]? {
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

/// Truth values, or 0 and 1, of a JSON list, one for each of `count` tokens.
func tokenMask(_ value: JSONValue?, _ name: String, count: Int) throws(RolloutFault) -> [Bool] {
    guard let flags = value?.list else {
        throw RolloutFault(
            .invalidValue, found: "\(name) \(value?.excerpt ?? "null")", expected: "a list of true and false")
    }
    var mask: [Bool] = []
    mask.reserveCapacity(flags.count)
    for (place, flag) in flags.enumerated() {
        guard let value = flag.bool ?? flag.double.flatMap({ $0 == 0 ? false : $0 == 1 ? true : nil }) else {
            throw RolloutFault(
                .invalidValue, found: "\(flag.excerpt) at position \(place) of \(name)", expected: "true or false")
        }
        mask.append(value)
    }
    guard mask.count == count else {
        throw RolloutFault(
            .lengthMismatch, found: "\(mask.count) entries in \(name)",
            expected: "\(count), one for each of token_ids")
    }
    return mask
}

/// Numbers of a JSON list, one for each of `count` tokens; nil where nothing is given. Absent streams may be lists of
/// null.
func tokenNumbers(_ value: JSONValue?, _ name: String, count: Int) throws(RolloutFault) -> GivenLogprobs? {
    guard let value, !value.isNull else { return nil }
    guard let values = value.list else {
        throw RolloutFault(.invalidValue, found: "\(name) \(value.excerpt)", expected: "a list of numbers")
    }
    guard values.count == count else {
        throw RolloutFault(
            .lengthMismatch, found: "\(values.count) entries in \(name)",
            expected: "\(count), one for each of token_ids")
    }
    return values.allSatisfy(\.isNull) ? nil : GivenLogprobs(values)
}
