/// The first number below `count` from which on this holds, else `count`.
package func partitionPoint(of count: Int, where holds: (Int) -> Bool) -> Int {
    var low = 0, high = count
    while low < high {
        let middle = (low + high) / 2
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    return low
}
